"""Every exception to the house rules, by name, each with the reason a reviewer accepted.

A key is a file ("codegen/cpu/emit.py") or a function ("codegen/cpu/emit.py:Emitter.visit"); a value is the reason.
An entry that is no longer needed fails its test, so the lists only shrink.
"""

from __future__ import annotations

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

STATED_BY_THE_CLASS: dict[str, str] = {
    "compute": "the docstring of an elementwise operation is the formula that it computes",
    "entry": "the same formula on symbolic sizes, as Elementwise says",
    "dtype": "the rule for element types that Elementwise states, widened or narrowed",
    "primitives": "the same formula in primitives, as Activation says",
}
"""Methods of elementwise operations (ops/) that need no docstring of their own."""

"""Options: everything that changes what a build makes. Hashable; part of every cache key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Integral
from typing import Any, TypeGuard

from tenfold.errors import OptionError
from tenfold.target import Target

PRECISIONS = ("model", "f32", "tf32", "bf16", "f16")
BUILT_PRECISIONS = ("model", "f32")
WINOGRAD = ("auto", "off")
_OTHER_NAMES = {
    **dict.fromkeys(("half", "fp16", "float16"), "f16"),
    **dict.fromkeys(("bfloat", "bfloat16"), "bf16"),
    **dict.fromkeys(("single", "float", "fp32", "float32"), "f32"),
    **dict.fromkeys(("double", "fp64", "float64"), "f64"),
    **{f"{sign}int{bits}": f"{sign or 'i'}{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
}
_QUANTIZED = ("i8", "i4", "fp8", "fp4", "best")
_BEYOND = 1 << 63
"""The first number that an engine file has no place for."""


@dataclass(frozen=True)
class Options:
    """How to build. `targets` are machines, `precision` element types of the arithmetic, `effort` 0 (cost model only)
    to 3 (until every tactic is timed), `threads` the most threads a call uses (None: all usable CPUs; a default kept
    in the engine, never part of a kernel), `memory_limit` the most bytes that weights and arena may take. `winograd`
    "off" keeps convolutions and products of matrices to the sums that define them, "auto" allows fewer products
    (Winograd, Strassen) for slightly greater errors.
    """

    targets: tuple[Target, ...]
    precision: str = "model"
    effort: int = 1
    threads: int | None = None
    memory_limit: int | None = None
    winograd: str = "auto"

    def __post_init__(self) -> None:
        targets: Any = self.targets
        if not (isinstance(targets, tuple) and targets and all(isinstance(one, Target) for one in targets)):
            raise OptionError(
                f"targets is {targets!r}", argument="targets", remedy="give Target.parse of their names: 'cpu,cuda'"
            )
        precision: Any = self.precision
        if not isinstance(precision, str) or precision not in PRECISIONS:
            raise OptionError(f"no such precision: {precision!r}", argument="precision", remedy=_instead(precision))
        on_cpu = any(target.kind == "cpu" for target in self.targets)
        if on_cpu and self.precision not in BUILT_PRECISIONS:
            raise OptionError(
                f"precision {self.precision!r} is not built on CPUs yet",
                argument="precision",
                remedy="use 'model' (types as written) or 'f32'",
            )
        if self.winograd not in WINOGRAD:
            meant = "off" if str(self.winograd).lower() in ("false", "off", "none", "no", "0") else "auto"
            raise OptionError(
                f"winograd is 'auto' or 'off', not {self.winograd!r}", argument="winograd", remedy=f"use {meant!r}"
            )
        if not is_whole(self.effort) or self.effort not in range(4):
            word = str(self.effort)
            meant = "1, the default" if not word.isdecimal() else word if word in ("0", "1", "2", "3") else "3"
            raise OptionError(f"effort is 0, 1, 2 or 3, not {self.effort!r}", argument="effort", remedy=f"use {meant}")
        require_threads(self.threads)
        require_limit(self.memory_limit)


def usual_name(dtype: object) -> str:
    """What Tenfold calls an element type that others call so ("half", `numpy.float16`); other words stay."""
    word = str(getattr(dtype, "__name__", dtype)).lower().rpartition(".")[2]
    return _OTHER_NAMES.get(word, word)


def _instead(precision: object) -> str:
    """What to do instead of asking for a precision that there is not."""
    if isinstance(precision, Mapping):
        return f"give one for the whole model: {', '.join(PRECISIONS)}"
    word = usual_name(precision)
    if word == "f64":
        return "use 'model': f64 stays where the model says so"
    if word in _QUANTIZED:
        return "use 'model': a quantized model keeps the types that it was written with, and no other is quantized"
    close = get_close_matches(word, PRECISIONS, 1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(PRECISIONS)}"


def is_whole(number: object) -> TypeGuard[int]:
    """Whether something is an integer, and no truth."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def require_threads(threads: Any) -> None:
    """OptionError for what is no number of threads: None, or an integer of at least 1."""
    if threads is not None and not (is_whole(threads) and 1 <= threads < _BEYOND):
        raise OptionError(f"threads is at least 1, not {threads!r}", argument="threads", remedy="use 1 or more")


def require_limit(limit: Any) -> None:
    """OptionError for what is no number of bytes: None, or an integer of at least 1."""
    if limit is not None and not (is_whole(limit) and 0 < limit < _BEYOND):
        raise OptionError(
            f"memory_limit is a positive number of bytes (of 63 bits), not {limit!r}",
            argument="memory_limit",
            remedy="give an integer, such as 512 << 20",
        )

"""All converters of aten's operators, by name: "overload" first, then the operator of all its overloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tenfold.importers.torch import (
    attention,
    conv,
    create,
    detection,
    image,
    index,
    linear,
    math,
    nn,
    placed,
    random,
    recurrent,
    reduce,
    signal,
    tensor,
)

MODULES = (math, tensor, placed, create, reduce, index, linear, nn, conv, attention, recurrent, image, signal)

TABLE: Mapping[str, Callable[..., Any]] = {name: one for module in MODULES for name, one in module.TABLE.items()}

COMPLEX: Mapping[str, Callable[..., Any]] = {
    **{name: signal.componentwise(one) for name, one in {**tensor.TABLE, **placed.TABLE}.items()},
    **{name: math.same for name in ("clone", "contiguous", "alias", "detach", "lift_fresh_copy")},
    "neg": signal.componentwise(math.TABLE["neg"]),
    "sum": signal.componentwise(reduce.TABLE["sum"]),
    "mean": signal.componentwise(reduce.TABLE["mean"]),
    **signal.COMPLEX,
}


FOREIGN: Mapping[str, Callable[..., Any]] = {"transformers::grouped_mm_fallback": nn.grouped, **detection.TABLE}
"""Operators that other libraries register, by their full name."""

Converters = Mapping[str, Callable[..., Any]]
"""Converters of a user's own, by "library::operator" or "library::operator.overload"."""


def with_foreign(added: Converters | None) -> Converters:
    """A user's converters, and ours of other libraries' operators."""
    return {**FOREIGN, **(added or {})}


def has_converter(full: str, added: Converters) -> bool:
    """True if an operator's overload ("aten::add.Tensor") need not be taken apart."""
    space, _, name = full.partition("::")
    own = space == "aten" and any(find(table, name) is not None for table in (TABLE, random.TABLE))
    return own or find(added, full) is not None


def find(table: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any] | None:
    """The converter of an operator's overload ("add.Tensor"); None if there is none."""
    return table.get(name) or table.get(name.partition(".")[0])

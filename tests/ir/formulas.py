"""Random formulas of sizes, each beside its meaning on plain numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hypothesis import strategies as st

from tenfold.errors import InputError
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size

Bindings = Mapping[str, int]

SYMBOLS: dict[str, Dim] = {
    "n": dim.symbol("n", 1),
    "m": dim.symbol("m", 1, 40),
    "image.2": dim.symbol("image.2", 8, 96, 8),
    "past length": dim.symbol("past length"),
    "x": dim.symbol("x", None),
    "t": dim.symbol("t", -12, 12, 4),
}


class Formula(NamedTuple):
    """A size, and what it means."""

    size: Size
    meaning: Callable[[Bindings], int]


class Undefined(Exception):
    """The formula has no value for these bindings."""


def floordiv(a: int, b: int) -> int:
    if b == 0:
        raise Undefined
    return a // b


def modulo(a: int, b: int) -> int:
    if b == 0:
        raise Undefined
    return a % b


def truncdiv(a: int, b: int) -> int:
    return floordiv(abs(a), abs(b)) * (1 if (a < 0) == (b < 0) else -1)


def broadcast(a: int, b: int) -> int:
    if a != b and 1 not in (a, b):
        raise Undefined
    return b if a == 1 else a


BINARY: dict[str, tuple[Callable[[Size, Size], Size], Callable[[int, int], int]]] = {
    "+": (lambda a, b: a + b, lambda a, b: a + b),
    "-": (lambda a, b: a - b, lambda a, b: a - b),
    "*": (lambda a, b: a * b, lambda a, b: a * b),
    "//": (lambda a, b: a // b, floordiv),
    "%": (lambda a, b: a % b, modulo),
    "truncdiv": (dim.truncdiv, truncdiv),
    "ceildiv": (dim.ceildiv, lambda a, b: -floordiv(-a, b)),
    "minimum": (dim.minimum, min),
    "maximum": (dim.maximum, max),
    "broadcast": (dim.broadcast, broadcast),
    "equal": (dim.equal, lambda a, b: int(a == b)),
    "less": (dim.less, lambda a, b: int(a < b)),
    "less_equal": (dim.less_equal, lambda a, b: int(a <= b)),
    "and": (dim.logical_and, lambda a, b: int(bool(a) and bool(b))),
    "or": (dim.logical_or, lambda a, b: int(bool(a) or bool(b))),
}


def number(value: int) -> Formula:
    return Formula(value, lambda bindings: value)


def named(name: str) -> Formula:
    return Formula(SYMBOLS[name], lambda bindings: bindings[name])


def binary(name: str, a: Formula, b: Formula) -> Formula | None:
    build, compute = BINARY[name]
    try:
        size = build(a.size, b.size)
    except (InputError, ZeroDivisionError):
        return None
    return Formula(size, lambda bindings: compute(a.meaning(bindings), b.meaning(bindings)))


def select(condition: Formula, a: Formula, b: Formula) -> Formula:
    return Formula(
        dim.select(condition.size, a.size, b.size),
        lambda bindings: (a if condition.meaning(bindings) else b).meaning(bindings),
    )


LEAVES = st.one_of(st.sampled_from(sorted(SYMBOLS)).map(named), st.integers(-9, 16).map(number))


def _grow(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    pairs = st.builds(binary, st.sampled_from(sorted(BINARY)), inner, inner).filter(lambda found: found is not None)
    scaled = st.builds(binary, st.sampled_from(["*", "//", "%"]), inner, st.sampled_from([2, 3, 4, 8]).map(number))
    return st.one_of(pairs, scaled, st.builds(select, inner, inner, inner))  # type: ignore[arg-type]


FORMULAS = st.recursive(LEAVES, _grow, max_leaves=9)


def bindings_of(seed: int, count: int = 50) -> list[dict[str, int]]:
    """Values that every symbol can have, the smallest and zero among them."""
    draw = random.Random(seed)
    ranges = {
        "n": range(1, 30),
        "m": range(1, 41),
        "image.2": range(8, 97, 8),
        "past length": range(0, 25),
        "x": range(-30, 31),
        "t": range(-12, 13, 4),
    }
    found = [{name: draw.choice(values) for name, values in ranges.items()} for _ in range(count - 1)]
    return [*found, {name: 0 if 0 in values else values[0] for name, values in ranges.items()}]


def value(formula: Formula, bindings: Bindings) -> int | None:
    """What it means for these bindings; None if it has no value."""
    try:
        return formula.meaning(bindings)
    except Undefined:
        return None

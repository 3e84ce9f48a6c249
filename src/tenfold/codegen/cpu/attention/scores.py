"""Scores as exponents of two: what scales them, what masks add, their powers in as few instructions as f32 allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tenfold.codegen.cpu import vmath
from tenfold.codegen.cpu.attention.form import Mask
from tenfold.codegen.cpu.pieces import ROUNDING
from tenfold.codegen.cpu.storage import cast, register_type
from tenfold.codegen.cpu.vectors import Vector, width
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType

LOG2_E = 1 / math.log(2)
_LEAST = -126.0
_FRACTION = (1.0, 0.69314697758, 0.24022242083, 0.05550733745, 0.00967151281, 0.00132647267)
"""2**f for |f| ≤ 1/2, within 1.6e-7; exact at 0."""


def power(x: Vector) -> Vector:
    """2**x for x < 127; what lies below the normal numbers gives the least of them (f64: zero). NaN stays."""
    return powers([x])[0]


def powers(exponents: Sequence[Vector]) -> list[Vector]:
    """Of several vectors at once, step by step, as a processor looks only so far ahead for something to do."""
    if width(exponents[0].type) == 64:
        return [vmath.exp(x * math.log(2)) for x in exponents]
    bounded = [x.at_least(_LEAST) for x in exponents]
    shifted = [x + ROUNDING for x in bounded]
    whole = [x - ROUNDING for x in shifted]
    fractions = [x - n for x, n in zip(bounded, whole, strict=True)]
    totals = [x.like(_FRACTION[-1]) for x in bounded]
    for coefficient in reversed(_FRACTION[:-1]):
        totals = [total.fma(x, coefficient) for total, x in zip(totals, fractions, strict=True)]
    return [(total.bits() + (n.bits() << 23)).floats() for total, n in zip(totals, shifted, strict=True)]


def query_factor(scale: float, softcap: float) -> float:
    """What queries are multiplied by, so that scores are exponents of two, or what a softcap takes."""
    return scale / softcap if softcap > 0 else scale * LOG2_E


def capped(score: Vector, softcap: float) -> Vector:
    """A score bent below the softcap."""
    return vmath.tanh(score) * (softcap * LOG2_E)


def bias(mask: Mask, total: DType, value: Vector) -> Vector:
    """A mask's elements as what is added to scores: what is finite stays so."""
    if mask.dtype is dt.boolean:
        hidden = value.code.constant(register_type(total), -math.inf)
        return value.where(value.code.zero(register_type(total)), hidden)
    given, high = cast(mask.dtype, total, value), float(total.limits[1])
    bounded = (given * LOG2_E).at_least(-high).at_most(high)
    return given.abs().equals(math.inf).where(given, bounded)

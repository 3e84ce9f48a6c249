"""Scores as exponents of two: what scales them, what masks add, their powers in as few instructions as f32 allows."""

from __future__ import annotations

import math

from tenfold.codegen.cpu import vmath
from tenfold.codegen.cpu.attention.form import Mask
from tenfold.codegen.cpu.storage import cast, register_type
from tenfold.codegen.cpu.vectors import Vector, width
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType

LOG2_E = 1 / math.log(2)
_LEAST = -126.0
_MAGIC = 1.5 * 2.0**23
_FRACTION = (1.0, 0.69314697758, 0.24022242083, 0.05550733745, 0.00967151281, 0.00132647267)
"""2**f for |f| ≤ 1/2, within 1.6e-7; exact at 0."""


def power(x: Vector) -> Vector:
    """2**x for x ≤ 0; what lies below the normal numbers gives the least of them (f64: zero). NaN stays."""
    if width(x.type) == 64:
        return vmath.exp(x * math.log(2))
    bounded = x.at_least(_LEAST)
    shifted = bounded + _MAGIC
    fraction = vmath.polynomial(bounded - (shifted - _MAGIC), _FRACTION)
    return (fraction.bits() + (shifted.bits() << 23)).floats()


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

"""Powers of two of what is never positive: the exponential of a softmax, in as few instructions as f32 allows."""

from __future__ import annotations

import math

from tenfold.codegen.cpu import vmath
from tenfold.codegen.cpu.vectors import Vector, width

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

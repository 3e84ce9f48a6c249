"""Functions in pieces: what differs from piece to piece lies in vectors, and each lane looks up its own.

GELU is max(x, 0) - |x| Q(|x|), with Q(t) = 1 - Phi(t) for a distribution Phi that falls to nothing within 16 cells; the
cell of t is the whole number nearest to t / step, so that one addition gives both its number and the place in it.
Polynomials of degree 4, near the best for |x| Q's greatest error, lowest power first.

A power of two is a whole one times one of 32 roots times a polynomial of degree 2, within 5.4e-8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.coefficients import LOGISTIC_TAIL, NORMAL_TAIL
from tenfold.codegen.cpu.vectors import F32, I16, I32, Vector, intrinsic

_CELLS = 16
ROUNDING = 1.5 * 2.0**23
"""Added to a small f32 and taken away again it leaves the nearest whole number, whose bits lie lowest in between."""
_ROOT_BITS = 5
_SHIFT = 23 - _ROOT_BITS


@dataclass(frozen=True)
class Pieces:
    """Polynomials in t / `step` - k, one for each cell k of 16: `powers` holds each power's coefficients by cell."""

    step: float
    powers: Sequence[Sequence[float]]

    def at(self, t: Vector) -> Vector:
        """The piecewise polynomial at t ≥ 0 of f32, which must not lie beyond the last cell; NaN stays."""
        scale, magic = 1 / self.step, t.like(ROUNDING)
        shifted = t.fma(scale, magic)
        cell, place = shifted.bits(), t.fma(scale, magic - shifted)
        total = looked_up(self.powers[-1], cell)
        for power in reversed(self.powers[:-1]):
            total = total.fma(place, looked_up(power, cell))
        return total


def looked_up(table: Sequence[float], index: Vector) -> Vector:
    """Of 16 or 32 numbers the one that the lowest four or five bits of each index (i32) say, on AVX-512."""
    code, lanes = index.code, index.code.lanes
    if lanes > _CELLS:
        halves = [index.shuffle(range(at, at + lanes // 2)) for at in (0, lanes // 2)]
        narrow = replace(code, lanes=lanes // 2)
        low, high = (looked_up(table, narrow.wrap(one)) for one in halves)
        return code.wrap(low.shuffle(range(lanes), high))
    if lanes < _CELLS:
        wide = replace(code, lanes=_CELLS)
        repeated = wide.splat(index.value).value if lanes == 1 else index.shuffle([k % lanes for k in range(_CELLS)])
        found = looked_up(table, wide.wrap(repeated))
        return code.wrap(found.lane(0) if lanes == 1 else found.shuffle(range(lanes)))
    kind = ir.VectorType(F32, _CELLS)
    first, *second = (ir.Constant(kind, list(table[at : at + _CELLS])) for at in range(0, len(table), _CELLS))
    if second:
        return code.wrap(intrinsic(code.builder, "x86.avx512.vpermi2var.ps.512", kind, [first, index.value, second[0]]))
    return code.wrap(intrinsic(code.builder, "x86.avx512.permvar.sf.512", kind, [first, index.value]))


def within(x: Vector, most: float) -> Vector:
    """x of f32 brought to -most … most, on AVX-512 by one instruction for 16 lanes; NaN may become `most`."""
    if x.code.lanes != _CELLS:
        return x.at_least(-most).at_most(most)
    least_magnitude, every, as_set = ir.Constant(I32, 2), ir.Constant(I16, -1), ir.Constant(I32, 4)
    arguments = [x.value, x.like(most).value, least_magnitude, x.like(0).value, every, as_set]
    return x.code.wrap(intrinsic(x.code.builder, "x86.avx512.mask.range.ps.512", x.type, arguments))


def logistic_divisor(x: Vector) -> Vector:
    """1 + e**-x of f32 with |x| ≤ `LOGISTIC_END`, on AVX-512; infinite at its end; NaN stays."""
    scale, magic = -(1 << _ROOT_BITS) / math.log(2), x.like(ROUNDING)
    shifted = x.fma(scale, magic)
    place = x.fma(scale, magic - shifted)
    power = (looked_up(_ROOTS, shifted.bits()).bits() + (shifted.bits() << _SHIFT)).floats()
    return power.fma(place.fma(_ROOT_POWERS[1], _ROOT_POWERS[0]).fma(place, 0.5), 1)


def gelu(x: Vector, tanh: bool) -> Vector:
    """x Phi(x) of f32 on AVX-512, within 3e-7 |x|, and within 2e-7 beyond the rounding of the result."""
    pieces = _OF_TANH if tanh else _OF_NORMAL
    size = x.abs().at_most(pieces.step * (_CELLS - 0.75))
    return (-size).fma(pieces.at(size), x.at_least(0))


_OF_NORMAL = Pieces(11 / 29, NORMAL_TAIL)
"""1 - Phi of the normal distribution."""
_OF_TANH = Pieces(54 / 145, LOGISTIC_TAIL)
"""1 / (1 + e**(2 s)), s = √(2/π) (t + 0.044715 t³): Hendrycks and Gimpel's approximation of it."""


def _root(k: int) -> float:
    """2 * 2**(k / 32), less what the bits of k add where they are shifted to a float's exponent."""
    (bits,) = struct.unpack("<i", struct.pack("<f", 2.0 ** (1 + k / (1 << _ROOT_BITS))))
    (less,) = struct.unpack("<f", struct.pack("<i", bits - (k << _SHIFT)))
    return float(less)


_ROOTS = tuple(map(_root, range(1 << _ROOT_BITS)))
_ROOT_POWERS = (0.021661166 / 2, 0.0002345962 / 2)
"""(2**(place / 32) - 1) / place / 2 for |place| ≤ 1/2."""
LOGISTIC_END = 127 * math.log(2)
"""Twice e**-x is the least normal number here, and infinite on the other side."""

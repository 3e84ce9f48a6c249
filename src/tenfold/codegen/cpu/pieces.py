"""Functions in pieces: the coefficients of 16 polynomials lie in vectors, and each lane looks up its own.

GELU is max(x, 0) - |x| Q(|x|), with Q(t) = 1 - Phi(t) for a distribution Phi that falls to nothing within 16 cells; the
cell of t is the whole number nearest to t / step, so that one addition gives both its number and the place in it.
Polynomials of degree 4, near the best for |x| Q's greatest error, lowest power first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.coefficients import LOGISTIC_TAIL, NORMAL_TAIL
from tenfold.codegen.cpu.vectors import F32, Vector, intrinsic

_CELLS = 16
_MAGIC = 1.5 * 2.0**23


@dataclass(frozen=True)
class Pieces:
    """Polynomials in t / `step` - k, one for each cell k of 16: `powers` holds each power's coefficients by cell."""

    step: float
    powers: Sequence[Sequence[float]]

    def at(self, t: Vector) -> Vector:
        """The piecewise polynomial at t ≥ 0 of f32, which must not lie beyond the last cell; NaN stays."""
        scale, magic = 1 / self.step, t.like(_MAGIC)
        shifted = t.fma(scale, magic)
        cell, place = shifted.bits(), t.fma(scale, magic - shifted)
        total = looked_up(self.powers[-1], cell)
        for power in reversed(self.powers[:-1]):
            total = total.fma(place, looked_up(power, cell))
        return total


def looked_up(table: Sequence[float], index: Vector) -> Vector:
    """Of 16 numbers the one that the lowest four bits of each index (i32) say, on AVX-512."""
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
    constant = ir.Constant(kind, list(table))
    return code.wrap(intrinsic(code.builder, "x86.avx512.permvar.sf.512", kind, [constant, index.value]))


def gelu(x: Vector, tanh: bool) -> Vector:
    """x Phi(x) of f32 on AVX-512, within 3e-7 |x|, and within 2e-7 beyond the rounding of the result."""
    pieces = _OF_TANH if tanh else _OF_NORMAL
    size = x.abs().at_most(pieces.step * (_CELLS - 0.75))
    return (-size).fma(pieces.at(size), x.at_least(0))


_OF_NORMAL = Pieces(11 / 29, NORMAL_TAIL)
"""1 - Phi of the normal distribution."""
_OF_TANH = Pieces(54 / 145, LOGISTIC_TAIL)
"""1 / (1 + e**(2 s)), s = √(2/π) (t + 0.044715 t³): Hendrycks and Gimpel's approximation of it."""

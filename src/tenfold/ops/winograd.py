"""Minimal filtering: correlations of 3 taps by fewer products, as polynomials that are multiplied point by point.

Winograd's F(m, 3) in the form of Cook and Toom: m results of 3 taps over n = m + 2 elements take n products instead of
3 m. Data and filter are evaluated at n points, multiplied there, and the product is interpolated:
y = A ((G g) * (B d)). Along two axes the transforms apply one after the other: n² products for m² results of 9 taps.

The points are 0, ±p of each `points`, and infinity. With 1 (m = 2) everything is exact but sums. For m = 4, 5/8 and 3/2
are chosen because their transforms amplify rounding least, and their squares are exact.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type

POINTS: dict[int, tuple[float, ...]] = {2: (1.0,), 4: (0.625, 1.5)}
"""The points for so many results at a time."""
TAPS = 3

Matrix = NDArray[np.float64]


def factors(points: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients of (x² - p²) (x² - q²) … by powers of x², from the constant one on."""
    found = np.ones(1)
    for point in points:
        found = np.convolve(found, [-point * point, 1.0])
    return tuple(map(float, found))


@functools.cache
def matrices(points: tuple[float, ...]) -> tuple[Matrix, Matrix, Matrix]:
    """A [m, n], G [n, 3] and B [n, n]."""
    finite = [0.0, *(sign * point for point in points for sign in (1, -1))]
    size = len(finite) + 1
    a, g, b = np.zeros((size - 2, size)), np.zeros((size, TAPS)), np.zeros((size, size))
    for row, point in enumerate(finite):
        others = [one for one in finite if one != point]
        a[:, row] = [point**power for power in range(size - 2)]
        g[row] = [point**power / math.prod(point - one for one in others) for power in range(TAPS)]
        b[row, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(finite)[::-1]
    return a, g, b


def error_bound(points: tuple[float, ...], channels: int) -> float:
    """The most by which a result of such a convolution in f32 differs from the exact one, as a multiple of
    channels * max|x| * max|w|.

    Each of the three transforms along two axes, the rounding of the transformed filter and the sum of `channels`
    products round no term more often than counted here, and |A| (|G| |w| |G'| * |B| |x| |B'|) |A'| bounds all terms.
    """
    a, g, b = (np.abs(one) for one in matrices(points))
    filtered, seen = g.sum(axis=1), b.sum(axis=1)
    terms = np.outer(filtered * seen, filtered * seen)
    amplified = float((a @ terms @ a.T).max())
    size = a.shape[1]
    roundings = 1 + 2 * size + channels + 2 * size
    return float(roundings * 2.0**-24 * amplified)


class WinogradFilter(Op):
    """Filters [..., 3, 3] in the transformed domain [..., n, n]: G w G', computed in f64 and rounded once."""

    points: tuple[float, ...]

    def infer(self, w: Type) -> Type:
        """[..., n, n]; ValueError if the last axes are not 3 by 3."""
        if w.shape[-2:] != (TAPS, TAPS):
            raise ValueError(f"WinogradFilter takes filters of 3 by 3, not {w}")
        size = 2 * len(self.points) + 2
        return Type(w.dtype, (*w.shape[:-2], size, size))

    def evaluate(self, w: Array) -> Array:
        """Two products of matrices."""
        _, g, _ = matrices(self.points)
        return np.asarray((g @ w.astype(np.float64) @ g.T).astype(w.dtype))

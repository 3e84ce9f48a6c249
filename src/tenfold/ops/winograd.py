"""Minimal filtering: correlations of a few taps by fewer products, as polynomials that are multiplied point by point.

Winograd's F(m, r) in the form of Cook and Toom: m results of r taps over n = m + r - 1 elements take n products instead
of r m. Data and filter are evaluated at n points, multiplied there, and the product is interpolated:
y = A ((G g) * (B d)). Along two axes the transforms apply one after the other: n² products for m² results of r² taps.

The points are 0, ±p of each `points`, and infinity. With 1 (n = 4) everything is exact but sums. For n = 6, 5/8 and 3/2
are chosen because their transforms amplify rounding least, and their squares are exact; for n = 8, which along one axis
amplifies rounding less than n = 6 along two, 1/2, 1 and 2. An axis of one tap has no transform.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type

POINTS: dict[int, tuple[float, ...]] = {4: (1.0,), 6: (0.625, 1.5), 8: (0.5, 1.0, 2.0)}
"""The points of so many products."""

Matrix = NDArray[np.float64]
_AT_ONCE = 1 << 18
"""Products of a slice of filters: what they become stays in the second cache, and BLAS wakes no threads for so few."""


def factors(points: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients of (x² - p²) (x² - q²) … by powers of x², from the constant one on."""
    found = np.ones(1)
    for point in points:
        found = np.convolve(found, [-point * point, 1.0])
    return tuple(map(float, found))


def elements(points: tuple[float, ...], taps: int) -> int:
    """n: how many elements a tile has along an axis of so many taps."""
    return 2 * len(points) + 2 if taps > 1 else 1


@functools.cache
def matrices(points: tuple[float, ...], taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """A [m, n], G [n, taps] and B [n, n]."""
    if taps == 1:
        return (np.ones((1, 1)),) * 3
    finite = [0.0, *(sign * point for point in points for sign in (1, -1))]
    size = len(finite) + 1
    made = size - taps + 1
    a, g, b = np.zeros((made, size)), np.zeros((size, taps)), np.zeros((size, size))
    for row, point in enumerate(finite):
        others = [one for one in finite if one != point]
        a[:, row] = [point**power for power in range(made)]
        g[row] = [point**power / math.prod(point - one for one in others) for power in range(taps)]
        b[row, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(finite)[::-1]
    return a, g, b


def error_bound(points: tuple[float, ...], channels: int, taps: tuple[int, int] = (3, 3)) -> float:
    """The most by which a result of such a convolution in f32 differs from the exact one, as a multiple of
    channels * max|x| * max|w|; filters that come in blocks of `taps` count each block's channels.

    Each of the three transforms along two axes, the rounding of the transformed filter and the sum of `channels`
    products round no term more often than counted here, and |A| (|G| |w| |G'| * |B| |x| |B'|) |A'| bounds all terms.
    """
    amplified, roundings = 1.0, 1 + channels
    for one in taps:
        a, g, b = (np.abs(matrix) for matrix in matrices(points, one))
        amplified *= float((a @ (g.sum(axis=1) * b.sum(axis=1))).max())
        roundings += 2 * len(b)
    return float(roundings * 2.0**-24 * amplified)


class WinogradFilter(Op):
    """Filters [..., r, s] in the transformed domain [..., n, n], 1 instead of n for an axis of one tap: G w G',
    computed in f64 and rounded once.
    """

    points: tuple[float, ...]

    def infer(self, w: Type) -> Type:
        """[..., n, n]; ValueError if the last axes are not known, or have more taps than points."""
        most, taps = 2 * len(self.points) + 2, w.shape[-2:]
        if len(taps) < 2 or not all(isinstance(one, int) and one <= most for one in taps):
            raise ValueError(f"WinogradFilter takes filters of at most {most} by {most}, not {w}")
        return Type(w.dtype, (*w.shape[:-2], *(elements(self.points, int(one)) for one in taps)))  # type: ignore[arg-type]

    def evaluate(self, w: Array) -> Array:
        """Two products of matrices; those of a slice of filters are one each, by a matrix with a block for each tap."""
        (_, down, _), (_, across, _) = (matrices(self.points, taps) for taps in w.shape[-2:])
        first = np.kron(down, np.eye(w.shape[-1])).T
        second = np.kron(np.eye(len(down)), across).T
        filters = w.reshape(-1, len(first))
        made = np.empty((len(filters), second.shape[1]), w.dtype)
        many = max(1, _AT_ONCE // second.size)
        for start in range(0, len(filters), many):
            part = slice(start, start + many)
            made[part] = filters[part].astype(np.float64) @ first @ second
        return made.reshape(*w.shape[:-2], len(down), len(across))

"""Strassen's product of matrices: two by two blocks by seven products instead of eight.

Data [[a11, a12], [a21, a22]] times factors [[b11, b12], [b21, b22]]: seven sums of blocks of data are multiplied by
seven sums of blocks of factors, and every result is a sum of these products. Of the forms with seven products this one
amplifies rounding least: its sums have two blocks at most. Source: V. Strassen, Gaussian elimination is not optimal
(1969).
"""

from __future__ import annotations

import numpy as np

from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type

Signs = tuple[tuple[int, ...], ...]

DATA: Signs = (
    (1, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 0), (0, 0, 0, 1), (1, 1, 0, 0), (-1, 0, 1, 0), (0, 1, 0, -1),
)  # fmt: skip
"""Each of the seven sums of data, by a11, a12, a21, a22."""
FACTORS: Signs = (
    (1, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, -1), (-1, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1),
)  # fmt: skip
"""Each of the seven sums of factors, by b11, b12, b21, b22."""
RESULTS: Signs = ((1, 0, 0, 1, -1, 0, 1), (0, 0, 1, 0, 1, 0, 0), (0, 1, 0, 1, 0, 0, 0), (1, -1, 1, 0, 0, 1, 0))
"""c11, c12, c21, c22 by the seven products."""


def error_bound(terms: int) -> float:
    """The most by which a result of so many terms in f32 differs from the exact one, as a multiple of
    terms * max|x| * max|w|.

    No product is rounded more often than counted: a sum of data, a factor, half of the terms, and the sum of products
    that makes a result; the absolute values of what a result is made of bound the rest.
    """
    data, factors, results = (np.abs(np.array(one)) for one in (DATA, FACTORS, RESULTS))
    amplified = float((results @ (data.sum(axis=1) * factors.sum(axis=1))).max()) / 2
    roundings = terms / 2 + 2 + int(results.sum(axis=1).max())
    return roundings * 2.0**-24 * amplified


class StrassenFactors(Op):
    """Blocks [..., 2, 2] of factors as the sums [..., 7] that are multiplied, computed in f64 and rounded once."""

    def infer(self, w: Type) -> Type:
        """[..., 7]; ValueError if the last axes are not 2 by 2."""
        if w.shape[-2:] != (2, 2):
            raise ValueError(f"StrassenFactors takes blocks of 2 by 2, not {w}")
        return Type(w.dtype, (*w.shape[:-2], len(FACTORS)))

    def evaluate(self, w: Array) -> Array:
        """A product of matrices."""
        flat = w.reshape(*w.shape[:-2], 4).astype(np.float64)
        return np.asarray((flat @ np.array(FACTORS, np.float64).T).astype(w.dtype))

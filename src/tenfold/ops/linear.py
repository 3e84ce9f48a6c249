"""Linear algebra beyond products."""

from __future__ import annotations

import numpy as np

from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import differ


class Det(Op):
    """The determinants of the square matrices in the last two axes."""

    def infer(self, x: Type) -> Type:
        """The axes before the last two; ValueError if the matrices are not square."""
        require_float(self.name, x)
        if x.rank < 2 or differ(x.shape[-1], x.shape[-2]):
            raise ValueError(f"Det takes square matrices, not {x}")
        return Type(x.dtype, x.shape[:-2])

    def evaluate(self, x: Array) -> Array:
        """NumPy's det, in f32 at least."""
        return np.asarray(np.linalg.det(widen(x))).astype(x.dtype)

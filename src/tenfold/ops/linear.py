"""Linear algebra beyond products. All but determinants of small matrices is LAPACK's, by NumPy, on the host."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dim
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import differ


class Det(Op):
    """The determinants of the square matrices in the last two axes."""

    def infer(self, x: Type) -> Type:
        """The axes before the last two; ValueError if the matrices are not square."""
        _require_square(self.name, x)
        return Type(x.dtype, x.shape[:-2])

    def evaluate(self, x: Array) -> Array:
        """NumPy's det, in f32 at least."""
        return np.asarray(np.linalg.det(widen(x))).astype(x.dtype)


class Inverse(Op):
    """The inverses of the square matrices in the last two axes."""

    def infer(self, x: Type) -> Type:
        """x's type; ValueError if the matrices are not square."""
        return _require_square(self.name, x)

    def evaluate(self, x: Array) -> Array:
        """NumPy's inv, in f32 at least."""
        return np.asarray(np.linalg.inv(widen(x))).astype(x.dtype)


class Solve(Op):
    """The x of a x = b, for square matrices a [..., n, n] and columns b [..., n, m]."""

    def infer(self, a: Type, b: Type) -> Type:
        """b's type; ValueError where the sizes do not fit, or the axes before the last two are not the same."""
        _require_square(self.name, a)
        if b.rank != a.rank or b.dtype != a.dtype or any(map(differ, a.shape[:-1], b.shape[:-1])):
            raise ValueError(f"Solve of {a} for {b}")
        return Type(b.dtype, b.shape)

    def evaluate(self, a: Array, b: Array) -> Array:
        """NumPy's solve, in f32 at least."""
        return np.asarray(np.linalg.solve(widen(a), widen(b))).astype(b.dtype)


class Cholesky(Op):
    """The lower triangles l with l l' = x, of the positive definite matrices in the last two axes."""

    def infer(self, x: Type) -> Type:
        """x's type; ValueError if the matrices are not square."""
        return _require_square(self.name, x)

    def evaluate(self, x: Array) -> Array:
        """NumPy's cholesky, in f32 at least."""
        return np.asarray(np.linalg.cholesky(widen(x))).astype(x.dtype)


class Eigh(Op):
    """Eigenvalues [..., n], rising, and eigenvectors [..., n, n] as columns, of symmetric matrices; the lower triangle
    is read.
    """

    def infer(self, x: Type) -> tuple[Type, Type]:
        """Values and vectors; ValueError if the matrices are not square."""
        _require_square(self.name, x)
        return Type(x.dtype, x.shape[:-1]), Type(x.dtype, x.shape)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """NumPy's eigh, in f32 at least."""
        return tuple(one.astype(x.dtype) for one in np.linalg.eigh(widen(x)))


class SVD(Op):
    """u [..., n, k], s [..., k], falling, and v' [..., k, m] with u diag(s) v' = x; k is the lesser of n and m, but u
    and v' are square if `full`.
    """

    full: bool = False

    def infer(self, x: Type) -> tuple[Type, Type, Type]:
        """The three factors' types."""
        *front, rows, columns = _require_matrix(self.name, x).shape
        least = dim.minimum(rows, columns)
        left, right = (rows, columns) if self.full else (least, least)
        shapes = ((*front, rows, left), (*front, least), (*front, right, columns))
        return tuple(Type(x.dtype, shape) for shape in shapes)  # type: ignore[return-value]

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """NumPy's svd, in f32 at least."""
        return tuple(one.astype(x.dtype) for one in np.linalg.svd(widen(x), full_matrices=self.full))


class QR(Op):
    """q [..., n, k] with orthonormal columns and upper triangles r [..., k, m] with q r = x; k is the lesser of n and
    m, but n if `full`.
    """

    full: bool = False

    def infer(self, x: Type) -> tuple[Type, Type]:
        """The two factors' types."""
        *front, rows, columns = _require_matrix(self.name, x).shape
        least = rows if self.full else dim.minimum(rows, columns)
        return Type(x.dtype, (*front, rows, least)), Type(x.dtype, (*front, least, columns))

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """NumPy's qr, in f32 at least."""
        found = np.linalg.qr(widen(x), mode="complete" if self.full else "reduced")
        return tuple(one.astype(x.dtype) for one in found)


def _require_matrix(name: str, x: Type) -> Type:
    require_float(name, x)
    if x.rank < 2:
        raise ValueError(f"{name} takes matrices, not {x}")
    return Type(x.dtype, x.shape)


def _require_square(name: str, x: Type) -> Type:
    if x.rank < 2 or differ(x.shape[-1], x.shape[-2]):
        raise ValueError(f"{name} takes square matrices, not {x}")
    return _require_matrix(name, x)

"""Linear algebra: aten's factorisations, which LAPACK does on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, filled, reshaped
from tenfold.importers.torch.create import triangle
from tenfold.importers.torch.tensor import expand, transpose
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Abs, Log, Sign
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.linear import QR, SVD, Cholesky, Det, Eigh, Inverse, Solve
from tenfold.ops.logic import GreaterOrEqual, LessOrEqual


def _done(x: Value) -> Value:
    """What says that a factorisation went well; a matrix that it fails on ends the call."""
    return filled(0, x.type.shape[:-2], dt.i32)


def inverse(x: Value, *, check_errors: bool = False) -> tuple[Value, Value]:
    """The inverse, and 0."""
    return apply(Inverse(), x), _done(x)


def _solved(a: Value, b: Value, left: bool) -> Value:
    if not left:
        return transpose(_solved(transpose(a, -1, -2), transpose(b, -1, -2), True), -1, -2)
    front = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    wide = (expand(one, (*front, *one.type.shape[-2:])) for one in (a, b))
    found: Value = Solve()(*wide)
    return found


def solve(a: Value, b: Value, *, left: bool = True, check_errors: bool = False) -> tuple[Value, None, None, Value]:
    """The x of a x = b, or of x a = b; a vector b is a column."""
    if b.type.rank == 1 or b.type.shape == a.type.shape[:-1]:
        column = _solved(a, reshaped(b, (*b.type.shape, 1)), left)
        return reshaped(column, column.type.shape[:-1]), None, None, _done(a)
    return _solved(a, b, left), None, None, _done(a)


def solve_triangular(a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    """As `solve`, for the upper or the lower triangle of a."""
    if unitriangular:
        raise UnsupportedError("triangles with ones on the diagonal that are not written there")
    return _solved(triangle(GreaterOrEqual() if upper else LessOrEqual())(a), b, left)


def cholesky(x: Value, *, upper: bool = False, check_errors: bool = False) -> tuple[Value, Value]:
    """The triangle whose square x is, and 0."""
    lower = apply(Cholesky(), x)
    return transpose(lower, -1, -2) if upper else lower, _done(x)


def eigh(x: Value, uplo: str = "L", compute_v: bool = True) -> tuple[Value, Value]:
    """Eigenvalues and eigenvectors of symmetric matrices."""
    values, vectors = Eigh()(x if uplo.upper() == "L" else transpose(x, -1, -2))
    return values, vectors


def svd(
    x: Value, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None
) -> tuple[Value, Value, Value]:
    """Singular values between singular vectors."""
    u, s, vh = SVD(full_matrices)(x)
    return u, s, vh


def qr(x: Value, mode: str = "reduced") -> tuple[Value, Value]:
    """Orthonormal columns and a triangle."""
    q, r = QR(mode == "complete")(x)
    return q, r


def det(x: Value) -> tuple[Value, None, None]:
    """The determinant."""
    return apply(Det(), x), None, None


def slogdet(x: Value) -> tuple[Value, Value, None, None]:
    """The determinant's sign, and the logarithm of its size."""
    found = apply(Det(), x)
    return apply(Sign(), found), apply(Log(), apply(Abs(), found)), None, None


TABLE: Mapping[str, Callable[..., Any]] = {
    "linalg_inv_ex": inverse,
    "_linalg_solve_ex": solve,
    "linalg_solve_triangular": solve_triangular,
    "linalg_cholesky_ex": cholesky,
    "_linalg_eigh": eigh,
    "_linalg_svd": svd,
    "linalg_qr": qr,
    "_linalg_det": det,
    "_linalg_slogdet": slogdet,
}

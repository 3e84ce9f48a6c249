"""Products with a vector: on CPUs sums over rows, where a single column fills one lane, or a row meets a matrix that is
computed element by element, which a sum does by the way, or turned, with few terms; on GPUs products of matrices.
"""

from __future__ import annotations

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Mul
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Transpose
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.rule import Replacement, rule

_SIDE_BY_SIDE = 256
"""The terms of sums along a row that are worth several columns side by side."""
_LEAST = 32
"""The terms of a sum that are worth lanes along them."""


@rule(
    """graph (%a: f32[2, 5, 40], %b: f32[40, 1]) { return MatMul(%a, %b) }""",
    """graph (%a: f32[2, 5, 40], %b: f32[40, 3]) { return MatMul(%a, %b) }""",
)
def column_as_sums(value: Value) -> Replacement:
    """a b -> sum(a * transpose(b), last axis), where b is one column of 32 terms or more"""
    match value:
        case Value(MatMul(), (a, b)) if _exact(a, b) and _is_one(b.type.shape[-1:] if b.type.rank > 1 else ()):
            terms = a.type.shape[-1]
            if isinstance(terms, int) and terms < _LEAST:
                return None
            row = _shaped(b, (*b.type.shape[:-2], 1, terms))
            matrix = a if a.type.rank > 1 else _shaped(a, (1, terms))
            return _shaped(Reduce("sum", (_rank(matrix, row) - 1,), True)(Mul()(matrix, row)), value.type.shape)
    return None


@rule(
    """graph (%a: f32[2, 1, 5], %b: f32[2, 5, 6]) { return MatMul(%a, Relu(%b)) }""",
    """graph (%a: f32[2, 1, 5], %b: f32[2, 5, 6]) { return MatMul(%a, %b) }""",
)
def row_as_sums(value: Value) -> Replacement:
    """a b -> sum(transpose(a) * b, last axis but one), where a is one row for each matrix of b, best summed along"""
    match value:
        case Value(MatMul(), (a, b)) if _exact(a, b) and b.type.rank > 1 and _is_summed(b):
            if not _is_one(_rows(a.type, b.type)):
                return None
            column = _shaped(a, (*a.type.shape[:-2], a.type.shape[-1], 1))
            return _shaped(Reduce("sum", (_rank(column, b) - 2,), True)(Mul()(column, b)), value.type.shape)
    return None


@rule(
    """graph (%a: f32[2, 5, 40], %b: f32[40]) { return MatMul(%a, %b) }""",
    """graph (%a: f32[2, 5, 40], %b: f32[40, 1]) { return MatMul(%a, %b) }""",
)
def vector_as_matrix(value: Value) -> Replacement:
    """a b -> the product of matrices of one row, or one column"""
    match value:
        case Value(MatMul() as op, (a, b)) if 1 in (a.type.rank, b.type.rank):
            row = a if a.type.rank > 1 else _shaped(a, (1, *a.type.shape))
            column = b if b.type.rank > 1 else _shaped(b, (*b.type.shape, 1))
            return _shaped(op(row, column), value.type.shape)
    return None


def _is_summed(b: Value) -> bool:
    """Whether a matrix is computed element by element, or its few terms lie side by side."""
    match b:
        case Value(Transpose(order)):
            terms = b.type.shape[-2]
            return order[-2] == b.type.rank - 1 and not (isinstance(terms, int) and terms >= _SIDE_BY_SIDE)
    return isinstance(b.op, Elementwise)


def _exact(a: Value, b: Value) -> bool:
    """Whether products and sums have the operands' own type, and as many terms each: only MatMul refuses others."""
    alike = a.type.dtype is b.type.dtype and a.type.dtype in (dt.f32, dt.f64)
    return alike and dim.known_equal(a.type.shape[-1], b.type.shape[-2 if b.type.rank > 1 else -1])


def _is_one(sizes: tuple[Size, ...]) -> bool:
    return all(dim.known_equal(size, 1) for size in sizes)


def _rows(a: Type, b: Type) -> tuple[Size, ...]:
    """The sizes that count rows of a for each matrix of b: a batch that b has not is merely more rows."""
    rank = max(a.rank, b.rank)
    sizes, others = ((1,) * (rank - one.rank) + one.shape for one in (a, b))
    batch = (size for size, other in zip(sizes[:-2], others[:-2], strict=True) if dim.known_equal(other, 1))
    return (*sizes[-2:-1], *batch) if a.rank > 1 else tuple(batch)


def _rank(a: Value, b: Value) -> int:
    return max(a.type.rank, b.type.rank)


def _shaped(value: Value, shape: tuple[Size, ...]) -> Value:
    reshaped: Value = value if value.type.shape == shape else Reshape(shape)(value)
    return reshaped


BY_VECTORS = (column_as_sums, row_as_sums)
AS_MATRICES = (vector_as_matrix,)

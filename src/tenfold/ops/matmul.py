"""Products of matrices."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.precision import contract, product_dtype
from tenfold.ops.window import differ


class MatMul(Op):
    """a @ b as NumPy's matmul: the last two axes are matrices, those before broadcast, rank 1 is a row or a column.

    Narrow floats accumulate in f32 and are rounded once; integers narrower than 32 bits give i32.
    """

    def infer(self, a: Type, b: Type) -> Type:
        """[..., M, K] and [..., K, N] give [..., M, N]; ValueError for rank 0 or two known K that differ."""
        if a.rank == 0 or b.rank == 0:
            raise ValueError(f"MatMul takes inputs of rank 1 or more, not {a} and {b}")
        inner = b.shape[-2] if b.rank > 1 else b.shape[0]
        if differ(inner, a.shape[-1]):
            raise ValueError(f"MatMul sums over {a.shape[-1]} columns of {a} and {inner} rows of {b}")
        rows = a.shape[-2:-1] if a.rank > 1 else ()
        columns = b.shape[-1:] if b.rank > 1 else ()
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return Type(product_dtype("MatMul", a, b), (*batch, *rows, *columns))

    def evaluate(self, a: Array, b: Array) -> Array:
        """numpy.matmul, accumulated wide."""
        result = product_dtype("MatMul", _type(a), _type(b))
        return contract(a, b).astype(result.numpy, copy=False)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """A multiplication and an addition for each term of each sum."""
        return Cost(2 * outputs[0].size * inputs[0].shape[-1], moved(*inputs, *outputs))


class PairedMatMul(Op):
    """a [..., K] times the left half and the right half of the columns of b [K, 2 N]: two results [..., N]."""

    def infer(self, a: Type, b: Type) -> tuple[Type, Type]:
        """Of equal sizes; ValueError for b that is no matrix with an even number of columns, or other rows than K."""
        columns = b.shape[-1] if b.rank == 2 else 1
        if a.rank < 2 or not isinstance(columns, int) or columns % 2 or differ(b.shape[0], a.shape[-1]):
            raise ValueError(f"PairedMatMul takes rows and a matrix of an even number of columns, not {a} and {b}")
        half = Type(product_dtype("PairedMatMul", a, b), (*a.shape[:-1], columns // 2))
        return half, half

    def evaluate(self, a: Array, b: Array) -> tuple[Array, Array]:
        """The product, split."""
        left, right = np.split(MatMul().evaluate(a, b), 2, axis=-1)
        return left, right

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """A multiplication and an addition for each term of each sum of both."""
        return Cost(4 * outputs[0].size * inputs[0].shape[-1], moved(*inputs, *outputs))


def moved(*types: Type) -> Size:
    """Bytes of tensors that are each read or written once."""
    return dim.total(one.size * one.dtype.itemsize for one in types)


def _type(x: Array) -> Type:
    return Type(dt.of(x.dtype), x.shape)

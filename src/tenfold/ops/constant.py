"""Tensors that no input decides, or only the inputs' sizes."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import ENTRIES_LIMIT, Type


class Constant(Op):
    """A tensor known at build time."""

    tensor: Tensor

    def infer(self) -> Type:
        """Its type, with its contents where they are few integers or booleans."""
        result = Type(self.tensor.dtype, self.tensor.shape)
        if self.tensor.dtype.kind in (dt.Kind.INT, dt.Kind.UINT, dt.Kind.BOOL) and self.tensor.size <= ENTRIES_LIMIT:
            return result.with_entries(tuple(int(x) for x in self.tensor.array.ravel()))
        return result

    def evaluate(self) -> Array:
        """The tensor."""
        return self.tensor.array


class Sizes(Op):
    """An integer or boolean tensor whose elements follow from the sizes of the call, row-major."""

    elements: tuple[Size, ...]
    shape: tuple[int, ...]
    dtype: DType = dt.i64

    def infer(self) -> Type:
        """Its type, with the elements as entries."""
        return Type(self.dtype, self.shape).with_entries(self.elements)

    def evaluate(self) -> Array:
        """The elements; they are plain integers once an interpreter has bound the sizes."""
        return np.array([_known(size) for size in self.elements]).astype(self.dtype.numpy).reshape(self.shape)


class Fill(Op):
    """A tensor of one value."""

    shape: tuple[Size, ...]
    value: Tensor

    def infer(self) -> Type:
        """The stated shape, the value's element type."""
        result = Type(self.value.dtype, self.shape)
        counted = self.value.dtype.is_integer or self.value.dtype is dt.boolean
        if result.is_static and counted and 0 <= _known(result.size) <= ENTRIES_LIMIT:
            return result.with_entries((int(self.value.array.item()),) * _known(result.size))
        return result

    def evaluate(self) -> Array:
        """The value, repeated."""
        return np.full(tuple(map(_known, self.shape)), self.value.array.item(), dtype=self.value.dtype.numpy)


class Iota(Op):
    """start, start + step, … (`count` elements)."""

    start: Size
    step: Size
    count: Size
    dtype: DType = dt.i64

    def infer(self) -> Type:
        """One axis of `count`."""
        result = Type(self.dtype, (self.count,))
        if isinstance(self.count, int) and self.count <= ENTRIES_LIMIT and not self.dtype.is_float:
            return result.with_entries(tuple(self.start + self.step * i for i in range(self.count)))
        return result

    def evaluate(self) -> Array:
        """The sequence."""
        steps = np.arange(_known(self.count), dtype=np.int64)
        return (_known(self.start) + _known(self.step) * steps).astype(self.dtype.numpy)


def scalar(value: float | int | bool, dtype: DType) -> Constant:
    """A constant of rank 0; ValueError for an element type that holds no numbers."""
    if dtype.is_object:
        raise ValueError(f"a number among elements of type {dtype}")
    return Constant(Tensor(np.array(value).astype(dtype.numpy)))


def _known(size: Size) -> int:
    if isinstance(size, Dim):
        raise ValueError(f"size {size} is not bound yet")
    return int(size)

"""What all elementwise operations share: NumPy broadcasting, one element type, a definition on arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tenfold.errors import LimitError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array, Op
from tenfold.ir.type import ENTRIES_LIMIT, Type


def broadcast_shapes(*shapes: tuple[Size, ...]) -> tuple[Size, ...]:
    """NumPy's broadcasting of shapes; ValueError if two sizes can never agree."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[Size] = []
    for axis, sizes in enumerate(zip(*padded, strict=True)):
        known = sorted({size for size in sizes if isinstance(size, int) and size != 1})
        if len(known) > 1:
            raise ValueError(f"sizes {known[0]} and {known[1]} of axis {axis} do not broadcast")
        size: Size = 1
        for other in sizes:
            size = dim.broadcast(size, other)
        result.append(size)
    return tuple(result)


def _unknown(op: Elementwise, *entries: Size) -> None:
    return None


class Elementwise(Op):
    """One element out for one element of each input, sizes broadcast as in NumPy.

    A subclass defines `compute` on arrays, and where it differs from its inputs' type, `dtype`. `entry` follows
    integer contents symbolically. Floats narrower than 32 bits are computed in f32 and rounded once.
    """

    elementwise: ClassVar[bool] = True
    any_kind: ClassVar[bool] = False
    """True if the elements need not be numbers."""

    compute: ClassVar[Callable[..., Array]]
    entry: ClassVar[Callable[..., Size | None]] = _unknown

    def dtype(self, *dtypes: DType) -> DType:
        """The result's element type: by default that of the inputs, which must agree."""
        if len(set(dtypes)) != 1:
            raise ValueError(f"{self.name} takes inputs of one element type, not {', '.join(map(str, dtypes))}")
        if dtypes[0].is_object and not self.any_kind:
            raise ValueError(f"{self.name} takes numbers, not {dtypes[0]}")
        return dtypes[0]

    def infer(self, *inputs: Type) -> Type:
        """Broadcast the shapes; follow small integer contents."""
        shape = broadcast_shapes(*(t.shape for t in inputs))
        result = Type(self.dtype(*(t.dtype for t in inputs)), shape)
        return result.with_entries(self._entries(inputs, result))

    def _entries(self, inputs: tuple[Type, ...], result: Type) -> tuple[Size, ...] | None:
        if any(t.entries is None for t in inputs) or not result.is_static or result.dtype.is_float:
            return None
        size = result.size
        if not isinstance(size, int) or size > ENTRIES_LIMIT:
            return None
        columns = [spread(t, result.shape) for t in inputs]
        try:
            found = [self.entry(*row) for row in zip(*columns, strict=True)]
        except LimitError:
            return None
        return None if any(one is None for one in found) else tuple(one for one in found if one is not None)

    def evaluate(self, *inputs: Array) -> Array:
        """`compute`, in f32 for narrower floats, cast to the result's element type."""
        result = self.dtype(*(dt.of(x.dtype) for x in inputs))
        wide = [x.astype(np.float32) if dt.of(x.dtype).is_float and x.dtype.itemsize < 4 else x for x in inputs]
        with np.errstate(all="ignore"):
            return np.asarray(self.compute(*wide)).astype(result.numpy, copy=False)


def spread(source: Type, shape: tuple[Size, ...]) -> list[Size]:
    """The entries of `source` as broadcast to a static shape, row-major."""
    assert source.entries is not None
    sizes = [int(size) for size in shape if isinstance(size, int)]
    own = (1,) * (len(sizes) - source.rank) + tuple(source.shape)
    found: list[Size] = []
    for index in itertools.product(*map(range, sizes)):
        flat = 0
        for position, size in zip(index, own, strict=True):
            assert isinstance(size, int)
            flat = flat * size + (0 if size == 1 else position)
        found.append(source.entries[flat])
    return found

"""What movements come down to before kernels are chosen: a copy, windows as strides, elements at computed places."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.window import windows


class Copy(Elementwise):
    """x, stored anew: in row-major order, or with its axes in `order`, outermost first."""

    any_kind: ClassVar[bool] = True

    order: tuple[int, ...] | None = None

    def compute(self, x: Array) -> Array:
        return x

    def entry(self, x: Size) -> Size:
        return x


class Within(Elementwise):
    """An index into an axis of a size, counted from the start: index, or size + index if that is below 0.

    IndexError for one that lies outside of the axis; in an engine the call fails with ExecutionError.
    """

    def compute(self, index: Array, size: Array) -> Array:
        if ((index < -size) | (index >= size)).any():
            raise IndexError(f"an index lies outside of an axis of {size.max()} elements")
        return np.where(index < 0, index + size, index)

    def entry(self, index: Size, size: Size) -> Size | None:
        inside = dim.known_le(-size, index) and dim.known_le(index + 1, size)
        return dim.select(dim.less(index, 0), index + size, index) if inside else None


class Windows(Op):
    """x [N, C, *S] as [N, C, *counts, *kernel]: what each window sees, without a copy."""

    counts: tuple[Size, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        """One axis for the windows and one for the taps of each spatial axis."""
        return Type(x.dtype, (*x.shape[:2], *self.counts, *self.kernel))

    def evaluate(self, x: Array) -> Array:
        """NumPy's sliding windows."""
        counts = [int(count) for count in self.counts if isinstance(count, int)]
        return windows(x, self.kernel, self.strides, self.dilations, (0,) * len(self.kernel), counts, 0)


class Pick(Op):
    """y[i] = x[…]: axis a of x is read at the next index input where `own[a]` is -1, else at y's position along axis
    `own[a]`. Index inputs are i64 and broadcast to `shape`; they are within bounds.
    """

    own: tuple[int, ...]
    shape: tuple[Size, ...]

    def infer(self, x: Type, *places: Type) -> Type:
        """x's element type, the stated shape."""
        if len(self.own) != x.rank or self.own.count(-1) != len(places):
            raise ValueError(f"Pick takes one place for each picked axis of {x}")
        return Type(x.dtype, self.shape)

    def evaluate(self, x: Array, *places: Array) -> Array:
        """NumPy's indexing by broadcast arrays."""
        shape = tuple(int(size) for size in self.shape if isinstance(size, int))
        grid = np.ogrid[tuple(slice(size) for size in shape)] if shape else ()
        rest = iter(places)
        index = tuple(next(rest) if axis < 0 else grid[axis] for axis in self.own)
        return np.asarray(np.broadcast_to(x[index], shape))

"""Pooling: one number for each window of each channel; x [N, C, *S]."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.matmul import moved
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import count, known, windows

PoolKind = Literal["max", "average", "lp"]


class Pool(Op):
    """The greatest element, the mean, or the p-norm of each window.

    One size, stride, dilation and padding before and after for each spatial axis. `ceil`: elements left over at
    the end get a window too. `count_padding`: the mean divides by all places of the window within the padded
    data, else by those within the data. Padding never wins a maximum and adds nothing to a sum.
    """

    kind: PoolKind
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[Size, ...]
    pads_after: tuple[Size, ...]
    ceil: bool = False
    count_padding: bool = False
    p: int = 2

    def infer(self, x: Type) -> Type:
        """[N, C, *windows]; the mean and the norm take floating-point elements."""
        if self.kind != "max":
            require_float(f"Pool.{self.kind}", x)
        return Type(x.dtype, (*x.shape[:2], *_counts(self, x)))

    def evaluate(self, x: Array) -> Array:
        """Gather all windows and reduce each."""
        counts = known(_counts(self, _type(x)))
        axes = tuple(range(2 + len(counts), 2 + 2 * len(counts)))
        if self.kind == "max":
            lowest = _lowest(dt.of(x.dtype))
            return np.asarray(_windows(self, x, counts, lowest).max(axis=axes))
        seen = _windows(self, widen(x), counts, 0)
        if self.kind == "lp":
            norm = np.power(np.sum(np.abs(seen) ** self.p, axis=axes), 1 / self.p)
            return np.asarray(norm).astype(x.dtype)
        inside = self._places(x.shape[2:], counts).sum(axis=axes)
        with np.errstate(invalid="ignore"):
            return np.asarray(seen.sum(axis=axes) / inside.astype(seen.dtype)).astype(x.dtype)

    def _places(self, spatial: tuple[int, ...], counts: tuple[int, ...]) -> Array:
        before, after = known(self.pads_before), known(self.pads_after)
        if self.count_padding:
            spatial = tuple(b + size + a for b, size, a in zip(before, spatial, after, strict=True))
            before = (0,) * len(spatial)
        ones = np.ones((1, 1, *spatial), np.int64)
        return windows(ones, self.kernel, self.strides, self.dilations, before, counts, 0)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """One operation for each place of each window."""
        return Cost(outputs[0].size * dim.product(self.kernel), moved(*inputs, *outputs))


class MaxPoolIndices(Op):
    """Where in x, flattened, the greatest element of each window stands (the first of equals), as i64.

    `column_major`: the spatial axes are counted with the first one innermost.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[Size, ...]
    pads_after: tuple[Size, ...]
    ceil: bool = False
    column_major: bool = False

    def infer(self, x: Type) -> Type:
        """[N, C, *windows] of i64."""
        return Type(dt.i64, (*x.shape[:2], *_counts(self, x)))

    def evaluate(self, x: Array) -> Array:
        """Take the winner's position from an array of positions, gathered like the data."""
        counts = known(_counts(self, _type(x)))
        spatial = x.shape[2:]
        counted: Array = np.arange(math.prod(spatial), dtype=np.int64)
        within: Array = counted.reshape(spatial[::-1]).T if self.column_major else counted.reshape(spatial)
        planes = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(*x.shape[:2], *(1,) * len(spatial))
        positions = planes * within.size + within
        values = _windows(self, x, counts, _lowest(dt.of(x.dtype))).reshape(
            *x.shape[:2], *counts, math.prod(self.kernel)
        )
        places = _windows(self, positions, counts, -1).reshape(values.shape)
        ranked = np.where(places < 0, _lowest(dt.of(x.dtype)), values)
        ties = (ranked == ranked.max(axis=-1, keepdims=True)) & (places >= 0)
        winner = np.expand_dims(ties.argmax(axis=-1), -1)
        return np.take_along_axis(places, winner, axis=-1)[..., 0]


def _counts(op: Pool | MaxPoolIndices, x: Type) -> tuple[Size, ...]:
    axes = len(op.kernel)
    settings = {axes, len(op.strides), len(op.dilations), len(op.pads_before), len(op.pads_after), x.rank - 2}
    if len(settings) != 1:
        raise ValueError(f"{op.name} takes a size, stride, dilation and padding for each spatial axis of {x}")
    if min((*op.kernel, *op.strides, *op.dilations), default=1) < 1:
        raise ValueError(f"{op.name} takes sizes, strides and dilations of 1 or more")
    rows = zip(x.shape[2:], op.kernel, op.strides, op.dilations, op.pads_before, op.pads_after, strict=True)
    return tuple(count(*row, ceil=op.ceil) for row in rows)


def _windows(op: Pool | MaxPoolIndices, x: Array, counts: tuple[int, ...], fill: float | int) -> Array:
    return windows(x, op.kernel, op.strides, op.dilations, known(op.pads_before), counts, fill)


def _lowest(dtype: DType) -> float | int:
    return -np.inf if dtype.is_float else dtype.limits[0]


def _type(x: Array) -> Type:
    return Type(dt.of(x.dtype), x.shape)

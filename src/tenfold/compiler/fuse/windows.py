"""Pooling without a kernel of its own: windows are a view, padding a concatenation, the rest a reduction.

A window's taps lie at fixed strides, so `Windows` is nothing but strides; what lies around the data is written once
beside it, and the data's own kernel writes straight into the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Node, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Abs, Add, Div, Maximum, Minimum, Mul, Pow, Sub
from tenfold.ops.constant import Fill, Iota, Sizes, scalar
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Concat, Pad, Reshape, Slice
from tenfold.ops.pool import MaxPoolIndices, Pool
from tenfold.ops.primitive import Windows
from tenfold.ops.reduce import Reduce
from tenfold.ops.window import reach


def pool(op: Pool, node: Node) -> Value:
    """reduce(windows(pad(x)))"""
    (given,) = node.inputs
    counts = node.output.type.shape[2:]
    narrow = given.type.dtype.is_float and given.type.dtype.bits < 32 and op.kind != "max"
    seen = Windows(counts, op.kernel, op.strides, op.dilations)(bordered(op, given, counts))
    seen = Cast(dt.f32)(seen) if narrow else seen
    dtype = seen.type.dtype
    if op.kind == "lp":
        seen = Pow()(Abs()(seen), scalar(float(op.p), dtype)())
    axes = tuple(range(2 + len(counts), 2 + 2 * len(counts)))
    reduced = Reduce("max" if op.kind == "max" else "sum", axes, True)(seen)
    if op.kind == "average":
        reduced = Div()(reduced, _places(op, given.type.shape[2:], dtype, counts))
    if op.kind == "lp":
        reduced = Pow()(reduced, scalar(1 / op.p, dtype)())
    result = Reshape(node.output.type.shape)(reduced)
    return Cast(given.type.dtype)(result) if narrow else result


def bordered(op: Pool | MaxPoolIndices, x: Value, counts: Sequence[Size]) -> Value:
    """x with what the windows see around it: the identity of their reduction."""
    after: list[Size] = []
    for size, count, kernel, stride, dilation, before in zip(
        x.type.shape[2:], counts, op.kernel, op.strides, op.dilations, op.pads_before, strict=True
    ):
        needed = (count - 1) * stride + reach(kernel, dilation) - before - size
        after.append(dim.maximum(needed, 0))
    return surrounded(
        x,
        (0, 0, *op.pads_before),
        (0, 0, *after),
        0 if isinstance(op, Pool) and op.kind != "max" else lowest(x.type.dtype),
    )


def lowest(dtype: DType) -> float | int:
    """The identity of max."""
    return float("-inf") if dtype.is_float else dtype.limits[0]


def _places(op: Pool, spatial: tuple[Size, ...], dtype: DType, counts: tuple[Size, ...]) -> Value:
    """How many elements each window averages over, broadcast to the reduced shape."""
    before, after = op.pads_before, op.pads_after
    if not op.ceil and (op.count_padding or all(pad == 0 for pad in (*before, *after))):
        return scalar(float(math.prod(op.kernel)), dtype)()
    result: Value | None = None
    for axis, (size, count) in enumerate(zip(spatial, counts, strict=True)):
        along = _places_along(op, axis, size, count)
        shape: list[Size] = [1] * (2 + 2 * len(counts))
        shape[2 + axis] = count
        along = Reshape(tuple(shape))(Cast(dtype)(along))
        result = along if result is None else Mul()(result, along)
    assert result is not None
    return result


def _places_along(op: Pool, axis: int, size: Size, count: Size) -> Value:
    """Taps of each window along one axis that count: those at positions from `low` to below `high`."""
    before, after = op.pads_before[axis], op.pads_after[axis]
    low, high = (-before, size + after) if op.count_padding else (0, size)
    kernel, stride, dilation = op.kernel[axis], op.strides[axis], op.dilations[axis]
    start = Iota(-before, stride, count)()
    upper = Minimum()(_ceil_div(Sub()(measure(high), start), dilation), measure(kernel))
    lower = Maximum()(_ceil_div(Sub()(measure(low), start), dilation), measure(0))
    return Sub()(upper, lower)


def measure(size: Size) -> Value:
    """A size as an i64 scalar."""
    value: Value = scalar(size, dt.i64)() if isinstance(size, int) else Reshape(())(Sizes((size,), (1,))())
    return value


def _ceil_div(x: Value, divisor: int) -> Value:
    """ceil(x / divisor) where it is positive, at most 0 elsewhere."""
    if divisor == 1:
        return x
    value: Value = Div()(Add()(x, measure(divisor - 1)), measure(divisor))
    return value


def pad(op: Pad, node: Node) -> Value | None:
    """Fills before and after, axis by axis, around what negative counts leave"""
    if op.mode != "constant":
        return None
    (x,) = node.inputs
    x = cropped(x, op.before, op.after)
    positive = [dim.maximum(count, 0) for count in op.before], [dim.maximum(count, 0) for count in op.after]
    return surrounded(x, *positive, op.value)


def cropped(x: Value, before: Sequence[Size], after: Sequence[Size]) -> Value:
    """x without the elements that negative counts take away at the ends of each axis."""
    starts = tuple(dim.maximum(-count, 0) for count in before)
    ends = tuple(dim.maximum(-count, 0) for count in after)
    if all(count == 0 for count in (*starts, *ends)):
        return x
    sizes = tuple(s - a - b for s, a, b in zip(x.type.shape, starts, ends, strict=True))
    kept: Value = Slice(starts, sizes, (1,) * len(sizes))(x)
    return kept


def surrounded(x: Value, before: Sequence[Size], after: Sequence[Size], value: float | int | str) -> Value:
    """x with `value` around it: innermost axes first, so that the data's neighbours are written in long runs."""
    content = Tensor(_scalar(value, x.type.dtype))
    for axis in reversed(range(x.type.rank)):
        parts = [_slab(x, axis, before[axis], content), x, _slab(x, axis, after[axis], content)]
        present = [part for part in parts if part is not None]
        if len(present) > 1:
            x = Concat(axis)(*present)
    return x


def _slab(x: Value, axis: int, count: Size, content: Tensor) -> Value | None:
    if count == 0:
        return None
    shape = tuple(count if a == axis else size for a, size in enumerate(x.type.shape))
    slab: Value = Fill(shape, content)()
    return slab


def _scalar(value: float | int | str, dtype: DType) -> Array:
    return np.array(value).astype(dtype.numpy)

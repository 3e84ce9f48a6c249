"""What has no kernel of its own among the windows: transposed convolutions by moving weights, places of maxima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tenfold.compiler.fuse import windows
from tenfold.compiler.fuse.accumulate import number
from tenfold.compiler.fuse.indexing import along
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ops.arithmetic import Add, Div, Mod, Mul
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.movement import Pad, Reshape, Slice, Transpose
from tenfold.ops.pool import MaxPoolIndices
from tenfold.ops.primitive import Windows
from tenfold.ops.reduce import ArgReduce
from tenfold.ops.window import reach


def conv_transpose(op: ConvTranspose, node: Node) -> Value | None:
    """conv(x with zeros between its elements, w mirrored); where the weights move or the padding is not known"""
    x, w = node.inputs
    pads = (*op.pads_before, *op.pads_after, *op.output_padding)
    if isinstance(w.op, Constant) and all(isinstance(pad, int) for pad in pads):
        return None
    kernel = w.type.shape[2:]
    spans = [reach(tap, dilation) - 1 for tap, dilation in zip(kernel, op.dilations, strict=True)]
    before = [span - low for span, low in zip(spans, op.pads_before, strict=True)]
    rows = zip(spans, op.pads_after, op.output_padding, op.strides, strict=True)
    after = [span - high + extra - (stride - 1) for span, high, extra, stride in rows]
    padded = Pad((0, 0, *before), (0, 0, *after))(_spread(x, op.strides))
    nothing = (0,) * len(kernel)
    ones = (1,) * len(kernel)
    result: Value = Conv(ones, op.dilations, nothing, nothing, op.groups)(padded, _mirrored(w, op.groups))
    return result


def _spread(x: Value, strides: Sequence[int]) -> Value:
    """Each element followed by stride - 1 zeros along each spatial axis."""
    for axis, stride in enumerate(strides, 2):
        if stride > 1:
            shape = x.type.shape
            deep = Reshape((*shape[: axis + 1], 1, *shape[axis + 1 :]))(x)
            none = [0] * deep.type.rank
            more = [stride - 1 if at == axis + 1 else 0 for at in range(deep.type.rank)]
            apart = Pad(tuple(none), tuple(more))(deep)
            x = Reshape((*shape[:axis], shape[axis] * stride, *shape[axis + 1 :]))(apart)
    return x


def _mirrored(w: Value, groups: int) -> Value:
    """w [C, O / g, *K] as [O, C / g, *K], every kernel back to front."""
    channels, each, *kernel = w.type.shape
    split = Reshape((groups, channels // groups, each, *kernel))(w)
    turned = Transpose((0, 2, 1, *range(3, 3 + len(kernel))))(split)
    whole = Reshape((groups * each, channels // groups, *kernel))(turned)
    starts = (0, 0, *(size - 1 for size in kernel))
    result: Value = Slice(starts, whole.type.shape, (1, 1, *(-1,) * len(kernel)))(whole)
    return result


def max_places(op: MaxPoolIndices, node: Node) -> Value:
    """plane · size + the place of the greatest tap within the plane"""
    (x,) = node.inputs
    batch, channels, *counts = node.output.type.shape
    spatial, rank = x.type.shape[2:], len(counts)
    seen = Windows(tuple(counts), op.kernel, op.strides, op.dilations)(windows.bordered(op, x, counts))
    rows = Reshape((batch, channels, *counts, math.prod(op.kernel)))(seen)
    best = Reshape((batch, channels, *counts))(ArgReduce("max", 2 + rank, True)(rows))
    order = range(rank) if op.column_major else range(rank - 1, -1, -1)
    plane = Reshape((batch, channels, *(1,) * rank))(Iota(0, 1, dim.product((batch, channels)))())
    total: Value = Mul()(plane, windows.measure(dim.product(spatial)))
    stride: Size = 1
    for axis in order:
        inner = math.prod(op.kernel[axis + 1 :])
        tap = Mod()(Div()(best, number(inner, best)), number(op.kernel[axis], best))
        start = along(Iota(-op.pads_before[axis], op.strides[axis], counts[axis])(), 2 + axis, 2 + rank)
        place = Add()(start, Mul()(tap, number(op.dilations[axis], best)))
        total = Add()(total, Mul()(place, windows.measure(stride)))
        stride = stride * spatial[axis]
    return total


RULES: dict[type, Callable[[Any, Node], Value | None]] = {
    ConvTranspose: conv_transpose,
    MaxPoolIndices: max_places,
}

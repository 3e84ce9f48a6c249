"""Regions of images: pooling over them, moved taps of convolutions, and images put together from blocks."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.conv import biased, kernel_of, pads, steps
from tenfold.importers.shorthand import apply, cast, number, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Ceil, Div, Floor, Maximum, Mul, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.conv import ConvTranspose
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Equal, GreaterOrEqual, IsInf, Less, Where
from tenfold.ops.reduce import Reduce
from tenfold.ops.sampling import DeformConv, RoiAlign
from tenfold.ops.window import reach


def roi_align(node: Operator) -> Results:
    """RoiAlign; before opset 16 there was no shift by half a pixel."""
    shift = "half_pixel" if node.version >= 16 else "output_half_pixel"
    shift = node.text("coordinate_transformation_mode", shift, ("half_pixel", "output_half_pixel"))
    op = RoiAlign(
        node.integer("output_height", 1),
        node.integer("output_width", 1),
        "max" if node.text("mode", "avg", ("avg", "max")) == "max" else "avg",
        node.integer("sampling_ratio", 0),
        node.number("spatial_scale", 1.0),
        shift == "half_pixel",
    )
    result: Value = op(node.input(0), node.input(1), node.input(2))
    return result


def max_roi_pool(node: Operator) -> Results:
    """MaxRoiPool: a region [image, x1, y1, x2, y2], rounded to pixels, falls into bins; an empty bin gives 0."""
    x, regions = node.input(0), node.input(1)
    height, width = node.integers("pooled_shape")
    columns = [part(regions, 1, at, 1) for at in range(5)]
    image = reshaped(cast(columns[0], dt.i64), (regions.type.shape[0],))
    scale = node.number("spatial_scale", 1.0)
    left, top, right, bottom = (Floor()(apply(Add(), apply(Mul(), one, scale), 0.5)) for one in columns[1:])
    y = Gather(0)(x, image)
    for axis, first, last, count in ((3, left, right, width), (2, top, bottom, height)):
        y = _bins(y, axis, first, last, count)
    result: Value = Where()(IsInf(False, True)(y), number(0, y), y)
    return result


def _bins(x: Value, axis: int, first: Value, last: Value, count: int) -> Value:
    """The greatest elements along an axis of `count` equal shares of first to last [R, 1], -Inf of none."""
    size, regions = x.type.shape[axis], first.type.shape[0]
    share = apply(Div(), apply(Maximum(), apply(Add(), apply(Sub(), last, first), 1), 1), count)
    index = cast(Iota(0, 1, count)(), share.type.dtype)
    edges = (Floor()(apply(Mul(), share, index)), Ceil()(apply(Mul(), share, apply(Add(), index, 1))))
    begin, end = (apply(Add(), edge, first) for edge in edges)
    shape: list[Size] = [regions, 1, 1, 1]
    shape.insert(axis, count)
    place = cast(Iota(0, 1, size)(), share.type.dtype)
    along = reshaped(place, [size if at == axis + 1 else 1 for at in range(5)])
    inside = apply(And(), apply(GreaterOrEqual(), along, reshaped(begin, shape)), Less()(along, reshaped(end, shape)))
    bins = reshaped(x, (*x.type.shape[:axis], 1, *x.type.shape[axis:]))
    seen = Where()(inside, bins, number(float("-inf"), x))
    result: Value = Reduce("max", (axis + 1,), False)(seen)
    return result


def deform_conv(node: Operator) -> Results:
    """DeformConv."""
    x, w, mask = node.input(0), node.input(1), node.optional(4)
    rank = x.type.rank - 2
    kernel_of(node, w)
    strides, dilations = steps(node, rank)
    before, _ = pads(node, rank)
    op = DeformConv(strides, dilations, before, node.integer("group", 1), node.integer("offset_group", 1))
    y = op(x, w, node.input(2)) if mask is None else op(x, w, node.input(2), mask)
    return biased(y, node.optional(3))


def col2im(node: Operator) -> Results:
    """Col2Im: a transposed convolution, each channel alone, in which each row of a column is a tap of its own."""
    x, image, block = node.input(0), node.contents(1), node.contents(2)
    if image is None or block is None or len(image) != len(block) or x.type.rank != 3:
        raise node.invalid("it needs columns [N, C * taps, blocks], and as many sizes of the image as of the block")
    strides, dilations = steps(node, len(image))
    before, after = pads(node, len(image))
    rows = [*zip(image, block, strides, dilations, before, after, strict=True)]
    free = [size + b + a - reach(k, d) for size, k, _, d, b, a in rows]
    counts = [one // s + 1 for one, s in zip(free, strides, strict=True)]
    extra = tuple(one % s for one, s in zip(free, strides, strict=True))
    taps, batch = dim.product(block), x.type.shape[0]
    channels = _whole(x.type.shape[1], taps)
    columns = reshaped(x, (batch * channels, taps, *counts))
    y = ConvTranspose(strides, dilations, before, after, extra)(columns, _one_tap_each(taps, block, x))
    return reshaped(y, (batch, channels, *image))


def _whole(size: Size, divisor: Size) -> Size:
    exact = dim.divide_exact(size, divisor)
    return size // divisor if exact is None else exact


def _one_tap_each(taps: Size, block: Sequence[Size], like: Value) -> Value:
    """Weights [taps, 1, *block] that are 1 where the first place is the number of the tap."""
    row, column = (reshaped(Iota(0, 1, taps)(), shape) for shape in ((taps, 1), (1, taps)))
    return cast(reshaped(Equal()(row, column), (taps, 1, *block)), like.type.dtype)


TABLE: Table = {
    ("", "Col2Im"): ((18, col2im),),
    ("", "DeformConv"): ((19, deform_conv),),
    ("", "MaxRoiPool"): ((1, max_roi_pool),),
    ("", "RoiAlign"): ((10, roi_align),),
}

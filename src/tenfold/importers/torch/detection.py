"""torchvision's operators on boxes and regions of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tenfold.importers.shorthand import apply, cast, filled, measure, part, per_channel, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mul, Sub
from tenfold.ops.constant import Iota, scalar
from tenfold.ops.control import Loop
from tenfold.ops.index import Compress, Gather
from tenfold.ops.logic import And, Greater, Not
from tenfold.ops.sampling import DeformConv, RoiAlign
from tenfold.ops.sort import TopK


def suppressed(boxes: Value, scores: Value, threshold: float) -> Value:
    """The places of boxes [N, 4] (x1, y1, x2, y2) that no better one overlaps by more than the threshold, best first.

    Every box is compared with every other at once; a loop over the boxes, best first, strikes out what each that is
    left overlaps.
    """
    count = boxes.type.shape[0]
    _, order = TopK(count, 0)(scores)
    over = apply(Greater(), _overlaps(apply(Gather(0), boxes, order)), float(threshold))
    body = Graph(name="suppress")
    turn = body.input("turn", Type(dt.i64, ()))
    going = body.input("condition", Type(dt.boolean, ()))
    kept = body.input("kept", Type(dt.boolean, (count,)))
    inner = body.input("over", Type(dt.boolean, (count, count)))
    later = apply(Greater(), Iota(0, 1, count)(), turn)
    struck = apply(And(), apply(And(), apply(Gather(0), inner, turn), apply(Gather(0), kept, turn)), later)
    body.set_outputs([going, apply(And(), kept, apply(Not(), struck))], ["condition", "kept"])
    found = Loop(body, 1)(measure(count, dt.i64), scalar(True, dt.boolean)(), filled(1, (count,), dt.boolean), over)
    return apply(Compress(0), order, found)


def _overlaps(boxes: Value) -> Value:
    """The intersection over the union of every two boxes [N, 4]."""
    count = boxes.type.shape[0]
    left, top, right, bottom = (reshaped(part(boxes, 1, at, 1), (count, 1)) for at in range(4))
    area = apply(Mul(), apply(Sub(), right, left), apply(Sub(), bottom, top))

    def shared(low: Value, high: Value) -> Value:
        first = apply(Maximum(), low, reshaped(low, (1, count)))
        last = apply(Minimum(), high, reshaped(high, (1, count)))
        return apply(Maximum(), apply(Sub(), last, first), 0.0)

    inside = apply(Mul(), shared(left, right), shared(top, bottom))
    both = apply(Sub(), apply(Add(), area, reshaped(area, (1, count))), inside)
    return apply(Div(), inside, both)


def roi_align(
    x: Value, regions: Value, scale: float, height: int, width: int, sampling: int, aligned: bool = False
) -> Value:
    """Regions [R, 5] (image, x1, y1, x2, y2) of images as images of one size."""
    count = regions.type.shape[0]
    image = reshaped(cast(part(regions, 1, 0, 1), dt.i64), (count,))
    op = RoiAlign(height, width, "avg", max(0, sampling), float(scale), bool(aligned))
    return apply(op, x, part(regions, 1, 1, 4), image)


def deform_conv(
    x: Value,
    weight: Value,
    offsets: Value,
    mask: Value,
    bias: Value,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    parts: int,
    masked: bool,
) -> Value:
    """A convolution whose taps are moved, and weighed by the mask if there is one."""
    op = DeformConv((stride_h, stride_w), (dilation_h, dilation_w), (pad_h, pad_w), groups, parts)
    y = op(x, weight, offsets, mask) if masked else op(x, weight, offsets)
    return apply(Add(), y, per_channel(bias, y.type.rank))


TABLE: Mapping[str, Callable[..., Any]] = {
    "torchvision::nms": suppressed,
    "torchvision::roi_align": roi_align,
    "torchvision::deform_conv2d": deform_conv,
}
"""By full name."""

"""torchvision's operators on boxes and regions of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tenfold.importers.shorthand import apply, cast, measure, number, part, per_channel, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Maximum
from tenfold.ops.sampling import DeformConv, RoiAlign
from tenfold.ops.sort import NonMaxSuppression


def suppressed(boxes: Value, scores: Value, threshold: float) -> Value:
    """The places of boxes [N, 4] (x1, y1, x2, y2) that no better one overlaps by more than the threshold, best first.

    A score of -inf takes part like any other; narrow types are computed in f32.
    """
    wide = dt.f64 if boxes.type.dtype is dt.f64 else dt.f32
    (count,) = scores.type.shape
    able = apply(Maximum(), cast(scores, wide), float(np.finfo(wide.numpy).min))
    limits = (measure(count, dt.i64), number(threshold, able), number(-np.inf, able))
    lines = reshaped(cast(boxes, wide), (1, count, 4)), reshaped(able, (1, 1, count))
    rows = NonMaxSuppression()(*lines, *limits)
    return reshaped(part(rows, 1, 2, 1), (rows.type.shape[0],))


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

"""Resize in all its versions, Upsample, GridSample, the grids of affine maps, and image files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, Literal

import numpy as np

from tenfold.importers.convert import Operator, Results, Table, constant
from tenfold.importers.deferred import deferred
from tenfold.importers.shorthand import apply, cast, filled, measure, number, part, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Div, Floor, Maximum, Minimum, Mul, Sub
from tenfold.ops.constant import Constant, Iota, Sizes
from tenfold.ops.image import GridSample, ImageDecoder, Resize
from tenfold.ops.index import Gather
from tenfold.ops.logic import Greater, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand

COORDINATES = (
    *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
    *("tf_half_pixel_for_nn", "tf_crop_and_resize"),
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic", "bicubic": "cubic"}
PIXELS: tuple[Literal["RGB", "BGR", "Grayscale"], ...] = ("RGB", "BGR", "Grayscale")
POLICIES = ("stretch", "not_larger", "not_smaller")


def upsample_by_two(node: Operator) -> Results:
    """Upsample of opset 1: a scale for the height and one for the width."""
    return _scaled(node, (1.0, 1.0, node.number("height_scale"), node.number("width_scale")))


def upsample_by_attribute(node: Operator) -> Results:
    """Upsample of opset 7."""
    return _scaled(node, node.numbers("scales"))


def _scaled(node: Operator, scales: Sequence[float]) -> Results:
    given: Value = Constant(Tensor(np.array(scales, np.float32)))()
    return upsample(dataclasses.replace(node, inputs=(node.input(0), given)))


def upsample(node: Operator) -> Results:
    """Upsample of opset 9 and Resize of opset 10: the scales are an input."""
    op = Resize((), (), _mode(node), coordinates="asymmetric", rounding="floor")
    return _by_scales(dataclasses.replace(node, inputs=(node.input(0), None, node.input(1))), op)


def resize(node: Operator) -> Results:
    """Resize from opset 11 on."""
    op = Resize(
        sizes=(),
        scales=(),
        mode=_mode(node),
        coordinates=node.text("coordinate_transformation_mode", "half_pixel", COORDINATES),  # type: ignore[arg-type]
        rounding=node.text("nearest_mode", "round_prefer_floor", ROUNDINGS),  # type: ignore[arg-type]
        cubic_a=node.number("cubic_coeff_a", -0.75),
        exclude_outside=node.flag("exclude_outside", False),
        antialias=node.flag("antialias", False),
        extrapolation=node.number("extrapolation_value", 0.0),
    )
    return _to_sizes(node, op) if node.contents(3) else _by_scales(node, op)


def _mode(node: Operator) -> Any:
    return MODES[node.text("mode", "nearest", MODES)]


def _axes(node: Operator) -> tuple[int, ...]:
    rank = node.input(0).type.rank
    return tuple(node.axis(axis, rank) for axis in node.integers("axes", tuple(range(rank))))


def _to_sizes(node: Operator, op: Resize) -> Value:
    """A policy other than stretch scales all axes alike: by the least or the greatest of the ratios asked for."""
    asked, policy = node.contents(3) or (), node.text("keep_aspect_ratio_policy", "stretch", POLICIES)
    before = [node.input(0).type.shape[axis] for axis in _axes(node)]
    if policy == "stretch":
        return _resampled(node, op, asked, filled(0, (len(asked),), dt.f32))
    least, lesser = (dim.minimum, Minimum()) if policy == "not_larger" else (dim.maximum, Maximum())
    wanted = [*zip(asked, before, strict=True)]
    alike = [least(*((2 * want * size + had) // (2 * had) for want, had in wanted)) for size in before]
    scale = reduce(lesser, (apply(Div(), measure(want, dt.f32), measure(had, dt.f32)) for want, had in wanted))
    return _resampled(node, op, alike, Expand((len(asked),))(scale))


def _by_scales(node: Operator, op: Resize) -> Results:
    """floor(size * scale), or in a region floor(size * share of it * scale); once the data are known if they decide."""
    sizes, scales = [node.input(0).type.shape[axis] for axis in _axes(node)], node.input(2)
    asked = cast(scales, dt.f32)
    if op.coordinates == "tf_crop_and_resize":
        ends, starts = (part(node.input(1), 0, at, len(sizes)) for at in (len(sizes), 0))
        asked = apply(Mul(), asked, cast(apply(Sub(), ends, starts), dt.f32))
    factors = constant(asked)
    if factors is not None:
        if factors.size != len(sizes) or np.min(factors, initial=1) <= 0:
            raise node.invalid(f"scales {factors.tolist()} should be one positive number for each of {len(sizes)} axes")
        pairs = zip(sizes, factors.ravel(), strict=True)
        return _resampled(node, op, [_times(size, float(factor)) for size, factor in pairs], scales)
    whole = cast(Sizes(tuple(sizes), (len(sizes),))(), dt.f32)
    positive = Greater()(asked, number(0.0, asked))
    found = cast(Where()(positive, Floor()(apply(Mul(), whole, asked)), number(-1.0, asked)), dt.i64)
    inputs = (node.input(0), node.optional(1), scales, found)
    return deferred(
        lambda inner: _resampled(inner, op, inner.contents(3) or (), inner.input(2)),
        dataclasses.replace(node, inputs=inputs),
        3,
    )


def _times(size: Size, scale: float) -> Size:
    """floor(size * scale) as f32 gives it; for a symbolic size the scale is the simplest fraction that is equal."""
    if isinstance(size, int):
        return int(np.floor(np.float32(size) * np.float32(scale)))
    simple = Fraction(scale).limit_denominator(1 << 12)
    ratio = simple if np.float32(float(simple)) == np.float32(scale) else Fraction(float(np.float32(scale)))
    return size * ratio.numerator // ratio.denominator


def _resampled(node: Operator, op: Resize, sizes: Sequence[Size], scales: Value) -> Value:
    """The operation with what the node gives for its axes: attributes where it is known, else operands."""
    x, axes = node.input(0), _axes(node)
    rank = x.type.rank
    given = dict(zip(axes, sizes, strict=True))
    op = dataclasses.replace(op, sizes=tuple(given.get(axis, size) for axis, size in enumerate(x.type.shape)))
    operands = [_every_axis(scales, axes, rank, 1)]
    if op.coordinates == "tf_crop_and_resize":
        starts, ends = (part(node.input(1), 0, at, len(axes)) for at in (0, len(axes)))
        operands.append(Concat(0)(_every_axis(starts, axes, rank, 0), _every_axis(ends, axes, rank, 1)))
    known = [constant(one) for one in operands]
    settings = [tuple(float(number) for number in one.ravel()) for one in known if one is not None]
    if len(settings) < len(operands):
        result: Value = op(x, *operands)
    else:
        result = dataclasses.replace(op, scales=settings[0], region=settings[1] if settings[1:] else ())(x)
    return result


def _every_axis(given: Value, axes: Sequence[int], rank: int, default: float) -> Value:
    """What is given for some axes as f32 for every axis, `default` for the others."""
    numbers = cast(given, dt.f32)
    if tuple(axes) == tuple(range(rank)):
        return numbers
    places = [axes.index(axis) if axis in axes else len(axes) for axis in range(rank)]
    pool = Concat(0)(numbers, filled(default, (1,), dt.f32))
    result: Value = Gather(0)(pool, Constant(Tensor(np.array(places)))())
    return result


def grid_sample(node: Operator) -> Results:
    """GridSample."""
    default = "linear" if node.version >= 20 else "bilinear"
    padding = node.text("padding_mode", "zeros", ("zeros", "border", "reflection"))
    mode = MODES[node.text("mode", default, MODES)]
    op = GridSample(mode, padding, node.flag("align_corners", False))  # type: ignore[arg-type]
    result: Value = op(node.input(0), node.input(1))
    return result


def affine_grid(node: Operator) -> Results:
    """The places theta [N, d, d + 1] puts the elements of a tensor of the stated sizes [N, C, *S]: [N, *S, d]."""
    theta, sizes = node.input(0), node.contents(1)
    if sizes is None:
        raise node.invalid("it needs sizes")
    spatial, kind = sizes[2:], theta.type.dtype
    axes = [_centres(size, kind, align=node.flag("align_corners", False)) for size in spatial]
    columns = []
    for axis in reversed(range(len(spatial))):
        shape = tuple(size if at == axis else 1 for at, size in enumerate(spatial))
        columns.append(Expand((*spatial, 1))(reshaped(axes[axis], (*shape, 1))))
    columns.append(filled(1, (*spatial, 1), kind))
    places: Value = Concat(len(spatial))(*columns)
    count = places.type.size // (len(spatial) + 1)
    moved = MatMul()(reshaped(places, (1, count, len(spatial) + 1)), transposed(theta, (0, 2, 1)))
    return reshaped(moved, (theta.type.shape[0], *spatial, len(spatial)))


def _centres(size: Size, kind: DType, *, align: bool) -> Value:
    """Where `size` elements lie between -1 and 1: their centres, or with `align` the first and last at the ends."""
    index = Iota(0, 1, size, kind)()
    if align:
        return apply(Sub(), apply(Div(), apply(Mul(), index, 2), measure(dim.maximum(size - 1, 1), kind)), 1)
    return apply(Sub(), apply(Div(), apply(Add(), apply(Mul(), index, 2), 1), measure(size, kind)), 1)


def image_decoder(node: Operator) -> Results:
    """The pixels of an image file."""
    asked = node.text("pixel_format", "RGB", PIXELS)
    return apply(ImageDecoder(next(one for one in PIXELS if one == asked)), node.input(0))


TABLE: Table = {
    ("", "Upsample"): ((1, upsample_by_two), (7, upsample_by_attribute), (9, upsample)),
    ("", "Resize"): ((10, upsample), (11, resize)),
    ("", "GridSample"): ((16, grid_sample),),
    ("", "AffineGrid"): ((20, affine_grid),),
    ("", "ImageDecoder"): ((20, image_decoder),),
}

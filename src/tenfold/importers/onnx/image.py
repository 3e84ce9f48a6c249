"""Resize in all its versions, Upsample, GridSample, and the grids of affine maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.shorthand import apply, axis_of, filled, measure, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mul, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.image import GridSample, Resize
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand

COORDINATES = (
    *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
    *("tf_half_pixel_for_nn", "tf_crop_and_resize"),
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic", "bicubic": "cubic"}
SIMPLE: dict[str, Any] = {"coordinates": "asymmetric", "rounding": "floor"}


def upsample_by_two(node: Operator) -> Results:
    """Upsample of opset 1: a scale for the height and one for the width."""
    scales = (1.0, 1.0, node.number("height_scale"), node.number("width_scale"))
    return _resize(node, Resize((), scales, _mode(node), **SIMPLE))


def upsample_by_attribute(node: Operator) -> Results:
    """Upsample of opset 7."""
    return _resize(node, Resize((), node.numbers("scales"), _mode(node), **SIMPLE))


def upsample(node: Operator) -> Results:
    """Upsample of opset 9 and Resize of opset 10: the scales are an input."""
    return _resize(node, Resize((), _numbers(node, 1), _mode(node), **SIMPLE))


def resize(node: Operator) -> Results:
    """Resize from opset 11 on."""
    x = node.input(0)
    axes = tuple(axis_of(axis, x.type.rank) for axis in node.integers("axes", tuple(range(x.type.rank))))
    coordinates = node.text("coordinate_transformation_mode", "half_pixel", COORDINATES)
    op = Resize(
        sizes=(),
        scales=(),
        mode=_mode(node),
        coordinates=coordinates,  # type: ignore[arg-type]
        rounding=node.text("nearest_mode", "round_prefer_floor", ROUNDINGS),  # type: ignore[arg-type]
        cubic_a=node.number("cubic_coeff_a", -0.75),
        exclude_outside=node.flag("exclude_outside", False),
        antialias=node.flag("antialias", False),
        region=_region(node, axes) if coordinates == "tf_crop_and_resize" else (),
        extrapolation=node.number("extrapolation_value", 0.0),
    )
    sizes = node.sizes(3)
    if sizes:
        return _to_sizes(node, op, axes, sizes)
    given = dict(zip(axes, _numbers(node, 2), strict=True))
    scales = tuple(given.get(axis, 1.0) for axis in range(x.type.rank))
    return _resize(node, dataclasses.replace(op, scales=scales))


def _to_sizes(node: Operator, op: Resize, axes: Sequence[int], sizes: Sequence[Size]) -> Results:
    x = node.input(0)
    policy = node.text("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
    wanted = dict(zip(axes, sizes, strict=True))
    scale = 0.0
    if policy != "stretch":
        ratios = [_known(node, wanted[axis]) / _known(node, x.type.shape[axis]) for axis in axes]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        wanted = {axis: int(scale * _known(node, x.type.shape[axis]) + 0.5) for axis in axes}
    final = tuple(wanted.get(axis, size) for axis, size in enumerate(x.type.shape))
    scales = tuple(scale if axis in wanted else 1.0 for axis in range(x.type.rank))
    result: Value = dataclasses.replace(op, sizes=final, scales=scales)(x)
    return result


def _resize(node: Operator, op: Resize) -> Value:
    x = node.input(0)
    if len(op.scales) != x.type.rank or min(op.scales, default=1) <= 0:
        raise node.invalid(f"scales {list(op.scales)} should be one positive number for each axis of {x.type}")
    pairs = zip(x.type.shape, op.scales, _spans(op, x.type.rank), strict=True)
    result: Value = dataclasses.replace(op, sizes=tuple(_times(size, scale * span) for size, scale, span in pairs))(x)
    return result


def _spans(op: Resize, rank: int) -> list[float]:
    return [op.region[axis + rank] - op.region[axis] if op.region else 1.0 for axis in range(rank)]


def _times(size: Size, scale: float) -> Size:
    """floor(size * scale) as f32 gives it; for a symbolic size the scale is the simplest fraction that is equal."""
    if isinstance(size, int):
        return int(np.floor(np.float32(size) * np.float32(scale)))
    simple = Fraction(scale).limit_denominator(1 << 12)
    ratio = simple if np.float32(float(simple)) == np.float32(scale) else Fraction(float(np.float32(scale)))
    return size * ratio.numerator // ratio.denominator


def _mode(node: Operator) -> Any:
    return MODES[node.text("mode", "nearest", MODES)]


def _numbers(node: Operator, index: int) -> tuple[float, ...]:
    found = node.constant(index)
    if found is None:
        raise node.unsupported("the scales must be known when the engine is built", "export it with sizes instead")
    return tuple(float(one) for one in found.ravel())


def _region(node: Operator, axes: Sequence[int]) -> tuple[float, ...]:
    given, rank = _numbers(node, 1), node.input(0).type.rank
    starts, ends = [0.0] * rank, [1.0] * rank
    for place, axis in enumerate(axes):
        starts[axis], ends[axis] = given[place], given[place + len(axes)]
    return (*starts, *ends)


def _known(node: Operator, size: Size) -> int:
    if not isinstance(size, int):
        raise node.unsupported("keep_aspect_ratio_policy needs sizes that are known when the engine is built")
    return size


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
    theta, sizes = node.input(0), node.sizes(1)
    if sizes is None:
        raise node.unsupported("its sizes must follow from the sizes of the inputs")
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


TABLE: Table = {
    ("", "Upsample"): ((1, upsample_by_two), (7, upsample_by_attribute), (9, upsample)),
    ("", "Resize"): ((10, upsample), (11, resize)),
    ("", "GridSample"): ((16, grid_sample),),
    ("", "AffineGrid"): ((20, affine_grid),),
}

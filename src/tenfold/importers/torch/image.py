"""aten's resampling of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.image import GridSample, Resize


def scaled(size: Size, factor: float) -> Size:
    """floor(size * factor); for a symbolic size the factor is the simplest fraction that is equal."""
    if isinstance(size, int):
        return math.floor(size * factor)
    simple = Fraction(factor).limit_denominator(1 << 12)
    ratio = simple if float(simple) == factor else Fraction(factor)
    return size * ratio.numerator // ratio.denominator


def _resized(x: Value, sizes: Sequence[Size] | None, factors: Sequence[float] | None, settings: Any) -> Value:
    spatial = x.type.shape[2:]
    scales = [0.0] * len(spatial) if factors is None else [float(one or 0.0) for one in factors]
    if sizes is None:
        sizes = [scaled(size, factor) for size, factor in zip(spatial, scales, strict=True)]
    if settings.get("coordinates") == "align_corners":
        scales = [0.0] * len(spatial)  # PyTorch then goes by the sizes alone
        if settings.get("antialias"):
            scales = [_widened(before, after) for before, after in zip(spatial, sizes, strict=True)]
            return apply(Resize((*x.type.shape[:2], *sizes), (1.0, 1.0, *scales), **settings | _CENTRED), x)
    return apply(Resize((*x.type.shape[:2], *sizes), (1.0, 1.0, *map(_exact, scales)), **settings), x)


_CENTRED = {"coordinates": "half_pixel"}


def _widened(before: Size, after: Size) -> float:
    """The scale of PyTorch's widened filters: by the distance of the corners, though the centres are not aligned."""
    if not isinstance(before, int) or not isinstance(after, int):
        reason = "antialias with align_corners over sizes that are not known"
        raise UnsupportedError(reason, remedy="leave align_corners out, as it moves no corner there")
    return (after - 1) / (before - 1) if before > 1 and after > 1 else _ENDLESS


_ENDLESS = 1e30


def _exact(factor: float) -> float:
    """The factor as the inverse that PyTorch multiplies places by has it."""
    return float(1 / np.float32(1 / factor)) if factor else 0.0


def resize(mode: str, **settings: Any) -> Callable[..., Value]:
    """Resampling to sizes, or by factors, which decide where elements lie if they are stated."""

    def plain(x: Value, sizes: Sequence[Size], *factors: float | None) -> Value:
        return _resized(x, sizes, _stated(factors), {"mode": mode, **settings})

    return plain


def resize_vector(mode: str, **settings: Any) -> Callable[..., Value]:
    """The same, with sizes and factors as lists of which one may be absent."""

    def vector(x: Value, sizes: Sequence[Size] | None, factors: Sequence[float] | None = None) -> Value:
        return _resized(x, sizes, factors, {"mode": mode, **settings})

    return vector


def aligned(make: Callable[..., Callable[..., Value]], mode: str, **settings: Any) -> Callable[..., Value]:
    """Resampling that can align the centres of the corner elements."""

    def convert(x: Value, sizes: Sequence[Size] | None, corners: bool, *factors: Any) -> Value:
        coordinates = "align_corners" if corners else "half_pixel"
        return make(mode, coordinates=coordinates, **settings)(x, sizes, *factors)

    return convert


def _stated(factors: Sequence[float | None]) -> list[float] | None:
    return [float(one or 0.0) for one in factors] if any(factors) else None


_SAMPLING = ("linear", "nearest", "cubic")
_PADDING = ("zeros", "border", "reflection")


def grid_sample(x: Value, grid: Value, mode: int, padding: int, corners: bool) -> Value:
    """Samples at the places of a grid."""
    op = GridSample(_SAMPLING[mode], _PADDING[padding], corners)  # type: ignore[arg-type]
    return apply(op, x, grid)


_NEAREST: dict[str, Any] = {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
_EXACT: dict[str, Any] = {"mode": "nearest", "coordinates": "half_pixel", "rounding": "round_prefer_ceil"}
_LINEAR = ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
_SMOOTH: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("linear", {}) for name in _LINEAR},
    "upsample_bicubic2d": ("cubic", {}),
    "_upsample_bilinear2d_aa": ("linear", {"antialias": True, "exclude_outside": True}),
    "_upsample_bicubic2d_aa": ("cubic", {"antialias": True, "exclude_outside": True, "cubic_a": -0.5}),
}

TABLE: Mapping[str, Callable[..., Any]] = {
    **{f"upsample_nearest{n}d.default": resize(**_NEAREST) for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d.vec": resize_vector(**_NEAREST) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d.default": resize(**_EXACT) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d.vec": resize_vector(**_EXACT) for n in (1, 2, 3)},
    **{f"{name}.default": aligned(resize, mode, **more) for name, (mode, more) in _SMOOTH.items()},
    **{f"{name}.vec": aligned(resize_vector, mode, **more) for name, (mode, more) in _SMOOTH.items()},
    "grid_sampler": grid_sample,
    "grid_sampler_2d": grid_sample,
    "grid_sampler_3d": grid_sample,
}

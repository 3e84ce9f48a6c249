"""Resampling of images and of what is laid out like them."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import struct
from types import ModuleType
from typing import Any, Literal

import numpy as np

from tenfold.errors import ExecutionError, LimitError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import differ, known

Coordinates = Literal[
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


class Resize(Op):
    """Resample each axis to `sizes`, one axis at a time.

    `scales` has one entry an axis, as `coordinates` uses it to find where an element of the result lies in x;
    0 stands for the ratio of the sizes. `rounding` chooses the element for mode "nearest"; "cubic" is the
    convolution of Keys (1981) with parameter `cubic_a`. Beyond the ends the last element repeats, or with
    `exclude_outside` the weights of what is there are scaled up to 1. `antialias` widens the filter when it
    shrinks. `region` (starts, then ends, as shares of each axis) and `extrapolation` belong to "tf_crop_and_resize";
    else an axis whose size stays is left as it is. Places are computed in f32.
    What only the data decide comes as operands f32 in place of the attributes: the scales, then the region.
    """

    sizes: tuple[Size, ...]
    scales: tuple[float, ...]
    mode: Literal["nearest", "linear", "cubic"] = "nearest"
    coordinates: Coordinates = "half_pixel"
    rounding: Rounding = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    region: tuple[float, ...] = ()
    extrapolation: float = 0.0

    def infer(self, x: Type, *operands: Type) -> Type:
        """x's element type, the stated sizes; ValueError if they are not one an axis."""
        stated = [(one.size if one.dtype is dt.f32 and one.rank == 1 else 0) for one in operands] or [len(self.scales)]
        if len(self.sizes) != x.rank or any(differ(count, x.rank * n) for n, count in enumerate(stated, 1)):
            raise ValueError(f"Resize takes one size and one scale for each axis of {x}")
        return Type(x.dtype, self.sizes)

    def evaluate(self, x: Array, *operands: Array) -> Array:
        """Gather and weigh along each axis that changes."""
        if operands:
            scales, region = (tuple(one.tolist()) for one in (*operands, np.zeros(0))[:2])
            return dataclasses.replace(self, scales=scales, region=region).evaluate(x)
        real = x.astype(np.float32) if x.dtype.kind in "iub" else widen(x)
        result, outside = x if self.mode == "nearest" else real, np.zeros((1,) * x.ndim, bool)
        for axis, size in enumerate(known(self.sizes)):
            places, weights, beyond = self.taps(axis, x.shape[axis], size)
            if size != x.shape[axis] or self.scales[axis] not in (0.0, 1.0) or self.region:
                nearest = self.mode == "nearest"
                result = np.take(result, places[:, 0], axis) if nearest else _weigh(result, places, weights, axis)
            outside = outside | np.expand_dims(beyond, tuple(a for a in range(x.ndim) if a != axis))
        if outside.any():
            result = np.where(outside, np.asarray(self.extrapolation, result.dtype), result)
        return result.astype(x.dtype)

    def taps(self, axis: int, before: int, after: int) -> tuple[Array, Array, Array]:
        """Along one axis of `before` elements: which to read [after, n], their weights [after, n] as f32, and which
        results [after] lie beyond it and take the value `extrapolation`.
        """
        at = self.origin(axis, before, after)
        beyond = ((at < 0) | (at > before - 1)) & (self.coordinates == "tf_crop_and_resize")
        if self.mode == "nearest":
            return np.clip(self._nearest(at), 0, before - 1)[:, None], np.ones((after, 1), np.float32), beyond
        left = np.ceil(at) - 1
        first, weights = self._filter(at - left, min(1.0, self.scale(axis, before, after)))
        places = left.astype(np.int64)[:, None] + first + np.arange(weights.shape[1])
        if self.exclude_outside:
            weights = np.where((places >= 0) & (places < before), weights, 0)
            weights = weights / weights.sum(axis=1, keepdims=True)
        return np.clip(places, 0, before - 1), weights.astype(np.float32), beyond

    def scale(self, axis: int, before: int, after: int) -> float:
        """The scale along one axis."""
        return self.scales[axis] or after / before

    def origin(self, axis: int, before: int, after: int) -> Array:
        """Where in x each of `after` elements lies, as f32; without a stated scale by both sizes, which are exact."""
        index, one = np.arange(after, dtype=np.float32), np.float32
        scale = one(self.scales[axis])
        length = one(before) * scale if scale else one(after)

        def back(place: Array) -> Any:
            return place / scale if scale else place * one(before) / one(after)

        match self.coordinates:
            case "asymmetric":
                return np.asarray(back(index))
            case "tf_half_pixel_for_nn":
                return np.asarray(back(index + one(0.5)))
            case "align_corners":
                return index * one(before - 1) / (length - 1) if length != 1 else index * 0
            case "tf_crop_and_resize":
                rank = len(self.region) // 2
                start, end = one(self.region[axis]), one(self.region[axis + rank])
                step = (end - start) * one(before - 1)
                offset = start * one(before - 1)
                return np.asarray(offset + (index * step / (length - 1) if length != 1 else index * 0 + step / 2))
        centre = back(index + one(0.5)) - one(0.5)
        if self.coordinates == "pytorch_half_pixel" and after == 1:
            return index * 0
        if self.coordinates == "half_pixel_symmetric":
            return np.asarray(centre + one(before / 2) * (1 - one(after) / length))
        return np.asarray(centre)

    def _nearest(self, at: Array) -> Array:
        below = np.floor(at)
        rest = at - below
        above = {"floor": 0, "ceil": rest > 0, "round_prefer_floor": rest > 0.5, "round_prefer_ceil": rest >= 0.5}
        return np.asarray(below + above[self.rounding]).astype(np.int64)

    def _filter(self, ratio: Array, scale: float) -> tuple[int, Array]:
        radius, kernel = (1, _triangle) if self.mode == "linear" else (2, self._cubic)
        shrink = scale if self.antialias else 1.0
        first = math.floor(-radius / shrink) + 1
        offsets = np.arange(first, 2 - first) - ratio[:, None].astype(np.float64)
        weights = kernel(offsets * shrink)
        return first, weights / weights.sum(axis=1, keepdims=True) if self.antialias else weights

    def _cubic(self, x: Array) -> Array:
        return cubic(x, self.cubic_a)


class Resample(Op):
    """Weighted sums along `axis`: y[…, i, …] = Σ_k weights[i, k] · x[…, places[i, k], …].

    Inputs: x, places i64[n, k] within the axis, weights [n, k]. The result has the weights' type; or with `bits`, where
    the weights are integers times 2**-bits, x's own: rounded to the nearest (halves upward) and moved into its range.
    """

    axis: int
    bits: int = 0

    def infer(self, x: Type, places: Type, weights: Type) -> Type:
        """The axis of size n; ValueError if places and weights do not agree."""
        if places.rank != 2 or weights.rank != 2 or any(map(differ, places.shape, weights.shape)):
            raise ValueError(f"Resample takes places and weights [n, k], not {places} and {weights}")
        if not 0 <= self.axis < x.rank:
            raise ValueError(f"Resample along axis {self.axis} of {x}")
        if self.bits and (x.dtype.is_float or weights.dtype.is_float):
            raise ValueError(f"Resample with bits takes integers, not {x} and {weights}")
        shape = (*x.shape[: self.axis], places.shape[0], *x.shape[self.axis + 1 :])
        return Type(x.dtype if self.bits else weights.dtype, shape)

    def evaluate(self, x: Array, places: Array, weights: Array) -> Array:
        """One gather a tap."""
        column = tuple(-1 if axis == self.axis else 1 for axis in range(x.ndim))
        total = np.zeros((*x.shape[: self.axis], len(places), *x.shape[self.axis + 1 :]), weights.dtype)
        for tap in range(places.shape[1]):
            seen = np.take(x, places[:, tap], self.axis).astype(weights.dtype)
            total += seen * weights[:, tap].reshape(column)
        if not self.bits:
            return total
        limits = np.iinfo(x.dtype)
        return np.asarray(np.clip((total + (1 << self.bits - 1)) >> self.bits, limits.min, limits.max).astype(x.dtype))


Padding = Literal["zeros", "border", "reflection"]


class GridSample(Op):
    """Samples of x [N, C, *S] at the places grid [N, *T, len(S)] (last axis first; -1 and 1 are the ends of an axis,
    or with `align_corners` the centres of its first and last element): y [N, C, *T] (Jaderberg et al. 2015).
    """

    mode: Literal["nearest", "linear", "cubic"] = "linear"
    padding: Padding = "zeros"
    align_corners: bool = False

    def infer(self, x: Type, grid: Type) -> Type:
        """[N, C, *T]; ValueError if the grid does not have one coordinate for each spatial axis."""
        require_float(self.name, x)
        require_float(self.name, grid)
        if x.rank < 3 or grid.rank != x.rank or differ(grid.shape[-1], x.rank - 2) or differ(x.shape[0], grid.shape[0]):
            raise ValueError(f"GridSample of {x} takes a grid of {x.rank - 2} coordinates a place, not {grid}")
        return Type(x.dtype, (*x.shape[:2], *grid.shape[1:-1]))

    def evaluate(self, x: Array, grid: Array) -> Array:
        """For each combination of taps, one a spatial axis: gather, weigh, add."""
        wide, axes = widen(x), x.ndim - 2
        taps = [self._taps(widen(grid)[..., axes - 1 - axis], x.shape[2 + axis]) for axis in range(axes)]
        batch = np.arange(x.shape[0]).reshape(-1, *(1,) * axes)
        total = np.zeros((x.shape[0], *grid.shape[1:-1], x.shape[1]), wide.dtype)
        for chosen in itertools.product(*taps):
            weight = math.prod((w for _, w, _ in chosen), start=np.ones(1, wide.dtype))
            inside = np.logical_and.reduce([valid for _, _, valid in chosen])
            pixels = np.moveaxis(wide, 1, -1)[(batch, *(places for places, _, _ in chosen))]
            total += np.where(inside, weight, 0)[..., None].astype(wide.dtype) * pixels
        return np.moveaxis(total, -1, 1).astype(x.dtype)

    def _taps(self, coordinate: Array, size: int) -> list[tuple[Array, Array, Array]]:
        ends = size - 1 if self.align_corners else size
        at = ((coordinate + 1) * ends - (ends - size + 1)) / 2
        if self.mode == "nearest":
            at = np.rint(at)
        if self.mode != "cubic":
            at = self._padded(at, size)
        left = np.floor(at)
        offsets = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[self.mode]
        found = []
        for offset in offsets:
            place = self._padded(left + offset, size)
            valid = (place >= 0) & (place <= size - 1)
            weight = self._weight(at - left - offset)
            found.append((np.clip(place, 0, size - 1).astype(np.int64), weight, valid))
        return found

    def _weight(self, distance: Array) -> Array:
        if self.mode == "nearest":
            return np.ones_like(distance)
        return _triangle(distance) if self.mode == "linear" else cubic(distance, -0.75)

    def _padded(self, at: Array, size: int) -> Array:
        if self.padding == "zeros":
            return at
        if self.padding == "border":
            return np.clip(at, 0, size - 1)
        low, span = (0.0, size - 1.0) if self.align_corners else (-0.5, float(size))
        if span == 0:
            return np.zeros_like(at)
        turn = np.mod(at - low, 2 * span)
        return np.asarray(low + np.minimum(turn, 2 * span - turn)).astype(at.dtype)


FORMATS = ("BMP", "JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "PPM")


class ImageDecoder(Op):
    """The bytes of an image file (BMP, JPEG, JPEG 2000, TIFF, PNG, WebP, PNM) as u8[height, width, channels].

    What is no such file gives an image of height and width 0. Decoded by Pillow (extra `[image]`).
    """

    pixels: Literal["RGB", "BGR", "Grayscale"] = "RGB"

    def infer(self, x: Type) -> Type:
        """Height and width are known when the file is read."""
        if x.dtype is not dt.u8 or x.rank != 1:
            raise ValueError(f"ImageDecoder takes the bytes of a file, u8[N], not {x}")
        return Type(dt.u8, (unknown_size(), unknown_size(), 1 if self.pixels == "Grayscale" else 3))

    def evaluate(self, x: Array) -> Array:
        """Pillow's image in the wanted mode."""
        image: Any = decoder()
        mode, count = ("L", 1) if self.pixels == "Grayscale" else ("RGB", 3)
        try:
            with image.open(io.BytesIO(x.tobytes()), formats=FORMATS) as opened:
                found: Array = np.asarray(opened.convert(mode), np.uint8)
        except image.DecompressionBombError as error:
            raise LimitError(f"an image file states too many pixels: {error}") from error
        except (OSError, SyntaxError, ValueError, EOFError, struct.error):
            return np.zeros((0, 0, count), np.uint8)
        found = found.reshape(*found.shape[:2], count)
        return found[..., ::-1] if self.pixels == "BGR" else found


def decoder() -> ModuleType:
    """Pillow's Image module; ExecutionError if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ExecutionError("decoding images needs Pillow", remedy="pip install 'tenfold[image]'") from error
    return Image


def cubic(x: Array, a: float) -> Array:
    """The cubic convolution kernel of Keys (1981), zero beyond 2."""
    d = np.abs(x)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def _weigh(x: Array, places: Array, weights: Array, axis: int) -> Array:
    shape = tuple(-1 if at == axis else 1 for at in range(x.ndim))
    gathered = [np.take(x, places[:, n], axis) * weights[:, n].reshape(shape) for n in range(places.shape[1])]
    return np.asarray(np.sum(gathered, axis=0)).astype(x.dtype)

"""Operations that read between the elements: at places that tensors hold."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.matmul import moved
from tenfold.ops.precision import contract, require_float, widen
from tenfold.ops.window import differ


class RoiAlign(Op):
    """Regions of x [N, C, H, W] as images of `height` x `width` (He et al. 2017): y [R, C, height, width].

    A region [R, 4] is x1, y1, x2, y2, times `scale`; its image is number batch[R]. Each element of y is the mean or
    the greatest of sampling x sampling points spread evenly over its share of the region, by linear interpolation;
    0 stands for as many points as the share has pixels. `half_pixel` moves the regions by half a pixel, else they
    are at least one pixel large. As in ONNX, "max" is that of the weighted neighbours of all points.
    """

    height: int
    width: int
    mode: Literal["avg", "max"] = "avg"
    sampling: int = 0
    scale: float = 1.0
    half_pixel: bool = True

    def infer(self, x: Type, regions: Type, batch: Type) -> Type:
        """[R, C, height, width]."""
        require_float(self.name, x, regions)
        if x.rank != 4 or regions.rank != 2 or differ(regions.shape[1], 4) or batch.rank != 1:
            raise ValueError(f"RoiAlign takes x [N, C, H, W], regions [R, 4] and [R], not {x}, {regions}, {batch}")
        return Type(x.dtype, (regions.shape[0], x.shape[1], self.height, self.width))

    def evaluate(self, x: Array, regions: Array, batch: Array) -> Array:
        """Region by region."""
        y = np.zeros((len(regions), x.shape[1], self.height, self.width), x.dtype)
        shift = 0.5 if self.half_pixel else 0.0
        for at, (region, image) in enumerate(zip(widen(regions), batch, strict=True)):
            left, top, right, bottom = (region * region.dtype.type(self.scale) - shift).tolist()
            rows = self._taps(top, bottom, self.height, x.shape[2])
            columns = self._taps(left, right, self.width, x.shape[3])
            y[at] = self._pooled(widen(x[image]), rows, columns)
        return y

    def _taps(self, first: float, last: float, count: int, size: int) -> tuple[Array, Array]:
        """Places and weights [count, points, 2] along one axis of `size` elements."""
        extent = last - first if self.half_pixel else max(last - first, 1.0)
        share = extent / count
        points = self.sampling or max(0, math.ceil(share))
        at = first + share * (np.arange(count)[:, None] + (np.arange(points) + 0.5) / max(points, 1))
        inside = (at >= -1) & (at <= size)
        at = np.clip(at, 0, size - 1)
        low = np.floor(at)
        places = np.stack([low, np.minimum(low + 1, size - 1)], axis=-1).astype(np.int64)
        weights = np.stack([low + 1 - at, at - low], axis=-1)
        return places, np.where(inside[..., None], weights, 0)

    def _pooled(self, image: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]) -> Array:
        (row, a), (column, b) = rows, columns
        seen = image[:, row[:, :, :, None, None, None], column[None, None, None]]
        terms = seen * (a[:, :, :, None, None, None] * b[None, None, None]).astype(image.dtype)
        points = row.shape[1] * column.shape[1]
        if self.mode == "avg":
            return np.asarray(terms.sum(axis=(2, 3, 5, 6)) / max(points, 1))
        return np.asarray(terms.max(axis=(2, 3, 5, 6), initial=-np.inf) if points else terms.sum(axis=(2, 3, 5, 6)))


class DeformConv(Op):
    """A convolution whose taps are moved (Dai et al. 2017), and weighed where there is a mask (Zhu et al. 2019).

    x [N, C, *S], w [O, C / groups, *K]; offsets [N, parts * prod(K) * len(S), *T] move each tap of each window along
    each axis, one set for C / parts channels; mask [N, parts * prod(K), *T]. Between elements x is interpolated
    linearly, beyond them it is 0. y [N, O, *T]; a bias is an Add after it.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[int, ...]
    groups: int = 1
    parts: int = 1

    def infer(self, x: Type, w: Type, offsets: Type, *mask: Type) -> Type:
        """[N, O, *T]; ValueError if ranks or channels do not fit."""
        require_float(self.name, x, w, offsets, *mask)
        if x.rank < 3 or {w.rank, offsets.rank, *(one.rank for one in mask)} != {x.rank}:
            raise ValueError(f"DeformConv takes inputs of one rank, not {x}, {w} and {offsets}")
        if differ(x.shape[1], w.shape[1] * self.groups):
            raise ValueError(f"DeformConv of {x} by {w} in {self.groups} groups: the channels differ")
        taps = dim.product(w.shape[2:]) * self.parts
        for one, count in zip((offsets, *mask), (taps * (x.rank - 2), taps), strict=False):
            if differ(one.shape[1], count):
                raise ValueError(f"DeformConv of {x} by {w} takes {count} channels of offsets or mask, not {one}")
        return Type(x.dtype, (x.shape[0], w.shape[0], *offsets.shape[2:]))

    def evaluate(self, x: Array, w: Array, offsets: Array, *mask: Array) -> Array:
        """What each tap sees, then one product of matrices for each group."""
        batch, spatial, kernel, windows = x.shape[0], x.shape[2:], w.shape[2:], offsets.shape[2:]
        axes = len(spatial)
        moves = widen(offsets).reshape(batch, self.parts, math.prod(kernel), axes, *windows)
        split = widen(x).reshape(batch, self.parts, x.shape[1] // self.parts, *spatial)
        seen = np.zeros((batch, self.parts, split.shape[2], math.prod(kernel), *windows), split.dtype)
        taps = [self._taps(moves[:, :, :, axis], axis, kernel, spatial[axis]) for axis in range(axes)]
        grid = np.ogrid[tuple(slice(size) for size in seen.shape)]
        for chosen in itertools.product(*taps):
            weight = math.prod((one for _, one in chosen), start=np.ones(1, split.dtype))
            places = (place[:, :, None] for place, _ in chosen)
            seen += weight[:, :, None].astype(split.dtype) * split[(grid[0], grid[1], grid[2], *places)]
        for one in mask:
            seen *= widen(one).reshape(batch, self.parts, 1, math.prod(kernel), *windows)
        terms = math.prod(w.shape[1:])
        columns = seen.reshape(batch, self.groups, terms, math.prod(windows))
        matrices = w.reshape(self.groups, w.shape[0] // self.groups, terms)
        return contract(matrices, columns).reshape(batch, w.shape[0], *windows).astype(x.dtype)

    def _taps(self, moves: Array, axis: int, kernel: tuple[int, ...], size: int) -> list[tuple[Array, Array]]:
        """The two elements around each place [N, parts, taps, *T] along an axis, and their weights."""
        tap = np.unravel_index(np.arange(math.prod(kernel)), kernel)[axis] * self.dilations[axis]
        windows = np.arange(moves.shape[3 + axis]) * self.strides[axis] - self.pads_before[axis]
        along = [-1 if at == axis else 1 for at in range(moves.ndim - 3)]
        at = moves + tap.reshape(-1, *(1,) * len(along)) + windows.reshape(along)
        low = np.floor(at)
        ends = ((low, low + 1 - at), (low + 1, at - low))
        return [
            (np.clip(place, 0, size - 1).astype(np.int64), np.where((place >= 0) & (place < size), weight, 0))
            for place, weight in ends
        ]

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """The convolution's products, and the interpolation."""
        products: Size = 2 * outputs[0].size * dim.product(inputs[1].shape[1:])
        return Cost(products + 2 ** len(self.strides) * inputs[2].size, moved(*inputs, *outputs))

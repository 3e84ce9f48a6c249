"""Layers that place elements anew: views, borders, repetitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tenfold.importers.keras.conv import channels_back, channels_first
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.keras.resample import resized
from tenfold.importers.shorthand import apply, reshaped, resolved, transposed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.image import Resize
from tenfold.ops.movement import Expand, Pad, Slice


def flatten(layer: Layer, x: Value) -> Value:
    """All axes but the first as one; channels come last, whatever the data's format."""
    if x.type.rank == 1:
        return reshaped(x, (x.type.shape[0], 1))
    ordered = x if layer.channels_last() or x.type.rank < 3 else channels_back(x, True)
    return reshaped(ordered, (x.type.shape[0], dim.product(x.type.shape[1:])))


def reshape(layer: Layer, x: Value) -> Value:
    """The elements of each sample under another shape."""
    target = layer.config.get("target_shape")
    if not isinstance(target, list | tuple) or not all(one is None or type(one) is int for one in target):
        raise layer.invalid(f"target_shape is {target!r}")
    wanted = [-1 if one is None else one for one in target]
    if wanted.count(-1) > 1:
        raise layer.unsupported(f"more than one open size in {target}")
    return reshaped(x, _within_samples(x, wanted))


def _within_samples(x: Value, wanted: Sequence[int]) -> tuple[Size, ...]:
    """The shape with the batch before it; an open size follows from one sample's elements."""
    sample = dim.product(x.type.shape[1:])
    if -1 in wanted:
        at = wanted.index(-1)
        known = dim.product([*wanted[:at], *wanted[at + 1 :]])
        exact = dim.divide_exact(sample, known) if known != 0 else None
        if exact is not None:
            return (x.type.shape[0], *wanted[:at], exact, *wanted[at + 1 :])
    return resolved(x, (x.type.shape[0], *wanted))


def permute(layer: Layer, x: Value) -> Value:
    """The axes after the first in another order, counted from 1."""
    return transposed(x, (0, *layer.each("dims", x.type.rank - 1)))


def repeat_vector(layer: Layer, x: Value) -> Value:
    """Each vector n times along a new axis."""
    batch, size = x.type.shape
    return apply(Expand((batch, layer.integer("n"), size)), reshaped(x, (batch, 1, size)))


def zero_padding(rank: int) -> Callable[..., Value]:
    """ZeroPadding1D, 2D, 3D."""

    def convert(layer: Layer, x: Value) -> Value:
        rows, last = layer.pairs("padding", rank), layer.channels_last()
        before, after = ((0, 0, *(row[end] for row in rows)) for end in (0, 1))
        return channels_back(apply(Pad(before, after), channels_first(x, last)), last)

    return convert


def cropping(rank: int) -> Callable[..., Value]:
    """Cropping1D, 2D, 3D."""

    def convert(layer: Layer, x: Value) -> Value:
        rows, last = layer.pairs("cropping", rank), layer.channels_last()
        return channels_back(cropped(channels_first(x, last), {2 + at: row for at, row in enumerate(rows)}), last)

    return convert


def cropped(x: Value, ends: dict[int, tuple[Size, Size]]) -> Value:
    """x without as many elements at the start and the end of each of some axes."""
    starts = [ends.get(at, (0, 0))[0] for at in range(x.type.rank)]
    sizes = [size - sum(ends.get(at, (0, 0)), start=0) for at, size in enumerate(x.type.shape)]
    if any(isinstance(size, int) and size <= 0 for size in sizes):
        raise ValueError(f"nothing of {x.type} is left")
    return apply(Slice(tuple(starts), tuple(sizes), (1,) * x.type.rank), x)


def up_sampling(rank: int) -> Callable[..., Value]:
    """UpSampling1D, 2D, 3D: each element several times, or interpolated in two dimensions."""

    def convert(layer: Layer, x: Value) -> Value:
        factors, last = layer.each("size", rank), layer.channels_last()
        mode = layer.text("interpolation", "nearest")
        images = channels_first(x, last)
        sizes = [size * factor for size, factor in zip(images.type.shape[2:], factors, strict=True)]
        if mode != "nearest":
            return channels_back(resized(layer, images, sizes, mode, False), last)
        shape, scales = (*images.type.shape[:2], *sizes), (1.0, 1.0, *map(float, factors))
        several: Value = Resize(shape, scales, coordinates="asymmetric", rounding="floor")(images)
        return channels_back(several, last)

    return convert


def repeated(x: Value, axis: int, count: int) -> Value:
    """Each element `count` times along an axis."""
    shape = x.type.shape
    apart = reshaped(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    wide: Value = apart if count == 1 else apply(Expand((*shape[: axis + 1], count, *shape[axis + 1 :])), apart)
    return reshaped(wide, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


_RANKS: tuple[tuple[str, Callable[[int], Any]], ...] = (
    ("ZeroPadding", zero_padding),
    ("Cropping", cropping),
    ("UpSampling", up_sampling),
)

TABLE: Table = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    **{f"{stem}{rank}D": make(rank) for stem, make in _RANKS for rank in (1, 2, 3)},
}

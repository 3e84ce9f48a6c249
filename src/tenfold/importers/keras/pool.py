"""Pools: of windows, of whole images, and of as many windows as there are results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tenfold.importers.keras.conv import channels_back, channels_first, same_pads
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, cast, constant, reshaped, transposed
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Div, Mul
from tenfold.ops.index import Gather
from tenfold.ops.matmul import MatMul
from tenfold.ops.pool import Pool, PoolKind
from tenfold.ops.reduce import Reduce


def pool(kind: PoolKind, rank: int) -> Callable[..., Value]:
    """MaxPooling, AveragePooling."""

    def convert(layer: Layer, x: Value) -> Value:
        size = layer.each("pool_size", rank, 2)
        steps = size if layer.config.get("strides") is None else layer.each("strides", rank)
        last = layer.channels_last()
        padding = layer.text("padding", "valid").lower()
        return channels_back(pooled(channels_first(x, last), kind, size, steps, padding), last)

    return convert


def pooled(x: Value, kind: PoolKind, size: tuple[int, ...], steps: tuple[int, ...], padding: str) -> Value:
    """Windows of x [N, C, *S]; what lies outside under "same" counts for nothing."""
    before: tuple[Size, ...] = (0,) * len(size)
    after = before
    if padding == "same":
        before, after = same_pads(x.type.shape[2:], size, steps, (1,) * len(size))
    return apply(Pool(kind, size, steps, (1,) * len(size), before, after), x)


def whole(kind: str, rank: int) -> Callable[..., Value]:
    """GlobalMaxPooling, GlobalAveragePooling; the mean of a sequence leaves masked steps out."""

    def convert(layer: Layer, x: Value) -> Value:
        last = layer.channels_last()
        first = 1 if last else 2
        axes, kept = tuple(range(first, first + rank)), layer.flag("keepdims", False)
        mask = layer.mask(x) if kind == "mean" and rank == 1 else None
        if mask is None:
            return apply(Reduce(kind, axes, kept), x)  # type: ignore[arg-type]
        counted = cast(
            reshaped(mask, (*mask.type.shape, 1) if last else (mask.type.shape[0], 1, mask.type.shape[1])), x.type.dtype
        )
        total = apply(Reduce("sum", axes, kept), apply(Mul(), x, counted))
        return apply(Div(), total, apply(Reduce("sum", axes, kept), counted))

    return convert


def adaptive(kind: str, rank: int) -> Callable[..., Value]:
    """AdaptiveMaxPooling, AdaptiveAveragePooling: windows that share each axis as evenly as they can."""

    def convert(layer: Layer, x: Value) -> Value:
        last, counts = layer.channels_last(), layer.each("output_size", rank)
        for at, count in enumerate(counts):
            axis = at + (1 if last else 2)
            size = x.type.shape[axis]
            if not isinstance(size, int):
                raise layer.unsupported(f"the size of axis {axis} of {x.type} must be known", "fix it by dims=")
            x = _shared(x, kind, axis, size, count)
        return x

    return convert


def _shared(x: Value, kind: str, axis: int, size: int, count: int) -> Value:
    """One axis in `count` windows, window i from i size / count to (i + 1) size / count, rounded outwards."""
    rows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    if count == 1:
        return apply(Reduce(kind, (axis,), True), x)  # type: ignore[arg-type]
    if kind == "max":
        longest = max(end - start for start, end in rows)
        places = np.array([[min(start + i, end - 1) for i in range(longest)] for start, end in rows])
        return apply(Reduce("max", (axis + 1,), False), apply(Gather(axis), x, constant(places)))
    shares = np.zeros((size, count))
    for column, (start, end) in enumerate(rows):
        shares[start:end, column] = 1 / (end - start)
    order = (*(at for at in range(x.type.rank) if at != axis), axis)
    mixed = apply(MatMul(), transposed(x, order), constant(shares.astype(x.type.dtype.numpy)))
    return transposed(mixed, [int(at) for at in np.argsort(order)])


def _names(stem: str, rank: int) -> tuple[str, ...]:
    return (f"{stem}Pooling{rank}D", f"{stem.replace('Average', 'Avg')}Pool{rank}D")


TABLE: Table = {
    **{name: pool("max", rank) for rank in (1, 2, 3) for name in _names("Max", rank)},
    **{name: pool("average", rank) for rank in (1, 2, 3) for name in _names("Average", rank)},
    **{name: whole("max", rank) for rank in (1, 2, 3) for name in _names("GlobalMax", rank)},
    **{name: whole("mean", rank) for rank in (1, 2, 3) for name in _names("GlobalAverage", rank)},
    **{f"AdaptiveMaxPooling{rank}D": adaptive("max", rank) for rank in (1, 2, 3)},
    **{f"AdaptiveAveragePooling{rank}D": adaptive("mean", rank) for rank in (1, 2, 3)},
}

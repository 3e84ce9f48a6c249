"""aten's convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, filled, per_channel, reshaped, transposed
from tenfold.importers.torch.promote import as_value
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Mod, Mul
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.index import Gather, GatherElements, ScatterElements
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Expand, Pad
from tenfold.ops.pool import MaxPoolIndices, Pool
from tenfold.ops.reduce import ArgReduce, Reduce

Sizes = Sequence[int] | int


def each(given: Sizes, rank: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    found = (given,) if isinstance(given, int) else tuple(given)
    return found * rank if len(found) == 1 else found


def convolution(
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    *_: Any,
) -> Value:
    """A convolution or its transpose; x may lack the batch axis."""
    rank = weight.type.rank - 2
    if x.type.rank == rank + 1:
        batch = reshaped(x, (1, *x.type.shape))
        y = convolution(batch, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
        return reshaped(y, y.type.shape[1:])
    steps, pads, gaps = each(stride, rank), each(padding, rank), each(dilation, rank)
    if transposed:
        op: Conv | ConvTranspose = ConvTranspose(steps, gaps, pads, pads, each(output_padding, rank), groups)
    else:
        op = Conv(steps, gaps, pads, pads, groups)
    y = apply(op, x, weight)
    return y if bias is None else apply(Add(), y, per_channel(bias, y.type.rank))


def conv(
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    """A convolution; padding "same" keeps the sizes, an odd place more at the end."""
    rank = weight.type.rank - 2
    if not isinstance(padding, str):
        return convolution(x, weight, bias, stride, padding, dilation, False, 0, groups)
    if padding == "valid":
        return convolution(x, weight, bias, stride, 0, dilation, False, 0, groups)
    totals = [d * (int(k) - 1) for d, k in zip(each(dilation, rank), _known(weight.type.shape[2:]), strict=True)]
    zeros = (0,) * (x.type.rank - rank)
    before, after = (*zeros, *(t // 2 for t in totals)), (*zeros, *(t - t // 2 for t in totals))
    padded = apply(Pad(before, after), x) if any(totals) else x
    return convolution(padded, weight, bias, stride, 0, dilation, False, 0, groups)


def conv_transpose(
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Value:
    """The transpose of a convolution."""
    return convolution(x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def _known(sizes: Sequence[Size]) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in sizes):
        raise UnsupportedError("spatial sizes must be known when the engine is built", remedy="fix them by shapes=")
    return tuple(size for size in sizes if isinstance(size, int))


def _batched(x: Value, rank: int, convert: Callable[[Value], Value]) -> Value:
    if x.type.rank == rank + 2:
        return convert(x)
    y = convert(reshaped(x, (1, *x.type.shape)))
    return reshaped(y, y.type.shape[1:])


def max_pool(rank: int) -> Callable[..., Value]:
    """The greatest element of each window."""

    def convert(
        x: Value, kernel: Sizes, stride: Sizes = (), padding: Sizes = 0, dilation: Sizes = 1, ceil: bool = False
    ) -> Value:
        return _batched(x, rank, Pool("max", *_window(rank, kernel, stride, padding, dilation), ceil))

    return convert


def max_pool_with_places(rank: int) -> Callable[..., tuple[Value, Value]]:
    """The greatest element of each window, and where it is in its plane."""

    def convert(
        x: Value, kernel: Sizes, stride: Sizes = (), padding: Sizes = 0, dilation: Sizes = 1, ceil: bool = False
    ) -> tuple[Value, Value]:
        values = max_pool(rank)(x, kernel, stride, padding, dilation, ceil)
        places = _batched(x, rank, MaxPoolIndices(*_window(rank, kernel, stride, padding, dilation), ceil))
        plane = as_value(dim.product(x.type.shape[-rank:]), dt.i64)
        return values, apply(Mod(False), places, plane)

    return convert


def _window(
    rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    sizes, pads = each(kernel, rank), each(padding, rank)
    steps = sizes if not isinstance(stride, int) and not stride else each(stride, rank)
    return sizes, steps, each(dilation, rank), pads, pads


def average_pool(rank: int) -> Callable[..., Value]:
    """The mean of each window."""

    def convert(
        x: Value,
        kernel: Sizes,
        stride: Sizes = (),
        padding: Sizes = 0,
        ceil: bool = False,
        count_padding: bool = True,
        divisor: int | None = None,
    ) -> Value:
        window = _window(rank, kernel, stride, padding, 1)
        if divisor is None:
            return _batched(x, rank, Pool("average", *window, ceil, count_padding))
        if ceil:
            raise UnsupportedError("an average pool with both ceil_mode and divisor_override")
        mean = _batched(x, rank, Pool("average", *window, False, True))
        return apply(Mul(), mean, float(np.prod(window[0])) / divisor)

    return convert


def adaptive_average(x: Value, sizes: Sequence[int | None] | int) -> Value:
    """The mean of each of `sizes` windows that share an axis as evenly as they can."""
    counts = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    rank = len(counts)
    if all(count == 1 for count in counts):
        return apply(Reduce("mean", tuple(range(x.type.rank - rank, x.type.rank))), x)
    spatial = _known(x.type.shape[-rank:])
    wanted = tuple(size if count is None else count for size, count in zip(spatial, counts, strict=True))
    if all(size % count == 0 for size, count in zip(spatial, wanted, strict=True)):
        kernel = tuple(size // count for size, count in zip(spatial, wanted, strict=True))
        return _batched(x, rank, Pool("average", kernel, kernel, (1,) * rank, (0,) * rank, (0,) * rank))
    for at, (size, count) in enumerate(zip(spatial, wanted, strict=True)):
        x = _averaged(x, x.type.rank - rank + at, size, count)
    return x


def _bounds(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _averaged(x: Value, axis: int, size: int, count: int) -> Value:
    """One axis by a matrix of shares."""
    if size == count:
        return x
    shares = np.zeros((size, count))
    for column, (start, end) in enumerate(_bounds(size, count)):
        shares[start:end, column] = 1 / (end - start)
    order = (*(a for a in range(x.type.rank) if a != axis), axis)
    moved = transposed(x, order)
    mixed = apply(MatMul(), moved, Constant(Tensor(shares.astype(x.type.dtype.numpy)))())
    return transposed(mixed, tuple(int(a) for a in np.argsort(order)))


def adaptive_max(x: Value, sizes: Sizes) -> tuple[Value, Value]:
    """The greatest element of each of `sizes` windows that share an axis as evenly as they can, and where it lies.

    The last axis goes first, so that of equals the first in the order of memory is found.
    """
    counts = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    lead = x.type.shape[: x.type.rank - len(counts)]
    if all(count == 1 for count in counts):
        whole = reshaped(x, (*lead, dim.product(x.type.shape[len(lead) :])))
        found = apply(Reduce("max", (len(lead),)), whole), apply(ArgReduce("max", len(lead)), whole)
        return reshaped(found[0], (*lead, *counts)), reshaped(found[1], (*lead, *counts))
    plane = _known(x.type.shape[len(lead) :])
    flat = reshaped(Iota(0, 1, math.prod(plane))(), plane)
    places = apply(Expand(x.type.shape), flat)
    for axis in reversed(range(x.type.rank - len(counts), x.type.rank)):
        rows = _bounds(plane[axis - x.type.rank], counts[axis - x.type.rank])
        longest = max(end - start for start, end in rows)
        windows = Constant(
            Tensor(np.array([[min(start + i, end - 1) for i in range(longest)] for start, end in rows]))
        )()
        wide, own = apply(Gather(axis), x, windows), apply(Gather(axis), places, windows)
        best = apply(ArgReduce("max", axis + 1), wide)
        x = apply(Reduce("max", (axis + 1,), False), wide)
        places = reshaped(apply(GatherElements(axis + 1), own, best), x.type.shape)
    return x, places


def max_unpool(x: Value, places: Value, sizes: Sequence[Size]) -> Value:
    """Each element at the place of its plane that its index names, zeros elsewhere."""
    outer = x.type.shape[: x.type.rank - len(sizes)]
    planes, count = dim.product(outer), dim.product(x.type.shape[x.type.rank - len(sizes) :])
    zeros = filled(0, (planes, dim.product(sizes)), x.type.dtype)
    placed = apply(ScatterElements(1), zeros, reshaped(places, (planes, count)), reshaped(x, (planes, count)))
    return reshaped(placed, (*outer, *sizes))


def columns(x: Value, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Value:
    """The windows of an image as columns [N, C * window, count]."""
    k, d, p, s = (each(one, 2) for one in (kernel, dilation, padding, stride))
    padded = apply(Pad((*(0,) * (x.type.rank - 2), *p), (*(0,) * (x.type.rank - 2), *p)), x) if any(p) else x
    batch = padded if padded.type.rank == 4 else reshaped(padded, (1, *padded.type.shape))
    n, c, *sizes = batch.type.shape
    counts = []
    for axis, size in zip((2, 4), _known(sizes), strict=True):
        at = axis // 2 - 1
        count = (size - d[at] * (k[at] - 1) - 1) // s[at] + 1
        places = np.arange(k[at])[:, None] * d[at] + np.arange(count) * s[at]
        batch = apply(Gather(axis), batch, Constant(Tensor(places))())
        counts.append(count)
    ordered = transposed(batch, (0, 1, 2, 4, 3, 5))
    found = reshaped(ordered, (n, c * k[0] * k[1], counts[0] * counts[1]))
    return found if x.type.rank == 4 else reshaped(found, found.type.shape[1:])


def image(x: Value, sizes: Sequence[Size], kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Value:
    """Columns added together to an image: the transposed convolution by the windows' own identity."""
    k, d, p, s = (each(one, 2) for one in (kernel, dilation, padding, stride))
    batch = x if x.type.rank == 3 else reshaped(x, (1, *x.type.shape))
    n, rows, _ = batch.type.shape
    taps = k[0] * k[1]
    channels = rows // taps
    counts = [(size + 2 * b - e * (w - 1) - 1) // t + 1 for size, w, e, b, t in zip(sizes, k, d, p, s, strict=True)]
    planes = reshaped(batch, (n * channels, taps, *counts))
    identity = Constant(Tensor(np.eye(taps, dtype=x.type.dtype.numpy).reshape(taps, 1, *k)))()
    reach = [(c - 1) * t + e * (w - 1) + 1 for c, t, e, w in zip(counts, s, d, k, strict=True)]
    more = tuple(size + 2 * b - full for size, b, full in zip(sizes, p, reach, strict=True))
    added = apply(ConvTranspose(s, d, p, p, more, 1), planes, identity)
    found = reshaped(added, (n, channels, *sizes))
    return found if x.type.rank == 3 else reshaped(found, found.type.shape[1:])


TABLE: Mapping[str, Callable[..., Any]] = {
    "convolution": convolution,
    "_convolution": convolution,
    "_convolution_mode": conv,
    **{f"conv{n}d": conv for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": conv_transpose for n in (1, 2, 3)},
    **{f"max_pool{n}d": max_pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": max_pool_with_places(n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": average_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": adaptive_average for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": adaptive_average for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": adaptive_max for n in (1, 2, 3)},
    "max_unpool2d": max_unpool,
    "im2col": columns,
    "col2im": image,
}

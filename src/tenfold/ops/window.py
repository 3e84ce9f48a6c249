"""Sliding windows over spatial axes: how many there are, where they start, what they see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Array


def known(sizes: Sequence[Size]) -> tuple[int, ...]:
    """Sizes that an interpreter has bound; ValueError if one is still symbolic."""
    found = tuple(size for size in sizes if isinstance(size, int))
    if len(found) != len(sizes):
        raise ValueError(f"sizes ({', '.join(map(str, sizes))}) are not bound yet")
    return found


def differ(a: Size, b: Size) -> bool:
    """True if both sizes are known and are not the same."""
    return isinstance(a, int) and isinstance(b, int) and a != b


def reach(kernel: Size, dilation: int) -> Size:
    """How many elements a dilated kernel spans."""
    return (kernel - 1) * dilation + 1


def same_padding(size: Size, kernel: Size, stride: int, dilation: int = 1) -> Size:
    """The padding, both ends together, that gives one window for each `stride` elements begun."""
    needed = (dim.ceildiv(size, stride) - 1) * stride + reach(kernel, dilation)
    return dim.maximum(needed - size, 0)


def count(
    size: Size, kernel: Size, stride: int, dilation: int, before: Size, after: Size, *, ceil: bool = False
) -> Size:
    """The number of windows: floor((size + before + after - reach) / stride) + 1.

    `ceil`: one more where elements are left over, but none that starts beyond the data and the padding before it.
    ValueError if the sizes are known and not one window fits.
    """
    total = before + after
    span = reach(kernel, dilation)
    if total == same_padding(size, kernel, stride, dilation) and not ceil:
        return dim.ceildiv(size, stride)
    free = size + total - span
    if ceil:
        return dim.minimum(dim.ceildiv(free, stride) + 1, dim.ceildiv(size + before, stride))
    if isinstance(free, int) and free < 0:
        raise ValueError(f"a window of {span} does not fit {size} elements padded by {total}")
    return free // stride + 1


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    before: Sequence[int],
    counts: Sequence[int],
    fill: float | int,
) -> Array:
    """A view [N, C, *counts, *kernel] of x [N, C, *S]: what each window sees, `fill` beyond the data."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    ends = [(n - 1) * s + span for n, s, span in zip(counts, strides, spans, strict=True)]
    pads = [(b, max(0, end - b - size)) for b, end, size in zip(before, ends, x.shape[2:], strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, x.ndim)))
    starts = [slice(0, (n - 1) * s + 1, s) for n, s in zip(counts, strides, strict=True)]
    taps = [slice(None, None, d) for d in dilations]
    view: Array = seen[(slice(None), slice(None), *starts, *taps)]
    return view

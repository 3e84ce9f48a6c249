"""Where tiles begin, slices of them, and taps."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def corner(tile, counts, box: tl.constexpr, N: tl.constexpr):
    """Image, row, pixel and column where a tile begins; `counts` are the tiles along the columns, pixels and rows."""
    across, wide, high = counts[0], counts[1], counts[2]
    rest = tile // across
    return rest // (wide * high) * box[0], rest // wide % high * box[1], rest % wide * box[2], tile % across * N


@triton.jit
def moved(image, row, pixel, part, box: tl.constexpr, END: tl.constexpr):
    """Where a slice's share of a tile begins that slices end together; shares are END large."""
    if END[0] < box[0]:
        image += part * END[0]
    elif END[1] < box[1]:
        row += part * END[1]
    elif END[2] < box[2]:
        pixel += part * END[2]
    return image, row, pixel


@triton.jit
def reached(tap, step: tl.constexpr, dilation: tl.constexpr, pad: tl.constexpr):
    """Where a tap lies from a window's corner, along an axis that is seen in lines of `step`: lines, places in one."""
    distance = tap * dilation - pad + pad * step
    return distance // step - pad, distance % step


@triton.jit
def share(part, steps, SLICES: tl.constexpr):
    """Where a slice of a tile's steps begins and ends: their lengths are equal, but for the last one's."""
    length = tl.cdiv(steps, SLICES)
    return tl.minimum(part * length, steps), tl.minimum(part * length + length, steps)


@triton.jit
def length_of(tile, steps, SLICES: tl.constexpr):
    """How many steps a slice of a tile has; slices are counted tile by tile."""
    begin, end = share(tile % SLICES, steps, SLICES)
    return end - begin

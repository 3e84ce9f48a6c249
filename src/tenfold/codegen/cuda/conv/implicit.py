"""Convolutions as products that gather their rows: windows of any stride, dilation, padding and grouping.

A row of the product is a window, a column an output channel, a term one tap of one channel. Terms come channel by
channel within each tap; where channels are few, taps and channels are one axis of terms (`FLAT`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.guess import Tile
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Launch, launch, number, numbers, place
from tenfold.codegen.cuda.site import site_of, slices_of
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.target import Target

_USUAL = 1 << 16
FEW_CHANNELS = 16
"""Below so many channels a group, taps and channels are one axis of terms."""


@triton.jit
def corner(row, out_sizes, strides, pads):
    """Of each window: the image, and where its first tap lies along the three axes, which may be outside."""
    at = grid.positions(row, out_sizes)
    return at[0], at[1] * strides[0] - pads[0], at[2] * strides[1] - pads[1], at[3] * strides[2] - pads[2]


@triton.jit
def reaches(low, step, size):
    """Whether a place lies within an axis."""
    return (low + step >= 0) & (low + step < size)


@triton.jit
def rows_of(high, down, pixels, m, M: tl.constexpr, APART: tl.constexpr):
    """The rows of a tile; where images lie APART, `down` tiles are of one, and rows beyond its pixels are none."""
    if APART:
        within = high % down * M + tl.arange(0, M)
        return tl.where(within < pixels, high // down * pixels + within, m)
    else:
        return high * M + tl.arange(0, M)


@triton.jit
def implicit(
    x, w, gate, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    in_sizes, out_sizes, strides, dilations, pads, body: tl.constexpr, output_kinds: tl.constexpr,
    extra_kinds: tl.constexpr, T1: tl.constexpr, T2: tl.constexpr, TAPS: tl.constexpr, GROUPS: tl.constexpr,
    FLAT: tl.constexpr, INSIDE: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr,
    TF32: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block sums one slice of the terms of one tile. `n` columns, `k` channels a group; `x` is (address, strides of
    image, channel and three axes), `w` (address, strides of column, tap and channel); T1 and T2 taps along the last two
    axes. INSIDE: no window leaves the image. `gate`, if anything, is (address, strides of image and channel) of numbers
    that images are multiplied by: tiles are of one image then, whose numbers multiply the weights.
    """
    grid.begin(EARLY)
    tile, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    across = tl.cdiv(n, N)
    pixels = out_sizes[1] * out_sizes[2] * out_sizes[3] if len(gate) > 0 else m
    down = tl.cdiv(pixels, M)
    high, wide = site.tile_of(tile, down * (m // pixels), across * GROUPS, 8)
    group, left = wide // across, (wide % across) * N
    row, column = rows_of(high, down, pixels, m, M, len(gate) > 0), left + tl.arange(0, N)
    image, d, h, v = corner(tl.minimum(row, m - 1), out_sizes, strides, pads)
    window = image.to(tl.int64) * x[1][0] + group * k * x[1][1] + d * x[1][2] + h * x[1][3] + v * x[1][4]
    x_rows = x[0] + window[:, None]
    w_columns = w[0] + ((group * n + tl.minimum(column, n - 1)) * w[1][0])[None, :]
    steps = tl.cdiv(TAPS * k, K) if FLAT else TAPS * tl.cdiv(k, K)
    share = tl.cdiv(steps, SLICES)
    acc = tl.zeros((M, N), tl.float32)
    for step in range(part * share, tl.minimum(part * share + share, steps)):
        if FLAT:
            term = step * K + tl.arange(0, K)
            tap, channel = term // k, term % k
            inside = (tap < TAPS)[None, :]
        else:
            tap = step // tl.cdiv(k, K)
            channel = (step % tl.cdiv(k, K)) * K + tl.arange(0, K)
            inside = (channel < k)[None, :]
        a, b, c = tap // (T1 * T2) * dilations[0], tap // T2 % T1 * dilations[1], tap % T2 * dilations[2]
        terms = channel * x[1][1] + (a * x[1][2] + b * x[1][3] + c * x[1][4])
        w_terms = channel * w[1][2] + tap * w[1][1]
        y = tl.load(w_columns + w_terms[:, None], mask=tl.trans(inside), other=0)
        if not INSIDE:
            if FLAT:
                inside = inside & reaches(d[:, None], a[None, :], in_sizes[0])
                inside = inside & reaches(h[:, None], b[None, :], in_sizes[1])
                inside = inside & reaches(v[:, None], c[None, :], in_sizes[2])
            else:
                reached = reaches(d, a, in_sizes[0]) & reaches(h, b, in_sizes[1]) & reaches(v, c, in_sizes[2])
                inside = inside & reached[:, None]
        values = tl.load(x_rows + terms[None, :], mask=inside, other=0)
        if len(gate) > 0:
            factors = gate[0] + (high // down).to(tl.int64) * gate[1][0] + channel * gate[1][1]
            y = y * tl.load(factors, mask=channel < k, other=0)[:, None]
        acc = grid.dot(values, y, acc, TF32)
    begin = group * n
    site.conclude(
        acc, tile, part, partial, counters, row, begin + column, m, begin + n, outputs, extra, gathered, uniforms,
        row_sizes, body, output_kinds, extra_kinds, M, N, SLICES,
    )  # fmt: skip


class Implicit:
    """Every convolution in floats of up to three axes."""

    name = "implicit"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and slices."""
        shape = shape_of(region)
        if isinstance(shape, Refusal):
            return shape
        return tactics_of(self.name, shape, target)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        shape = shape_of(region)
        assert isinstance(shape, Shape)
        return (4.0 if _flat(shape) else 1.1) * guess(shape, tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; counters and a workspace of partial sums."""
        shape = shape_of(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        made, room, zeroed = launch_of(region, shape, place(shape.x), tactic, target, 0)
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def tactics_of(name: str, shape: Shape, target: Target) -> list[Tactic]:
    """Tile shapes and slices for a shape."""
    room = arch_of(target).shared // shape.x.dtype.itemsize
    found = [one for one in _tiles(shape) if (one[0] + one[1]) * one[2] * one[4] <= room]
    names = ("m", "n", "k", "slices", "stages", "warps")
    return [Tactic(name, tuple(zip(names, one, strict=True))) for one in found]


def guess(shape: Shape, tactic: Tactic, target: Target) -> float:
    """How long a shape might take, in nanoseconds."""
    m, n, k, slices, stages = (int(tactic[name]) for name in ("m", "n", "k", "slices", "stages"))
    rows, taps = dim.bounds(shape.m)[1] or _USUAL, math.prod(shape.taps)
    terms = taps * shape.k if _flat(shape) else taps * -(-shape.k // k) * k
    tile = Tile(m, n, k, slices, stages, shape.x.dtype.itemsize)
    return tile.nanoseconds(rows, max(shape.n, n) * shape.groups, terms, arch_of(target))


def launch_of(
    region: Anchored, shape: Shape, image: Filling, tactic: Tactic, target: Target, behind: Size, gate: Filling = ()
) -> tuple[Launch, Size, Size]:
    """The launch for a shape whose image lies at `image`, multiplied by what lies at `gate`; bytes of workspace from
    `behind` on, bytes of counters.
    """
    M, N, K, slices = (int(tactic[name]) for name in ("m", "n", "k", "slices"))
    rows = shape.out_sizes[0] * dim.ceildiv(dim.product(shape.out_sizes[1:]), M) if gate else dim.ceildiv(shape.m, M)
    tiles = rows * dim.ceildiv(shape.n, N) * shape.groups
    sums, room, zeroed = slices_of(tiles, M, N, slices, behind)
    beside = site_of(region, shape.axes).fillings()
    bodies = ("body", "output_kinds", "extra_kinds")
    fillings: dict[str, Filling] = {
        "x": (image, numbers(shape.x.strides)),
        "w": (place(shape.w), numbers(shape.w_strides)),
        "gate": gate,
        **sums,
        **{name: one for name, one in beside.items() if name not in bodies},
        **{"m": number(shape.m), "n": number(shape.n), "k": number(shape.k)},
        "in_sizes": numbers(shape.x.shape[2:]),
        "out_sizes": numbers(shape.out_sizes),
        "strides": shape.strides,
        "dilations": shape.dilations,
        "pads": numbers(shape.pads),
        **{name: beside[name] for name in bodies},
        **{"T1": shape.taps[1], "T2": shape.taps[2], "TAPS": math.prod(shape.taps), "GROUPS": shape.groups},
        **{"FLAT": int(_flat(shape)), "INSIDE": int(shape.inside)},
        **{"M": M, "N": N, "K": K, "SLICES": slices},
        **{"TF32": int("tf32" in target.extras), "EARLY": int(arch_of(target).early)},
    }
    warps, stages = int(tactic["warps"]), int(tactic["stages"])
    return launch(f"{__name__}:implicit", tiles * slices, fillings, warps, stages), room, zeroed


def _flat(shape: Shape) -> bool:
    return shape.k < FEW_CHANNELS and math.prod(shape.taps) > 1


def _tiles(shape: Shape) -> list[tuple[int, ...]]:
    """(m, n, k, slices, stages, warps)."""
    terms = math.prod(shape.taps) * shape.k
    columns = grid.power_of_two(shape.n)
    if shape.x.dtype is dt.f32:
        return [(64, max(16, min(columns, 64)), 16 if shape.k < 32 else 32, 1, 3, 4), (32, 32, 16, 1, 2, 4)]
    k = 16 if not _flat(shape) and shape.k < 32 else 32 if shape.k < 64 or _flat(shape) else 64
    return [
        (m, n, k, slices, stages, 8 if m * n >= 128 * 128 else 4)
        for m in (64, 128, 256)
        for n in (32, 64, 128, 256)
        for slices in (1, 2, 4, 8)
        for stages in (4, 3)
        if n <= max(32, columns) and m * n <= 128 * 256 and (slices == 1 or slices * 2 * k <= terms)
    ]


STRATEGY = Implicit()

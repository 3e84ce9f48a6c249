"""Convolutions of few channels, their taps of a line side by side in the image: they go from there straight into the
registers from which tensor cores take rows, each line of each channel as a span of a power of two; the weights, zero
where a span is wider than the taps, stay in shared memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tenfold.codegen.cuda import emit, grid, site
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, layout_of
from tenfold.codegen.cuda.conv.implicit import corner
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.conv.tail import concluded, numbers_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Recast, boxed, launch, number, numbers, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.cuda.site import site_of
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Pad, Reshape
from tenfold.target import Target

_USUAL = 1 << 16
_TERMS, _WIDEST = 1024, 128
"""Terms and columns whose weights stay in shared memory at most."""
_START, _TERM, _ROW, _COPIED = 2500.0, 0.6, 2.2, 3500.0
"""Nanoseconds to start, for 16 terms of a row of 64 columns, for the row besides; bytes of memory a nanosecond."""


@gluon.jit
def taken(
    x, windows, in_sizes, part, dilations: gl.constexpr, CHANNELS: gl.constexpr, T1: gl.constexpr,
    SPAN: gl.constexpr, PAIRED: gl.constexpr, K: gl.constexpr, layout: gl.constexpr,
):  # fmt: skip
    """The terms of a part of the rows whose `windows` begin at an address, in a line and at a place of it, which may be
    outside. PAIRED: what lies at an even place is within the image if its neighbour is.
    """
    start, h, v = windows
    term = part * K + gl.arange(0, K, layout=gl.SliceLayout(0, layout))
    along, tap, channel = term % SPAN, term // SPAN % T1 * dilations[1], term // SPAN // T1
    apart = channel * x[1][1] + tap * x[1][3] + along * x[1][4]
    line = gl.expand_dims(h, 1) + gl.expand_dims(tap, 0)
    position = gl.expand_dims(v, 1) + gl.expand_dims(along, 0)
    inside = (line >= 0) & (line < in_sizes[1]) & (position >= 0) & (position < in_sizes[2])
    inside = inside & gl.expand_dims(channel < CHANNELS, 0)
    if PAIRED:
        inside = gl.max_constancy(inside, (1, 2))
    return gl.load(gl.expand_dims(start, 1) + gl.expand_dims(apart, 0), mask=inside, other=0)


@gluon.jit
def lines(
    x, w, output, extra, uniforms, row_sizes, tiles, m, n, in_sizes, out_sizes, pads, body: gl.constexpr,
    kinds: gl.constexpr, strides: gl.constexpr, dilations: gl.constexpr, CHANNELS: gl.constexpr, T1: gl.constexpr,
    SPAN: gl.constexpr, PAIRED: gl.constexpr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr, PARTS: gl.constexpr,
    AHEAD: gl.constexpr, CHAINED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` is (address, strides of image, channel and three axes), `w` a descriptor of columns by terms, which come in
    PARTS of K; the last pad is what lies before a span. The parts of a row are loaded AHEAD of their products,
    which wait for each other only at the end if CHAINED.
    """
    sums: gl.constexpr = layout_of(N, WARPS)
    layout: gl.constexpr = gl.DotOperandLayout(0, sums, 2)
    across: gl.constexpr = gl.BlockedLayout([1, 8], [256 // N, N // 8], [WARPS, 1], [1, 0])
    weights = gl.allocate_shared_memory(w.dtype, [PARTS, N, K], w.layout)
    there = barriers(1).index(0)
    fence_async_shared()
    mbarrier.expect(there, PARTS * w.block_type.nbytes)
    for part in gl.static_range(PARTS):
        copy_in(w, [0, part * K], there, weights.index(part))
    grid.begin(EARLY)
    mbarrier.wait(there, 0)
    numbers = numbers_of(extra, 0, 0, 0, 0, n, kinds, sums, N, ())
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        row = tile * M + gl.arange(0, M, layout=gl.SliceLayout(1, layout))
        image, _, h, v = corner(gl.minimum(row, m - 1), out_sizes, strides, pads)
        windows = (x[0] + (image.to(gl.int64) * x[1][0] + h * x[1][3] + v * x[1][4]), h, v)
        values = ()
        for part in gl.static_range(min(AHEAD, PARTS)):
            values = values + (taken(x, windows, in_sizes, part, dilations, CHANNELS, T1, SPAN, PAIRED, K, layout),)
        acc = gl.zeros((M, N), gl.float32, sums)
        for part in gl.static_range(PARTS):
            if part + AHEAD < PARTS:
                values = values + (
                    taken(x, windows, in_sizes, part + AHEAD, dilations, CHANNELS, T1, SPAN, PAIRED, K, layout),
                )
            acc = warpgroup_mma(values[part], weights.index(part).permute((1, 0)), acc, is_async=CHAINED == 1)
        if CHAINED:
            acc = warpgroup_mma_wait(0, deps=(acc,) + values)[0]
        found = concluded((acc,), 0, numbers, (), uniforms, 0, n, body, kinds)
        result = gl.convert_layout(found.to(w.dtype), across)
        row = gl.expand_dims((tile * M + gl.arange(0, M, layout=gl.SliceLayout(1, across))).to(gl.int64), 1)
        column = gl.expand_dims(gl.arange(0, N, layout=gl.SliceLayout(0, across)), 0)
        inside = (row < m) & (column < n)
        at = grid.positions(row, row_sizes)
        to = output[0] + column
        for axis in gl.static_range(len(row_sizes)):
            to = to + at[axis] * output[1][axis]
        gl.store(to, result, mask=inside)
    mbarrier.invalidate(there)


class Lines:
    """Few channels, their pixels of a line side by side, for machines with warp groups."""

    name = "lines"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Rows of a tile, blocks that share a multiprocessor, parts that are loaded ahead."""
        arch = arch_of(target)
        if arch.no_teams:
            return Refusal(arch.no_teams)
        shape = shape_of(region)
        if isinstance(shape, Refusal):
            return shape
        reason = refusal(region, shape)
        if reason:
            return Refusal(reason)
        wide = max(32, grid.power_of_two(shape.n))
        fits = [one for one in _TILES if one[0] * wide // (32 * one[1]) + _OTHER <= registers(one[1], one[2])]
        return [Tactic(self.name, tuple(zip(_NAMES, one, strict=True))) for one in fits]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        shape = shape_of(region)
        assert isinstance(shape, Shape)
        rows, processors = dim.bounds(shape.m)[1] or _USUAL, arch_of(target).processors
        parts, _, terms = _terms(shape)
        each = (parts * terms / 16 * _TERM + _ROW) * max(1, grid.power_of_two(shape.n) // 64)
        return _START + max(rows / processors * each, rows * shape.n * 2 / _COPIED)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        shape = shape_of(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        M, warps, blocks, ahead, chained = (int(tactic[name]) for name in _NAMES)
        rows = site_of(region, shape.axes).rows
        N = max(32, grid.power_of_two(shape.n))
        tiles, (parts, span, K) = dim.ceildiv(shape.m, M), _terms(shape)
        gap = before(shape)
        fillings: dict[str, Filling] = {
            "x": (place(shape.x), numbers(shape.x.strides)),
            "w": boxed(_weights(shape), (N, K), (shape.n, parts * K), (parts * K, 1)),
            "output": (place(region.outputs[0]), numbers(rows.strides[-1])),
            "extra": tuple(place(one) for one in region.extra),
            "uniforms": uniforms(region.uniforms),
            "row_sizes": numbers(rows.sizes),
            **{"tiles": number(tiles), "m": number(shape.m), "n": shape.n},
            "in_sizes": numbers(shape.x.shape[2:]),
            "out_sizes": numbers(shape.out_sizes),
            "pads": numbers((*shape.pads[:2], shape.pads[2] + gap)),
            "body": Hole(emit.gluon_text(region.body)),
            "kinds": kinds(region, shape),
            "strides": shape.strides,
            "dilations": shape.dilations,
            **{"CHANNELS": shape.k, "T1": shape.taps[1], "SPAN": span, "PAIRED": int(paired(shape))},
            **{"M": M, "N": N, "K": K, "PARTS": parts, "AHEAD": ahead, "CHAINED": chained},
            **{"WARPS": warps, "EARLY": int(arch_of(target).early)},
        }
        most = dim.minimum(tiles, PROCESSORS * blocks)
        made = launch(f"{__name__}:lines", most, fillings, warps, registers=registers(warps, blocks))
        return CudaKernel(launches=(made,))


_NAMES = ("m", "warps", "blocks", "ahead", "chained")
_TILES = (
    (64, 4, 5, 4, 0),
    (64, 4, 4, 4, 1),
    (128, 8, 2, 4, 0),
    (128, 8, 2, 4, 1),
    (64, 4, 6, 3, 0),
    (64, 4, 4, 4, 0),
    (128, 4, 3, 3, 0),
)
"""Rows of a tile, warps, blocks that share a multiprocessor, parts loaded ahead, whether products wait at the end."""
_OTHER = 40
"""Registers of a thread that hold no sums, at least."""


def registers(warps: int, blocks: int) -> int:
    """Registers of a thread where so many blocks share a multiprocessor."""
    return min(255, (1 << 16) // (32 * warps * blocks) // 8 * 8)


def before(shape: Shape) -> int:
    """What a span has before its first tap, so that it begins at an even place."""
    return int(shape.pads[2]) % 2 if shape.strides[2] % 2 == 0 else 0  # type: ignore[arg-type]


def paired(shape: Shape) -> bool:
    """Whether neighbours at even places are both within a line or both outside."""
    even = isinstance(shape.x.shape[4], int) and shape.x.shape[4] % 2 == 0
    return even and shape.strides[2] % 2 == 0


def _terms(shape: Shape) -> tuple[int, int, int]:
    """How many parts, the places of a span, the terms of a part: as wide as fills up no more than 16 terms do."""
    span = grid.power_of_two(shape.taps[2] + before(shape))
    terms = -(-shape.k * shape.taps[1] * span // 16) * 16
    part = next(one for one in (64, 32, 16) if terms % one == 0)
    return terms // part, span, part


def _weights(shape: Shape) -> Recast:
    """Columns by terms: channels, lines, places of a span."""
    parts, span, part = _terms(shape)
    gap, terms = before(shape), shape.k * shape.taps[1] * span
    recipe = (
        Reshape((shape.n, shape.k * shape.taps[1], shape.taps[2])),
        Pad((0, 0, gap), (0, 0, span - shape.taps[2] - gap)),
        Reshape((shape.n, terms)),
        Pad((0, 0), (0, parts * part - terms)),
    )
    return Recast(shape.w.value, shape.w.dtype, (shape.n, parts * part), (parts * part, 1), 0, recipe)


def refusal(region: Region, shape: Shape) -> str | None:
    """Why such a convolution is none of few channels whose taps lie side by side; None if it is."""
    assert isinstance(region, Anchored)
    if shape.groups != 1 or shape.taps[0] != 1 or shape.x.shape[2] != 1 or shape.k > 8:
        return "many channels, groups, or windows along three axes"
    if not all(isinstance(pad, int) for pad in shape.pads):
        return "padding of unknown size"
    if shape.x.strides[4] != 1 or shape.dilations[2] != 1 or math.prod(shape.taps) == 1:
        return "its taps do not lie side by side"
    if shape.w.dtype not in (dt.f16, dt.bf16) or shape.n > _WIDEST or _terms(shape)[0] * _terms(shape)[2] > _TERMS:
        return "elements of other than 16 bits, many columns, or many terms"
    if reason := site.refusal(region):
        return reason
    value = shape.w.value
    if not isinstance(value.op, Constant) or len(value.type.shape) != 4 or shape.w.offset != 0:
        return "weights that are computed"
    if {0, 2} < {*kinds(region, shape), 0, 2}:
        return "more lies beside its results than numbers, or one a column, side by side"
    return None if site_of(region, shape.axes).columns.strides[-1][0] == 1 else "columns of results that lie apart"


def kinds(region: Anchored, shape: Shape) -> tuple[int, ...]:
    """Of what lies beside the results: 0 one number, 2 one a column, side by side, else 1 or 3."""
    found = site_of(region, shape.axes)
    kinds = grid.kinds(found.rows, found.columns)[: len(region.extra)]
    steps = (one[0] for one in found.columns.strides)
    return tuple(1 if kind == 2 and step != 1 else kind for kind, step in zip(kinds, steps, strict=False))


STRATEGY = Lines()

"""A 1x1 convolution and the depthwise convolution of its results in one launch: a block takes some channels and a band
of lines, makes what its windows meet into memory of its own, and adds it up from there.

Bands overlap by the taps, and what lies there is made twice; no block waits for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv import depthwise
from tenfold.codegen.cuda.conv.depthwise import added, factors_of, values_of
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.emit import pointer
from tenfold.codegen.cuda.launch import CudaKernel, Filling, calling, number, numbers, place, workspace
from tenfold.codegen.cuda.site import site_of
from tenfold.codegen.region import Anchored, Chain, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ops.constant import Constant
from tenfold.target import Target

_NAMES = ("columns", "lines", "length", "m", "warps")
_TERMS = 256
"""Channels of an image that is expanded, at most: all terms of a tile lie in registers and shared memory at once."""
_HELD = 16
"""Sums of a thread at most."""
_LEAST = 24
"""Blocks below which most of a machine idles."""
_START, _TILE, _CYCLE, _BODY = 1800.0, 300.0, 0.57, 12
"""Nanoseconds to start, for a tile's operands to come, for an instruction of a warp; instructions of a body."""


@triton.jit
def widen(
    room, x, weights, top, column, beside, inner, n, k, in_sizes, first: tl.constexpr, first_kinds: tl.constexpr,
    HIGH: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """HIGH lines from `top` on, M pixels at a time, of the image that `x` begins: zeros where there is none."""
    K: tl.constexpr = weights.shape[0]
    COLUMNS: tl.constexpr = weights.shape[1]
    own, term = tl.arange(0, COLUMNS)[None, :], tl.arange(0, K)
    for tile in range(tl.cdiv(HIGH * in_sizes[1], M)):
        pixel = tile * M + tl.arange(0, M)
        line, at = top + pixel // in_sizes[1], pixel % in_sizes[1]
        met = pixel < HIGH * in_sizes[1]
        inside = met & (line >= 0) & (line < in_sizes[0])
        start = x[0] + line.to(tl.int64) * x[1][2] + at * x[1][3]
        known = inside[:, None] & (term < k)[None, :]
        values = tl.load(start[:, None] + (term * x[1][1])[None, :], mask=known, other=0)
        acc = grid.dot(values, weights, tl.zeros((M, COLUMNS), tl.float32), 0)
        row = tl.where(inside, beside[4] + line * in_sizes[1] + at, inner)
        results = site.finished(
            acc, row, column, inner, n, beside[0], beside[1], beside[2], beside[3], first, first_kinds
        )
        kept = tl.where(inside[:, None], results[0], 0.0).to(room.dtype.element_ty)
        tl.store(room + pixel[:, None] * COLUMNS + own, kept, mask=met[:, None])


@triton.jit
def summed(
    start, step, corner, factors, tap_step, size, LENGTH: tl.constexpr, STRIDE: tl.constexpr, T1: tl.constexpr,
    T2: tl.constexpr, EDGES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The sums of strips of LENGTH pixels, whose first taps lie at `corner` of a line; lines lie `step` apart."""
    REACH: tl.constexpr = (LENGTH - 1) * STRIDE + T2
    sums = ()
    for _ in tl.static_range(LENGTH):
        sums = sums + (tl.zeros((ROWS, COLUMNS), tl.float32),)
    for tap in tl.static_range(T1):
        met = values_of(start + tap * step, COLUMNS, corner, size, REACH, EDGES[0], EDGES[1])
        times = factors_of(factors, tap * T2, tap_step, T2)
        sums = added(sums, met, times, 0, LENGTH, REACH, STRIDE, 1, T2)
    return sums


@triton.jit
def expanded(
    x, w, between, beside, taps, told, outputs, extra, gathered, uniforms, row_sizes, m, n, k, inner, in_sizes,
    out_sizes, pads, strides, body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    first: tl.constexpr, first_kinds: tl.constexpr, T1: tl.constexpr, T2: tl.constexpr, STRIPS: tl.constexpr,
    LENGTH: tl.constexpr, LINES: tl.constexpr, ROWS: tl.constexpr, HIGH: tl.constexpr, COLUMNS: tl.constexpr,
    K: tl.constexpr, M: tl.constexpr, EDGES: tl.constexpr, VECTOR: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block makes HIGH lines of COLUMNS of the `n` channels, of which LINES lines of results are made. `x` is
    (address, strides of image, channel, line and place), `w` (address, strides of channel and term), `between` room for
    what lies between, `beside` what the first body, `first`, takes: (extra, gathered, uniforms, row_sizes); `inner`
    counts the pixels between. ROWS strips of LENGTH pixels, STRIPS to a line, are powers of two; `told` is depthwise's.
    """
    across, down = tl.cdiv(n, COLUMNS), tl.cdiv(out_sizes[0], LINES)
    block = tl.program_id(0)
    own, term = tl.arange(0, COLUMNS), tl.arange(0, K)
    column = block % across * COLUMNS + own
    high, image = block // across % down * LINES, block // (across * down)
    there = tl.max_contiguous(tl.multiple_of(tl.where(column < n, column, 0), VECTOR), VECTOR)
    known = (term < k)[:, None] & (column < n)[None, :]
    weights = tl.load(w[0] + there[None, :] * w[1][0] + term[:, None] * w[1][1], mask=known, other=0)
    grid.begin(EARLY)
    room = between + block.to(tl.int64) * (HIGH * in_sizes[1] * COLUMNS)
    given = (x[0] + image.to(tl.int64) * x[1][0], x[1])
    before = (beside[0], beside[1], beside[2], beside[3], image * (in_sizes[0] * in_sizes[1]))
    top = high * strides[0] - pads[0]
    widen(room, given, weights, top, column, before, inner, n, k, in_sizes, first, first_kinds, HIGH, M)
    tl.debug_barrier()
    unit = tl.arange(0, ROWS)
    strip, low = unit % STRIPS, high + unit // STRIPS
    corner = strip * LENGTH * strides[1] - pads[1]
    line = tl.minimum(unit // STRIPS, LINES - 1) * (strides[0] * in_sizes[1])
    factors = taps[0] + tl.zeros((ROWS, 1), tl.int32) + (there * taps[1][0])[None, :]
    sums = summed(
        room + (line + corner)[:, None] * COLUMNS + own[None, :], in_sizes[1] * COLUMNS, corner, factors, taps[1][1],
        in_sizes[1], LENGTH, strides[1], T1, T2, EDGES, ROWS, COLUMNS,
    )  # fmt: skip
    exists = (unit // STRIPS < LINES) & (low < out_sizes[0])
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for each in tl.static_range(LENGTH):
        inside = exists & (strip * LENGTH + each < out_sizes[1])
        row = tl.where(inside, (image * out_sizes[0] + low) * out_sizes[1] + strip * LENGTH + each, m)
        results = site.finish(
            sums[each], row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds,
            extra_kinds,
        )  # fmt: skip
        if len(told) > 0:
            stored = results[0].to(outputs[0][0].dtype.element_ty).to(tl.float32)
            total += tl.where(inside[:, None], stored, 0.0)
    if len(told) > 0:
        each = high + tl.arange(0, ROWS // STRIPS)
        to = told[0] + image.to(tl.int64) * told[1][0] + each[:, None] * told[1][2] + column[None, :] * told[1][3]
        exists = ((each < high + LINES) & (each < out_sizes[0]))[:, None] & (column < n)[None, :]
        tl.store(to, tl.sum(tl.reshape(total, (ROWS // STRIPS, STRIPS, COLUMNS)), 1), mask=exists)


@dataclass(frozen=True)
class _Plan:
    """Both convolutions."""

    wide: Anchored
    deep: Anchored
    expand: Shape
    each: Shape

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Images, lines and places between, lines and places of the results."""
        images, (_, *within), (_, *out) = self.each.x.shape[0], self.each.x.shape[2:], self.each.out_sizes[1:]
        return images, *within, *out  # type: ignore[return-value]


def plan_of(region: Region) -> _Plan | Refusal:
    """The two convolutions of a chain; or why it has none."""
    if not isinstance(region, Chain) or len(region.parts) != 2:
        return Refusal("no chain of two regions")
    expand, each = map(shape_of, region.parts)
    if isinstance(expand, Refusal) or isinstance(each, Refusal):
        return expand if isinstance(expand, Refusal) else each  # type: ignore[return-value]
    wide, deep = region.parts
    assert isinstance(wide, Anchored) and isinstance(deep, Anchored)
    reason = _expands(wide, expand) or _is_depthwise(deep, each) or _meets(wide, deep, each)
    return Refusal(reason) if reason else _Plan(wide, deep, expand, each)


def _expands(wide: Anchored, shape: Shape) -> str | None:
    plain = set(shape.taps) | set(shape.strides) == {1} and shape.groups == 1 and shape.inside
    if not plain or shape.x.dtype not in (dt.f16, dt.bf16) or shape.k > _TERMS:
        return "no 1x1 convolution of few channels in 16 bits"
    if wide.told or len(wide.outputs) != 1 or grid.asked(wide.body) or wide.gathered:
        return "more than its results is told, or it asks for positions"
    return None if isinstance(shape.w.value.op, Constant) else "weights that are computed"


def _is_depthwise(deep: Anchored, shape: Shape) -> str | None:
    if shape.k != 1 or shape.n != 1 or shape.groups == 1 or deep.moments:
        return "groups of several channels, or moments of rows"
    if shape.taps[0] != 1 or set(shape.dilations) != {1} or max(shape.taps) > 7:
        return "three axes, or taps that are many or lie apart"
    sizes = (*shape.x.shape, *shape.out_sizes)
    return None if all(isinstance(one, int) for one in (*sizes, *shape.pads)) else "sizes that are open"


def _meets(wide: Anchored, deep: Anchored, each: Shape) -> str | None:
    """Why the results of the first are not the image of the second, or more than that."""
    (made,), x = wide.outputs, each.x
    strides = (*x.strides[:2], *x.strides[3:])
    same = made.value is x.value and made.offset == x.offset and made.dtype is x.dtype and len(made.shape) == 4
    alike = same and all(size == 1 or a == b for size, a, b in zip(made.shape, made.strides, strides, strict=True))
    others = any(one.value is made.value for one in (*deep.extra, *deep.gathered))
    return None if alike and not others else "another image, or results that are read besides"


class Expanded:
    """A 1x1 convolution of up to 256 channels and the depthwise convolution of its results, all sizes known."""

    name = "expanded"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Channels and lines of a block, pixels of a strip, pixels of a product's tile, warps; the best guess first."""
        plan = plan_of(region)
        if isinstance(plan, Refusal):
            return plan
        processors = arch_of(target).processors
        found = sorted(_tiles(plan), key=lambda one: _guess(plan, one, processors))
        made = [Tactic(self.name, tuple(zip(_NAMES, one, strict=True))) for one in found]
        return made or Refusal("images that are too small, or lines that are too long")

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        plan = plan_of(region)
        assert isinstance(plan, _Plan)
        columns, lines, length, m, warps = (int(tactic[name]) for name in _NAMES)
        images, height, width, down, along = plan.sizes
        expand, each, dtype = plan.expand, plan.each, plan.each.x.dtype
        strips, high = grid.power_of_two(-(-along // length)), _high(plan, lines)
        before, blocks = site_of(plan.wide, expand.axes).fillings(), _blocks(plan, columns, lines)
        fillings: dict[str, Filling] = {
            "x": (place(expand.x), numbers((*expand.x.strides[:2], *expand.x.strides[3:]))),
            "w": (place(expand.w), (expand.w_strides[0], expand.w_strides[2])),
            "between": workspace(pointer(dtype)),
            "beside": tuple(before[name] for name in ("extra", "gathered", "uniforms", "row_sizes")),
            "taps": depthwise.factors(each),
            "told": depthwise.told_of(plan.deep),
            **site_of(plan.deep, each.axes).fillings(),
            **{"m": number(each.m), "n": each.groups, "k": expand.k, "inner": images * height * width},
            **{"in_sizes": (height, width), "out_sizes": (down, along)},
            **{"pads": numbers(each.pads[1:]), "strides": each.strides[1:]},
            **{"first": before["body"], "first_kinds": before["extra_kinds"]},
            **{"T1": each.taps[1], "T2": each.taps[2], "STRIPS": strips, "LENGTH": length, "LINES": lines},
            **{"ROWS": strips * grid.power_of_two(lines), "HIGH": high, "COLUMNS": columns},
            **{"K": max(16, grid.power_of_two(expand.k)), "M": m},
            "EDGES": depthwise.edges(each, length, strips),
            **{"VECTOR": 8 if each.groups % 8 == 0 else 1, "EARLY": int(arch_of(target).early)},
        }
        room = blocks * high * width * columns * dtype.itemsize
        return CudaKernel(launches=(calling(expanded, blocks, fillings, warps),), workspace=room)


def _blocks(plan: _Plan, columns: int, lines: int) -> int:
    images, _, _, down, _ = plan.sizes
    return images * -(-down // lines) * -(-plan.each.groups // columns)


def _high(plan: _Plan, lines: int) -> int:
    """The lines between that so many lines of results meet."""
    return (lines - 1) * plan.each.strides[1] + plan.each.taps[1]


def _guess(plan: _Plan, tile: tuple[int, ...], processors: int) -> float:
    """Nanoseconds, about: what waits, and the instructions of a multiprocessor's warps."""
    columns, lines, length, m, warps = tile
    _, down, across = plan.each.taps
    threads, tiles = 32 * warps, -(-_high(plan, lines) * plan.sizes[2] // m)
    held = grid.power_of_two(-(-plan.sizes[4] // length)) * grid.power_of_two(lines) * columns / threads
    reach = (length - 1) * plan.each.strides[2] + across
    added = held * down * (reach * 3 + length * across + across * 2) + held * length * _BODY
    made = tiles * m * (columns * _BODY + plan.expand.k * 0.8) / threads
    rounds = -(-_blocks(plan, columns, lines) // processors) * warps / 4
    return _START + tiles * _TILE + (added + made) * max(rounds, 1.0) * _CYCLE


def _tiles(plan: _Plan) -> Iterator[tuple[int, ...]]:
    """(columns, lines, length, m, warps)."""
    _, _, width, down, along = plan.sizes
    for columns in (16, 32, 64):
        for lines in dict.fromkeys(-(-down // parts) for parts in (1, 2, 4, 7, 14, 28)):
            high = _high(plan, lines)
            for length in (7, 4, 2, 1):
                rows = grid.power_of_two(-(-along // length)) * grid.power_of_two(lines)
                for warps in (4, 8):
                    held = rows * columns // (32 * warps)
                    m = max(64, min(grid.power_of_two(high * width), 128, 16384 // (columns + plan.expand.k)))
                    fits = held >= 1 and held * length <= _HELD * 2 and length <= along
                    if fits and _blocks(plan, columns, lines) >= _LEAST:
                        yield columns, lines, length, grid.power_of_two(m), warps


STRATEGY = Expanded()

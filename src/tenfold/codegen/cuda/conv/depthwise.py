"""Convolutions of one channel a group: strips of neighbouring pixels, each loaded once for a line of taps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Recast, launch, number, numbers, place
from tenfold.codegen.cuda.site import site_of
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.movement import Reshape, Transpose
from tenfold.target import Target

_USUAL = 1 << 14
_LOAD, _FACTOR, _WARPS = 16, 10, 24
"""Instructions to load and widen 8 values, to load and widen 8 factors; warps that a multiprocessor holds."""
_START, _CYCLE, _LATENCY = 1500.0, 0.15, 500.0
"""Nanoseconds to start, for an instruction of a warp, for a line of taps to come."""
_LONGEST = 13
"""Taps along a line that are unrolled."""


@triton.jit
def joined(total, value, factors, distance: tl.constexpr, dilation: tl.constexpr, TAPS: tl.constexpr):
    """The sum of a pixel with a value at that distance from its first tap, if one of its taps lies there."""
    if distance < 0 or distance % dilation != 0 or distance // dilation >= TAPS:
        return total
    else:
        return total + value * factors[distance // dilation]


@triton.jit
def factors_of(taps, a, step, inside, T2: tl.constexpr, FULL: tl.constexpr):
    """The factors of a line of taps, once a strip: so each thread loads those of its channels in one piece. FULL: all
    of its channels exist.
    """
    found = ()
    for b in tl.static_range(T2):
        place = taps + (a * T2 + b) * step
        if FULL:
            found = found + (tl.load(place),)
        else:
            found = found + (tl.load(place, mask=inside, other=0),)
    return found


@triton.jit
def values_of(
    start, a, strides, there, first, held, size, dilations: tl.constexpr, T1: tl.constexpr, REACH: tl.constexpr
):
    """The values that a line of taps meets along a strip. `there` are (place along depth and height, their sizes)."""
    deep, high = a // T1 * dilations[0], a % T1 * dilations[1]
    d, h, depth, height = there
    seen = (d + deep >= 0) & (d + deep < depth) & (h + high >= 0) & (h + high < height)
    from_here = start + deep * strides[2] + high * strides[3]
    found = ()
    for at in tl.static_range(REACH):
        inside = (seen & (first + at >= 0) & (first + at < size))[:, None] & held
        found = found + (tl.load(from_here + at * strides[4], mask=inside, other=0),)
    return found


@triton.jit
def depthwise(
    x, w, outputs, extra, gathered, uniforms, row_sizes, m, n, in_sizes, out_sizes, strips, strides, dilations, pads,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, T0: tl.constexpr, T1: tl.constexpr,
    T2: tl.constexpr, LENGTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block computes ROWS strips of LENGTH pixels of COLUMNS channels. `x` is (address, strides of image, channel and
    three axes), `w` (address, strides of channel and tap), `strips` how many strips a line has. What a line of taps
    needs is loaded while the line before it is added.
    """
    REACH: tl.constexpr = (LENGTH - 1) * strides[2] + (T2 - 1) * dilations[2] + 1
    grid.begin(EARLY)
    across = tl.cdiv(n, COLUMNS)
    strip = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    line, begin = strip // strips, strip % strips * LENGTH
    height = line // out_sizes[2]
    image, d = height // out_sizes[1], height % out_sizes[1] * strides[0] - pads[0]
    h, v = line % out_sizes[2] * strides[1] - pads[1], begin * strides[2] - pads[2]
    known = image < out_sizes[0]
    held = known[:, None] & (column < n)[None, :]
    there = (d, h, in_sizes[0], in_sizes[1])
    corner = image.to(tl.int64) * x[1][0] + d * x[1][2] + h * x[1][3] + v * x[1][4]
    start = x[0] + corner[:, None] + (column * x[1][1])[None, :]
    taps = w[0] + tl.zeros((ROWS, 1), tl.int32) + (column * w[1][0])[None, :]
    sums = ()
    for _ in tl.static_range(LENGTH):
        sums = sums + (tl.zeros((ROWS, COLUMNS), tl.float32),)
    FULL: tl.constexpr = n % COLUMNS == 0
    factors = factors_of(taps, 0, w[1][1], held, T2, FULL)
    values = values_of(start, 0, x[1], there, v, held, in_sizes[2], dilations, T1, REACH)
    for a in range(T0 * T1):
        more = held & (a + 1 < T0 * T1)
        next_factors = factors_of(taps, tl.minimum(a + 1, T0 * T1 - 1), w[1][1], held, T2, FULL)
        next_values = values_of(start, a + 1, x[1], there, v, more, in_sizes[2], dilations, T1, REACH)
        wide = ()
        for b in tl.static_range(T2):
            wide = wide + (factors[b].to(tl.float32),)
        for at in tl.static_range(REACH):
            value = values[at].to(tl.float32)
            added = ()
            for each in tl.static_range(LENGTH):
                added = added + (joined(sums[each], value, wide, at - each * strides[2], dilations[2], T2),)
            sums = added
        factors = next_factors
        values = next_values
    for each in tl.static_range(LENGTH):
        row = tl.where(known & (begin + each < out_sizes[3]), line * out_sizes[3] + begin + each, m)
        site.finish(
            sums[each], row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds,
            extra_kinds,
        )  # fmt: skip


class Depthwise:
    """One channel a group, one output for each."""

    name = "depthwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Lengths of strips, tiles of strips and channels."""
        shape = shape_of(region)
        if isinstance(shape, Refusal):
            return shape
        if shape.k != 1 or shape.n != 1 or shape.groups == 1:
            return Refusal("groups of several channels")
        if shape.taps[2] > _LONGEST or not isinstance(shape.out_sizes[3], int):
            return Refusal("long lines of taps, or lines of unknown length")
        names = ("length", "rows", "columns", "warps")
        return [Tactic(self.name, tuple(zip(names, one, strict=True))) for one in _tiles(shape)]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: what all threads do, or as long as one waits for its lines of taps."""
        shape = shape_of(region)
        assert isinstance(shape, Shape)
        length, rows, columns, warps = (int(tactic[name]) for name in ("length", "rows", "columns", "warps"))
        blocks = dim.bounds(_blocks(shape, length, rows, columns))[1] or _USUAL
        lines, along = math.prod(shape.taps[:2]), shape.taps[2]
        reach = (length - 1) * shape.strides[2] + along
        each = lines * (_LOAD * reach + _FACTOR * along + 8 * length * along) * rows * columns / (8 * 32 * warps)
        processors = arch_of(target).processors
        rounds = -(-blocks * warps // (processors * _WARPS))
        return _START + max(
            blocks * warps * each * _CYCLE / arch_of(target).processors, rounds * (lines + 1) * _LATENCY
        )

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        shape = shape_of(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        length, rows, columns = (int(tactic[name]) for name in ("length", "rows", "columns"))
        beside = site_of(region, shape.axes).fillings()
        bodies = ("body", "output_kinds", "extra_kinds")
        fillings: dict[str, Filling] = {
            "x": (place(shape.x), numbers(shape.x.strides)),
            "w": _factors(shape),
            **{name: one for name, one in beside.items() if name not in bodies},
            **{"m": number(shape.m), "n": shape.groups},
            "in_sizes": numbers(shape.x.shape[2:]),
            "out_sizes": numbers(shape.out_sizes),
            "strips": number(dim.ceildiv(shape.out_sizes[3], length)),
            "strides": shape.strides,
            "dilations": shape.dilations,
            "pads": numbers(shape.pads),
            **{name: beside[name] for name in bodies},
            **{"T0": shape.taps[0], "T1": shape.taps[1], "T2": shape.taps[2]},
            **{"LENGTH": length, "ROWS": rows, "COLUMNS": columns},
            "EARLY": int(arch_of(target).early),
        }
        blocks = _blocks(shape, length, rows, columns)
        return CudaKernel(launches=(launch(f"{__name__}:depthwise", blocks, fillings, int(tactic["warps"])),))


def _factors(shape: Shape) -> Filling:
    """Address of the weights, strides of channel and tap: channels side by side, where the weights are constant."""
    if not isinstance(shape.w, Recast):
        return (place(shape.w), numbers(shape.w_strides[:2]))
    n, taps = shape.groups, math.prod(shape.taps)
    recipe = (Reshape((n, taps)), Transpose((1, 0)))
    return (place(Recast(shape.w.value, shape.w.dtype, (taps, n), (n, 1), 0, recipe)), (1, n))


def _blocks(shape: Shape, length: int, rows: int, columns: int) -> dim.Size:
    strips = dim.product(shape.out_sizes[:3]) * dim.ceildiv(shape.out_sizes[3], length)
    return dim.ceildiv(strips, rows) * -(-shape.groups // columns)


def _tiles(shape: Shape) -> list[tuple[int, ...]]:
    """(length, rows, columns, warps): columns fill lines of 64 bytes at least where there are so many."""
    assert isinstance(shape.out_sizes[3], int)
    wide = grid.power_of_two(shape.groups)
    lengths = [one for one in (4, 7, 2, 1) if one <= shape.out_sizes[3]]
    return [
        (length, rows, columns, warps)
        for length in lengths
        for columns in (64, 32, 128)
        for rows, warps in (
            (1024 // columns, 4),
            (512 // columns, 2),
            (256 // columns, 1),
            (2048 // columns, 8),
            (512 // columns, 4),
        )
        if columns <= max(32, wide)
    ]


STRATEGY = Depthwise()

"""Convolutions of one channel a group: strips of neighbouring pixels on neighbouring lines, whose values come once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Recast, calling, number, numbers, place
from tenfold.codegen.cuda.site import site_of
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Reshape, Transpose
from tenfold.target import Target

_USUAL = 1 << 14
_LOAD, _STORE = 3, 4
"""Instructions of a load, of an element's way out."""
_START, _CYCLE, _LATENCY, _COPIED = 1500.0, 0.12, 300.0, 3000.0
"""Nanoseconds to start, for an instruction of a warp, for a line of values to come; bytes moved in one."""
_SECTOR = 64
"""Bytes side by side below which memory moves as many all the same."""
_REGISTERS, _MOST, _KEPT = 65536, 250, 40
"""Registers of a multiprocessor, that a thread may take, that it takes for places."""
_WARPS = 16
"""Warps of a multiprocessor beyond which more do not help."""
_LONGEST = 13
"""Taps along a line that are unrolled."""


@triton.jit
def values_of(start, step, v, size, REACH: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    """The values that strips meet on a line of the image: those before LEFT and from RIGHT on may lie outside."""
    found = ()
    for at in tl.static_range(REACH):
        if at < LEFT or at >= RIGHT:
            inside = ((v + at >= 0) & (v + at < size))[:, None]
            found = found + (tl.load(start + at * step, mask=inside, other=0),)
        else:
            found = found + (tl.load(start + at * step),)
    return found


@triton.jit
def factors_of(taps, first, step, T2: tl.constexpr):
    """The factors of a line of taps; each thread loads those of its channels."""
    found = ()
    for b in tl.static_range(T2):
        found = found + (tl.load(taps + (first + b) * step).to(tl.float32),)
    return found


@triton.jit
def joined(total, value, factors, distance: tl.constexpr, dilation: tl.constexpr, TAPS: tl.constexpr):
    """The sum of a pixel with a value at that distance from its first tap, if one of its taps lies there."""
    if distance < 0 or distance % dilation != 0 or distance // dilation >= TAPS:
        return total
    else:
        return total + value * factors[distance // dilation]


@triton.jit
def added(
    sums, values, factors, FIRST: tl.constexpr, LENGTH: tl.constexpr, REACH: tl.constexpr, STRIDE: tl.constexpr,
    DILATION: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """All sums, those of the LENGTH pixels from FIRST on with a line of values times a line of taps."""
    for at in tl.static_range(REACH):
        value = values[at].to(tl.float32)
        found = ()
        for each in tl.static_range(len(sums)):
            if each < FIRST or each >= FIRST + LENGTH:
                found = found + (sums[each],)
            else:
                found = found + (joined(sums[each], value, factors, at - (each - FIRST) * STRIDE, DILATION, TAPS),)
        sums = found
    return sums


@triton.jit
def summed(
    start, taps, step, corner, steps, in_sizes, dilations, T0: tl.constexpr, T1: tl.constexpr, T2: tl.constexpr,
    LENGTH: tl.constexpr, LINES: tl.constexpr, STRIDES: tl.constexpr, EDGES: tl.constexpr, TURNS: tl.constexpr,
    REACH: tl.constexpr,
):  # fmt: skip
    """The sums of LINES lines of strips whose first taps lie at `corner`, along depth, height and lines. `start` is the
    first of a line's values, `steps` are the strides of the three axes. Each line of the image is loaded while the one
    before it is added; between TURNS it meets the same lines of sums.
    """
    d, h, v = corner
    first = (tl.maximum(-h, 0) + dilations[1] - 1) // dilations[1]
    last = tl.minimum((tl.maximum(in_sizes[1] - h, 0) + dilations[1] - 1) // dilations[1], TURNS[len(TURNS) - 1])
    sums = ()
    for _ in tl.static_range(LINES * LENGTH):
        sums = sums + (tl.zeros(taps.shape, tl.float32),)
    for a in range((tl.maximum(-d, 0) + dilations[0] - 1) // dilations[0], T0):
        z = d + a * dilations[0]
        end = tl.where(z < in_sizes[0], last, 0)
        layer = start + tl.minimum(z, in_sizes[0] - 1).to(tl.int64) * steps[0]
        y = tl.minimum(h + first * dilations[1], in_sizes[1] - 1)
        values = values_of(layer + y * steps[1], steps[2], v, in_sizes[2], REACH, EDGES[0], EDGES[1])
        for turn in tl.static_range(len(TURNS) - 1):
            for line in range(tl.maximum(first, TURNS[turn]), tl.minimum(end, TURNS[turn + 1])):
                y = h + tl.minimum(line + 1, end - 1) * dilations[1]
                following = values_of(layer + y * steps[1], steps[2], v, in_sizes[2], REACH, EDGES[0], EDGES[1])
                for each in tl.static_range(LINES):
                    if TURNS[turn] >= each * STRIDES[1] and TURNS[turn] < each * STRIDES[1] + T1:
                        factors = factors_of(taps, (a * T1 + line - each * STRIDES[1]) * T2, step, T2)
                        sums = added(sums, values, factors, each * LENGTH, LENGTH, REACH, STRIDES[2], dilations[2], T2)
                values = following
    return sums


@triton.jit
def depthwise(
    x, w, told, outputs, extra, gathered, uniforms, row_sizes, m, n, in_sizes, out_sizes, strips, strides, dilations,
    pads, body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, T0: tl.constexpr, T1: tl.constexpr,
    T2: tl.constexpr, LENGTH: tl.constexpr, LINES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    EDGES: tl.constexpr, TURNS: tl.constexpr, VECTOR: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block computes LINES lines of ROWS strips of LENGTH pixels of COLUMNS channels. `x` is (address, strides of
    image, channel and three axes), `w` (address, strides of channel and tap), `strips` how many strips a line has.
    `told`, if anything, is (address, strides of image, depth, line and channel) of what whole lines of results sum to.
    """
    REACH: tl.constexpr = (LENGTH - 1) * strides[2] + (T2 - 1) * dilations[2] + 1
    grid.begin(EARLY)
    across, beside, down = tl.cdiv(n, COLUMNS), tl.cdiv(strips, ROWS), tl.cdiv(out_sizes[2], LINES)
    block = tl.program_id(0)
    column = block % across * COLUMNS + tl.arange(0, COLUMNS)
    strip = block // across % beside * ROWS + tl.arange(0, ROWS)
    plane = block // (across * beside)
    high, deep, image = plane % down * LINES, plane // down % out_sizes[1], plane // (down * out_sizes[1])
    corner = (deep * strides[0] - pads[0], high * strides[1] - pads[1], strip * LENGTH * strides[2] - pads[2])
    there = tl.max_contiguous(tl.multiple_of(tl.where(column < n, column, 0), VECTOR), VECTOR)
    start = x[0] + image.to(tl.int64) * x[1][0]
    start = start + (corner[2].to(tl.int64) * x[1][4])[:, None] + (there * x[1][1])[None, :]
    taps = w[0] + tl.zeros((ROWS, 1), tl.int32) + (there * w[1][0])[None, :]
    steps = (x[1][2], x[1][3], x[1][4])
    sums = summed(
        start, taps, w[1][1], corner, steps, in_sizes, dilations, T0, T1, T2, LENGTH, LINES, strides, EDGES, TURNS,
        REACH,
    )  # fmt: skip
    for each in tl.static_range(LINES):
        low = high + each
        line = ((image * out_sizes[1] + deep) * out_sizes[2] + low) * out_sizes[3]
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for at in tl.static_range(LENGTH):
            pixel = strip * LENGTH + at
            inside = (low < out_sizes[2]) & (pixel < out_sizes[3])
            results = site.finish(
                sums[each * LENGTH + at], tl.where(inside, line + pixel, m), column, m, n, outputs, extra, gathered,
                uniforms, row_sizes, body, output_kinds, extra_kinds,
            )  # fmt: skip
            if len(told) > 0:
                stored = results[0].to(outputs[0][0].dtype.element_ty).to(tl.float32)
                total += tl.where(inside[:, None], stored, 0.0)
        if len(told) > 0:
            place = told[0] + image.to(tl.int64) * told[1][0] + deep * told[1][1] + low * told[1][2]
            channels = tl.where(low < out_sizes[2], n, 0)
            tl.store(place + column * told[1][3], tl.sum(total, 0), mask=column < channels)


class Depthwise:
    """One channel a group, one output for each."""

    name = "depthwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Lengths of strips, how many lines of them, tiles of strips and channels."""
        shape = shape_of(region)
        if isinstance(shape, Refusal):
            return shape
        if shape.k != 1 or shape.n != 1 or shape.groups == 1 or (isinstance(region, Anchored) and region.moments):
            return Refusal("groups of several channels, or moments of rows")
        if shape.taps[2] > _LONGEST or not isinstance(shape.out_sizes[3], int):
            return Refusal("long lines of taps, or lines of unknown length")
        whole = isinstance(region, Anchored) and region.sums is not None
        return tabled(self.name, ("length", "lines", "rows", "columns", "warps"), _tiles(shape, whole))

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: what all threads do, or as long as one waits for its lines of values."""
        shape = shape_of(region)
        assert isinstance(shape, Shape)
        length, lines, rows, columns, warps = (int(number) for _, number in tactic.parameters)
        processors = arch_of(target).processors
        blocks = dim.bounds(_blocks(shape, length, lines, rows, columns))[1] or _USUAL
        held = rows * columns // (32 * warps)
        met, along = shape.taps[0] * _turns(shape, lines)[-1], shape.taps[2]
        reach = (length - 1) * shape.strides[2] + along
        products = length * lines * math.prod(shape.taps) * held
        loads = met * reach * _LOAD + lines * math.prod(shape.taps) * max(1, held // 4)
        each = products + met * reach * held + loads + length * lines * held * _STORE
        resident = min(_WARPS, _REGISTERS // (32 * _registers(shape, length, lines, held)))
        rounds = -(-blocks * warps // (processors * resident))
        waste = max(1.0, _SECTOR / (columns * shape.x.dtype.itemsize))
        elements = dim.bounds(dim.product(shape.x.shape) + shape.m * shape.groups)[1] or 0
        moved = elements * shape.x.dtype.itemsize * waste
        work = blocks * warps * each * _CYCLE / processors
        return _START + max(work, rounds * (met + 1) * _LATENCY, moved / _COPIED)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        shape = shape_of(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        length, lines, rows, columns, warps = (int(number) for _, number in tactic.parameters)
        fillings: dict[str, Filling] = {
            "x": (place(shape.x), numbers(shape.x.strides)),
            "w": factors(shape),
            "told": told_of(region),
            **site_of(region, shape.axes).fillings(),
            **{"m": number(shape.m), "n": shape.groups},
            "in_sizes": numbers(shape.x.shape[2:]),
            "out_sizes": numbers(shape.out_sizes),
            "strips": number(dim.ceildiv(shape.out_sizes[3], length)),
            "strides": shape.strides,
            "dilations": shape.dilations,
            "pads": numbers(shape.pads),
            **{"T0": shape.taps[0], "T1": shape.taps[1], "T2": shape.taps[2]},
            **{"LENGTH": length, "LINES": lines, "ROWS": rows, "COLUMNS": columns},
            "EDGES": edges(shape, length, rows),
            "TURNS": _turns(shape, lines),
            "VECTOR": math.gcd(shape.groups, 8),
            "EARLY": int(arch_of(target).early),
        }
        blocks = _blocks(shape, length, lines, rows, columns)
        return CudaKernel(launches=(calling(depthwise, blocks, fillings, warps),))


def factors(shape: Shape) -> Filling:
    """Address of the weights, strides of channel and tap: in f32, channels side by side, where they are constant."""
    if not isinstance(shape.w, Recast):
        return (place(shape.w), numbers(shape.w_strides[:2]))
    n, taps = shape.groups, math.prod(shape.taps)
    recipe = (Reshape((n, taps)), Transpose((1, 0)), Cast(dt.f32))
    return (place(Recast(shape.w.value, dt.f32, (taps, n), (n, 1), 0, recipe)), (1, n))


def told_of(region: Anchored) -> Filling:
    """Address and strides of the sums of lines: of image, depth, line and channel."""
    if region.sums is None:
        return ()
    first, *lines, channel = region.sums.strides
    return (place(region.sums), numbers((first, *(0,) * (2 - len(lines)), *lines, channel)))


def _blocks(shape: Shape, length: int, lines: int, rows: int, columns: int) -> dim.Size:
    images, deep, high, wide = shape.out_sizes
    across = dim.ceildiv(dim.ceildiv(wide, length), rows) * -(-shape.groups // columns)
    return images * deep * dim.ceildiv(high, lines) * across


def edges(shape: Shape, length: int, rows: int) -> tuple[int, int]:
    """Between which values of any strip none lies outside the image."""
    wide, pad, size = shape.x.shape[4], shape.pads[2], shape.out_sizes[3]
    reach = (length - 1) * shape.strides[2] + (shape.taps[2] - 1) * shape.dilations[2] + 1
    if not (isinstance(wide, int) and isinstance(pad, int) and isinstance(size, int)):
        return reach, reach
    strips = -(-size // (length * rows)) * rows
    return pad, max(pad, wide + pad - (strips - 1) * length * shape.strides[2])


def _turns(shape: Shape, lines: int) -> tuple[int, ...]:
    """The lines of the image, counted from the first one that a block meets, at which it begins or ends to meet one of
    its lines of sums.
    """
    first = [each * shape.strides[1] for each in range(lines)]
    return tuple(sorted({*first, *(one + shape.taps[1] for one in first)}))


def _registers(shape: Shape, length: int, lines: int, held: int) -> int:
    reach = (length - 1) * shape.strides[2] + (shape.taps[2] - 1) * shape.dilations[2] + 1
    return lines * length * held + reach * held + shape.taps[2] * held + _KEPT


def _tiles(shape: Shape, whole: bool) -> list[tuple[int, ...]]:
    """(length, lines, rows, columns, warps): columns fill lines of 32 bytes at least where there are so many; rows are
    `whole` lines, or parts of them too.
    """
    wide = shape.out_sizes[3]
    assert isinstance(wide, int)
    most = grid.power_of_two(shape.groups)
    found = []
    for length in (7, 4, 8, 2, 1):
        strips = grid.power_of_two(-(-wide // length))
        for lines in (1, 2) if shape.dilations[1] == 1 and shape.strides[1] < shape.taps[1] else (1,):
            for columns in (32, 64, 128, 256, 16):
                for rows in (strips,) if whole else (strips, strips // 2, strips // 4):
                    for held in (4, 8, 2):
                        warps = rows * columns // (32 * held)
                        fits = rows and columns <= max(32, most) and warps in (1, 2, 4, 8)
                        if fits and length <= wide and _registers(shape, length, lines, held) <= _MOST:
                            found.append((length, lines, rows, columns, warps))
    return list(dict.fromkeys(found))


STRATEGY = Depthwise()

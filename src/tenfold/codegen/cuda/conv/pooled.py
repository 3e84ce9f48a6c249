"""Convolutions of few channels and the greatest of each two or three lines and columns of their results, two apart, in
one launch: what a first layer gives is never stored.

A team of warps walks down an image. The terms of a line of windows are loaded once, into the registers from which
tensor cores take rows, and serve every line of windows that they belong to. Eight rows of a warp are even columns, the
next eight the odd ones beside them, so that neighbours meet in a thread; of three columns the third is in a thread of
the same warp, whose first place is a neighbour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv import lines
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, layout_of
from tenfold.codegen.cuda.conv.greatest import Plan, plan_of
from tenfold.codegen.cuda.conv.tail import concluded, numbers_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Recast, boxed, launch, number, numbers, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.movement import Pad, Reshape, Transpose
from tenfold.target import Target

_NAMES = ("warps", "blocks")
_SHAPES = ((4, 2), (8, 1), (4, 3))
"""Warps, blocks that share a multiprocessor."""


@triton.jit
def greater(x, y):
    """The greater of two; what is no number stays."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def places_of(
    tile, own, count, across, WARPS: tl.constexpr, WIDE: tl.constexpr, LEFT: tl.constexpr
):  # fmt: skip
    """Image and column of the `own`-th places of a tile, of which a warp has eight, and whether there are such and they
    are not only neighbours of others: those are a warp's first if WIDE, and the first LEFT of `across` in an image.
    """
    unit = (tile * WARPS + own // 8) * (8 - WIDE) + own % 8 - WIDE
    there = (unit >= 0) & (unit < count)
    unit = tl.minimum(tl.maximum(unit, 0), count - 1)
    place = unit % across - LEFT
    return unit // across, place, there, there & (own % 8 >= WIDE) & (place >= 0)


@gluon.jit
def held(w, STEPS: gl.constexpr, EARLY: gl.constexpr):
    """The weights in shared memory, a slot for every 16 terms, and the barrier that they came to; what the kernel ahead
    wrote is there then.
    """
    slots = gl.allocate_shared_memory(w.dtype, [STEPS, w.block_type.shape[0], 16], w.layout)
    there = barriers(1).index(0)
    fence_async_shared()
    mbarrier.expect(there, STEPS * w.block_type.nbytes)
    for step in gl.static_range(STEPS):
        copy_in(w, [0, step * 16], there, slots.index(step))
    grid.begin(EARLY)
    mbarrier.wait(there, 0)
    return slots, there


@gluon.jit
def windows_of(
    x, tile, count, across, width, pads, strides: gl.constexpr, shifts: gl.constexpr, SPAN: gl.constexpr,
    PAIRED: gl.constexpr, WIDE: gl.constexpr, LEFT: gl.constexpr, WARPS: gl.constexpr, layout: gl.constexpr,
):  # fmt: skip
    """Where the windows of a tile's rows begin in a line, and which of 16 terms lie within it. PAIRED: what lies at an
    even place does if its neighbour does.
    """
    row = gl.arange(0, 16 * WARPS, layout=gl.SliceLayout(1, layout))
    along = gl.arange(0, 16, layout=gl.SliceLayout(0, layout)) % SPAN
    image, place, there, _ = places_of(tile, row // 16 * 8 + row % 8, count, across, WARPS, WIDE, LEFT)
    v = (place * 2 + row // 8 % 2 + shifts[1]) * strides[2] - pads[2]
    position = gl.expand_dims(v, 1) + gl.expand_dims(along, 0)
    inside = gl.expand_dims(there, 1) & (position >= 0) & (position < width)
    if PAIRED:
        inside = gl.max_constancy(inside, (1, 2))
    return x[0] + (image.to(gl.int64) * x[1][0] + v * x[1][4]), inside


@gluon.jit
def terms(
    x, windows, line, high, GROUPS: gl.constexpr, CHANNELS: gl.constexpr, SPAN: gl.constexpr, layout: gl.constexpr
):
    """Of each of so many groups of lines from `line` on, and of each channel, 16 terms a row."""
    start, inside = windows
    term = gl.arange(0, 16, layout=gl.SliceLayout(0, layout))
    found = ()
    for group in gl.static_range(GROUPS):
        at = line + group * (16 // SPAN) + term // SPAN
        there = inside & gl.expand_dims((at >= 0) & (at < high), 0)
        apart = gl.expand_dims(at * x[1][3] + term % SPAN * x[1][4], 0)
        for channel in gl.static_range(CHANNELS):
            found = found + (gl.load(gl.expand_dims(start + channel * x[1][1], 1) + apart, mask=there, other=0),)
    return found


@gluon.jit
def narrowed(values, dtype: gl.constexpr):
    """Values as the weights' type has them."""
    found = ()
    for one in gl.static_range(len(values)):
        found = found + (values[one].to(dtype),)
    return found


@gluon.jit
def sides(acc):
    """Sums of the even columns, and of the odd ones."""
    M: gl.constexpr = acc.shape[0]
    N: gl.constexpr = acc.shape[1]
    even, odd = gl.split(gl.permute(gl.reshape(acc, (M // 16, 2, 8, N)), (0, 2, 3, 1)))
    return gl.reshape(even, (M // 2, N)), gl.reshape(odd, (M // 2, N))


@gluon.jit
def line_of(values, weights, nothing, least, place, line, out_sizes, shifts: gl.constexpr, CLIPPED: gl.constexpr):
    """Of a line of windows, the greater sums of two columns, and those of the odd ones."""
    acc = nothing
    for step in gl.static_range(len(values)):
        acc = warpgroup_mma(values[step], weights.index(step).permute((1, 0)), acc, use_acc=step > 0, is_async=True)
    even, odd = sides(warpgroup_mma_wait(0, deps=(acc,) + values)[0])
    if CLIPPED:
        column = gl.expand_dims(place * 2 + shifts[1], 1)
        even = gl.where((column >= out_sizes[1]) | (line >= out_sizes[0]), least, even)
        odd = gl.where((column + 1 >= out_sizes[1]) | (line >= out_sizes[0]), least, odd)
    return greater(even, odd), odd


@gluon.jit
def beside(x):
    """Of each thread, what lies in the one four before it, whose rows lie one before its own."""
    return gl.inline_asm_elementwise(
        "shfl.sync.up.b32 $0, $1, 4, 0, 0xffffffff;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=2
    )


@gluon.jit
def place_for(
    output, tile, count, across, n, WARPS: gl.constexpr, WIDE: gl.constexpr, LEFT: gl.constexpr, N: gl.constexpr,
    layout: gl.constexpr,
):  # fmt: skip
    """Where a tile's results go in the first line, and which of them exist."""
    own = gl.arange(0, 8 * WARPS, layout=gl.SliceLayout(1, layout))
    column = gl.expand_dims(gl.arange(0, N, layout=gl.SliceLayout(0, layout)), 0)
    image, place, _, whole = places_of(tile, own, count, across, WARPS, WIDE, LEFT)
    to = output[0] + (image.to(gl.int64) * output[1][0] + place * output[1][2])
    return gl.expand_dims(to, 1) + column, gl.expand_dims(whole, 1) & (column < n)


@gluon.jit
def pooled(
    x, w, output, extra, uniforms, tiles, count, across, high, n, in_sizes, out_sizes, pads, body: gl.constexpr,
    kinds: gl.constexpr, strides: gl.constexpr, shifts: gl.constexpr, CHANNELS: gl.constexpr, GROUPS: gl.constexpr,
    STEP: gl.constexpr, SPAN: gl.constexpr, PAIRED: gl.constexpr, WIDE: gl.constexpr, LEFT: gl.constexpr,
    CLIPPED: gl.constexpr, N: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` is (address, strides of image, channel and three axes), `w` a descriptor of columns by terms, `output`
    (address, strides of image, line and place). A line of windows has GROUPS of 16 // SPAN input lines, of which STEP
    are new, and loaded while the line before is multiplied. `shifts`: the lines and columns by which the second window
    of the first place lies behind the first of all. CLIPPED: windows may lie beyond the last line or column.
    """
    sums_in: gl.constexpr = layout_of(N, WARPS)
    layout: gl.constexpr = gl.DotOperandLayout(0, sums_in, 2)
    across_in: gl.constexpr = gl.BlockedLayout([1, 8], [256 // N, N // 8], [WARPS, 1], [1, 0])
    weights, there = held(w, GROUPS * CHANNELS, EARLY)
    nothing = gl.zeros((16 * WARPS, N), gl.float32, sums_in)
    least = sides(gl.full((16 * WARPS, N), float("-inf"), gl.float32, sums_in))[0]
    sides_in: gl.constexpr = least.type.layout
    numbers = numbers_of(extra, 0, 0, 0, 0, n, kinds, sides_in, N, ())
    share = gl.cdiv(tiles * high, gl.num_programs(0))
    at = gl.program_id(0) * share
    end = gl.minimum(at + share, tiles * high)
    while at < end:
        tile, first = at // high, at % high
        last = gl.minimum(first + end - at, high)
        at += last - first
        windows = windows_of(
            x, tile, count, across, in_sizes[2], pads, strides, shifts, SPAN, PAIRED, WIDE, LEFT, WARPS, layout
        )
        own = gl.arange(0, 8 * WARPS, layout=gl.SliceLayout(1, sides_in))
        place = places_of(tile, own, count, across, WARPS, WIDE, LEFT)[1]
        to, whole = place_for(output, tile, count, across, n, WARPS, WIDE, LEFT, N, across_in)
        window = first * 2 + shifts[0] - 1
        line = window * strides[1] - pads[1]
        values = narrowed(terms(x, windows, line, in_sizes[1], GROUPS, CHANNELS, SPAN, layout), w.dtype)
        line += GROUPS * (16 // SPAN)
        ahead = terms(x, windows, line, in_sizes[1], STEP, CHANNELS, SPAN, layout)
        kept, kept_odd = least, least
        if WIDE and window >= 0:
            kept, kept_odd = line_of(values, weights, nothing, least, place, window, out_sizes, shifts, CLIPPED)
        for pool in range(first, last):
            best, odd = kept, kept_odd
            for half in gl.static_range(2):
                values = values[STEP * CHANNELS :] + narrowed(ahead, w.dtype)
                line += STEP * (16 // SPAN)
                ahead = terms(x, windows, line, in_sizes[1], STEP, CHANNELS, SPAN, layout)
                window = pool * 2 + half + shifts[0]
                kept, kept_odd = line_of(values, weights, nothing, least, place, window, out_sizes, shifts, CLIPPED)
                best, odd = greater(best, kept), greater(odd, kept_odd)
            found = concluded((best,), 0, numbers, (), uniforms, 0, n, body, kinds).to(w.dtype)
            if WIDE:
                other = beside(concluded((odd,), 0, numbers, (), uniforms, 0, n, body, kinds).to(w.dtype))
                found = greater(found, gl.where(gl.expand_dims(place + LEFT == 0, 1), float("-inf"), other))
            else:
                kept, kept_odd = least, least
            gl.store(to + pool * output[1][1], gl.convert_layout(found, across_in), mask=whole)
    mbarrier.invalidate(there)


class Pooled:
    """A convolution of few channels, the fills around its results, and the greatest of these, for machines with warp
    groups.
    """

    name = "pooled"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Warps, blocks that share a multiprocessor."""
        arch = arch_of(target)
        if arch.no_teams:
            return Refusal(arch.no_teams)
        plan = plan_of(region)
        if isinstance(plan, Refusal):
            return plan
        return [Tactic(self.name, tuple(zip(_NAMES, one, strict=True))) for one in _SHAPES]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        plan = plan_of(region)
        assert isinstance(plan, Plan)
        warps, blocks = (int(tactic[name]) for name in _NAMES)
        shape, conv, out = plan.shape, plan.region, plan.output
        N = max(32, grid.power_of_two(shape.n))
        across = out.shape[3] + plan.left
        count = out.shape[0] * across
        tiles = dim.ceildiv(count, (8 - plan.wide) * warps)
        steps = plan.groups * shape.k
        before = lines.before(shape)
        fillings: dict[str, Filling] = {
            "x": (place(shape.x), numbers(shape.x.strides)),
            "w": boxed(_weights(plan), (N, 16), (shape.n, steps * 16), (steps * 16, 1)),
            "output": (place(out), numbers((out.strides[0], *out.strides[2:]))),
            "extra": tuple(place(one) for one in conv.extra),
            "uniforms": uniforms(conv.uniforms),
            **{"tiles": number(tiles), "count": number(count), "across": number(across)},
            **{"high": number(out.shape[2]), "n": shape.n},
            "in_sizes": numbers(shape.x.shape[2:]),
            "out_sizes": numbers(shape.out_sizes[2:]),
            "pads": numbers((*shape.pads[:2], shape.pads[2] + before)),
            "body": Hole(emit.gluon_text(conv.body)),
            "kinds": lines.kinds(conv, shape),
            "strides": shape.strides,
            "shifts": plan.shifts,
            **{"CHANNELS": shape.k, "GROUPS": plan.groups, "STEP": plan.step, "SPAN": plan.span},
            **{"PAIRED": int(lines.paired(shape)), "WIDE": plan.wide, "LEFT": plan.left},
            **{"CLIPPED": int(plan.clipped), "N": N, "WARPS": warps, "EARLY": int(arch_of(target).early)},
        }
        most = dim.minimum(tiles * out.shape[2], PROCESSORS * blocks)
        made = launch(f"{__name__}:pooled", most, fillings, warps, registers=lines.registers(warps, blocks))
        return CudaKernel(launches=(made,))


def _weights(plan: Plan) -> Recast:
    """Columns by terms: groups of lines, channels, lines of a group, places of a span."""
    shape, before = plan.shape, lines.before(plan.shape)
    of_group = 16 // plan.span
    steps = plan.groups * shape.k
    recipe = (
        Reshape((shape.n, shape.k, *shape.taps[1:])),
        Pad((0, 0, 0, before), (0, 0, plan.groups * of_group - shape.taps[1], plan.span - shape.taps[2] - before)),
        Reshape((shape.n, shape.k, plan.groups, 16)),
        Transpose((0, 2, 1, 3)),
        Reshape((shape.n, steps * 16)),
    )
    return Recast(shape.w.value, shape.w.dtype, (shape.n, steps * 16), (steps * 16, 1), 0, recipe)


STRATEGY = Pooled()

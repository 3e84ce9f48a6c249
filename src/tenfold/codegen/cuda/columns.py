"""Reductions of many elements that lie apart, such as means over images: tiles of elements by results that lie side by
side; the elements of one result in slices, of which the last to arrive adds all.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid, window
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import (
    CudaKernel,
    Filling,
    counters,
    gathered,
    launch,
    number,
    numbers,
    uniforms,
    workspace,
)
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Operand, Region, Row
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.target import Target

_USUAL = 1 << 12
FEWEST = 16
"""Elements of a row below which lanes walk them faster."""


@triton.jit
def columns(
    inputs, steps, partial, counters, finish_inputs, finish_outputs, gathered, uniforms, row_sizes, column_sizes,
    tap_sizes, width, taps, element: tl.constexpr, kept: tl.constexpr, combine: tl.constexpr, reduced: tl.constexpr,
    finish: tl.constexpr, kinds: tl.constexpr, finish_input_kinds: tl.constexpr, finish_output_kinds: tl.constexpr,
    TAPS: tl.constexpr, COLUMNS: tl.constexpr, SLICES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """`steps` are the strides of each input along a row's elements, `width` results lie side by side."""
    grid.wait(EARLY)
    tile, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    across = tl.cdiv(width, COLUMNS)
    row = tl.full((1, 1), tile // across, tl.int64)
    column = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    down, along = grid.positions(row, row_sizes), grid.positions(column, column_sizes)
    held = column < width
    share = tl.cdiv(tl.cdiv(taps, TAPS), SLICES) * TAPS
    total = kept(tl.zeros((TAPS, COLUMNS), tl.float32), tl.full((TAPS, COLUMNS), 0, tl.int1))
    for begin in range(part * share, tl.minimum(part * share + share, taps), TAPS):
        tap = (begin + tl.arange(0, TAPS)[:, None]).to(tl.int64)
        at = grid.positions(tap, tap_sizes)
        inside = (tap < taps) & held
        values = ()
        for one in tl.static_range(len(inputs)):
            place = grid.addresses(inputs[one], down, along, kinds[one]) + grid.distance(at, steps[one], True)
            values = values + (tl.load(tl.broadcast_to(place, inside.shape), mask=inside),)
        total = combine(total, kept(element(values, down + along + at, uniforms, gathered, inside)[0], inside))
    grid.release(EARLY)
    sums = reduced(total)
    arrived = SLICES - 1
    if SLICES > 1:
        own = partial + tile.to(tl.int64) * (SLICES * COLUMNS) + tl.arange(0, COLUMNS)[None, :]
        tl.store(own + part * COLUMNS, sums)
        tl.debug_barrier()
        arrived = tl.atomic_add(counters + tile, 1, sem="acq_rel")
    if arrived == SLICES - 1:
        if SLICES > 1:
            sums = tl.load(own, cache_modifier=".cg")
            for each in tl.static_range(1, SLICES):
                sums = combine(sums, tl.load(own + each * COLUMNS, cache_modifier=".cg"))
            tl.store(counters + tile, 0)
        single = grid.load(finish_inputs, down, along, row >= 0, held, finish_input_kinds)
        results = finish(single + (sums,), down + along, uniforms, gathered, held)
        grid.store(finish_outputs, results, down, along, held, finish_output_kinds)


class Columns:
    """Rows of many elements, reduced once, of which nothing but the result is stored."""

    name = "columns"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Elements and results of a tile, slices: the fewest that fill the machine first."""
        if not isinstance(region, Row):
            return Refusal("no reduction of rows")
        reason = emit.refusal(*(phase.body for phase in region.phases), region.finish) or _refusal(region)
        if reason:
            return Refusal(reason)
        cut = len(region.domain) - region.reduced
        results = dim.bounds(dim.product(region.domain[:cut]))[1] or _USUAL
        taps = dim.bounds(dim.product(region.domain[cut:]))[1] or _USUAL
        wide = dim.bounds(region.domain[cut - 1])[1] or _USUAL
        columns = max(8, min(64, grid.power_of_two(wide)))
        blocks = max(1, results // columns)
        wanted = min(16, grid.power_of_two(-(-2 * arch_of(target).processors // blocks)), max(1, taps // 64))
        some = dict.fromkeys((1 << (wanted.bit_length() - 1), 1, 4, 16))
        names = ("taps", "columns", "slices", "warps")
        rows = [
            (2048 * warps // 4 // one, one, slices, warps)
            for slices in some
            for one in dict.fromkeys((columns, max(8, columns // 2)))
            for warps in (4, 8)
            if slices == 1 or slices * 16 <= taps
        ]
        return [Tactic(self.name, tuple(zip(names, row, strict=True))) for row in rows]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Row) and region.finish is not None
        cut = len(region.domain) - region.reduced
        groups = (region.inputs, region.finish_inputs, region.finish_outputs)
        operands = [_front(one, cut) for group in groups for one in group]
        (phase,) = region.phases
        asked = grid.asked(phase.body, region.finish)
        outer, inner = grid.merged(region.domain[:cut], operands, [axis for axis in asked if axis < cut])
        walked = [_front(one, 0, cut) for one in region.inputs]
        whole = [axis - cut for axis in asked if axis >= cut]
        above, below = grid.merged(region.domain[cut:], walked, whole)
        streams, every = grid.streams(operands, outer, inner), grid.kinds(outer, inner)
        ends = [sum(map(len, groups[: count + 1])) for count in range(3)]
        cuts = [slice(end - len(group), end) for end, group in zip(ends, groups, strict=True)]
        first = len(outer.sizes) + len(inner.sizes)
        places = (*inner.places, *(None if one is None else first + one for one in below.places))
        taps, columns, slices = (int(tactic[name]) for name in ("taps", "columns", "slices"))
        dtype = phase.body.dtype(phase.body.outputs[0])
        start = emit.literal(emit.IDENTITIES[phase.combine](dtype), dtype)
        tiles = dim.product(outer.sizes) * dim.ceildiv(inner.sizes[0], columns)
        sliced = slices > 1
        fillings: dict[str, Filling] = {
            "inputs": streams[cuts[0]],
            "steps": tuple(numbers((*a, *b)) for a, b in zip(above.strides, below.strides, strict=True)),
            "partial": workspace(_partial(dtype)) if sliced else 0,
            "counters": counters() if sliced else 0,
            "finish_inputs": streams[cuts[1]],
            "finish_outputs": streams[cuts[2]],
            "gathered": gathered(region.gathered),
            "uniforms": uniforms(region.uniforms),
            "row_sizes": numbers(outer.sizes),
            "column_sizes": numbers(inner.sizes),
            "tap_sizes": numbers((*above.sizes, *below.sizes)),
            **{"width": number(inner.sizes[0]), "taps": number(dim.product(region.domain[cut:]))},
            "element": Hole(emit.hole_text(phase.body, places)),
            "kept": Hole(f"def hole(value, inside):\n    return tl.where(inside, value, {start})\n"),
            "combine": Hole(f"def hole(x, y):\n    return {window.COMBINED[phase.combine]}\n"),
            "reduced": Hole(
                f"def hole(x):\n    return {emit.COMBINED[phase.combine].format('x').replace(', 1,', ', 0,')}\n"
            ),
            "finish": Hole(emit.hole_text(region.finish, places)),
            "kinds": every[cuts[0]],
            "finish_input_kinds": every[cuts[1]],
            "finish_output_kinds": every[cuts[2]],
            **{"TAPS": taps, "COLUMNS": columns, "SLICES": slices},
            "EARLY": int(arch_of(target).early),
        }
        made = launch(f"{__name__}:columns", tiles * slices, fillings, int(tactic["warps"]))
        room, zeroed = (tiles * (slices * columns * dtype.itemsize), tiles * 4) if sliced else (0, 0)
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _reduced(how: str) -> str:
    return emit.COMBINED[how].format("x").replace(", 1,", ", 0,")


def _partial(dtype: dt.DType) -> str:
    return emit.pointer(dt.f32 if dtype.is_float and dtype.bits < 32 else dtype)


def _front(one: Operand, begin: int, end: int | None = None) -> Operand:
    part = slice(0, begin) if end is None else slice(end, None)
    return Operand(one.value, one.dtype, one.shape[part], one.strides[part], one.offset)


def _refusal(region: Row) -> str | None:
    if len(region.phases) != 1 or region.body is not None or region.finish is None:
        return "more is made of its rows than one number each"
    phase, cut = region.phases[0], len(region.domain) - region.reduced
    dtype = phase.body.dtype(phase.body.outputs[0])
    if phase.combine not in window.COMBINED or dtype not in (dt.f32, dt.f16, dt.bf16):
        return f"rows combined by {phase.combine}, or numbers that are no floats"
    high: Size | None = dim.bounds(dim.product(region.domain[cut:]))[1]
    if high is not None and isinstance(high, int) and high < FEWEST:
        return "rows of few elements"
    moving = [one for one in region.inputs if any(step != 0 for step in one.strides[cut:])]
    if cut == 0 or not any(one.strides[cut - 1] == 1 for one in moving):
        return "results that do not lie side by side"
    return None


STRATEGY = Columns()

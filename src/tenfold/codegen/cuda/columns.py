"""Reductions of many elements that lie apart, such as means over images: tiles of elements by results that lie side by
side; the elements of one result in slices, of which the last to arrive adds all.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import apart, emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, counters, launch, number, numbers, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Operand, Region, Row
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.target import Target

_USUAL = 1 << 12
FEWEST = 16
"""Elements of a row below which lanes walk them faster."""


@triton.jit
def columns(
    inputs, finish_inputs, finish_outputs, gathered, uniforms, row_sizes, column_sizes, steps, tap_sizes, partial,
    counters, width, taps, element: tl.constexpr, combine: tl.constexpr, finish: tl.constexpr, kinds: tl.constexpr,
    finish_input_kinds: tl.constexpr, finish_output_kinds: tl.constexpr, kept: tl.constexpr, reduced: tl.constexpr,
    TAPS: tl.constexpr, COLUMNS: tl.constexpr, SLICES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """`steps` are the strides of each input along a row's elements, `width` results lie side by side."""
    grid.begin(EARLY)
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
        reason = _refusal(region)
        if reason:
            return Refusal(reason)
        assert isinstance(region, Row)
        cut = apart.first_of_row(region)
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
        return tabled(self.name, names, rows)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Row)
        walk = apart.Walk(region)
        cut, phase, inner = walk.cut, walk.phase, walk.inner
        behind = [_back(one, cut) for one in region.inputs]
        above, below = grid.merged(region.domain[cut:], behind, [axis - cut for axis in walk.asked if axis >= cut])
        taps, columns, slices = (int(tactic[name]) for name in ("taps", "columns", "slices"))
        dtype = phase.body.dtype(phase.body.outputs[0])
        start = emit.literal(emit.IDENTITIES[phase.combine](dtype), dtype)
        tiles = dim.product(walk.outer.sizes) * dim.ceildiv(inner.sizes[0], columns)
        sliced = slices > 1
        steps = tuple(numbers((*a, *b)) for a, b in zip(above.strides, below.strides, strict=True))
        fillings: dict[str, Filling] = {
            **walk.memory(steps, (*above.sizes, *below.sizes)),
            "partial": workspace(_partial(dtype)) if sliced else 0,
            "counters": counters() if sliced else 0,
            **{"width": number(inner.sizes[0]), "taps": number(dim.product(region.domain[cut:]))},
            **walk.bodies([None if one is None else walk.axes + one for one in below.places]),
            "kept": Hole(f"def hole(value, inside):\n    return tl.where(inside, value, {start})\n"),
            "reduced": Hole(f"def hole(x):\n    return {_reduced(phase.combine)}\n"),
            **{"TAPS": taps, "COLUMNS": columns, "SLICES": slices},
            "EARLY": int(arch_of(target).early),
        }
        made = launch(f"{__name__}:columns", tiles * slices, fillings, int(tactic["warps"]))
        room, zeroed = (tiles * (slices * columns * dtype.itemsize), tiles * 4) if sliced else (0, 0)
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _reduced(how: str) -> str:
    """All rows of a tile combined, column by column."""
    return emit.COMBINED[how].format("x").replace(", 1,", ", 0,")


def _partial(dtype: dt.DType) -> str:
    return emit.pointer(dt.f32 if dtype.is_float and dtype.bits < 32 else dtype)


def _back(one: Operand, cut: int) -> Operand:
    return Operand(one.value, one.dtype, one.shape[cut:], one.strides[cut:], one.offset)


def _refusal(region: Region) -> str | None:
    reason = apart.refusal(region)
    if reason:
        return reason
    assert isinstance(region, Row)
    phase, cut = region.phases[0], apart.first_of_row(region)
    if phase.body.dtype(phase.body.outputs[0]) not in (dt.f32, dt.f16, dt.bf16):
        return "numbers that are no floats"
    high: Size | None = dim.bounds(dim.product(region.domain[cut:]))[1]
    if high is not None and isinstance(high, int) and high < FEWEST:
        return "rows of few elements"
    moving = [one for one in region.inputs if any(step != 0 for step in one.strides[cut:])]
    if cut == 0 or not any(one.strides[cut - 1] == 1 for one in moving):
        return "results that do not lie side by side"
    return None


STRATEGY = Columns()

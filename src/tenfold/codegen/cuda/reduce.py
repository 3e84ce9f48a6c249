"""Reductions, softmax and norms: several rows a block, each held in registers from its load to its last use."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, launch
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.cuda.rows import refusal, walked
from tenfold.codegen.region import Body, Phase, Region, Row
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.target import Target

LONGEST = 1 << 14
"""Elements of the longest row that stays in registers."""

_TILES = ((4, 4096), (8, 8192), (4, 2048), (1, 1024), (2, 1024), (2, 2048), (4, 1024), (1, 2048), (4, 8192), (8, 4096))


@triton.jit
def rows_in_registers(
    inputs,
    outputs,
    finish_inputs,
    finish_outputs,
    gathered,
    uniforms,
    row_sizes,
    column_sizes,
    rows,
    columns,
    scalars: tl.constexpr,
    finish: tl.constexpr,
    body: tl.constexpr,
    input_kinds: tl.constexpr,
    output_kinds: tl.constexpr,
    finish_input_kinds: tl.constexpr,
    finish_output_kinds: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Load whole rows, run the phases, store what follows."""
    grid.begin(EARLY)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    row_inside, column_inside = row < rows, column < columns
    down, along = grid.positions(row, row_sizes), grid.positions(column, column_sizes)
    values = grid.load(inputs, down, along, row_inside, column_inside, input_kinds)
    inside = row_inside & column_inside
    found = scalars(values, down + along, uniforms, gathered, inside)
    if len(finish_outputs) > 0:
        single = grid.load(finish_inputs, down, along, row_inside, column_inside, finish_input_kinds)
        results = finish(single + found, down + along, uniforms, gathered, row_inside)
        grid.store(finish_outputs, results, down, along, row_inside, finish_output_kinds)
    if len(outputs) > 0:
        results = body(values + found, down + along, uniforms, gathered, inside)
        grid.store(outputs, results, down, along, inside, output_kinds)


class RowStrategy:
    """Rows that fit the registers of a block."""

    name = "rows"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Several rows a block; a Refusal for long rows, and for what has no generated code."""
        reason = refusal(region)
        if reason:
            return Refusal(reason)
        assert isinstance(region, Row)
        missing = [phase.combine for phase in region.phases if phase.combine not in emit.IDENTITIES]
        if missing:
            return Refusal(f"rows combined by {missing[0]} have no generated code for GPUs yet")
        longest = _longest(region)
        if longest is None or longest > LONGEST:
            return Refusal(f"rows of {longest or 'unbounded'} elements; {LONGEST} stay in registers")
        width = grid.power_of_two(longest)
        found = dict.fromkeys(
            (max(1, tile // width), warps) for warps, tile in _TILES if tile >= width or warps * 1024 >= width
        )
        tactics = [Tactic(self.name, (("rows", rows), ("warps", warps))) for rows, warps in found]
        return tactics or [Tactic(self.name, (("rows", 1), ("warps", 16)))]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Row)
        longest = _longest(region)
        assert longest is not None
        walk, high = walked(region), int(tactic["rows"])
        fillings = {
            **walk.streams,
            **walk.sizes,
            "scalars": Hole(scalars(region, emit.TileWriter(walk.places))),
            **walk.bodies,
            **{"ROWS": high, "COLUMNS": grid.power_of_two(longest), "EARLY": int(arch_of(target).early)},
        }
        blocks = dim.ceildiv(walk.rows, high)
        made = launch(f"{__name__}:rows_in_registers", blocks, fillings, warps=int(tactic["warps"]))
        return CudaKernel(launches=(made,))


def _longest(region: Row) -> int | None:
    return dim.bounds(dim.product(region.domain[len(region.domain) - region.reduced :]))[1]


def scalars(region: Row, writer: emit.TileWriter) -> str:
    """The hole that runs the phases, one after the other."""
    inputs = [writer.value(number, one.dtype) for number, one in enumerate(region.inputs)]
    found: list[str] = []
    for phase in region.phases:
        found.append(_phase(writer, phase, [*inputs, *found]))
    return writer.text(found)


def _phase(writer: emit.TileWriter, phase: Phase, inputs: Sequence[str]) -> str:
    body: Body = phase.body
    (element,) = writer.body(body, inputs)
    return writer.combine(element, body.dtype(body.outputs[0]), phase.combine)


STRATEGY = RowStrategy()

"""Few long rows, spread over the whole machine: each phase is a launch whose blocks take a slice of a row, and begin
by combining what the slices gave in the phases before; so is what is stored of the elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import apart, grid, sweeps
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, launch, workspace
from tenfold.codegen.cuda.rows import refusal, walked
from tenfold.codegen.region import Region, Row
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.target import Target

_FEW, _LONG = 1 << 10, 1 << 13
"""Rows at most, elements of one at least."""
_USUAL = 1 << 16
_SHAPES = ((2048, 16, 8), (1024, 32, 4), (1024, 8, 4), (2048, 64, 8), (512, 16, 4))
"""Elements at a time, slices of a row, warps."""


@triton.jit
def spread(
    inputs, outputs, finish_inputs, finish_outputs, partial, gathered, uniforms, row_sizes, column_sizes, rows, columns,
    elements: tl.constexpr, starts: tl.constexpr, joins: tl.constexpr, closes: tl.constexpr, finish: tl.constexpr,
    body: tl.constexpr, input_kinds: tl.constexpr, output_kinds: tl.constexpr, finish_input_kinds: tl.constexpr,
    finish_output_kinds: tl.constexpr, PHASE: tl.constexpr, COLUMNS: tl.constexpr, SLICES: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """A slice of a row: what it gives in a PHASE, or behind the last of them what is stored."""
    grid.wait(EARLY)
    row, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    own = partial + row.to(tl.int64) * SLICES
    row = tl.full((1, 1), row, tl.int64)
    down = grid.positions(row, row_sizes)
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SLICES) * COLUMNS
    first, last = part * share, tl.minimum(part * share + share, columns)
    found = ()
    for phase in tl.static_range(PHASE):
        every = tl.load(own + phase * rows * SLICES + tl.arange(0, SLICES)[None, :], cache_modifier=".cg")
        found = found + (closes[phase](every, tl.zeros((1, SLICES), tl.int64)),)
    if len(elements) > PHASE:
        one = sweeps.swept(
            inputs, found, down, row >= 0, uniforms, gathered, column_sizes, first, last, columns,
            elements[PHASE], starts[PHASE], joins[PHASE], closes[PHASE], input_kinds, 1, COLUMNS,
        )  # fmt: skip
        tl.store(own + (PHASE * rows * SLICES + part) + tl.zeros((1, 1), tl.int32), one)
    else:
        if len(finish_outputs) > 0:
            along = grid.positions(tl.full((1, 1), 0, tl.int32), column_sizes)
            single = grid.load(finish_inputs, down, along, row >= 0, row >= 0, finish_input_kinds)
            results = finish(single + found, down + along, uniforms, gathered, row >= 0)
            grid.store(finish_outputs, results, down, along, row >= 0, finish_output_kinds)
        for begin in range(first, last, COLUMNS):
            sweeps.written(
                inputs, outputs, found, down, row >= 0, uniforms, gathered, column_sizes, begin, columns, body,
                input_kinds, output_kinds, COLUMNS,
            )  # fmt: skip
    grid.release(EARLY)


class Spread:
    """Rows that are fewer than multiprocessors would need, and whose elements are stored."""

    name = "spread"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Elements at a time, slices, warps."""
        reason = _refusal(region)
        if reason:
            return Refusal(reason)
        names = ("elements", "slices", "warps")
        return tabled(self.name, names, _SHAPES)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """A launch a phase and one behind them; a workspace of what slices gave."""
        assert isinstance(region, Row)
        wide, slices, warps = (int(tactic[name]) for name in ("elements", "slices", "warps"))
        walk = walked(region)
        rows, count = walk.rows, len(region.phases)
        launches = [
            launch(
                f"{__name__}:spread",
                rows * slices,
                {
                    **walk.streams,
                    "partial": workspace("*fp32"),
                    **walk.sizes,
                    **sweeps.phases(region, walk),
                    **walk.bodies,
                    **{"PHASE": phase, "COLUMNS": wide, "SLICES": slices, "EARLY": int(arch_of(target).early)},
                },
                warps,
            )
            for phase in range(count + 1)
        ]
        return CudaKernel(launches=tuple(launches), workspace=rows * (4 * slices * count))


def _refusal(region: Region) -> str | None:
    reason = refusal(region)
    if reason:
        return reason
    assert isinstance(region, Row)
    if region.body is None or not region.phases:
        return "no rows of which elements are stored"
    if any(sweeps.result_of(phase) is not dt.f32 or phase.combine not in apart.COMBINED for phase in region.phases):
        return "phases that give more than one float each"
    cut = len(region.domain) - region.reduced
    rows, columns = (dim.bounds(dim.product(some))[1] or _USUAL for some in (region.domain[:cut], region.domain[cut:]))
    return None if rows <= _FEW and columns >= _LONG else "many rows, or short ones"


STRATEGY = Spread()

"""Reductions of few elements that lie apart, such as pooling: lanes are results, each walks its own elements."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import apart, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, number, numbers
from tenfold.codegen.region import Operand, Region, Row
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.target import Target

MOST = 64
"""Elements of the longest row that one lane walks."""


@triton.jit
def taken(inputs, steps, down, along, row_inside, column_inside, at, kinds: tl.constexpr):
    """One element of each row, of every input."""
    values = ()
    for one in tl.static_range(len(inputs)):
        tile = grid.addresses(inputs[one], down, along, kinds[one]) + grid.distance(at, steps[one], True)
        values = values + (tl.load(tile, mask=grid.exists(row_inside, column_inside, kinds[one])),)
    return values


@triton.jit
def windows(
    inputs, finish_inputs, finish_outputs, gathered, uniforms, row_sizes, column_sizes, steps, tap_sizes, rows, columns,
    element: tl.constexpr, combine: tl.constexpr, finish: tl.constexpr, kinds: tl.constexpr,
    finish_input_kinds: tl.constexpr, finish_output_kinds: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """`steps` are the strides of each input from element to element of a row."""
    grid.begin(EARLY)
    across = tl.cdiv(columns, COLUMNS)
    row = (tl.program_id(0) // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tl.program_id(0) % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    row_inside, column_inside = row < rows, column < columns
    down, along = grid.positions(row, row_sizes), grid.positions(column, column_sizes)
    inside = row_inside & column_inside
    at = grid.positions(tl.full((), 0, tl.int64), tap_sizes)
    values = taken(inputs, steps, down, along, row_inside, column_inside, at, kinds)
    total = element(values, down + along + at, uniforms, gathered, inside)[0]
    for tap in tl.static_range(1, TAPS):
        at = grid.positions(tl.full((), tap, tl.int64), tap_sizes)
        values = taken(inputs, steps, down, along, row_inside, column_inside, at, kinds)
        total = combine(total, element(values, down + along + at, uniforms, gathered, inside)[0])
    single = grid.load(finish_inputs, down, along, row_inside, column_inside, finish_input_kinds)
    results = finish(single + (total,), down + along, uniforms, gathered, inside)
    grid.store(finish_outputs, results, down, along, inside, finish_output_kinds)


class Windows:
    """Rows of few elements, reduced once, of which nothing but the result is stored."""

    name = "windows"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tiles of several widths; a Refusal where rows are long or their elements lie side by side."""
        reason = _refusal(region)
        if reason:
            return Refusal(reason)
        shapes = ((2048, 4), (1024, 4), (4096, 4), (512, 4), (4096, 8), (256, 2))
        return [Tactic(self.name, (("elements", elements), ("warps", warps))) for elements, warps in shapes]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Row)
        walk = apart.Walk(region)
        elements, columns = int(tactic["elements"]), walk.inner.sizes[0]
        high = dim.bounds(columns)[1]
        wide = min(elements, grid.power_of_two(high) if high is not None else elements, 512)
        rows, taps = dim.product(walk.outer.sizes), region.domain[walk.cut :]
        fillings: dict[str, Filling] = {
            **walk.memory(tuple(numbers(one.strides[walk.cut :]) for one in region.inputs), taps),
            **{"rows": number(rows), "columns": number(columns)},
            **walk.bodies(range(walk.axes, walk.axes + region.reduced)),
            **{"TAPS": _count(taps), "ROWS": max(1, elements // wide), "COLUMNS": wide},
            "EARLY": int(arch_of(target).early),
        }
        blocks = dim.ceildiv(rows, max(1, elements // wide)) * dim.ceildiv(columns, wide)
        return CudaKernel(launches=(launch(f"{__name__}:windows", blocks, fillings, int(tactic["warps"])),))


def _count(taps: Sequence[Size]) -> int:
    product = dim.product(taps)
    return product if isinstance(product, int) else 0


def _refusal(region: Region) -> str | None:
    reason = apart.refusal(region)
    if reason:
        return reason
    assert isinstance(region, Row)
    cut = apart.first_of_row(region)
    if not 0 < _count(region.domain[cut:]) <= MOST:
        return f"rows of more than {MOST} elements, or of an unknown number"
    if any(one.strides[-1] == 1 and region.domain[-1] != 1 and _joined(one, cut) for one in region.inputs):
        return "elements of a row lie side by side"
    return None


def _joined(one: Operand, cut: int) -> bool:
    """Whether no axis of the rows is walked in steps of one."""
    return not any(step == 1 for step in one.strides[:cut])


STRATEGY = Windows()

"""Rows of any length: each phase sweeps over its row in blocks, and so does what is stored of its elements.

A row that is reduced once, of which only the result is stored, may be cut into slices; the last of them to arrive
combines all, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import apart, emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, counters, launch, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.cuda.rows import Walk, refusal, walked
from tenfold.codegen.region import Phase, Region, Row
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.target import Target

_SHAPES = ((1, 4096, 8), (1, 8192, 16), (4, 512, 4), (1, 1024, 4), (4, 1024, 8))
"""(rows, elements of them at a time, warps)."""
_SLICES = (256, 64, 16)
_SLICED = 1 << 15
"""Elements that a row has at least where it is cut into slices."""

JOINED: Mapping[str, str] = {
    "sum": "total + x",
    "prod": "total * x",
    "max": "vmath.greater(total, x)",
    "min": "vmath.lesser(total, x)",
    "any": "total | x",
    "all": "total & x",
}
"""Of each way to combine, how a block joins what the blocks before gave."""


@triton.jit
def swept(
    inputs, found, down, row_inside, uniforms, gathered, column_sizes, first, last, columns,
    element: tl.constexpr, start: tl.constexpr, join: tl.constexpr, close: tl.constexpr, kinds: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One phase: the elements from `first` to `last` of some rows, combined."""
    total = tl.broadcast_to(start(), (ROWS, COLUMNS))
    place = tl.full((ROWS, COLUMNS), -1, tl.int64)
    for begin in range(first, last, COLUMNS):
        column = begin + tl.arange(0, COLUMNS)[None, :]
        column_inside = column < columns
        along = grid.positions(column, column_sizes)
        values = grid.load(inputs, down, along, row_inside, column_inside, kinds)
        inside = row_inside & column_inside
        x = element(values + found, down + along, uniforms, gathered, inside)[0]
        total, place = join(total, place, x, column.to(tl.int64), inside)
    return close(total, place)


@triton.jit
def sweeps(
    inputs, outputs, finish_inputs, finish_outputs, partial, counters, gathered, uniforms, row_sizes, column_sizes,
    rows, columns, elements: tl.constexpr, starts: tl.constexpr, joins: tl.constexpr, closes: tl.constexpr,
    finish: tl.constexpr, body: tl.constexpr, input_kinds: tl.constexpr, output_kinds: tl.constexpr,
    finish_input_kinds: tl.constexpr, finish_output_kinds: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SLICES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Some rows a block, or one slice of a row."""
    grid.wait(EARLY)
    number, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    row = number.to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    row_inside = row < rows
    down = grid.positions(row, row_sizes)
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SLICES) * COLUMNS
    first, last = part * share, tl.minimum(part * share + share, columns)
    found = ()
    for phase in tl.static_range(len(elements)):
        one = swept(
            inputs, found, down, row_inside, uniforms, gathered, column_sizes, first, last, columns,
            elements[phase], starts[phase], joins[phase], closes[phase], input_kinds, ROWS, COLUMNS,
        )  # fmt: skip
        found = found + (one,)
    along = grid.positions(tl.full((1, 1), 0, tl.int32), column_sizes)
    if SLICES > 1:
        gathered_up(
            one, number, part, partial, counters, finish_inputs, finish_outputs, gathered, uniforms, down, along,
            row_inside, starts[0], closes[0], finish, finish_input_kinds, finish_output_kinds, SLICES,
        )  # fmt: skip
    elif len(finish_outputs) > 0:
        single = grid.load(finish_inputs, down, along, row_inside, row_inside, finish_input_kinds)
        results = finish(single + found, down + along, uniforms, gathered, row_inside)
        grid.store(finish_outputs, results, down, along, row_inside, finish_output_kinds)
    grid.release(EARLY)
    if len(outputs) > 0:
        for begin in range(0, columns, COLUMNS):
            written(
                inputs, outputs, found, down, row_inside, uniforms, gathered, column_sizes, begin, columns, body,
                input_kinds, output_kinds, COLUMNS,
            )  # fmt: skip


@triton.jit
def written(
    inputs, outputs, found, down, row_inside, uniforms, gathered, column_sizes, begin, columns, body: tl.constexpr,
    input_kinds: tl.constexpr, output_kinds: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """What is stored of the elements from `begin` on."""
    column = begin + tl.arange(0, COLUMNS)[None, :]
    column_inside = column < columns
    along = grid.positions(column, column_sizes)
    values = grid.load(inputs, down, along, row_inside, column_inside, input_kinds)
    inside = row_inside & column_inside
    results = body(values + found, down + along, uniforms, gathered, inside)
    grid.store(outputs, results, down, along, inside, output_kinds)


@triton.jit
def gathered_up(
    one, row, part, partial, counters, finish_inputs, finish_outputs, gathered, uniforms, down, along, row_inside,
    start: tl.constexpr, close: tl.constexpr, finish: tl.constexpr, finish_input_kinds: tl.constexpr,
    finish_output_kinds: tl.constexpr, SLICES: tl.constexpr,
):  # fmt: skip
    """The end of a slice: the last one of its row to arrive combines all and finishes."""
    own = partial + row.to(tl.int64) * SLICES
    tl.store(own + part + tl.zeros((1, 1), tl.int32), one)
    tl.debug_barrier()
    arrived = tl.atomic_add(counters + row, 1, sem="acq_rel")
    if arrived == SLICES - 1:
        every = tl.load(own + tl.arange(0, SLICES)[None, :], cache_modifier=".cg")
        total = close(every, tl.zeros((1, SLICES), tl.int64))
        tl.store(counters + row, 0)
        single = grid.load(finish_inputs, down, along, row_inside, row_inside, finish_input_kinds)
        results = finish(single + (total,), down + along, uniforms, gathered, row_inside)
        grid.store(finish_outputs, results, down, along, row_inside, finish_output_kinds)


class Sweeps:
    """Rows that do not stay in registers, or whose length only the call tells."""

    name = "sweeps"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Blocks of several shapes; slices where rows are long and are reduced to one number."""
        reason = refusal(region)
        if reason:
            return Refusal(reason)
        assert isinstance(region, Row)
        whole = [(*shape, 1) for shape in _SHAPES]
        cut = [(1, 4096, 8, slices) for slices in _SLICES] if _slices_pay(region) else []
        names = ("rows", "elements", "warps", "slices")
        return tabled(self.name, names, (*cut, *whole))

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; of slices, a workspace and counters."""
        assert isinstance(region, Row)
        high, wide, warps, slices = (int(tactic[name]) for name in ("rows", "elements", "warps", "slices"))
        walk = walked(region)
        rows, dtype = walk.rows, result_of(region.phases[0]) if region.phases else dt.f32
        sliced: dict[str, Filling] = {"partial": 0, "counters": 0}
        if slices > 1:
            sliced = {"partial": workspace(emit.pointer(dtype)), "counters": counters()}
        fillings: dict[str, Filling] = {
            **walk.streams,
            **sliced,
            **walk.sizes,
            **phases(region, walk),
            **walk.bodies,
            **{"ROWS": high, "COLUMNS": wide, "SLICES": slices, "EARLY": int(arch_of(target).early)},
        }
        made = launch(f"{__name__}:sweeps", dim.ceildiv(rows, high) * slices, fillings, warps)
        room = rows * slices if slices > 1 else 0
        return CudaKernel(launches=(made,), workspace=room * dtype.itemsize, zeroed=(rows if slices > 1 else 0) * 4)


def phases(region: Row, walk: Walk) -> dict[str, Filling]:
    """How each phase makes, begins, joins and ends what it combines."""
    return {
        "elements": tuple(Hole(emit.hole_text(phase.body, walk.places)) for phase in region.phases),
        "starts": tuple(Hole(_start(phase)) for phase in region.phases),
        "joins": tuple(Hole(_join(phase)) for phase in region.phases),
        "closes": tuple(Hole(_close(phase)) for phase in region.phases),
    }


def result_of(phase: Phase) -> DType:
    """The element type that a phase's results have in registers."""
    dtype = phase.body.dtype(phase.body.outputs[0])
    return dt.f32 if dtype.is_float and dtype.bits < 32 else dtype


def _slices_pay(region: Row) -> bool:
    """Whether rows are long, few, reduced once, and give one number each."""
    if len(region.phases) != 1 or region.body is not None or region.finish is None:
        return False
    (phase,) = region.phases
    cut = len(region.domain) - region.reduced
    longest, rows = (dim.bounds(dim.product(some))[1] for some in (region.domain[cut:], region.domain[:cut]))
    few = rows is not None and rows <= 1 << 10
    plain = phase.combine in apart.COMBINED and result_of(phase).bits >= 32
    return plain and few and (longest is None or longest >= _SLICED)


def _start(phase: Phase) -> str:
    dtype = phase.body.dtype(phase.body.outputs[0])
    return f"def hole():\n    return {emit.literal(emit.IDENTITIES[phase.combine](dtype), dtype)}\n"


def _join(phase: Phase) -> str:
    head = "def hole(total, place, x, column, inside):\n"
    if phase.combine not in JOINED:
        greatest, last = _sides(phase)
        return (
            f"{head}    x = tl.broadcast_to(x, total.shape)\n"
            f"    wins = vmath.beats(x, total, place, {greatest}, {last}) & inside\n"
            "    return tl.where(wins, x, total), tl.where(wins, column, place)\n"
        )
    dtype = phase.body.dtype(phase.body.outputs[0])
    neutral = emit.literal(emit.IDENTITIES[phase.combine](dtype), dtype)
    return f"{head}    x = tl.where(inside, x, {neutral})\n    return {JOINED[phase.combine]}, place\n"


def _close(phase: Phase) -> str:
    if phase.combine in JOINED:
        text = emit.COMBINED[phase.combine].format("total")
    else:
        greatest, last = _sides(phase)
        text = f"vmath.chosen(total, place, place >= 0, {greatest}, {last})"
    return f"def hole(total, place):\n    return {text}\n"


def _sides(phase: Phase) -> tuple[bool, bool]:
    """Whether the greatest is looked for, and the last of equals."""
    return phase.combine.startswith("argmax"), phase.combine.endswith("_last")


STRATEGY = Sweeps()

"""Scattering: a copy of the data, then updates placed where positions say, or combined there, in their order.

A lane is one element of a slice (ScatterND) or one line along the axis (ScatterElements): lanes never meet. `serial`:
each lane walks all updates. `ranges`: each block owns a range of places, and takes the updates that fall into it, in
their order. `marked`: all updates at once; the last of those with one place leaves its mark there, and it alone is
stored. `atomic`: all at once, where the order changes nothing. A position out of range places nothing, and sets the
alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import triton
import triton.language as tl

from tenfold.codegen.axes import few
from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.epilogue import copied, with_epilogue
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Launch, alarm, launch, number, numbers, place, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ops.constant import Constant
from tenfold.ops.index import ScatterElements, ScatterND
from tenfold.target import Target

_COMBINED: Mapping[str, str] = {
    "add": "old + new",
    "mul": "old * new",
    "max": "vmath.greater(old, new)",
    "min": "vmath.lesser(old, new)",
}
_ATOMIC: Mapping[str, str] = {
    "add": "tl.atomic_add(y, new, mask=inside)",
    "max": "tl.atomic_max(y, new, mask=inside)",
    "min": "tl.atomic_min(y, new, mask=inside)",
}
_FEW = 16
"""Updates that lanes serve one after another as fast as all at once."""
_WIDE = {True: 1 << 13, False: 1 << 8}
"""Lanes from which on each walks all updates: where positions are the same for all of them, where they are not."""


@triton.jit
def reached(positions, update, lane, update_sizes, lane_sizes, limits, coordinates, alarm, inside):
    """Where updates go, relative to the beginning of their lane; the number of that place; whether it exists, which
    all must.
    """
    at, across = grid.positions(update, update_sizes), grid.positions(lane, lane_sizes)
    start = positions[0] + grid.distance(at, positions[1], True) + grid.distance(across, positions[2], True)
    far, spot, given = tl.zeros_like(update), tl.zeros_like(update), inside
    for d in tl.static_range(len(limits)):
        where = tl.broadcast_to(start + d * positions[3], inside.shape)
        found = tl.load(where, mask=inside, other=0).to(tl.int64)
        found = tl.where(found < 0, found + limits[d], found)
        inside = inside & (found >= 0) & (found < limits[d])
        far, spot = far + found * coordinates[d], spot * limits[d] + found
    tl.store(tl.broadcast_to(alarm, inside.shape), tl.full(inside.shape, 1, tl.int32), mask=given & ~inside)
    return far, spot, inside


@triton.jit
def put(y, updates, far, update, lane, update_sizes, lane_sizes, inside, combine: tl.constexpr):
    """Place updates, or combine them with what is there."""
    at, across = grid.positions(update, update_sizes), grid.positions(lane, lane_sizes)
    source = updates[0] + grid.distance(at, updates[1], True) + grid.distance(across, updates[2], True)
    target = tl.broadcast_to(y[0] + far + grid.distance(across, y[1], True), inside.shape)
    combine(target, tl.load(tl.broadcast_to(source, inside.shape), mask=inside, other=0), inside)


@triton.jit
def serial(
    y, updates, positions, update_sizes, lane_sizes, limits, coordinates, alarm, count, lanes, combine: tl.constexpr,
    LANES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Some lanes, all updates one after another."""
    grid.wait(EARLY)
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    for one in range(count):
        update = tl.full((LANES,), 0, tl.int64) + one
        far, _, inside = reached(
            positions, update, lane, update_sizes, lane_sizes, limits, coordinates, alarm, lane < lanes
        )
        put(y, updates, far, update, lane, update_sizes, lane_sizes, inside, combine)
        tl.debug_barrier()
    grid.release(EARLY)


@triton.jit
def ranges(
    y, updates, positions, update_sizes, lane_sizes, limits, coordinates, alarm, count, lanes, places, parts,
    combine: tl.constexpr, LANES: tl.constexpr, AT_ONCE: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Some lanes, and those updates in their order that fall into one of `parts` ranges of `places`. Of one lane,
    unless positions are the same for all.
    """
    grid.wait(EARLY)
    group, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    lane = group.to(tl.int64) * LANES + tl.arange(0, LANES)
    first = tl.full((AT_ONCE,), 0, tl.int64) + group.to(tl.int64) * LANES
    share = tl.cdiv(places, parts)
    for begin in range(0, count, AT_ONCE):
        update = begin + tl.arange(0, AT_ONCE).to(tl.int64)
        far, spot, inside = reached(
            positions, update, first, update_sizes, lane_sizes, limits, coordinates, alarm, update < count
        )
        own = tl.where(inside & (spot // share == part), update, count)
        for _ in range(tl.sum((own < count).to(tl.int32))):
            one = tl.min(own)
            distance = tl.sum(tl.where(own == one, far, 0))
            again = tl.full((LANES,), 0, tl.int64) + one
            put(y, updates, distance, again, lane, update_sizes, lane_sizes, lane < lanes, combine)
            own = tl.where(own == one, count, own)
            tl.debug_barrier()
    grid.release(EARLY)


@triton.jit
def spread(
    y, updates, positions, update_sizes, lane_sizes, limits, coordinates, alarm, count, lanes, marks, places,
    combine: tl.constexpr, MODE: tl.constexpr, ALIKE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """A tile of updates by lanes. MODE 0: all are placed; 1: marks are cleared; 2: set; 3: who left its mark is placed.
    ALIKE: positions are the same for all lanes, and so are marks.
    """
    grid.wait(EARLY)
    across = tl.cdiv(lanes, LANES)
    update = (tl.program_id(0) // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lane = (tl.program_id(0) % across).to(tl.int64) * LANES + tl.arange(0, LANES)[None, :]
    update, lane = tl.broadcast_to(update, (ROWS, LANES)), tl.broadcast_to(lane, (ROWS, LANES))
    inside = (update < count) & (lane < lanes)
    far, spot, inside = reached(positions, update, lane, update_sizes, lane_sizes, limits, coordinates, alarm, inside)
    if MODE > 0:
        mark = marks + spot if ALIKE else marks + lane * places + spot
        if MODE == 1:
            tl.store(mark, tl.full((ROWS, LANES), -1, tl.int32), mask=inside)
        elif MODE == 2:
            tl.atomic_max(mark, update.to(tl.int32), mask=inside)
        else:
            inside = inside & (tl.load(mark, mask=inside, other=-1) == update)
    if MODE % 3 == 0:
        put(y, updates, far, update, lane, update_sizes, lane_sizes, inside, combine)
    grid.release(EARLY)


@dataclass(frozen=True, eq=False)
class Form:
    """`count` updates of `lanes` lanes, each to one of `places`, as the kernels' parameters. `alike`: positions are the
    same for all lanes; `apart`: no two updates are known to meet.
    """

    fillings: dict[str, Filling]
    dtype: DType
    count: Size
    lanes: Size
    places: Size
    alike: bool
    apart: bool


class Scatter:
    """ScatterElements and ScatterND."""

    name = "scatter"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The ways that give what the updates in their order give, the best guess first."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, ScatterElements | ScatterND):
            return Refusal("no scattering")
        dtype, reduction = region.inputs[0].dtype, region.anchor.reduction
        if dtype not in emit.NAMES or (dtype is dt.boolean and reduction != "none"):
            return Refusal(f"{reduction} of {dtype}")
        reason = emit.refusal(region.body)
        if reason:
            return Refusal(reason)
        form = _form(region, region.outputs[0])
        few_updates = (dim.bounds(form.count)[1] or _FEW + 1) <= _FEW
        wide = (dim.bounds(form.lanes)[0] or 0) >= _WIDE[form.alike]
        if reduction == "none":
            ways = ["apart"] if form.apart else ["serial", "marked"] if few_updates else ["marked", "serial"]
        else:
            ways = ["serial", "ranges"] if few_updates or wide else ["ranges", "serial"]
            if dtype in (dt.i32, dt.i64, dt.u32, dt.u64) and reduction in _ATOMIC:
                ways = ["serial", "atomic"] if few_updates else ["atomic", *ways]
        return tuple(Tactic(self.name, (("by", way),)) for way in ways)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """The copy, then the updates."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, ScatterElements | ScatterND)
        reduction = region.anchor.reduction

        def make(y: Operand) -> CudaKernel:
            form = _form(region, y)
            early: dict[str, Filling] = {"EARLY": int(arch_of(target).early)}
            made, room = _placing(form, str(tactic["by"]), reduction, early)
            return CudaKernel(launches=(*copied(region.inputs[0], y, target), *made), workspace=room)

        return with_epilogue(region, target, make)


def _placing(form: Form, way: str, reduction: str, more: dict[str, Filling]) -> tuple[tuple[Launch, ...], Size]:
    """The launches that place updates, and the bytes of workspace that they take."""
    ordered: dict[str, Filling] = {"combine": Hole(_ordered(reduction, form.dtype))}
    if way == "serial":
        fillings = form.fillings | ordered | {"LANES": 128} | more
        return (launch(f"{__name__}:serial", dim.ceildiv(form.lanes, 128), fillings),), 0
    if way == "ranges":
        lanes = min(128, grid.power_of_two(dim.bounds(form.lanes)[1] or 128)) if form.alike else 1
        parts = dim.minimum(form.places, 4 * PROCESSORS)
        rest: dict[str, Filling] = {"places": number(form.places), "parts": number(parts)}
        fillings = form.fillings | rest | ordered | {"LANES": lanes, "AT_ONCE": 512} | more
        return (launch(f"{__name__}:ranges", dim.ceildiv(form.lanes, lanes) * parts, fillings),), 0
    at_once: dict[str, Filling] = {"combine": Hole(_at_once(reduction))}
    if way != "marked":
        return (_spread(form, form.lanes, 0, at_once, more),), 0
    lanes = 1 if form.alike else form.lanes
    marking = tuple(_spread(form, lanes, mode, at_once, more) for mode in (1, 2))
    return (*marking, _spread(form, form.lanes, 3, at_once, more)), lanes * form.places * 4


def _spread(form: Form, lanes: Size, mode: int, combine: dict[str, Filling], more: dict[str, Filling]) -> Launch:
    wide = min(256, grid.power_of_two(dim.bounds(lanes)[1] or 256))
    high = 512 // wide
    fillings = form.fillings | {
        "lanes": number(lanes),
        "marks": workspace("*i32") if mode else 0,
        "places": number(form.places),
        **combine,
        **{"MODE": mode, "ALIKE": int(form.alike), "ROWS": high, "LANES": wide},
        **more,
    }
    return launch(f"{__name__}:spread", dim.ceildiv(form.count, high) * dim.ceildiv(lanes, wide), fillings)


def _ordered(reduction: str, dtype: DType) -> str:
    head = "def hole(y, new, inside):\n"
    if reduction == "none":
        return f"{head}    tl.store(y, new, mask=inside)\n"
    kind = emit.register(dtype)
    return (
        f"{head}    old, new = tl.load(y, mask=inside, other=0).to({kind}), new.to({kind})\n"
        f"    tl.store(y, ({_COMBINED[reduction]}).to(y.dtype.element_ty), mask=inside)\n"
    )


def _at_once(reduction: str) -> str:
    return f"def hole(y, new, inside):\n    {_ATOMIC.get(reduction, 'tl.store(y, new, mask=inside)')}\n"


def _form(region: Anchored, y: Operand) -> Form:
    _, positions, updates = region.inputs
    if isinstance(region.anchor, ScatterND):
        return _slices(y, positions, updates)
    assert isinstance(region.anchor, ScatterElements)
    return _elements(region.anchor.axis, y, positions, updates)


def _elements(axis: int, y: Operand, positions: Operand, updates: Operand) -> Form:
    rest = [other for other in range(len(positions.shape)) if other != axis]
    spread_updates = _repeated(updates, positions.shape)
    operands = (y, spread_updates, positions)
    lanes = few([positions.shape[a] for a in rest], [[one.strides[a] for a in rest] for one in operands])
    fillings: dict[str, Filling] = {
        "y": (place(y), numbers(lanes.strides[0])),
        "updates": (place(updates), numbers([spread_updates.strides[axis]]), numbers(lanes.strides[1])),
        "positions": (place(positions), numbers([positions.strides[axis]]), numbers(lanes.strides[2]), 0),
        "update_sizes": numbers([positions.shape[axis]]),
        "lane_sizes": numbers(lanes.sizes or (1,)),
        "limits": numbers([y.shape[axis]]),
        "coordinates": numbers([y.strides[axis]]),
    }
    return _counted(fillings, y.dtype, positions.shape[axis], dim.product(lanes.sizes), y.shape[axis], False, False)


def _slices(y: Operand, positions: Operand, updates: Operand) -> Form:
    *batch, depth = positions.shape
    assert isinstance(depth, int)
    updates = _repeated(updates, (*batch, *y.shape[depth:]))
    cut = len(batch)
    outer = few(batch, [updates.strides[:cut], positions.strides[:-1]])
    inner = few(y.shape[depth:], [y.strides[depth:], updates.strides[cut:]])
    still = (0,) * len(inner.sizes)
    fillings: dict[str, Filling] = {
        "y": (place(y), numbers(inner.strides[0] or (0,))),
        "updates": (place(updates), numbers(outer.strides[0] or (0,)), numbers(inner.strides[1] or (0,))),
        "positions": (
            place(positions), numbers(outer.strides[1] or (0,)), still or (0,), number(positions.strides[-1]),
        ),
        "update_sizes": numbers(outer.sizes or (1,)),
        "lane_sizes": numbers(inner.sizes or (1,)),
        "limits": numbers(y.shape[:depth]),
        "coordinates": numbers(y.strides[:depth]),
    }  # fmt: skip
    count, places = dim.product(outer.sizes), dim.product(y.shape[:depth])
    apart = _differ(positions, y.shape[:depth])
    return _counted(fillings, y.dtype, count, dim.product(inner.sizes), places, True, apart)


def _counted(
    fillings: dict[str, Filling], dtype: DType, count: Size, lanes: Size, places: Size, alike: bool, apart: bool
) -> Form:
    whole = fillings | {"alarm": alarm(), "count": number(count), "lanes": number(lanes)}
    return Form(whole, dtype, count, lanes, places, alike, apart)


def _differ(positions: Operand, limits: Sequence[Size]) -> bool:
    """Whether positions are a constant, no two of them the same."""
    op = positions.value.op
    if not isinstance(op, Constant) or positions.value.type.shape != positions.shape or positions.offset != 0:
        return False
    sizes = [one for one in limits if isinstance(one, int)]
    if len(sizes) != len(limits):
        return False
    rows = op.tensor.array.reshape(-1, len(sizes)).astype(np.int64)
    return len(np.unique(np.where(rows < 0, rows + np.array(sizes), rows), axis=0)) == len(rows)


def _repeated(operand: Operand, shape: tuple[Size, ...]) -> Operand:
    """An operand repeated along its axes of size 1 where the shape is larger."""
    pairs = zip(operand.shape, operand.strides, strict=True)
    strides = tuple(0 if size == 1 else stride for size, stride in pairs)
    return Operand(operand.value, operand.dtype, shape, strides, operand.offset)


STRATEGY = Scatter()

"""Convolutions of 64 channels by steps of one, whose weights stay in shared memory: a box of lines of the image serves
all taps of a column of the window, which see it from one line further on each, so it comes once and not once a tap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv.dialect import copy_in, layout_of
from tenfold.codegen.cuda.conv.places import corner
from tenfold.codegen.cuda.conv.plan import Plan, plan_of
from tenfold.codegen.cuda.conv.tail import numbers_of, stored
from tenfold.codegen.cuda.launch import CudaKernel, Filling, boxed, launch, number, numbers, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.constant import Constant
from tenfold.target import Target

LOOKS_FURTHER = hasattr(gl.shared_memory_descriptor, "_reinterpret")
"""Whether a line of shared memory may be seen as the tile that begins there."""
_CHANNELS, _WIDEST, _TEAMS = 64, 128, 2
"""Channels of a line of shared memory, columns at most, teams of four warps that take turns."""
_USUAL = 1 << 12
_START, _END, _PRODUCTS = 2500.0, 250.0, 4000.0
"""Nanoseconds to start and to end a tile; products a nanosecond of a multiprocessor."""


@gluon.jit
def feed(
    x, w, lines, weights, full, empty, there, tiles, counts, pads: gl.constexpr, box: gl.constexpr, T1: gl.constexpr,
    T2: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """The weights once, then for each tile the lines that a column of taps sees, column by column."""
    K: gl.constexpr = w.block_type.shape[1]
    HIGH: gl.constexpr = box[1] + T1 - 1
    mbarrier.expect(there, T1 * T2 * w.block_type.nbytes)
    for tap in gl.static_range(T1 * T2):
        copy_in(w, [0, tap * K], there, weights.index(tap))
    grid.wait(EARLY)
    count = 0
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        image, row, pixel, _ = corner(tile, counts, box, 1)
        for along in range(T2):
            slot = count % SLOTS
            mbarrier.wait(empty.index(slot), (count // SLOTS + 1) & 1)
            mbarrier.expect(full.index(slot), HIGH * box[2] * K * 2)
            line = row - pads[0]
            for part in gl.static_range(2):
                room = lines.index(slot * HIGH + part * box[1])
                room = room._reinterpret(x[part].dtype, x[part].block_type.shape, x[part].layout)
                copy_in(x[part], [image, line + part * box[1], pixel + along - pads[1], 0], full.index(slot), room)
            count += 1


@gluon.jit
def multiply(
    team, output, extra, uniforms, lines, weights, full, empty, there, turns, kept, tiles, counts, n,
    body: gl.constexpr, kinds: gl.constexpr, box: gl.constexpr, T1: gl.constexpr, T2: gl.constexpr, SLOTS: gl.constexpr,
    EARLY: gl.constexpr,
):  # fmt: skip
    """Every other tile of the block: its products, the body on them, stored."""
    M: gl.constexpr = box[1] * box[2]
    N: gl.constexpr = weights.shape[1]
    HIGH: gl.constexpr = box[1] + T1 - 1
    grid.begin(EARLY)
    mbarrier.wait(there, 0)
    numbers = numbers_of(extra, 0, 0, 0, 0, n, kinds, layout_of(N, 4), N, ())
    turn = team + 0
    for tile in range(gl.program_id(0) + team * gl.num_programs(0), tiles, gl.num_programs(0) * 2):
        image, row, pixel, left = corner(tile, counts, box, 1)
        acc = gl.zeros((M, N), gl.float32, layout_of(N, 4))
        mbarrier.wait(turns.index(team), (turn // 2 + 1 - team) & 1)
        for step in range(turn * T2, turn * T2 + T2):
            slot = step % SLOTS
            mbarrier.wait(full.index(slot), step // SLOTS & 1)
            for tap in gl.static_range(T1):
                rows = lines.index(slot * HIGH + tap)._reinterpret(weights.dtype, [M, weights.shape[2]], lines.layout)
                taps = weights.index(tap * T2 + step - turn * T2).permute((1, 0))
                acc = warpgroup_mma(rows, taps, acc, is_async=True)
            acc = warpgroup_mma_wait(T1, deps=(acc,))
            mbarrier.arrive(empty.index((step + SLOTS - 1) % SLOTS), pred=step > turn * T2)
        mbarrier.arrive(turns.index(1 - team))
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index((turn * T2 + T2 + SLOTS - 1) % SLOTS))
        stored(
            (acc, acc), output, 0, extra, (), (), uniforms, (numbers,), kept, team, image, row, pixel, (left,), 0, n,
            body, kinds, box, (N,), 0, 4,
        )  # fmt: skip
        turn += 2
    tma.store_wait(0)


@gluon.jit
def keeping(
    x, w, output, extra, uniforms, tiles, counts, n, body: gl.constexpr, kinds: gl.constexpr, pads: gl.constexpr,
    box: gl.constexpr, T1: gl.constexpr, T2: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` are two descriptors of [images, lines, pixels, channels]: the lines of a tile, and those that its last taps
    see besides; `w` one of columns by terms, `output` of [images, rows, pixels, columns].
    """
    HIGH: gl.constexpr = box[1] + T1 - 1
    lines = gl.allocate_shared_memory(w.dtype, [SLOTS * HIGH, box[2], w.block_type.shape[1]], w.layout)
    weights = gl.allocate_shared_memory(w.dtype, [T1 * T2] + w.block_type.shape, w.layout)
    kept = (gl.allocate_shared_memory(w.dtype, [2] + output[0].block_type.shape, output[0].layout),)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    turns = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    there = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1)
    for team in gl.static_range(2):
        mbarrier.init(turns.index(team), count=1)
    mbarrier.init(there, count=1)
    fence_async_shared()
    gl.warp_specialize(
        [
            (multiply, (0, output, extra, uniforms, lines, weights, full, empty, there, turns, kept, tiles, counts, n,
                        body, kinds, box, T1, T2, SLOTS, EARLY)),
            (multiply, (1, output, extra, uniforms, lines, weights, full, empty, there, turns, kept, tiles, counts, n,
                        body, kinds, box, T1, T2, SLOTS, EARLY)),
            (feed, (x, w, lines, weights, full, empty, there, tiles, counts, pads, box, T1, T2, SLOTS, EARLY)),
        ],
        [4, 1], [232, 24],
    )  # fmt: skip


class Kept:
    """Windows of few lines by steps of one, 64 channels, for machines with TMA and warp groups."""

    name = "kept"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Lines and pixels of a tile."""
        arch, plan = arch_of(target), plan_of(region, target)
        if arch.no_teams:
            return Refusal(arch.no_teams)
        if not LOOKS_FURTHER:
            return Refusal("this Triton lets no view of shared memory reach further than what it is of: 3.6 does")
        reason = plan.reason if isinstance(plan, Refusal) else _refusal(plan)
        if reason or isinstance(plan, Refusal):
            return Refusal(reason or "")
        found = [(high, wide, _slots(plan, high, wide, arch.shared)) for high, wide in _TILES]
        names = ("high", "wide", "slots")
        return [Tactic(self.name, tuple(zip(names, one, strict=True))) for one in found if one[2] >= plan.taps[1]]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: rounds of tiles."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        box = (1, int(tactic["high"]), int(tactic["wide"]))
        tiles = math.prod(-(-(dim.bounds(size)[1] or _USUAL) // one) for size, one in zip(plan.sizes, box, strict=True))
        products = box[1] * box[2] * _columns(plan) * math.prod(plan.taps) * plan.k
        return _START + -(-tiles // arch_of(target).processors) * (_END + products / _PRODUCTS)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        high, wide, slots = (int(tactic[name]) for name in ("high", "wide", "slots"))
        box, N = (1, high, wide), _columns(plan)
        (images, lines, _, pixels, _), steps = plan.x.shape, plan.x.strides
        seen = (images, lines, pixels, plan.k), (*steps[:2], *steps[3:])
        output = plan.full[0]
        counts = [dim.ceildiv(size, one) for size, one in zip(plan.sizes, box, strict=True)]
        tiles = dim.product(counts)
        fillings: dict[str, Filling] = {
            "x": tuple(boxed(plan.x.operand, (1, one, wide, plan.k), *seen) for one in (high, plan.taps[0] - 1)),
            "w": boxed(plan.w.operand, (N, plan.k), plan.w.shape, plan.w.strides),
            "output": (boxed(output.operand, (*box, N), output.shape, output.strides),),
            "extra": tuple(place(one.operand) for one in plan.extra),
            "uniforms": uniforms(region.uniforms),
            "tiles": number(tiles),
            "counts": numbers((1, counts[2], counts[1])),
            "n": plan.n,
            "body": Hole(emit.gluon_text(plan.region.body)),
            **{"kinds": plan.kinds, "pads": plan.pads, "box": box, "T1": plan.taps[0], "T2": plan.taps[1]},
            **{"SLOTS": slots, "EARLY": int(arch_of(target).early)},
        }
        return CudaKernel(launches=(launch(f"{__name__}:keeping", dim.minimum(tiles, PROCESSORS), fillings, 4),))


_TILES = ((8, 8), (16, 8), (8, 16))
"""Lines and pixels of a tile."""


def _columns(plan: Plan) -> int:
    return max(32, grid.power_of_two(plan.n))


def _slots(plan: Plan, high: int, wide: int, shared: int) -> int:
    """Boxes of lines beside the weights and two tiles of results."""
    size, columns = plan.x.operand.dtype.itemsize, _columns(plan)
    rest = shared - 2048 - (math.prod(plan.taps) * plan.k + _TEAMS * high * wide) * columns * size
    return min(9, rest // ((high + plan.taps[0] - 1) * wide * plan.k * size))


def _refusal(plan: Plan) -> str | None:
    if plan.k != _CHANNELS or plan.n > _WIDEST or plan.taps[0] - 1 not in (1, 2, 4) or plan.taps[1] == 1:
        return "channels other than 64, many columns, or windows of other than 2, 3 or 5 lines"
    if plan.k != plan.line:
        return "channels that take more than a line of shared memory"
    if plan.steps != (1, 1) or plan.dilations != (1, 1) or plan.x.shape[2] != 1:
        return "steps or dilations"
    if not isinstance(plan.w.operand.value.op, Constant) or not {0, 2} >= {*plan.kinds}:
        return "weights that are computed, or more beside its results than numbers of columns"
    return None


STRATEGY = Kept()

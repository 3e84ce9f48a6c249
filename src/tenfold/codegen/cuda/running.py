"""Attention of many keys, which run through a ring of shared memory, in Gluon.

A warp loads; two teams of warps take a tile of queries each and walk the same keys, the softmax rescaled as it goes.
They take turns: one makes powers of two while the other multiplies (Shah et al. 2024, "FlashAttention-3").
"""

from __future__ import annotations

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

from tenfold.codegen.cuda import grid, vmath, whole
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv.teams import barriers, copy_in, copy_out, layout_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, boxed, launch, number
from tenfold.codegen.cuda.whole import TEAMS, TILE, WARPS
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.attention import Attention
from tenfold.target import Target

WIDE = 64
"""Elements of a head as shared memory has them; what a head lacks is zeros."""
_QUEUED, _MOST_SLOTS = 2, 8


@gluon.jit
def bring(
    q, k, v, ring, heads, shared, count, blocks, STEPS: gl.constexpr, N: gl.constexpr, ROWS: gl.constexpr,
    BYTES: gl.constexpr, SLOTS: gl.constexpr, QUEUED: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All that the teams read: the queries of a block of tiles, then STEPS times N keys and values."""
    slots_q, slots_k, slots_v, asked, answered, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        which = work // blocks
        image, head = which // heads, which % heads
        own = head // (heads // shared)
        place = turn % QUEUED
        mbarrier.wait(answered.index(place), (turn // QUEUED + 1) & 1)
        mbarrier.expect(asked.index(place), BYTES[0])
        copy_in(q, [image, head, work % blocks * ROWS, 0], asked.index(place), slots_q.index(place))
        for step in range(STEPS):
            total = turn * STEPS + step
            slot = total % SLOTS
            mbarrier.wait(empty.index(slot), (total // SLOTS + 1) & 1)
            mbarrier.expect(full.index(slot), BYTES[1])
            copy_in(k, [image, own, step * N, 0], full.index(slot), slots_k.index(slot))
            copy_in(v, [image, own, step * N, 0], full.index(slot), slots_v.index(slot))
        turn = turn + 1


@gluon.jit
def walked(
    state, rows, slots_k, slots_v, slot, turns, team: gl.constexpr, total, LEFT: gl.constexpr, FACTOR: gl.constexpr,
    N: gl.constexpr, D: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """(peak, sum, results) with N more keys, of which LEFT exist. Only one team makes powers at a time."""
    peak, sums, acc = state
    mine: gl.constexpr = acc.type.layout
    none = gl.zeros((64, N), gl.float32, layout_of(N, WARPS))
    keys = slots_k.index(slot).reshape((N, D)).permute((1, 0))
    scores = whole.seen(warpgroup_mma_wait(0, deps=(warpgroup_mma(rows, keys, none, is_async=True),)), 0, LEFT)
    higher = gl.maximum(peak, gl.convert_layout(gl.max(scores, 1), peak.type.layout))
    mbarrier.wait(turns.index(team), (total + 1 - team) & 1)
    powers = whole.powers_of(scores, higher * FACTOR, FACTOR)
    scale = vmath.quick_exp2((peak - higher) * FACTOR)
    sums = sums * scale + gl.convert_layout(gl.sum(powers, 1), peak.type.layout)
    shares = gl.convert_layout(powers.to(slots_v.dtype), gl.DotOperandLayout(0, mine, 2))
    acc = acc * gl.expand_dims(scale, 1)
    acc = warpgroup_mma(shares, slots_v.index(slot).reshape((N, D)), acc, is_async=True)
    mbarrier.arrive(turns.index(1 - team))
    acc = warpgroup_mma_wait(0, deps=(acc,))
    return higher, sums, acc


@gluon.jit
def attend(
    team: gl.constexpr, output, ring, kept, turns, heads, count, blocks, SCALE: gl.constexpr, T: gl.constexpr,
    STEPS: gl.constexpr, N: gl.constexpr, D: gl.constexpr, ROWS: gl.constexpr, SLOTS: gl.constexpr,
    QUEUED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """A tile of each block of queries."""
    FACTOR: gl.constexpr = 1.4426950408889634e-12 * SCALE
    lines: gl.constexpr = gl.SliceLayout(1, layout_of(D, WARPS))
    WHOLE: gl.constexpr = T // N
    slots_q, slots_k, slots_v, asked, answered, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        which, place = work // blocks, turn % QUEUED
        mbarrier.wait(asked.index(place), turn // QUEUED & 1)
        rows = slots_q.index(place).reshape((ROWS, D)).slice(team * 64, 64)
        state = (
            gl.full((64,), float("-inf"), gl.float32, lines), gl.zeros((64,), gl.float32, lines),
            gl.zeros((64, D), gl.float32, layout_of(D, WARPS)),
        )  # fmt: skip
        for step in range(WHOLE):
            total = turn * STEPS + step
            mbarrier.wait(full.index(total % SLOTS), total // SLOTS & 1)
            state = walked(state, rows, slots_k, slots_v, total % SLOTS, turns, team, total, N, FACTOR, N, D, WARPS)
            mbarrier.arrive(empty.index(total % SLOTS))
        if T % N > 0:
            total = turn * STEPS + WHOLE
            mbarrier.wait(full.index(total % SLOTS), total // SLOTS & 1)
            state = walked(state, rows, slots_k, slots_v, total % SLOTS, turns, team, total, T % N, FACTOR, N, D, WARPS)
            mbarrier.arrive(empty.index(total % SLOTS))
        mbarrier.arrive(answered.index(place))
        tma.store_wait(0)
        room = kept.index(team)
        room.reshape((64, D)).store((state[2] * gl.expand_dims(1.0 / state[1], 1)).to(output.dtype))
        fence_async_shared()
        copy_out(output, [which // heads, which % heads, work % blocks * ROWS + team * 64, 0], room)
        turn = turn + 1
    grid.release(EARLY)
    tma.store_wait(0)


@gluon.jit
def running(
    q, k, v, output, heads, shared, count, blocks, SCALE: gl.constexpr, T: gl.constexpr, STEPS: gl.constexpr,
    N: gl.constexpr, D: gl.constexpr, ROWS: gl.constexpr, BYTES: gl.constexpr, SLOTS: gl.constexpr,
    QUEUED: gl.constexpr, TEAMS: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """Operands are descriptors over batch, head, place, element. A head's queries are `blocks` blocks of ROWS, a tile
    for each team; its T keys come in STEPS of N. SCALE counts millionths of millionths.
    """
    slots_q = gl.allocate_shared_memory(q.dtype, [QUEUED] + q.block_type.shape, q.layout)
    slots_k = gl.allocate_shared_memory(k.dtype, [SLOTS] + k.block_type.shape, k.layout)
    slots_v = gl.allocate_shared_memory(v.dtype, [SLOTS] + v.block_type.shape, v.layout)
    kept = gl.allocate_shared_memory(output.dtype, [TEAMS] + output.block_type.shape, output.layout)
    asked, full, turns = barriers(QUEUED, 1), barriers(SLOTS, 1), barriers(TEAMS, 1)
    answered, empty = barriers(QUEUED, TEAMS), barriers(SLOTS, TEAMS)
    fence_async_shared()
    ring = (slots_q, slots_k, slots_v, asked, answered, full, empty)
    gl.warp_specialize(
        [
            (attend, (0, output, ring, kept, turns, heads, count, blocks, SCALE, T, STEPS, N, D, ROWS, SLOTS, QUEUED,
                      WARPS, EARLY)),
            (attend, (1, output, ring, kept, turns, heads, count, blocks, SCALE, T, STEPS, N, D, ROWS, SLOTS, QUEUED,
                      WARPS, EARLY)),
            (bring, (q, k, v, ring, heads, shared, count, blocks, STEPS, N, ROWS, BYTES, SLOTS, QUEUED, EARLY)),
        ],
        [WARPS, 1], [232, 24],
    )  # fmt: skip


class Running:
    """Attention without a mask to keys of known number, heads of at most WIDE elements, in 16 bits."""

    name = "running"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """How many keys are walked at a time."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        reason = whole.refusal(region, region.anchor, target) or _refusal(region)
        if reason:
            return Refusal(reason)
        return [Tactic(self.name, (("n", n),)) for n in (128, 64)]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Attention)
        (q, k, v), output, n = region.inputs, region.outputs[0], int(tactic["n"])
        keys, size, rows = k.shape[2], q.dtype.itemsize, TEAMS * TILE
        assert isinstance(keys, int)
        asked, each = rows * WIDE * size, 2 * n * WIDE * size
        room = arch_of(target).shared - 2048 - _QUEUED * asked - rows * WIDE * size
        blocks = dim.ceildiv(region.domain[2], rows)
        count = dim.product(region.domain[:2]) * blocks
        fillings: dict[str, Filling] = {
            "q": _moved(q, rows),
            "k": _moved(k, n),
            "v": _moved(v, n),
            "output": _moved(output, TILE),
            **{"heads": number(q.shape[1]), "shared": number(k.shape[1])},
            **{"count": number(count), "blocks": number(blocks), "SCALE": round(region.anchor.scale * 1e12)},
            **{"T": keys, "STEPS": -(-keys // n), "N": n, "D": WIDE, "ROWS": rows, "BYTES": (asked, each)},
            **{"SLOTS": min(_MOST_SLOTS, room // each), "QUEUED": _QUEUED, "TEAMS": TEAMS, "WARPS": WARPS},
            "EARLY": int(arch_of(target).early),
        }
        return CudaKernel(launches=(launch(f"{__name__}:running", dim.minimum(count, PROCESSORS), fillings, WARPS),))


def _refusal(region: Anchored) -> str | None:
    q, k, v = region.inputs
    queries = dim.bounds(q.shape[2])[0] or 1
    if not isinstance(k.shape[2], int) or k.shape[2] < TILE or queries < TEAMS * TILE:
        return "keys of open number, or few"
    if any(not isinstance(one.shape[3], int) or one.shape[3] > WIDE or one.shape[3] % 8 for one in (q, v)):
        return f"heads of more than {WIDE} elements, or of no multiple of 8"
    return None


def _moved(one: Operand, rows: int) -> Filling:
    return boxed(one, (1, 1, rows, WIDE), one.shape, one.strides)


STRATEGY = Running()

"""Attention of many keys, which run through a ring of shared memory, in Gluon.

A warp loads; two teams of warps take a tile of queries each and walk the same keys, the softmax rescaled as it goes.
Each makes powers of two while the products of the keys before are under way (Shah et al. 2024, "FlashAttention-3").
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
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, copy_out, layout_of
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
    slots_q, slots_k, slots_v, queried, answered, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        which = work // blocks
        image, head = which // heads, which % heads
        own = head // (heads // shared)
        place = turn % QUEUED
        mbarrier.wait(answered.index(place), (turn // QUEUED + 1) & 1)
        mbarrier.expect(queried.index(place), BYTES[0])
        copy_in(q, [image, head, work % blocks * ROWS, 0], queried.index(place), slots_q.index(place))
        for step in range(STEPS):
            total = turn * STEPS + step
            slot = total % SLOTS
            mbarrier.wait(empty.index(slot), (total // SLOTS + 1) & 1)
            mbarrier.expect(full.index(slot), BYTES[1])
            copy_in(k, [image, own, step * N, 0], full.index(slot), slots_k.index(slot))
            copy_in(v, [image, own, step * N, 0], full.index(slot), slots_v.index(slot))
        turn = turn + 1


@gluon.jit
def asked(rows, slots_k, slot, N: gl.constexpr, D: gl.constexpr, WARPS: gl.constexpr):
    """The products of a tile's queries with N keys, under way."""
    none = gl.zeros((64, N), gl.float32, layout_of(N, WARPS))
    return warpgroup_mma(rows, slots_k.index(slot).reshape((N, D)).permute((1, 0)), none, is_async=True)


@gluon.jit
def weighed(
    sums, peak, total, LEFT: gl.constexpr, FACTOR: gl.constexpr, dtype: gl.constexpr, D: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    """Of the scores of some more keys, LEFT of which exist: the greatest of a row so far, the sum of all powers, what
    earlier ones are scaled by, and the powers of these.
    """
    scores = whole.seen(sums, 0, LEFT)
    higher = gl.maximum(peak, gl.convert_layout(gl.max(scores, 1), peak.type.layout))
    powers = whole.powers_of(scores, higher * FACTOR, FACTOR)
    scale = vmath.quick_exp2((peak - higher) * FACTOR)
    total = total * scale + gl.convert_layout(gl.sum(powers, 1), peak.type.layout)
    return higher, total, scale, gl.convert_layout(powers.to(dtype), gl.DotOperandLayout(0, layout_of(D, WARPS), 2))


@gluon.jit
def walked(
    state, rows, ring, count, LEFT: gl.constexpr, FACTOR: gl.constexpr, N: gl.constexpr, D: gl.constexpr,
    SLOTS: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """(peak, sum, powers, results) with the `count`-th keys: while the values of those before are multiplied, their
    powers are made. They are waited for once more, else the compiler would end the products first.
    """
    _, slots_k, slots_v, _, _, full, empty = ring
    peak, total, shares, acc = state
    slot, before = count % SLOTS, (count + SLOTS - 1) % SLOTS
    mbarrier.wait(full.index(slot), count // SLOTS & 1)
    sums = asked(rows, slots_k, slot, N, D, WARPS)
    acc = warpgroup_mma(shares, slots_v.index(before).reshape((N, D)), acc, is_async=True)
    sums, acc = warpgroup_mma_wait(1, deps=(sums, acc))
    peak, total, scale, shares = weighed(sums, peak, total, LEFT, FACTOR, slots_v.dtype, D, WARPS)
    mbarrier.wait(full.index(slot), count // SLOTS & 1)
    acc = warpgroup_mma_wait(0, deps=(acc,))
    mbarrier.arrive(empty.index(before))
    return peak, total, shares, acc * gl.expand_dims(scale, 1)


@gluon.jit
def attend(
    team: gl.constexpr, output, ring, kept, heads, count, blocks, SCALE: gl.constexpr, T: gl.constexpr,
    STEPS: gl.constexpr, N: gl.constexpr, D: gl.constexpr, ROWS: gl.constexpr, SLOTS: gl.constexpr,
    QUEUED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """A tile of each block of queries."""
    FACTOR: gl.constexpr = 1.4426950408889634e-12 * SCALE
    mine: gl.constexpr = layout_of(D, WARPS)
    lines: gl.constexpr = gl.SliceLayout(1, mine)
    REST: gl.constexpr = T - (STEPS - 1) * N
    slots_q, slots_k, slots_v, queried, answered, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        which, place = work // blocks, turn % QUEUED
        mbarrier.wait(queried.index(place), turn // QUEUED & 1)
        rows = slots_q.index(place).reshape((ROWS, D)).slice(team * 64, 64)
        first, last = turn * STEPS, turn * STEPS + STEPS - 1
        mbarrier.wait(full.index(first % SLOTS), first // SLOTS & 1)
        sums = warpgroup_mma_wait(0, deps=(asked(rows, slots_k, first % SLOTS, N, D, WARPS),))
        peak, total, _, shares = weighed(
            sums, gl.full((64,), float("-inf"), gl.float32, lines), gl.zeros((64,), gl.float32, lines),
            N if STEPS > 1 else REST, FACTOR, slots_v.dtype, D, WARPS,
        )  # fmt: skip
        state = (peak, total, shares, gl.zeros((64, D), gl.float32, mine))
        for step in range(first + 1, last + (REST == N)):
            state = walked(state, rows, ring, step, N, FACTOR, N, D, SLOTS, WARPS)
        if STEPS > 1 and REST < N:
            state = walked(state, rows, ring, last, REST, FACTOR, N, D, SLOTS, WARPS)
        acc = warpgroup_mma(state[2], slots_v.index(last % SLOTS).reshape((N, D)), state[3], is_async=True)
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index(last % SLOTS))
        mbarrier.arrive(answered.index(place))
        tma.store_wait(0)
        room = kept.index(team)
        room.reshape((64, D)).store((acc * gl.expand_dims(1.0 / state[1], 1)).to(output.dtype))
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
    queried, full = barriers(QUEUED), barriers(SLOTS)
    answered, empty = barriers(QUEUED, TEAMS), barriers(SLOTS, TEAMS)
    fence_async_shared()
    ring = (slots_q, slots_k, slots_v, queried, answered, full, empty)
    gl.warp_specialize(
        [
            (attend, (0, output, ring, kept, heads, count, blocks, SCALE, T, STEPS, N, D, ROWS, SLOTS, QUEUED,
                      WARPS, EARLY)),
            (attend, (1, output, ring, kept, heads, count, blocks, SCALE, T, STEPS, N, D, ROWS, SLOTS, QUEUED,
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

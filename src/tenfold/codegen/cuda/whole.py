"""Attention of few keys: those of a head lie whole in shared memory, and a row of scores in registers, in Gluon.

A warp loads queries, keys and values of heads to come while two teams of warps work; each team takes every other tile
of queries. Powers of two take as long as the products, so the teams take turns: one makes powers while the other
multiplies (Shah et al. 2024, "FlashAttention-3"). No row is rescaled, as all of its scores are there at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tenfold.codegen.cuda import grid, vmath
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv.dialect import copy_in, copy_out, layout_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, boxed, launch, number
from tenfold.codegen.region import Anchored, Operand, Region, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.attention import Attention
from tenfold.target import Target

TILE, WARPS, TEAMS = 64, 4, 2
"""Queries of a team at a time, warps of a team, teams."""
KEYS = 256
"""The most keys whose scores stay in registers."""
_WIDEST_PART = 128


@triton.constexpr_function
def start_of(parts, number):
    """Where a part begins."""
    return sum(parts[:number])


@gluon.jit
def bring(
    q, k, v, ring, heads, shared, count, PARTS: gl.constexpr, TILES: gl.constexpr, SPLIT: gl.constexpr,
    BYTES: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All that the teams read, a slot for each part of a head's queries."""
    slots_q, slots_k, slots_v, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        slot, filled = turn % SLOTS, full.index(turn % SLOTS)
        which, part = work // SPLIT, work % SPLIT
        image, head = which // heads, which % heads
        mbarrier.wait(empty.index(slot), (turn // SLOTS + 1) & 1)
        mbarrier.expect(filled, BYTES)
        own = head // (heads // shared)
        copy_in(q, [image, head, part * TILES * 64, 0], filled, slots_q.index(slot))
        for some in gl.static_range(len(PARTS)):
            at = [image, own, start_of(PARTS, some), 0]
            copy_in(k[some], at, filled, slots_k[some].index(slot))
            copy_in(v[some], at, filled, slots_v[some].index(slot))
        turn = turn + 1


@gluon.jit
def scored(rows, slots_k, slot, PARTS: gl.constexpr, D: gl.constexpr, WARPS: gl.constexpr):
    """The products of a tile's queries with all keys, part by part."""
    sums = ()
    for part in gl.static_range(len(PARTS)):
        none = gl.zeros((64, PARTS[part]), gl.float32, layout_of(PARTS[part], WARPS))
        some = slots_k[part].index(slot).reshape((PARTS[part], D)).permute((1, 0))
        sums = sums + (warpgroup_mma(rows, some, none, is_async=True),)
    if len(PARTS) == 1:
        return (warpgroup_mma_wait(0, deps=sums),)
    else:
        return warpgroup_mma_wait(0, deps=sums)


@gluon.jit
def seen(sums, START: gl.constexpr, T: gl.constexpr):
    """The scores of keys from START on; -inf of those that do not exist."""
    if START + sums.shape[1] > T:
        column = START + gl.arange(0, sums.shape[1], layout=gl.SliceLayout(0, sums.type.layout))
        return gl.where(gl.expand_dims(column < T, 0), sums, float("-inf"))
    else:
        return sums


@gluon.jit
def powers_of(scores, least, FACTOR: gl.constexpr):
    """Powers of two of the scores of some keys."""
    mine = gl.convert_layout(least, gl.SliceLayout(1, scores.type.layout))
    return vmath.quick_exp2(scores * FACTOR - gl.expand_dims(mine, 1))


@gluon.jit
def peak_of(scores, lines: gl.constexpr):
    """The greatest score of each row."""
    peak = gl.convert_layout(gl.max(scores[0], 1), lines)
    for part in gl.static_range(1, len(scores)):
        peak = gl.maximum(peak, gl.convert_layout(gl.max(scores[part], 1), lines))
    return peak


@gluon.jit
def weighed(
    scores, least, slots_v, slot, FACTOR: gl.constexpr, PARTS: gl.constexpr, E: gl.constexpr, WARPS: gl.constexpr
):  # fmt: skip
    """The sums of all values, each by its power of two, still under way, and the sum of those powers."""
    mine: gl.constexpr = layout_of(E, WARPS)
    total = gl.zeros_like(least)
    acc = gl.zeros((64, E), gl.float32, mine)
    for part in gl.static_range(len(PARTS)):
        powers = powers_of(scores[part], least, FACTOR)
        total += gl.convert_layout(gl.sum(powers, 1), least.type.layout)
        shares = gl.convert_layout(powers.to(slots_v[part].dtype), gl.DotOperandLayout(0, mine, 2))
        acc = warpgroup_mma(shares, slots_v[part].index(slot).reshape((PARTS[part], E)), acc, is_async=True)
    return acc, total


@gluon.jit
def tile_of(
    rows, slots_k, slots_v, slot, turns, team: gl.constexpr, turn, FACTOR: gl.constexpr, T: gl.constexpr,
    PARTS: gl.constexpr, D: gl.constexpr, E: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """What a tile of queries sees: its team's `turn`-th. Only one team makes powers at a time."""
    sums = scored(rows, slots_k, slot, PARTS, D, WARPS)
    scores = ()
    for part in gl.static_range(len(PARTS)):
        scores = scores + (seen(sums[part], start_of(PARTS, part), T),)
    least = peak_of(scores, gl.SliceLayout(1, layout_of(E, WARPS))) * FACTOR
    mbarrier.wait(turns.index(team), (turn + 1 - team) & 1)
    acc, total = weighed(scores, least, slots_v, slot, FACTOR, PARTS, E, WARPS)
    mbarrier.arrive(turns.index(1 - team))
    acc = warpgroup_mma_wait(0, deps=(acc,))
    return acc * gl.expand_dims(1.0 / total, 1)


@gluon.jit
def attend(
    team: gl.constexpr, output, ring, kept, turns, heads, count, SCALE: gl.constexpr, T: gl.constexpr,
    PARTS: gl.constexpr, D: gl.constexpr, E: gl.constexpr, TILES: gl.constexpr, SPLIT: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """Every TEAMS-th tile of queries of each slot."""
    FACTOR: gl.constexpr = 1.4426950408889634e-12 * SCALE
    slots_q, slots_k, slots_v, full, empty = ring
    grid.wait(EARLY)
    turn = 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        slot = turn % SLOTS
        which, first = work // SPLIT, work % SPLIT * TILES
        mbarrier.wait(full.index(slot), turn // SLOTS & 1)
        queries, room = slots_q.index(slot).reshape((TILES * 64, D)), kept.index(team)
        for step in gl.static_range(TILES // TEAMS):
            found = tile_of(
                queries.slice((step * TEAMS + team) * 64, 64), slots_k, slots_v, slot, turns, team,
                turn * (TILES // TEAMS) + step, FACTOR, T, PARTS, D, E, WARPS,
            )  # fmt: skip
            if step == TILES // TEAMS - 1:
                mbarrier.arrive(empty.index(slot))
            tma.store_wait(0)
            room.reshape((64, E)).store(found.to(output.dtype))
            fence_async_shared()
            copy_out(output, [which // heads, which % heads, (first + step * TEAMS + team) * 64, 0], room)
        turn = turn + 1
    grid.release(EARLY)
    tma.store_wait(0)


@gluon.jit
def whole(
    q, k, v, output, heads, shared, count, SCALE: gl.constexpr, T: gl.constexpr, PARTS: gl.constexpr, D: gl.constexpr,
    E: gl.constexpr, TILES: gl.constexpr, SPLIT: gl.constexpr, BYTES: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """Operands are descriptors over batch, head, place, element, of keys and values one for each of the PARTS that T of
    them come in. A block takes TILES tiles of a head's queries at a time, one of SPLIT parts of them. SCALE counts
    millionths of millionths.
    """
    slots_q = gl.allocate_shared_memory(q.dtype, [SLOTS] + q.block_type.shape, q.layout)
    slots_k, slots_v = (), ()
    for part in gl.static_range(len(PARTS)):
        one, other = k[part], v[part]
        slots_k = slots_k + (gl.allocate_shared_memory(one.dtype, [SLOTS] + one.block_type.shape, one.layout),)
        slots_v = slots_v + (gl.allocate_shared_memory(other.dtype, [SLOTS] + other.block_type.shape, other.layout),)
    kept = gl.allocate_shared_memory(output.dtype, [TEAMS] + output.block_type.shape, output.layout)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=TEAMS)
    turns = gl.allocate_shared_memory(gl.int64, [TEAMS, 1], mbarrier.MBarrierLayout())
    for team in gl.static_range(TEAMS):
        mbarrier.init(turns.index(team), count=1)
    fence_async_shared()
    ring = (slots_q, slots_k, slots_v, full, empty)
    gl.warp_specialize(
        [
            (attend, (0, output, ring, kept, turns, heads, count, SCALE, T, PARTS, D, E, TILES, SPLIT, SLOTS, TEAMS,
                      WARPS, EARLY)),
            (attend, (1, output, ring, kept, turns, heads, count, SCALE, T, PARTS, D, E, TILES, SPLIT, SLOTS, TEAMS,
                      WARPS, EARLY)),
            (bring, (q, k, v, ring, heads, shared, count, PARTS, TILES, SPLIT, BYTES, SLOTS, EARLY)),
        ],
        [WARPS, 1], [232, 24],
    )  # fmt: skip


class Whole:
    """Attention without a mask to at most KEYS keys, their number known, heads of 64 elements, in 16 bits."""

    name = "whole"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """All queries of a head by one block, or parts of them by several."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        reason = refusal(region, region.anchor, target) or _sizes(region)
        if reason:
            return Refusal(reason)
        tiles = _tiles(region)
        splits = [split for split in (1, 2, 4) if tiles >= 2 * split or split == 1]
        return [Tactic(self.name, (("split", split),)) for split in splits]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Attention)
        (q, k, v), output, split = region.inputs, region.outputs[0], int(tactic["split"])
        tiles = grid.power_of_two(-(-_tiles(region) // split))
        tiles, keys = max(tiles, TEAMS), k.shape[2]
        D, E, size = q.shape[3], v.shape[3], q.dtype.itemsize
        assert isinstance(keys, int) and isinstance(D, int) and isinstance(E, int)
        parts = _parts(keys)
        filled = (tiles * TILE * D + sum(parts) * (D + E)) * size
        slots = max(1, min(4, (arch_of(target).shared - 2048 - TEAMS * TILE * E * size) // filled))
        count = dim.product(region.domain[:2]) * split
        fillings: dict[str, Filling] = {
            "q": _moved(q, tiles * TILE),
            "k": tuple(_moved(k, part) for part in parts),
            "v": tuple(_moved(v, part) for part in parts),
            "output": _moved(output, TILE),
            **{"heads": number(q.shape[1]), "shared": number(k.shape[1]), "count": number(count)},
            "SCALE": round(region.anchor.scale * 1e12),
            **{"T": keys, "PARTS": parts, "D": D, "E": E, "TILES": tiles, "SPLIT": split, "BYTES": filled},
            **{"SLOTS": slots, "TEAMS": TEAMS, "WARPS": WARPS, "EARLY": int(arch_of(target).early)},
        }
        return CudaKernel(launches=(launch(f"{__name__}:whole", dim.minimum(count, PROCESSORS), fillings, WARPS),))


def refusal(region: Anchored, op: Attention, target: Target, *, causal: bool = False) -> str | None:
    """Why attention whose operands move by descriptor, with nothing hidden, does not serve; None if it does. `causal`:
    what comes later may be hidden.
    """
    arch, (q, k, v, *masks) = arch_of(target), region.inputs
    if arch.no_teams:
        return arch.no_teams
    if masks or (op.causal and not causal) or op.softcap > 0 or op.scale <= 0:
        return "keys that are hidden, or scores that are bent"
    if q.dtype not in (dt.f16, dt.bf16) or region.body != identity(q.dtype) or len(region.outputs) != 1:
        return "more follows than storing, or elements that have no 16 bits"
    if not all(map(_moves, (q, k, v, region.outputs[0]))):
        return "rows that are no multiple of 16 bytes do not move by descriptor"
    return None


def _sizes(region: Anchored) -> str | None:
    q, k, v = region.inputs
    sizes = (q.shape[2], k.shape[2], q.shape[3], v.shape[3])
    if not all(isinstance(size, int) for size in sizes) or sizes[2:] != (64, 64):
        return "heads that do not have 64 elements, or sizes that are open"
    if not 32 <= sizes[1] <= KEYS or not TILE < sizes[0] <= KEYS:  # type: ignore[operator]
        return f"{sizes[1]} keys, {sizes[0]} queries"
    return None


def _moves(one: Operand) -> bool:
    steps = (*one.strides[:-1], one.offset)
    return one.strides[-1] == 1 and all(dim.divisible(step * one.dtype.itemsize, 16) for step in steps)


def _moved(one: Operand, rows: int) -> Filling:
    wide = one.shape[3]
    assert isinstance(wide, int)
    return boxed(one, (1, 1, rows, wide), one.shape, one.strides)


def _tiles(region: Anchored) -> int:
    """Tiles of a head's queries."""
    queries = region.domain[2]
    assert isinstance(queries, int)
    return -(-queries // TILE)


def _parts(keys: int) -> tuple[int, ...]:
    """So many keys, and what is missing to a multiple of 16, as powers of two."""
    left, found = -(-keys // 16) * 16, list[int]()
    while left:
        found.append(min(_WIDEST_PART, 1 << (left.bit_length() - 1)))
        left -= found[-1]
    return tuple(found)


STRATEGY = Whole()

"""Attention to many keys by teams of warps that take turns, in Gluon: one multiplies while the other does exponentials.

A warp loads queries, then keys and values through a ring of slots that all teams read. A team asks for the products of
the next keys before it awaits those of the values before them, so that its softmax, too, has products beside it. Keys
are walked from the last to the first, so that only the first blocks ask who sees whom.

Shah et al. 2024, "FlashAttention-3: fast and accurate attention with asynchrony and low-precision".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tenfold.codegen.cuda import grid, heads, vmath, whole
from tenfold.codegen.cuda.arch import PROCESSORS, Arch, arch_of
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, copy_out, layout_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, boxed, launch, number
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.attention import Attention
from tenfold.target import Target

WARPS = 4
"""Warps of a team."""


@triton.jit
def corner(work, heads, tiles, M: tl.constexpr, CAUSAL: tl.constexpr):
    """Image, head and first query of a piece of work; those that see the most keys come first."""
    which, tile = work // tiles, work % tiles
    if CAUSAL:
        tile = tiles - 1 - tile
    return which // heads, which % heads, tile * M


@triton.jit
def depth(first, t, last, M: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr):
    """How many blocks of keys M queries from `first` on see, one at least, and how many of them all see whole."""
    whole, end = t // N, (t + N - 1) // N
    if CAUSAL:
        whole = tl.maximum(tl.minimum(t, first + last + 1), 0) // N
        end = tl.maximum((tl.minimum(t, first + last + M) + N - 1) // N, 1)
    return end, tl.minimum(whole, end - 1)


@gluon.jit
def bring(
    q, k, v, ring, heads, shared, t, last, tiles, count, BYTES: gl.constexpr, M: gl.constexpr, N: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, CAUSAL: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All that the teams read: the queries of each, then blocks of keys and values from the last one on."""
    slots_q, slots_k, slots_v, q_full, q_empty, k_full, k_empty, v_full, v_empty = ring
    grid.wait(EARLY)
    turn, done = 0, 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        image, head, first = corner(work, heads, tiles, M * TEAMS, CAUSAL)
        own = head // (heads // shared)
        mbarrier.wait(q_empty.index(0), (turn + 1) & 1)
        mbarrier.expect(q_full.index(0), BYTES[0])
        for team in gl.static_range(TEAMS):
            copy_in(q, [image, head, first + team * M, 0], q_full.index(0), slots_q.index(team))
        end, _ = depth(first, t, last, M * TEAMS, N, CAUSAL)
        for step in range(end):
            slot, begin = done % SLOTS, (end - 1 - step) * N
            mbarrier.wait(k_empty.index(slot), (done // SLOTS + 1) & 1)
            mbarrier.expect(k_full.index(slot), BYTES[1])
            copy_in(k, [image, own, begin, 0], k_full.index(slot), slots_k.index(slot))
            mbarrier.wait(v_empty.index(slot), (done // SLOTS + 1) & 1)
            mbarrier.expect(v_full.index(slot), BYTES[2])
            copy_in(v, [image, own, begin, 0], v_full.index(slot), slots_v.index(slot))
            done += 1
        turn = turn + 1


@gluon.jit
def scored(queries, keys, M: gl.constexpr, N: gl.constexpr, D: gl.constexpr, WARPS: gl.constexpr):
    """The products of a team's queries with a block of keys, on their way; elements come in parts `D`."""
    sums = gl.zeros((M, N), gl.float32, layout_of(N, WARPS))
    for part in gl.static_range(len(D)):
        rows = queries.slice(D[part][0], D[part][1], 1)
        sums = warpgroup_mma(rows, keys.slice(D[part][0], D[part][1], 1).permute((1, 0)), sums, is_async=True)
    return sums


@gluon.jit
def gathered(shares, values, accs, E: gl.constexpr, WARPS: gl.constexpr):
    """Sums of values, some more on their way; elements come in parts `E`."""
    found = ()
    for part in gl.static_range(len(E)):
        found = found + (warpgroup_mma(shares, values.slice(E[part][0], E[part][1], 1), accs[part], is_async=True),)
    return found


@gluon.jit
def awaited(used, powers, accs):
    """(powers, made before the wait; sums once no product is on its way); the shares `used` by them stay till then."""
    if len(accs) == 1:
        _, powers, first = warpgroup_mma_wait(0, deps=(used, powers, accs[0]))
        return powers, (first,)
    else:
        _, powers, first, second = warpgroup_mma_wait(0, deps=(used, powers, accs[0], accs[1]))
        return powers, (first, second)


@gluon.jit
def seen(scores, row, begin, t, last, CAUSAL: gl.constexpr):
    """Scores of keys from `begin` on; -inf where a query may not see a key, or there is none."""
    column = begin + gl.arange(0, scores.shape[1], layout=gl.SliceLayout(0, scores.type.layout))
    there = gl.expand_dims(column < t, 0)
    if CAUSAL:
        its = gl.convert_layout(row, gl.SliceLayout(1, scores.type.layout))
        there = there & (gl.expand_dims(column, 0) <= gl.expand_dims(its + last, 1))
    return gl.where(there, scores, float("-inf"))


@gluon.jit
def peaked(scores, peak, FACTOR: gl.constexpr, CAUSAL: gl.constexpr):
    """(peak, what is taken from the scores, what earlier sums are to be multiplied by) with some more scores."""
    higher = gl.maximum(peak, gl.max(scores, 1))
    least = higher * FACTOR
    if CAUSAL:
        least = gl.where(higher == float("-inf"), 0.0, least)
    return higher, least, vmath.quick_exp2(peak * FACTOR - least)


@gluon.jit
def softened(scores, least, FACTOR: gl.constexpr):
    """(powers of two, their sums by lane) of some more scores."""
    powers = vmath.quick_exp2(scores * FACTOR - gl.expand_dims(least, 1))
    return powers, gl.sum(powers.reshape((scores.shape[0], scores.shape[1] // 8, 8)), 1)


@gluon.jit
def pass_on(turns, team: gl.constexpr, TEAMS: gl.constexpr):
    """It is the other team's turn."""
    if TEAMS == 2:
        mbarrier.arrive(turns.index(1 - team))


@gluon.jit
def rescaled(accs, scale):
    """Earlier sums beside those of a higher peak."""
    found = ()
    for part in gl.static_range(len(accs)):
        its = gl.convert_layout(scale, gl.SliceLayout(1, accs[part].type.layout))
        found = found + (accs[part] * gl.expand_dims(its, 1),)
    return found


@gluon.jit
def asked(
    queries, ring, turns, step, team: gl.constexpr, M: gl.constexpr, N: gl.constexpr, D: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """Scores on their way, once keys are there and it is this team's turn."""
    slots_k, k_full = ring[0], ring[2]
    slot = step % SLOTS
    mbarrier.wait(k_full.index(slot), step // SLOTS & 1)
    if TEAMS == 2:
        mbarrier.wait(turns.index(team), (step + 1 - team) & 1)
    return scored(queries, slots_k.index(slot).reshape((N, slots_k.shape[4])), M, N, D, WARPS)


@gluon.jit
def summed(shares, accs, ring, step, N: gl.constexpr, E: gl.constexpr, SLOTS: gl.constexpr, WARPS: gl.constexpr):
    """Sums with the values of a step on their way."""
    slots_v, v_full = ring[1], ring[4]
    mbarrier.wait(v_full.index(step % SLOTS), step // SLOTS & 1)
    return gathered(shares, slots_v.index(step % SLOTS).reshape((N, slots_v.shape[4])), accs, E, WARPS)


@gluon.jit
def walked(
    state, queries, ring, turns, team: gl.constexpr, row, done, begin, count, t, last, FACTOR: gl.constexpr,
    M: gl.constexpr, N: gl.constexpr, D: gl.constexpr, E: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, CAUSAL: gl.constexpr, EDGE: gl.constexpr, WARPS: gl.constexpr,
    MINE: gl.constexpr,
):  # fmt: skip
    """The state after `count` more blocks of keys, the first of which begins at `begin`: shares whose values are not
    summed yet, peak, total, sums. EDGE: not all see all. Values that are there are asked for once more, for that keeps
    the compiler from awaiting their products ahead of the softmax.
    """
    _, _, _, k_empty, v_full, v_empty = ring
    shares, peak, total, accs = state
    for step in range(done, done + count):
        before = (step + SLOTS - 1) % SLOTS
        sums = asked(queries, ring, turns, step, team, M, N, D, SLOTS, TEAMS, WARPS)
        accs = summed(shares, accs, ring, step - 1, N, E, SLOTS, WARPS)
        pass_on(turns, team, TEAMS)
        scores = warpgroup_mma_wait(len(E), deps=(sums,))
        mbarrier.arrive(k_empty.index(step % SLOTS))
        if EDGE:
            scores = seen(scores, row, begin - (step - done) * N, t, last, CAUSAL)
        peak, least, scale = peaked(scores, peak, FACTOR, CAUSAL)
        powers, some = softened(scores, least, FACTOR)
        total = total * gl.expand_dims(gl.convert_layout(scale, gl.SliceLayout(1, total.type.layout)), 1)
        total += gl.convert_layout(some, total.type.layout)
        mbarrier.wait(v_full.index(before), (step - 1) // SLOTS & 1)
        powers, accs = awaited(shares, powers, accs)
        mbarrier.arrive(v_empty.index(before))
        shares = gl.convert_layout(powers.to(shares.dtype), gl.DotOperandLayout(0, MINE, 2))
        accs = rescaled(accs, scale)
    return shares, peak, total, accs


@gluon.jit
def opened(
    queries, ring, turns, team: gl.constexpr, row, done, begin, t, last, like, FACTOR: gl.constexpr,
    M: gl.constexpr, N: gl.constexpr, D: gl.constexpr, E: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, CAUSAL: gl.constexpr, EDGE: gl.constexpr, WARPS: gl.constexpr,
    MINE: gl.constexpr,
):  # fmt: skip
    """The state after the first block of keys, those of the end; elements of the kind of `like`."""
    sums = asked(queries, ring, turns, done, team, M, N, D, SLOTS, TEAMS, WARPS)
    pass_on(turns, team, TEAMS)
    scores = warpgroup_mma_wait(0, deps=(sums,))
    mbarrier.arrive(ring[3].index(done % SLOTS))
    if EDGE:
        scores = seen(scores, row, begin, t, last, CAUSAL)
    least = gl.full((M,), float("-inf"), gl.float32, gl.SliceLayout(1, scores.type.layout))
    peak, least, _ = peaked(scores, least, FACTOR, CAUSAL)
    powers, total = softened(scores, least, FACTOR)
    shares = gl.convert_layout(powers.to(like), gl.DotOperandLayout(0, MINE, 2))
    accs = ()
    for part in gl.static_range(len(E)):
        accs = accs + (gl.zeros((M, E[part][1]), gl.float32, layout_of(E[part][1], WARPS)),)
    return shares, peak, total, accs


@gluon.jit
def attend(
    team: gl.constexpr, output, ring, turns, kept, heads, t, last, tiles, count, SCALE: gl.constexpr,
    M: gl.constexpr, N: gl.constexpr, D: gl.constexpr, E: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, CAUSAL: gl.constexpr, EDGE: gl.constexpr, NAN: gl.constexpr,
    WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """A team's queries of each piece of work."""
    FACTOR: gl.constexpr = 1.4426950408889634e-12 * SCALE
    MINE: gl.constexpr = layout_of(E[0][1], WARPS)
    slots_q, slots_k, slots_v, q_full, q_empty, k_full, k_empty, v_full, v_empty = ring
    inner = (slots_k, slots_v, k_full, k_empty, v_full, v_empty)
    grid.wait(EARLY)
    turn, done = 0, 0
    for work in range(gl.program_id(0), count, gl.num_programs(0)):
        image, head, first = corner(work, heads, tiles, M * TEAMS, CAUSAL)
        end, whole = depth(first, t, last, M * TEAMS, N, CAUSAL)
        row = first + team * M + gl.arange(0, M, layout=gl.SliceLayout(1, layout_of(N, WARPS)))
        mbarrier.wait(q_full.index(0), turn & 1)
        queries = slots_q.index(team).reshape((M, slots_q.shape[4]))
        state = opened(
            queries, inner, turns, team, row, done, (end - 1) * N, t, last, output.dtype, FACTOR, M, N, D, E,
            SLOTS, TEAMS, CAUSAL, EDGE, WARPS, MINE,
        )  # fmt: skip
        if CAUSAL:
            state = walked(
                state, queries, inner, turns, team, row, done + 1, (end - 2) * N, end - 1 - whole, t, last, FACTOR,
                M, N, D, E, SLOTS, TEAMS, CAUSAL, True, WARPS, MINE,
            )  # fmt: skip
        state = walked(
            state, queries, inner, turns, team, row, done + end - whole, 0, whole, t, last, FACTOR, M, N, D, E,
            SLOTS, TEAMS, CAUSAL, False, WARPS, MINE,
        )  # fmt: skip
        mbarrier.arrive(q_empty.index(0))
        shares, _, total, accs = state
        done += end
        accs = summed(shares, accs, inner, done - 1, N, E, SLOTS, WARPS)
        accs = awaited(shares, shares, accs)[1]
        mbarrier.arrive(v_empty.index((done - 1) % SLOTS))
        turn = turn + 1
        store(accs, total, output, kept.index(team), image, head, first + team * M, CAUSAL and not NAN)
    grid.release(EARLY)
    tma.store_wait(0)


@gluon.jit
def store(accs, total, output, room, image, head, first, BLIND: gl.constexpr):
    """Sums by their totals, on their way out. BLIND: a query that sees no key has zeros."""
    total = gl.sum(total, 1)
    if BLIND:
        total = gl.where(total == 0, 1.0, total)
    tma.store_wait(0)
    lines = room.reshape((room.shape[2], room.shape[3]))
    for part in gl.static_range(len(accs)):
        its = gl.convert_layout(1.0 / total, gl.SliceLayout(1, accs[part].type.layout))
        found = accs[part] * gl.expand_dims(its, 1)
        lines.slice(part * accs[0].shape[1], accs[part].shape[1], 1).store(found.to(output.dtype))
    fence_async_shared()
    copy_out(output, [image, head, first, 0], room)


@gluon.jit
def pingpong(
    q, k, v, output, heads, shared, t, last, tiles, count, SCALE: gl.constexpr, M: gl.constexpr,
    N: gl.constexpr, D: gl.constexpr, E: gl.constexpr, BYTES: gl.constexpr, SLOTS: gl.constexpr, TEAMS: gl.constexpr,
    CAUSAL: gl.constexpr, EDGE: gl.constexpr, NAN: gl.constexpr, WARPS: gl.constexpr,
    EARLY: gl.constexpr,
):  # fmt: skip
    """Operands are descriptors over batch, head, place, element. Each of TEAMS takes M queries of a head at a time and
    walks all keys in blocks of N; elements of a head come in parts (first, how many), D of q and k, E of v. `tiles` are
    those of TEAMS * M queries; SCALE counts millionths of millionths.
    """
    slots_q = gl.allocate_shared_memory(q.dtype, [TEAMS] + q.block_type.shape, q.layout)
    slots_k = gl.allocate_shared_memory(k.dtype, [SLOTS] + k.block_type.shape, k.layout)
    slots_v = gl.allocate_shared_memory(v.dtype, [SLOTS] + v.block_type.shape, v.layout)
    kept = gl.allocate_shared_memory(output.dtype, [TEAMS] + output.block_type.shape, output.layout)
    q_full, k_full, v_full = barriers(1), barriers(SLOTS), barriers(SLOTS)
    q_empty, k_empty, v_empty = barriers(1, TEAMS), barriers(SLOTS, TEAMS), barriers(SLOTS, TEAMS)
    turns = barriers(TEAMS, 1, TEAMS == 2)
    fence_async_shared()
    ring = (slots_q, slots_k, slots_v, q_full, q_empty, k_full, k_empty, v_full, v_empty)
    if TEAMS == 2:
        gl.warp_specialize(
            [
                (attend, (0, output, ring, turns, kept, heads, t, last, tiles, count, SCALE, M, N, D, E, SLOTS,
                          TEAMS, CAUSAL, EDGE, NAN, WARPS, EARLY)),
                (attend, (1, output, ring, turns, kept, heads, t, last, tiles, count, SCALE, M, N, D, E, SLOTS,
                          TEAMS, CAUSAL, EDGE, NAN, WARPS, EARLY)),
                (bring, (q, k, v, ring, heads, shared, t, last, tiles, count, BYTES, M, N, SLOTS, TEAMS, CAUSAL,
                         EARLY)),
            ],
            [WARPS, 1], [232, 24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (attend, (0, output, ring, turns, kept, heads, t, last, tiles, count, SCALE, M, N, D, E, SLOTS,
                          TEAMS, CAUSAL, EDGE, NAN, WARPS, EARLY)),
                (bring, (q, k, v, ring, heads, shared, t, last, tiles, count, BYTES, M, N, SLOTS, TEAMS, CAUSAL,
                         EARLY)),
            ],
            [1], [24],
        )  # fmt: skip


class Pingpong:
    """Attention to keys that no mask but the causal one hides, heads of 16 to WIDEST elements, in 16 bits."""

    name = "pingpong"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Queries of a team, keys a block, teams."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        reason = _refusal(region, region.anchor, target)
        if reason:
            return Refusal(reason)
        return _tactics(region, arch_of(target))

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Attention)
        op, (q, k, v) = region.anchor, region.inputs
        m, n, teams = int(tactic["m"]), int(tactic["n"]), int(tactic["teams"])
        tiles = dim.ceildiv(q.shape[2], m * teams)
        count = dim.product(region.domain[:2]) * tiles
        keys, D, E = k.shape[2], *_widths(region)
        size = q.dtype.itemsize
        bytes_of = (m * teams * _wide(D) * size, n * _wide(D) * size, n * _wide(E) * size)
        fillings: dict[str, Filling] = {
            "q": _moved(q, m),
            "k": _moved(k, n),
            "v": _moved(v, n),
            "output": _moved(region.outputs[0], m),
            **{"heads": number(q.shape[1]), "shared": number(k.shape[1]), "t": number(keys)},
            **{"last": number(op.offset), "tiles": number(tiles), "count": number(count)},
            **{"SCALE": round(op.scale * 1e12), "M": m, "N": n},
            **{"D": _parts(D), "E": _parts(E), "BYTES": bytes_of},
            **{"SLOTS": _slots(m, n, teams, region, arch_of(target)), "TEAMS": teams},
            **{"CAUSAL": int(op.causal), "EDGE": int(op.causal or not isinstance(keys, int) or keys % n != 0)},
            **{"NAN": int(op.blind == "nan"), "WARPS": WARPS, "EARLY": int(arch_of(target).early)},
        }
        return CudaKernel(launches=(launch(f"{__name__}:pingpong", dim.minimum(count, PROCESSORS), fillings, WARPS),))


def _tactics(region: Anchored, arch: Arch) -> list[Tactic]:
    keys, queries = dim.bounds(region.inputs[1].shape[2])[1], dim.bounds(region.domain[2])[1] or 512
    pairs = dim.bounds(dim.product(region.domain[:2]))[1] or 64
    sums = sum(size for _, size in _parts(_widths(region)[1]))

    def fits(m: int, n: int, teams: int) -> bool:
        held = m * (n * 3 // 2 + sums) // 128
        few = queries > m * (teams - 1) and (keys is None or keys > n // 2)
        return held <= 200 and few and _slots(m, n, teams, region, arch) >= 2

    def rounds(shape: tuple[int, int, int]) -> int:
        m, _, teams = shape
        return -(-(-(-queries // (m * teams)) * pairs) // arch.processors) * (m * teams + 64 * (2 - teams))

    shapes = [one for one in product((64, 128), (128, 64), (2, 1)) if fits(*one)]
    names = ("m", "n", "teams")
    return [Tactic(Pingpong.name, tuple(zip(names, one, strict=True))) for one in sorted(shapes, key=rounds)]


def _refusal(region: Anchored, op: Attention, target: Target) -> str | None:
    reason = whole.refusal(region, op, target, causal=True)
    if reason:
        return reason
    q, k, v = region.inputs
    reason = heads.refusal([one.dtype for one in region.inputs], [q.shape[3], v.shape[3]])
    if reason or any(one % 8 or one < 16 for one in _widths(region)):
        return reason or f"heads of {q.shape[3]} and {v.shape[3]} elements"
    if (dim.bounds(q.shape[2])[1] or 512) < 32 or (dim.bounds(k.shape[2])[0] or 0) < 1:
        return f"{q.shape[2]} queries, {k.shape[2]} keys"
    return None


def _widths(region: Anchored) -> tuple[int, int]:
    D, E = region.inputs[0].shape[3], region.inputs[2].shape[3]
    assert isinstance(D, int) and isinstance(E, int)
    return D, E


def _wide(width: int) -> int:
    """Elements of a row in shared memory."""
    return grid.power_of_two(width)


def _parts(width: int) -> tuple[tuple[int, int], ...]:
    """A head's elements, (first, how many): one power of two, or two of them where that is less by a fifth."""
    most = _wide(width)
    first = most // 2
    second = max(16, grid.power_of_two(width - first))
    return ((0, first), (first, second)) if first >= 32 and (first + second) * 5 <= most * 4 else ((0, most),)


def _slots(m: int, n: int, teams: int, region: Anchored, arch: Arch) -> int:
    """Blocks of keys and values that are under way."""
    D, E = map(_wide, _widths(region))
    size = region.inputs[0].dtype.itemsize
    return min(4, (arch.shared - 2048 - teams * m * (D + E) * size) // (n * (D + E) * size))


def _moved(one: Operand, rows: int) -> Filling:
    wide = one.shape[3]
    assert isinstance(wide, int)
    return boxed(one, (1, 1, rows, _wide(wide)), one.shape, one.strides)


STRATEGY = Pingpong()

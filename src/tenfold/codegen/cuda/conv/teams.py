"""The kernel of convolutions by boxes, in Gluon: a warp that loads, and one or two teams of warps that multiply.

Tiles are counted through the images; a block takes every so-manieth. The loader fills a ring of slots, a step of a tile
each, and runs ahead of the teams. Two teams take turns: one multiplies while the other ends its tile. A barrier tells
only odd from even rounds of the ring, so a team begins to wait for its slots once the other has seen all of its own.
"""

from __future__ import annotations

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

from tenfold.codegen.cuda import grid

copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
copy_out = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global
meet = getattr(gl, "barrier", None) or gl.thread_barrier


@triton.jit
def corner(tile, counts, box: tl.constexpr, N: tl.constexpr):
    """Image, row, pixel and column where a tile begins; `counts` are the tiles along the columns, pixels and rows."""
    across, wide, high = counts[0], counts[1], counts[2]
    rest = tile // across
    return rest // (wide * high) * box[0], rest // wide % high * box[1], rest % wide * box[2], tile % across * N


@triton.jit
def reached(tap, step: tl.constexpr, dilation: tl.constexpr, pad: tl.constexpr):
    """Where a tap lies from a window's corner, along an axis that is seen in lines of `step`: lines, places in one."""
    distance = tap * dilation - pad + pad * step
    return distance // step - pad, distance % step


@triton.jit
def share(part, steps, SLICES: tl.constexpr):
    """Where a slice of a tile's steps begins and ends: their lengths are equal, but for the last one's."""
    length = tl.cdiv(steps, SLICES)
    return tl.minimum(part * length, steps), tl.minimum(part * length + length, steps)


@triton.jit
def length_of(tile, steps, SLICES: tl.constexpr):
    """How many steps a slice of a tile has; slices are counted tile by tile."""
    begin, end = share(tile % SLICES, steps, SLICES)
    return end - begin


@gluon.jit
def weights(w, left, term, filled, slot, TURNED: gl.constexpr):
    """Ask for the weights of a step."""
    if TURNED:
        copy_in(w, [left, term], filled, slot)
    else:
        copy_in(w, [term, left], filled, slot)


@gluon.jit
def load(
    x, w, beside, ring, own, tiles, counts, k, ALONG: gl.constexpr, TAPS: gl.constexpr, steps: gl.constexpr,
    dilations: gl.constexpr, pads: gl.constexpr, box: gl.constexpr, N: gl.constexpr, K: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, SLICES: gl.constexpr, TURNED: gl.constexpr, AHEAD: gl.constexpr,
    EARLY: gl.constexpr,
):  # fmt: skip
    """All that the teams read, in the order in which they read it. AHEAD: weights are constant, so that the first of
    them come while the kernel ahead ends.
    """
    slots_x, slots_w, full, empty = ring
    kept, kept_full, kept_empty, _ = own
    count = 0
    turn = 0
    depth = gl.cdiv(k, K)
    ready = 0
    if AHEAD:
        begin, end = share(gl.program_id(0) % SLICES, depth * TAPS, SLICES)
        left = corner(gl.program_id(0) // SLICES, counts, box, N)[3]
        for step in range(begin, gl.minimum(end, begin + SLOTS)):
            mbarrier.expect(full.index(ready), x.block_type.nbytes + w.block_type.nbytes)
            weights(w, left, step // depth * k + step % depth * K, full.index(ready), slots_w.index(ready), TURNED)
            ready += 1
    grid.wait(EARLY)
    for tile in range(gl.program_id(0), tiles * SLICES, gl.num_programs(0)):
        image, row, pixel, left = corner(tile // SLICES, counts, box, N)
        begin, end = share(tile % SLICES, depth * TAPS, SLICES)
        for step in range(begin, end):
            tap, channel = step // depth, step % depth * K
            line, odd_line = reached(tap // ALONG, steps[0], dilations[0], pads[0])
            place, odd_place = reached(tap % ALONG, steps[1], dilations[1], pads[1])
            slot, filled = count % SLOTS, full.index(count % SLOTS)
            mbarrier.wait(empty.index(slot), (count // SLOTS + 1) & 1)
            if count >= ready:
                mbarrier.expect(filled, x.block_type.nbytes + w.block_type.nbytes)
                weights(w, left, tap * k + channel, filled, slots_w.index(slot), TURNED)
            at = [image, row + line, odd_line, pixel + place, odd_place * k + channel]
            copy_in(x, at, filled, slots_x.index(slot))
            count += 1
        if len(beside) > 0:
            team = turn % TEAMS
            mbarrier.wait(kept_empty.index(team), (turn // TEAMS + 1) & 1)
            mbarrier.expect(kept_full.index(team), beside[0].block_type.nbytes)
            copy_in(beside[0], [image, row, pixel, left], kept_full.index(team), kept.index(team))
        turn = turn + 1
    grid.release(EARLY)


@gluon.jit
def gathered(acc, tile, part, partial, counters, M: gl.constexpr, N: gl.constexpr, SLICES: gl.constexpr):
    """The sums of all slices of a tile, added in order, and whether this slice is the last to arrive."""
    layout: gl.constexpr = acc.type.layout
    down = gl.arange(0, M, layout=gl.SliceLayout(1, layout))
    along = gl.arange(0, N, layout=gl.SliceLayout(0, layout))
    own = partial + tile.to(gl.int64) * (SLICES * M * N) + gl.expand_dims(down, 1) * N + gl.expand_dims(along, 0)
    gl.store(own + part * (M * N), acc)
    meet()
    last = gl.atomic_add(counters + tile, 1, sem="acq_rel") == SLICES - 1
    if last:
        acc = gl.load(own, cache_modifier=".cg")
        for each in range(1, SLICES):
            acc += gl.load(own + each * (M * N), cache_modifier=".cg")
        gl.store(counters + tile, 0)
    return acc, last


@gluon.jit
def summed(
    ring, turns, team, turn, count, length, layout: gl.constexpr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, TURNED: gl.constexpr,
):  # fmt: skip
    """The products of `length` slots from the `count`-th on; the other team goes on once all of them were filled."""
    slots_x, slots_w, full, empty = ring
    acc = gl.zeros((M, N), gl.float32, layout)
    if TEAMS == 2:
        mbarrier.wait(turns.index(team), (turn // 2 + 1 - team) & 1)
    for step in range(count, count + length):
        slot = step % SLOTS
        mbarrier.wait(full.index(slot), step // SLOTS & 1)
        y = slots_w.index(slot)
        if TURNED:
            y = y.permute((1, 0))
        acc = warpgroup_mma(slots_x.index(slot).reshape((M, K)), y, acc, is_async=True)
        acc = warpgroup_mma_wait(1, deps=(acc,))
        mbarrier.arrive(empty.index((step + SLOTS - 1) % SLOTS), pred=step > count)
    if TEAMS == 2:
        mbarrier.arrive(turns.index(1 - team))
    acc = warpgroup_mma_wait(0, deps=(acc,))
    mbarrier.arrive(empty.index((count + length + SLOTS - 1) % SLOTS))
    return acc


@gluon.jit
def numbers_of(extra, left, n, kinds: gl.constexpr, layout: gl.constexpr, N: gl.constexpr):
    """What lies beside the sums of a tile: one number, or one a column."""
    column = left + gl.arange(0, N, layout=gl.SliceLayout(0, layout))
    found = ()
    for one in gl.static_range(len(kinds)):
        if kinds[one] == 2:
            found = found + (gl.expand_dims(gl.load(extra[one] + column, mask=column < n, other=0), 0),)
        elif kinds[one] == 0:
            found = found + (gl.load(extra[one]),)
        else:
            found = found + (0,)
    return found


@gluon.jit
def concluded(acc, kept, numbers, uniforms, left, n, body: gl.constexpr, kinds: gl.constexpr):
    """What the body makes of a tile's sums and of what lies beside them."""
    layout: gl.constexpr = acc.type.layout
    column = left + gl.arange(0, acc.shape[1], layout=gl.SliceLayout(0, layout))
    values = (acc,)
    for one in gl.static_range(len(kinds)):
        if kinds[one] == 3:
            values = values + (kept.load(layout),)
        else:
            values = values + (numbers[one],)
    return body(values, (), uniforms, (), column < n)[0]


@gluon.jit
def multiply(
    team, output, beside, extra, uniforms, partial, counters, ring, own, tiles, counts, n, k, body: gl.constexpr,
    kinds: gl.constexpr, TAPS: gl.constexpr, box: gl.constexpr, N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, WARPS: gl.constexpr, SLICES: gl.constexpr, TURNED: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """Every TEAMS-th tile of the block: its products, the body on them and on what lies beside them, stored. Where the
    sums leave room for them, the numbers beside a tile are loaded before its sums are made.
    """
    M: gl.constexpr = box[0] * box[1] * box[2]
    ROOM: gl.constexpr = M * N <= WARPS * 64 * 32
    grid.wait(EARLY)
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WARPS, 1], [16, N, 16])
    kept, kept_full, kept_empty, turns = own
    results = kept.index(team).reshape((M, N))
    steps = gl.cdiv(k, K) * TAPS
    turn = team + 0
    count = 0
    for ahead in range(team):
        count += length_of(gl.program_id(0) + ahead * gl.num_programs(0), steps, SLICES)
    for tile in range(gl.program_id(0) + team * gl.num_programs(0), tiles * SLICES, gl.num_programs(0) * TEAMS):
        image, row, pixel, left = corner(tile // SLICES, counts, box, N)
        length = length_of(tile, steps, SLICES)
        numbers = ()
        if ROOM:
            numbers = numbers_of(extra, left, n, kinds, layout, N)
        acc = summed(ring, turns, team, turn, count, length, layout, M, N, K, SLOTS, TEAMS, TURNED)
        if not ROOM:
            numbers = numbers_of(extra, left, n, kinds, layout, N)
        for ahead in range(TEAMS):
            count += length_of(tile + ahead * gl.num_programs(0), steps, SLICES)
        last = True
        if SLICES > 1:
            acc, last = gathered(acc, tile // SLICES, tile % SLICES, partial, counters, M, N, SLICES)
        if len(beside) > 0:
            mbarrier.wait(kept_full.index(team), turn // TEAMS & 1)
        else:
            tma.store_wait(0)
        if last:
            results.store(concluded(acc, results, numbers, uniforms, left, n, body, kinds).to(output.dtype))
            fence_async_shared()
            copy_out(output, [image, row, pixel, left], kept.index(team))
        if len(beside) > 0:
            tma.store_wait(0)
            mbarrier.arrive(kept_empty.index(team))
        turn += TEAMS
    tma.store_wait(0)


@gluon.jit
def boxes(
    x, w, output, beside, extra, uniforms, partial, counters, tiles, counts, n, k, body: gl.constexpr,
    kinds: gl.constexpr, ALONG: gl.constexpr, TAPS: gl.constexpr, steps: gl.constexpr, dilations: gl.constexpr,
    pads: gl.constexpr, box: gl.constexpr, N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr, TEAMS: gl.constexpr,
    WARPS: gl.constexpr, SLICES: gl.constexpr, TURNED: gl.constexpr, AHEAD: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` is a descriptor of boxes of [images, lines, places of a line, places, channels], `w` of columns by terms (of
    terms by columns, if not TURNED), `output` and `beside`, which may be empty, of boxes of [images, rows, pixels,
    columns]. `extra` are addresses of one number (`kinds` 0) or one a column (2); 3 says that it is what lies beside.
    """
    slots_x = gl.allocate_shared_memory(x.dtype, [SLOTS] + x.block_type.shape, x.layout)
    slots_w = gl.allocate_shared_memory(w.dtype, [SLOTS] + w.block_type.shape, w.layout)
    kept = gl.allocate_shared_memory(output.dtype, [TEAMS] + output.block_type.shape, output.layout)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    kept_full = gl.allocate_shared_memory(gl.int64, [TEAMS, 1], mbarrier.MBarrierLayout())
    kept_empty = gl.allocate_shared_memory(gl.int64, [TEAMS, 1], mbarrier.MBarrierLayout())
    turns = gl.allocate_shared_memory(gl.int64, [TEAMS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1)
    for team in gl.static_range(TEAMS):
        mbarrier.init(kept_full.index(team), count=1)
        mbarrier.init(kept_empty.index(team), count=1)
        mbarrier.init(turns.index(team), count=1)
    fence_async_shared()
    ring, own = (slots_x, slots_w, full, empty), (kept, kept_full, kept_empty, turns)
    if TEAMS == 2:
        gl.warp_specialize(
            [
                (multiply, (0, output, beside, extra, uniforms, partial, counters, ring, own, tiles, counts, n, k,
                            body, kinds, TAPS, box, N, K, SLOTS, TEAMS, WARPS, SLICES, TURNED, EARLY)),
                (multiply, (1, output, beside, extra, uniforms, partial, counters, ring, own, tiles, counts, n, k,
                            body, kinds, TAPS, box, N, K, SLOTS, TEAMS, WARPS, SLICES, TURNED, EARLY)),
                (load, (x, w, beside, ring, own, tiles, counts, k, ALONG, TAPS, steps, dilations, pads, box, N, K,
                        SLOTS, TEAMS, SLICES, TURNED, AHEAD, EARLY)),
            ],
            [WARPS, 1], [232, 24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (multiply, (0, output, beside, extra, uniforms, partial, counters, ring, own, tiles, counts, n, k,
                            body, kinds, TAPS, box, N, K, SLOTS, TEAMS, WARPS, SLICES, TURNED, EARLY)),
                (load, (x, w, beside, ring, own, tiles, counts, k, ALONG, TAPS, steps, dilations, pads, box, N, K,
                        SLOTS, TEAMS, SLICES, TURNED, AHEAD, EARLY)),
            ],
            [1], [24],
        )  # fmt: skip

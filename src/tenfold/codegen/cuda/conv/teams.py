"""The kernel of convolutions by boxes, in Gluon: a warp that loads, and one or two teams of warps that multiply.

Tiles are counted through the images; a block takes every so-manieth. The loader fills a ring of slots, a step of a tile
each, and runs ahead of the teams. Two teams take turns: one multiplies while the other ends its tile. A barrier tells
only odd from even rounds of the ring, so a team begins to wait for its slots once the other has seen all of its own.
"""

from __future__ import annotations

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

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.conv import cluster, dialect
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, layout_of, width_of
from tenfold.codegen.cuda.conv.places import corner, length_of, moved, reached, share
from tenfold.codegen.cuda.conv.slices import joined
from tenfold.codegen.cuda.conv.tail import moments_of, numbers_of_parts, standing_of, stored


@gluon.jit
def weights(w, left, term, filled, slots, slot, PARTS: gl.constexpr, APART: gl.constexpr, TURNED: gl.constexpr):
    """Ask for the weights of a step."""
    for part in gl.static_range(len(PARTS)):
        column = left + part * (APART if APART else PARTS[0])
        if TURNED:
            copy_in(w[part], [column, term], filled, slots[part].index(slot))
        else:
            copy_in(w[part], [term, column], filled, slots[part].index(slot))


@gluon.jit
def load(
    x, w, beside, ring, own, tiles, counts, k, ALONG: gl.constexpr, TAPS: gl.constexpr, steps: gl.constexpr,
    dilations: gl.constexpr, pads: gl.constexpr, box: gl.constexpr, PARTS: gl.constexpr, APART: gl.constexpr,
    BYTES: gl.constexpr, END: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr, TEAMS: gl.constexpr,
    SLICES: gl.constexpr, CLUSTER: gl.constexpr, TURNED: gl.constexpr, AHEAD: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All that the teams read, in the order in which they read it. AHEAD: weights are constant, so that the first of
    them come while the kernel ahead ends.
    """
    slots_x, slots_w, full, empty = ring
    kept, kept_full, kept_empty, _ = own
    N: gl.constexpr = width_of(PARTS, APART)
    count = 0
    turn = 0
    depth = gl.cdiv(k, K)
    ready = 0
    if AHEAD:
        begin, end = share(gl.program_id(0) % SLICES, depth * TAPS, SLICES)
        left = corner(gl.program_id(0) // SLICES, counts, box, N)[3]
        for step in range(begin, gl.minimum(end, begin + SLOTS)):
            mbarrier.expect(full.index(ready), BYTES[0])
            term = step // depth * k + step % depth * K
            weights(w, left, term, full.index(ready), slots_w, ready, PARTS, APART, TURNED)
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
                mbarrier.expect(filled, BYTES[0])
                weights(w, left, tap * k + channel, filled, slots_w, slot, PARTS, APART, TURNED)
            at = [image, row + line, odd_line, pixel + place, odd_place * k + channel]
            copy_in(x, at, filled, slots_x.index(slot))
            count += 1
        if len(beside) > 0:
            team = turn % TEAMS
            mbarrier.wait(kept_empty.index(team), (turn // TEAMS + 1) & 1)
            mbarrier.expect(kept_full.index(team), BYTES[1])
            image, row, pixel = moved(image, row, pixel, tile % SLICES, box, END)
            lefts = lefts_of(left, tile % SLICES, PARTS, CLUSTER)
            for part in gl.static_range(len(beside)):
                at = [image, row, pixel, lefts[part]]
                copy_in(beside[part], at, kept_full.index(team), kept[part].index(team))
        turn = turn + 1


@gluon.jit
def matrix(slots, slot, TURNED: gl.constexpr):
    """The weights of a step, as terms by columns."""
    if TURNED:
        return slots.index(slot).permute((1, 0))
    else:
        return slots.index(slot)


@gluon.jit
def summed(
    ring, turns, team, turn, count, length, M: gl.constexpr, PARTS: gl.constexpr, WARPS: gl.constexpr,
    K: gl.constexpr, SLOTS: gl.constexpr, TEAMS: gl.constexpr, TURNED: gl.constexpr,
):  # fmt: skip
    """The products of `length` slots from the `count`-th on, of one part of the columns or of two; the other team goes
    on once all of them were filled.
    """
    slots_x, slots_w, full, empty = ring
    TERMS: gl.constexpr = dialect.terms_of(slots_x.dtype)
    acc = gl.zeros((M, PARTS[0]), gl.float32, layout_of(PARTS[0], WARPS, TERMS))
    other = acc
    if len(PARTS) == 2:
        other = gl.zeros((M, PARTS[1]), gl.float32, layout_of(PARTS[1], WARPS, TERMS))
    if TEAMS == 2:
        mbarrier.wait(turns.index(team), (turn // 2 + 1 - team) & 1)
    for step in range(count, count + length):
        slot = step % SLOTS
        mbarrier.wait(full.index(slot), step // SLOTS & 1)
        rows = slots_x.index(slot).reshape((M, K))
        acc = warpgroup_mma(rows, matrix(slots_w[0], slot, TURNED), acc, is_async=True)
        if len(PARTS) == 2:
            other = warpgroup_mma(rows, matrix(slots_w[1], slot, TURNED), other, is_async=True)
            acc, other = warpgroup_mma_wait(2, deps=(acc, other))
        else:
            acc = warpgroup_mma_wait(1, deps=(acc,))
        mbarrier.arrive(empty.index((step + SLOTS - 1) % SLOTS), pred=step > count)
    if TEAMS == 2:
        mbarrier.arrive(turns.index(1 - team))
    if len(PARTS) == 2:
        acc, other = warpgroup_mma_wait(0, deps=(acc, other))
    else:
        acc = warpgroup_mma_wait(0, deps=(acc,))
    mbarrier.arrive(empty.index((count + length + SLOTS - 1) % SLOTS))
    other = gl.convert_layout(other, layout_of(PARTS[len(PARTS) - 1], WARPS))
    return gl.convert_layout(acc, layout_of(PARTS[0], WARPS)), other


@gluon.jit
def multiply(
    team, output, beside, extra, told, moments, uniforms, partial, counters, ring, own, tiles, counts, m, n, k,
    body: gl.constexpr, kinds: gl.constexpr, TAPS: gl.constexpr, box: gl.constexpr, END: gl.constexpr,
    PARTS: gl.constexpr, APART: gl.constexpr, WIDTH: gl.constexpr, STANDING: gl.constexpr, K: gl.constexpr,
    SLOTS: gl.constexpr, TEAMS: gl.constexpr, WARPS: gl.constexpr, SLICES: gl.constexpr, CLUSTER: gl.constexpr,
    TURNED: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """Every TEAMS-th tile of the block: its products, the body on them and on what lies beside them, stored. Where the
    sums leave room for them, the numbers beside a tile are loaded before its sums are made. Slices end a tile
    together where END, the box that one of them ends, is less than `box`, or in a CLUSTER a share of the columns each.
    """
    M: gl.constexpr = box[0] * box[1] * box[2]
    N: gl.constexpr = width_of(PARTS, APART)
    ROWS: gl.constexpr = END[0] * END[1] * END[2]
    ROOM: gl.constexpr = ROWS < M or (M * N <= WARPS * 64 * 32 and len(PARTS) == 1)
    ENDED: gl.constexpr = ended_of(PARTS, CLUSTER)
    if CLUSTER > 1:
        cluster.open_room(partial, M, PARTS, CLUSTER)
    grid.begin(EARLY)
    kept, kept_full, kept_empty, turns = own
    steps = gl.cdiv(k, K) * TAPS
    turn = team + 0
    count = 0
    for ahead in range(team):
        count += length_of(gl.program_id(0) + ahead * gl.num_programs(0), steps, SLICES)
    for tile in range(gl.program_id(0) + team * gl.num_programs(0), tiles * SLICES, gl.num_programs(0) * TEAMS):
        image, row, pixel, left = corner(tile // SLICES, counts, box, N)
        length = length_of(tile, steps, SLICES)
        image, row, pixel = moved(image, row, pixel, tile % SLICES, box, END)
        lefts = lefts_of(left, tile % SLICES, PARTS, CLUSTER)
        parts = moments_of(moments, pixel, m, ROWS, WARPS, STANDING)
        numbers = ()
        if ROOM:
            numbers = numbers_of_parts(extra, image, pixel, lefts, m, n, kinds, M, END, ENDED, WARPS)
        accs = summed(ring, turns, team, turn, count, length, M, PARTS, WARPS, K, SLOTS, TEAMS, TURNED)
        for ahead in range(TEAMS):
            count += length_of(tile + ahead * gl.num_programs(0), steps, SLICES)
        standing = standing_of(parts, STANDING)
        accs, last = joined(accs, tile, partial, counters, M, N, ROWS, PARTS, SLICES, CLUSTER, WARPS)
        if len(beside) > 0:
            mbarrier.wait(kept_full.index(team), turn // TEAMS & 1)
        if last:
            stored(
                accs, output, len(beside), extra, told, standing, uniforms, numbers, kept, team, image, row, pixel,
                lefts, m, n, body, kinds, END, ENDED, WIDTH, WARPS,
            )  # fmt: skip
        if len(beside) > 0:
            tma.store_wait(0)
            mbarrier.arrive(kept_empty.index(team))
        turn += TEAMS
    tma.store_wait(0)


@gluon.jit
def lefts_of(left, slice, PARTS: gl.constexpr, CLUSTER: gl.constexpr):
    """The first column of each part of a tile that a block ends: of its share, where slices of a CLUSTER share it."""
    found = ()
    for part in gl.static_range(len(PARTS)):
        begin = left + part * PARTS[0]
        if CLUSTER > 1:
            begin += slice * (PARTS[part] // CLUSTER)
        found = found + (begin,)
    return found


@triton.constexpr_function
def ended_of(parts, slices):
    """The parts of a tile's columns that a block ends: all, or where `slices` of a cluster share them, one share."""
    return tuple(part // slices for part in parts)


@gluon.jit
def boxes(
    x, w, output, beside, extra, told, moments, uniforms, partial, counters, tiles, counts, m, n, k, body: gl.constexpr,
    kinds: gl.constexpr, ALONG: gl.constexpr, TAPS: gl.constexpr, steps: gl.constexpr, dilations: gl.constexpr,
    pads: gl.constexpr, box: gl.constexpr, END: gl.constexpr, PARTS: gl.constexpr, APART: gl.constexpr,
    WIDTH: gl.constexpr, STANDING: gl.constexpr, BYTES: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr,
    TEAMS: gl.constexpr, WARPS: gl.constexpr, SLICES: gl.constexpr, CLUSTER: gl.constexpr, TURNED: gl.constexpr,
    AHEAD: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` is a descriptor of boxes of [images, lines, places of a line, places, channels], `w` of columns by terms (of
    terms by columns, if not TURNED), one for each of the PARTS that a tile's columns come in: side by side, or two that
    are APART columns from each other and meet in the body. So are `output` and `beside`, which may be empty, of boxes
    of [images, rows, pixels, columns]; one where parts meet. BYTES are those of a step, and of what lies beside a tile.
    `extra` are addresses of one number (`kinds` 0), one a pixel of a line (1), one a column (2), or of one a column of
    each image, with the stride between images and their number (4); 3 says that it is what lies beside. `told`, where
    WIDTH is not 0, says where the moments of every WIDTH columns of the line's pixels go. Of the line's pixels as they
    are read, `moments` give what `kinds` 5 and 6 stand for.
    """
    slots_x = gl.allocate_shared_memory(x.dtype, [SLOTS] + x.block_type.shape, x.layout)
    slots_w = ()
    kept = ()
    for part in gl.static_range(len(PARTS)):
        slots_w = slots_w + (
            gl.allocate_shared_memory(w[part].dtype, [SLOTS] + w[part].block_type.shape, w[part].layout),
        )
    for part in gl.static_range(len(output)):
        one = output[part]
        if part == 0 or len(beside) > 0 or PARTS[part] != PARTS[0]:
            kept = kept + (gl.allocate_shared_memory(one.dtype, [TEAMS] + one.block_type.shape, one.layout),)
    full, empty = barriers(SLOTS), barriers(SLOTS)
    kept_full, kept_empty = barriers(TEAMS, 1, len(beside) > 0), barriers(TEAMS, 1, len(beside) > 0)
    turns = barriers(TEAMS, 1, TEAMS == 2)
    if CLUSTER > 1:
        partial = cluster.make_room(box[0] * box[1] * box[2], PARTS, CLUSTER)
    fence_async_shared()
    ring, own = (slots_x, slots_w, full, empty), (kept, kept_full, kept_empty, turns)
    if TEAMS == 2:
        gl.warp_specialize(
            [
                (multiply, (0, output, beside, extra, told, moments, uniforms, partial, counters, ring, own, tiles,
                            counts, m, n, k, body, kinds, TAPS, box, END, PARTS, APART, WIDTH, STANDING, K, SLOTS,
                            TEAMS, WARPS, SLICES, CLUSTER, TURNED, EARLY)),
                (multiply, (1, output, beside, extra, told, moments, uniforms, partial, counters, ring, own, tiles,
                            counts, m, n, k, body, kinds, TAPS, box, END, PARTS, APART, WIDTH, STANDING, K, SLOTS,
                            TEAMS, WARPS, SLICES, CLUSTER, TURNED, EARLY)),
                (load, (x, w, beside, ring, own, tiles, counts, k, ALONG, TAPS, steps, dilations, pads, box, PARTS,
                        APART, BYTES, END, K, SLOTS, TEAMS, SLICES, CLUSTER, TURNED, AHEAD, EARLY)),
            ],
            [WARPS, 1], [232, 24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (multiply, (0, output, beside, extra, told, moments, uniforms, partial, counters, ring, own, tiles,
                            counts, m, n, k, body, kinds, TAPS, box, END, PARTS, APART, WIDTH, STANDING, K, SLOTS,
                            TEAMS, WARPS, SLICES, CLUSTER, TURNED, EARLY)),
                (load, (x, w, beside, ring, own, tiles, counts, k, ALONG, TAPS, steps, dilations, pads, box, PARTS,
                        APART, BYTES, END, K, SLOTS, TEAMS, SLICES, CLUSTER, TURNED, AHEAD, EARLY)),
            ],
            [1], [24],
        )  # fmt: skip

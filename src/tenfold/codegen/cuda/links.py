"""The links of a chain, in Gluon: a stretch of a network on one row, all of it in one launch.

One warp loads: it asks for the matrices of all products, tile by tile, through one ring of slots, and waits for nothing
but free slots. The others do the links in order. Where a link reads what other blocks have written, all blocks meet:
they arrive, and wait. So memory is read on while blocks wait for each other.

What other blocks write is read past the first cache, which does not see it.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import mma_v2
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.conv.dialect import copy_in, meet
from tenfold.codegen.cuda.views import seen_as

ARRIVE, WAIT, PRODUCT, POINTS, ATTENTION, JOIN = (gl.constexpr(kind) for kind in range(6))
"""What a link is: the first number of its plan."""


@gluon.jit
def turn_of(shift: gl.constexpr):
    """The first portion of a link that is this block's, where portions go round all blocks; those of another link begin
    at another block.
    """
    blocks = gl.num_programs(0)
    turn = gl.program_id(0) + gl.minimum(shift, blocks - 1)
    return gl.where(turn < blocks, turn, turn - blocks)


@gluon.jit
def ask(matrix, SIZE: gl.constexpr):
    """Ask for so many elements of two bytes, that they come to the second cache, as slowly as memory gives them."""
    PIECE: gl.constexpr = 8192
    for piece in range(SIZE // PIECE):
        gl.inline_asm_elementwise(
            "{ cp.async.bulk.prefetch.L2.global [$1], $2; nanosleep.u32 $3; mov.u32 $0, 0; }", "=r,l,r,r",
            [matrix + piece * PIECE, 2 * PIECE, 400], dtype=gl.int32, is_pure=False, pack=1,
        )  # fmt: skip


@gluon.jit
def feed(
    given, slots, full, empty, plans: gl.constexpr, N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr,
    FLIGHT: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """The matrices of all products, in the order in which they are read; no more than FLIGHT slots are under way, so
    that what the other warps ask for does not come late. The last number of a plan: portions that are asked for ahead,
    once the ring is full.
    """
    count = 0
    for one in gl.static_range(len(plans)):
        if plans[one][0] == PRODUCT:
            w = given[one][0]
            turn = 0
            for tile in range(turn_of(plans[one][1]), plans[one][2], gl.num_programs(0)):
                if plans[one][10] > 0 and turn == SLOTS // plans[one][3] - 1:
                    for each in range(plans[one][10]):
                        ahead = gl.minimum(tile + each * gl.num_programs(0), plans[one][2] - 1)
                        ask(given[one][5] + ahead * (N * plans[one][5]), N * plans[one][5])
                for step in range(plans[one][3]):
                    slot = count % SLOTS
                    mbarrier.wait(empty.index(slot), (count // SLOTS + 1) & 1)
                    if count >= FLIGHT:
                        last = count - FLIGHT
                        mbarrier.wait(full.index(last % SLOTS), last // SLOTS & 1)
                    mbarrier.expect(full.index(slot), w.block_type.nbytes)
                    copy_in(w, [step * (K // 64), tile * N, 0], full.index(slot), slots.index(slot))
                    count += 1
                turn = turn + 1
    grid.release(EARLY)


@gluon.jit
def beside(streams, at, inside, kinds: gl.constexpr):
    """What lies beside some elements: of each stream one number (`kinds` 0) or one an element (2)."""
    values = ()
    for one in gl.static_range(len(kinds)):
        if kinds[one] == 2:
            values = values + (gl.load(streams[one] + at, mask=inside, other=0, cache_modifier=".cg"),)
        else:
            values = values + (gl.load(streams[one], cache_modifier=".cg"),)
    return values


@gluon.jit
def prepared(
    given, row, k: gl.constexpr, kinds: gl.constexpr, stored_kinds: gl.constexpr, scalars: gl.constexpr,
    body: gl.constexpr, WIDTH: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """The row that a product takes, in every block's shared memory; the first block stores it too."""
    inputs, stored, uniforms = given
    at = gl.arange(0, WIDTH, layout=gl.BlockedLayout([8], [32], [WARPS], [0]))
    inside = at < k
    values = beside(inputs, at, inside, kinds)
    found = scalars(values, (), uniforms, (), inside)
    results = body(values + found, (), uniforms, (), inside)
    row.slice(0, WIDTH).store(gl.where(inside, results[0], 0).to(row.dtype))
    if gl.program_id(0) == 0:
        for one in gl.static_range(len(stored_kinds)):
            gl.store(stored[one] + at, results[one], mask=inside)
    meet()


@gluon.jit
def product(
    given, row, slots, full, empty, count, plan: gl.constexpr, holes: gl.constexpr, N: gl.constexpr, K: gl.constexpr,
    SLOTS: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """Sums of the row by the columns of tiles, the body on them, stored; the slots that were taken so far. Warps take
    64 terms each; the row is eight columns that are alike, as tensor cores want them.
    """
    layout: gl.constexpr = gl.NVMMADistributedLayout([2, 0], [WARPS, 1, 1], [1, 16, 8])
    a: gl.constexpr = gl.DotOperandLayout(0, layout, 2)
    b: gl.constexpr = gl.DotOperandLayout(1, layout, 2)
    chunked: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    _, output, extra, ready, uniforms, _ = given
    prepared(ready, row, plan[5], plan[8], plan[9], holes[0], holes[1], plan[6], WARPS)
    terms = seen_as(row.slice(0, plan[6]), row.dtype, [plan[6] // K, K // 64, 64], chunked)
    shape = gl.zeros((K // 64, 64, 8), row.dtype, b)
    for tile in range(turn_of(plan[1]), plan[2], gl.num_programs(0)):
        column = tile * N + gl.arange(0, N, layout=gl.SliceLayout(0, gl.SliceLayout(2, layout)))
        inside = column < plan[4]
        values = beside(extra, column, inside, plan[7])
        acc = gl.zeros((K // 64, N, 8), gl.float32, layout)
        for step in range(plan[3]):
            slot = count % SLOTS
            mbarrier.wait(full.index(slot), count // SLOTS & 1)
            part = slots.index(slot).load(a)
            x = gl.broadcast(gl.expand_dims(terms.index(step).load(gl.SliceLayout(2, b)), 2), shape)[0]
            mbarrier.arrive(empty.index(slot))
            acc = mma_v2(part, x, acc)
            count += 1
        total = gl.sum(gl.sum(acc, 2) * 0.125, 0)
        results = holes[2]((total,) + values, (), uniforms, (), inside)
        gl.store(output + column, results[0], mask=inside)
    return count


@gluon.jit
def distance(at, strides):
    """How far from the start elements at these positions lie."""
    total = at[0] * strides[0]
    for axis in gl.static_range(1, len(strides)):
        total += at[axis] * strides[axis]
    return total


@gluon.jit
def points(given, plan: gl.constexpr, holes: gl.constexpr, WARPS: gl.constexpr):
    """A body on every point of a domain, some points a block."""
    inputs, outputs, gathered, uniforms, sizes = given
    CHUNK: gl.constexpr = plan[3] * 32 * WARPS
    for chunk in range(turn_of(plan[1]), (plan[2] + CHUNK - 1) // CHUNK, gl.num_programs(0)):
        flat = chunk * CHUNK + gl.arange(0, CHUNK, layout=gl.BlockedLayout([plan[4]], [32], [WARPS], [0]))
        inside = flat < plan[2]
        at = grid.positions(flat, sizes)
        values = ()
        for one in gl.static_range(len(inputs)):
            place = inputs[one][0] + distance(at, inputs[one][1])
            values = values + (gl.load(place, mask=inside, other=0, cache_modifier=".cg"),)
        results = holes[0](values, at, uniforms, gathered, inside)
        for one in gl.static_range(len(outputs)):
            gl.store(outputs[one][0] + distance(at, outputs[one][1]), results[one], mask=inside)


@gluon.jit
def rows_of(one, key, element, end):
    """The vectors of some keys or values, from their address and steps."""
    at = gl.expand_dims(key * one[1], 1) + gl.expand_dims(element * one[2], 0)
    return gl.load(one[0] + at, mask=gl.expand_dims(key < end, 1), other=0, cache_modifier=".cg")


@gluon.jit
def attention(given, plan: gl.constexpr, WARPS: gl.constexpr):
    """One query of each head: a block takes some keys of a head, and leaves its sums, its peak and its total."""
    q, k, v, partial = given
    HEADS: gl.constexpr = plan[4]
    GROUP: gl.constexpr = plan[5]
    SLICES: gl.constexpr = plan[6]
    KEYS: gl.constexpr = plan[7]
    D: gl.constexpr = plan[8]
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [256 // D, D // 8], [WARPS, 1], [1, 0])
    down: gl.constexpr = gl.SliceLayout(1, layout)
    along: gl.constexpr = gl.SliceLayout(0, layout)
    SPAN: gl.constexpr = (plan[3] + SLICES - 1) // SLICES
    element = gl.arange(0, D, layout=along)
    for unit in range(turn_of(plan[1]), plan[2], gl.num_programs(0)):
        which, part = unit // SLICES, unit % SLICES
        batch, head = which // HEADS, which % HEADS
        begin, end = part * SPAN, gl.minimum(part * SPAN + SPAN, plan[3])
        key = begin + gl.arange(0, KEYS, layout=down)
        all_keys = (k[0] + batch * k[1][0] + head // GROUP * k[1][1], k[1][2], k[1][3])
        all_values = (v[0] + batch * v[1][0] + head // GROUP * v[1][1], v[1][2], v[1][3])
        keys, values = rows_of(all_keys, key, element, end), rows_of(all_values, key, element, end)
        query = gl.load(q[0] + batch * q[1][0] + head * q[1][1] + element * q[1][3], cache_modifier=".cg")
        query = query.to(gl.float32) * (1.4426950408889634e-12 * plan[9])
        peak = gl.full((), float("-inf"), gl.float32)
        total = gl.full((), 0.0, gl.float32)
        sums = gl.zeros((D,), gl.float32, along)
        for _ in range(begin, end, KEYS):
            more_keys = rows_of(all_keys, key + KEYS, element, end)
            more_values = rows_of(all_values, key + KEYS, element, end)
            scores = gl.sum(keys.to(gl.float32) * gl.expand_dims(query, 0), 1)
            scores = gl.where(key < end, scores, float("-inf"))
            higher = gl.maximum(peak, gl.max(scores, 0))
            powers, scale = gl.exp2(scores - higher), gl.exp2(peak - higher)
            total = total * scale + gl.sum(powers, 0)
            sums = sums * scale + gl.sum(values.to(gl.float32) * gl.expand_dims(powers, 1), 0)
            keys, values, key, peak = more_keys, more_values, key + KEYS, higher
        own = partial + unit * (D + 2)
        gl.store(own + element, sums)
        gl.store(own + D, peak)
        gl.store(own + D + 1, total)


@gluon.jit
def join(given, plan: gl.constexpr, WARPS: gl.constexpr):
    """The results of queries from what all slices of their keys left."""
    output, partial = given
    HEADS: gl.constexpr = plan[3]
    SLICES: gl.constexpr = plan[4]
    D: gl.constexpr = plan[6]
    layout: gl.constexpr = gl.BlockedLayout([1, 1], [1, 32], [WARPS, 1], [1, 0])
    part = gl.arange(0, plan[5], layout=gl.SliceLayout(1, layout))
    element = gl.arange(0, D, layout=gl.SliceLayout(0, layout))
    there = part < SLICES
    for which in range(turn_of(plan[1]), plan[2], gl.num_programs(0)):
        own = partial + (which * SLICES + part) * (D + 2)
        peaks = gl.load(own + D, mask=there, other=float("-inf"), cache_modifier=".cg")
        totals = gl.load(own + D + 1, mask=there, other=0, cache_modifier=".cg")
        places = gl.expand_dims(own, 1) + gl.expand_dims(element, 0)
        sums = gl.load(places, mask=gl.expand_dims(there, 1), other=0, cache_modifier=".cg")
        scales = gl.exp2(peaks - gl.max(peaks, 0))
        found = gl.sum(sums * gl.expand_dims(scales, 1), 0) / gl.sum(totals * scales, 0)
        gl.store(
            output[0] + which // HEADS * output[1][0] + which % HEADS * output[1][1] + element * output[1][3], found
        )


@gluon.jit
def awaited(counter, target):
    """Return when all blocks have arrived so often."""
    seen = gl.atomic_add(counter, 0, sem="acquire")
    while seen < target:
        seen = gl.atomic_add(counter, 0, sem="acquire")
    meet()


@gluon.jit
def follow(
    given, counters, row, slots, full, empty, plans: gl.constexpr, holes: gl.constexpr, N: gl.constexpr,
    K: gl.constexpr, SLOTS: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All links in order."""
    grid.wait(EARLY)
    count = 0
    target = 0
    for one in gl.static_range(len(plans)):
        if plans[one][0] == ARRIVE:
            meet()
            gl.atomic_add(counters, 1, sem="release")
            target += gl.num_programs(0)
        elif plans[one][0] == WAIT:
            awaited(counters, target)
        elif plans[one][0] == PRODUCT:
            count = product(given[one], row, slots, full, empty, count, plans[one], holes[one], N, K, SLOTS, WARPS)
        elif plans[one][0] == POINTS:
            points(given[one], plans[one], holes[one], WARPS)
        elif plans[one][0] == ATTENTION:
            attention(given[one], plans[one], WARPS)
        else:
            join(given[one], plans[one], WARPS)
    meet()
    if gl.atomic_add(counters + 1, 1, sem="acq_rel") == gl.num_programs(0) - 1:
        gl.store(counters, 0)
        gl.store(counters + 1, 0)


@gluon.jit
def chained(
    given, counters, plans: gl.constexpr, holes: gl.constexpr, FIRST: gl.constexpr, ROOM: gl.constexpr,
    N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr, FLIGHT: gl.constexpr, WARPS: gl.constexpr,
    MEET: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`given` are the addresses of each link, `plans` its numbers, `holes` its bodies; FIRST is the first product, ROOM
    the terms of the longest row. MEET says to the runtime that all blocks wait for each other.
    """
    w = given[FIRST][0]
    slots = gl.allocate_shared_memory(w.dtype, [SLOTS] + w.block_type.shape, w.layout)
    row = gl.allocate_shared_memory(w.dtype, [ROOM], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1)
    fence_async_shared()
    gl.warp_specialize(
        [
            (follow, (given, counters, row, slots, full, empty, plans, holes, N, K, SLOTS, WARPS, EARLY)),
            (feed, (given, slots, full, empty, plans, N, K, SLOTS, FLIGHT, EARLY)),
        ],
        [1], [24],
    )  # fmt: skip

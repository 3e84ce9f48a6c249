"""Sums of slices of a tile, added in order, in Gluon: the last slice to arrive ends the tile, or all a part each."""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from tenfold.codegen.cuda.conv import cluster
from tenfold.codegen.cuda.conv.dialect import layout_of, layout_of_end, meet, width_of


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
def sums_at(own, top, left, layout: gl.constexpr, ROWS: gl.constexpr, COLUMNS: gl.constexpr, N: gl.constexpr):
    """Where sums lie, N side by side from `own` on: those from a row and a column on."""
    down = top + gl.arange(0, ROWS, layout=gl.SliceLayout(1, layout))
    along = left + gl.arange(0, COLUMNS, layout=gl.SliceLayout(0, layout))
    return own + gl.expand_dims(down, 1) * N + gl.expand_dims(along, 0)


@gluon.jit
def together(
    accs, tile, part, partial, counters, M: gl.constexpr, ROWS: gl.constexpr, PARTS: gl.constexpr,
    SLICES: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """The sums of all slices of a tile, added in order: the ROWS that are this slice's to end, once all have arrived.

    A slice adds 1 as it arrives and 2^32 / SLICES - 1 as it leaves, so that all leave 0; what is neither 0 nor below
    SLICES says that all have arrived.
    """
    N: gl.constexpr = width_of(PARTS, 0)
    own = partial + tile.to(gl.int64) * (SLICES * M * N)
    for each in gl.static_range(len(PARTS)):
        at = sums_at(own, part * M, each * PARTS[0], layout_of(PARTS[each], WARPS), M, PARTS[each], N)
        gl.store(at, accs[each])
    meet()
    seen = gl.atomic_add(counters + tile, 1, sem="acq_rel") + 1
    while (seen >= 0) & (seen < SLICES):
        seen = gl.atomic_add(counters + tile, 0, sem="acquire")
    meet()
    gl.atomic_add(counters + tile, (1 << 32) // SLICES - 1, sem="relaxed")
    found = ()
    for each in gl.static_range(len(PARTS)):
        at = sums_at(
            own, part * ROWS, each * PARTS[0], layout_of_end(ROWS, PARTS[each], M, WARPS), ROWS, PARTS[each], N
        )
        acc = gl.load(at, cache_modifier=".cg")
        for other in gl.static_range(1, SLICES):
            acc += gl.load(at + other * (M * N), cache_modifier=".cg")
        found = found + (acc,)
    return found


@gluon.jit
def joined(
    accs, tile, partial, counters, M: gl.constexpr, N: gl.constexpr, ROWS: gl.constexpr, PARTS: gl.constexpr,
    SLICES: gl.constexpr, CLUSTER: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """The sums of all slices of a tile, as far as this block ends them, and whether it ends any."""
    last = True
    if CLUSTER > 1:
        accs = cluster.shared_out(accs, partial, M, PARTS, CLUSTER, WARPS)
    elif ROWS < M:
        accs = together(accs, tile // SLICES, tile % SLICES, partial, counters, M, ROWS, PARTS, SLICES, WARPS)
    elif SLICES > 1:
        acc, last = gathered(accs[0], tile // SLICES, tile % SLICES, partial, counters, M, N, SLICES)
        accs = (acc, acc)
    return accs, last

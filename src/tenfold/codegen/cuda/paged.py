"""Attention over pages of a pool: a block takes some keys of one head for all queries that share it, and the slices of
a sequence's keys meet at the end.

Kwon et al. 2023, "PagedAttention"; Dao et al. 2023, "Flash-Decoding".
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid, heads, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.attention import folded, gathered_up, loaded
from tenfold.codegen.cuda.launch import CudaKernel, Filling, alarm, launch, number, numbers, place
from tenfold.codegen.cuda.site import site_of, slices_of
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.attention import PagedAttention
from tenfold.target import Target

_ROUNDS = 2
"""Blocks a multiprocessor that a guess has at least, where there are keys enough."""


@triton.jit
def pages_of(table, column, there, page, count, alarm):
    """The pages that places lie on and the places on these, 0 where there is none; the alarm is set for a page outside
    of the pool.
    """
    found = tl.load(table[0] + (column // page).to(tl.int64) * table[1], mask=there, other=0).to(tl.int64)
    found = tl.where(found < 0, found + count, found)
    inside = (found >= 0) & (found < count)
    tl.store(tl.broadcast_to(alarm, inside.shape), tl.full(inside.shape, 1, tl.int32), mask=there & ~inside)
    return tl.where(inside, found, 0), (column % page).to(tl.int64)


@triton.jit
def paged(
    q, k, v, table, lengths, alarm, partial, counters, outputs, extra, gathered, uniforms, row_sizes,
    shared, groups, s, count, page, room,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, SCALE: tl.constexpr, CAP: tl.constexpr,
    D: tl.constexpr, E: tl.constexpr, WIDE: tl.constexpr, HIGH: tl.constexpr, CAUSAL: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, SLICES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """q is (address, strides of batch, head, place, element), k and v (address, strides of page, place, head, element),
    table and lengths (address, strides). A row is a query of one of the `groups` heads that share one of keys; `room`
    places have pages in the table, of `page` places each, of which the pool has `count`. SCALE and CAP count millionths
    of millionths.
    """
    grid.wait(EARLY)
    rows = groups * s
    tiles = tl.cdiv(rows, M)
    number, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    which, first = number // tiles, (number % tiles) * M
    batch, head = (which // shared).to(tl.int64), (which % shared).to(tl.int64)
    row, along, high = first + tl.arange(0, M), tl.arange(0, WIDE), tl.arange(0, HIGH)
    each, query = head * groups + row // s, row % s
    at = q[0] + batch * q[1][0] + each[:, None] * q[1][1] + query[:, None].to(tl.int64) * q[1][2]
    queries = tl.load(at + along[None, :] * q[1][3], mask=(row < rows)[:, None] & (along < D)[None, :], other=0)
    length = tl.minimum(tl.load(lengths[0] + batch * lengths[1][0]).to(tl.int64), room).to(tl.int32)
    pages = (table[0] + batch * table[1][0], table[1][1])
    k_head = k[0] + head * k[1][2] + along[:, None] * k[1][3]
    v_head = v[0] + head * v[1][2] + high[None, :] * v[1][3]
    state = (tl.full((M,), float("-inf"), tl.float32), tl.zeros((M,), tl.float32), tl.zeros((M, HIGH), tl.float32))
    span = tl.cdiv(tl.cdiv(length, N), SLICES) * N
    end = tl.minimum(length, part * span + span)
    for begin in range(part * span, end, N):
        column = begin + tl.arange(0, N)
        there = column < end
        chosen, place = pages_of(pages, column, there, page, count, alarm)
        where = k_head + (chosen * k[1][0] + place * k[1][1])[None, :]
        keys = tl.load(where, mask=there[None, :] & (along < D)[:, None], other=0)
        scores = tl.dot(queries, keys, input_precision="ieee")
        if CAP > 0:
            bent = 1.0 - 2.0 / (tl.exp2(scores * (2.8853900817779268 * SCALE / CAP)) + 1.0)
            scores = bent * (1.4426950408889634e-12 * CAP)
        else:
            scores = scores * (1.4426950408889634e-12 * SCALE)
        seen = there[None, :]
        if CAUSAL:
            seen = seen & (column[None, :] <= (query + length - s)[:, None])
        scores = tl.where(seen, scores, float("-inf"))
        values = v_head + (chosen * v[1][0] + place * v[1][1])[:, None]
        state = folded(state, scores, loaded(values, there, high, E, HIGH, True), 1.0, True)
    grid.release(EARLY)
    last_part = True
    if SLICES > 1:
        state, last_part = gathered_up(state, number, part, partial, counters, M, HIGH, SLICES)
    if last_part:
        total = tl.where(state[1] == 0, 1.0, state[1])
        base = which * rows
        site.finish(
            state[2] / total[:, None], base + row, high, base + rows, E, outputs, extra, gathered, uniforms, row_sizes,
            body, output_kinds, extra_kinds,
        )  # fmt: skip


class PagedStrategy:
    """Attention over pages, of static head sizes and numbers of heads."""

    name = "paged"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Rows and keys a block, warps, and slices of a sequence's keys: one guess, since a call's lengths say what is
        fast, and the clock has none.
        """
        if not isinstance(region, Anchored) or not isinstance(region.anchor, PagedAttention):
            return Refusal("no attention over pages")
        q, k, v, table = region.inputs[:4]
        reason = emit.refusal(region.body) or heads.refusal([one.dtype for one in (q, k, v)], [q.shape[3], v.shape[3]])
        if reason:
            return Refusal(reason)
        if not isinstance(q.shape[1], int) or not isinstance(k.shape[2], int):
            return Refusal("an open number of heads")
        rows = dim.bounds(q.shape[1] // k.shape[2] * q.shape[2])[1] or 64
        m = min(max(grid.power_of_two(rows), 16), 64 if q.dtype is not dt.f32 else 16)
        room = dim.bounds(table.shape[1] * k.shape[1])[1] or 4096
        blocks = (dim.bounds(q.shape[0])[1] or 8) * k.shape[2] * -(-rows // m)
        wide = max(grid.power_of_two(one) for one in _widths(region))
        room_for = [
            (n, stages)
            for n in ((64, 32, 16) if q.dtype is not dt.f32 else (32, 16))
            for stages in (3, 2)
            if 2 * n * wide * q.dtype.itemsize * stages <= arch_of(target).shared * 7 // 8
        ]
        n, stages = room_for[0]
        slices = grid.power_of_two(max(min(-(-_ROUNDS * arch_of(target).processors // blocks), room // n), 1))
        names = ("m", "n", "warps", "stages", "slices")
        return [Tactic(self.name, tuple(zip(names, (m, n, 4, stages, slices), strict=True)))]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, PagedAttention)
        op, (q, k, v, table, lengths) = region.anchor, region.inputs
        out = site_of(region, range(4)).fillings()
        bodies = ("body", "output_kinds", "extra_kinds")
        M, slices = int(tactic["m"]), int(tactic["slices"])
        D, E = _widths(region)
        groups = q.shape[1] // k.shape[2]
        tiles = q.shape[0] * k.shape[2] * dim.ceildiv(groups * q.shape[2], M)
        high = max(16, grid.power_of_two(E))
        sums, room, zeroed = slices_of(tiles, M, high + 2, slices)
        fillings: dict[str, Filling] = {
            **{"q": _stream(q), "k": _stream(k), "v": _stream(v), "table": _stream(table)},
            **{"lengths": _stream(lengths), "alarm": alarm()},
            **sums,
            **{name: one for name, one in out.items() if name not in bodies},
            **{"shared": number(k.shape[2]), "groups": number(groups), "s": number(q.shape[2])},
            **{"count": number(k.shape[0]), "page": number(k.shape[1]), "room": number(table.shape[1] * k.shape[1])},
            **{name: out[name] for name in bodies},
            **{"SCALE": round(op.scale * 1e12), "CAP": round(op.softcap * 1e12)},
            **{"D": D, "E": E, "WIDE": max(16, grid.power_of_two(D)), "HIGH": high, "CAUSAL": int(op.causal)},
            **{"M": M, "N": int(tactic["n"]), "SLICES": slices, "EARLY": int(arch_of(target).early)},
        }
        made = launch(f"{__name__}:paged", tiles * slices, fillings, int(tactic["warps"]), int(tactic["stages"]))
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _widths(region: Anchored) -> tuple[int, int]:
    sizes = region.inputs[0].shape[3], region.inputs[2].shape[3]
    return tuple(size if isinstance(size, int) else 0 for size in sizes)  # type: ignore[return-value]


def _stream(one: Operand) -> Filling:
    return (place(one), numbers(one.strides))


STRATEGY = PagedStrategy()

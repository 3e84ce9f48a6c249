"""Attention: a block holds some queries of one head and walks the keys once, the softmax rescaled as it goes.

Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al. 2022, "FlashAttention".
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid, heads, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, number, numbers, place
from tenfold.codegen.cuda.site import site_of, slices_of
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.attention import Attention
from tenfold.target import Target

_TILE = 128 * 128
"""Keys of a block by elements of a head, at most."""
_NAMES = ("m", "n", "warps", "stages")
_SLICED = ((64, 4), (128, 4), (64, 8), (64, 16), (128, 8), (32, 8))
"""Keys a block and slices of the keys, where queries are too few for the machine."""


@triton.jit
def scored(
    queries, k, mask, row, column, s, t, last, along,
    SCALE: tl.constexpr, CAP: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr, ADDED: tl.constexpr,
    CAUSAL: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Scores of some keys as powers of two, or where nothing bends them before they are scaled; -inf where a query may
    not see a key. ADDED: 0 no mask, 1 one of bool, 2 one that is added. EDGE: some keys may not exist, or be hidden by
    a causal mask.
    """
    there = column < t
    at = k[0] + column[None, :].to(tl.int64) * k[1]
    if EDGE or WIDE != D:
        keys = tl.load(at, mask=there[None, :] & (along < D)[:, None], other=0)
    else:
        keys = tl.load(at)
    scores = tl.dot(queries, keys, input_precision="ieee")
    if CAP > 0:
        bent = 1.0 - 2.0 / (tl.exp2(scores * (2.8853900817779268 * SCALE / CAP)) + 1.0)
        scores = bent * (1.4426950408889634e-12 * CAP)
    elif ADDED > 0 or SCALE <= 0:
        scores = scores * (1.4426950408889634e-12 * SCALE)
    if ADDED > 0:
        place = mask[0] + row.to(tl.int64)[:, None] * mask[1] + column[None, :] * mask[2]
        seen = tl.load(place, mask=(row < s)[:, None] & there[None, :], other=0)
        if ADDED == 1:
            scores = tl.where(seen != 0, scores, float("-inf"))
        else:
            scores += seen.to(tl.float32) * 1.4426950408889634
    if EDGE:
        if CAUSAL:
            there = there[None, :] & (column[None, :] <= row[:, None] + last)
        else:
            there = there[None, :]
        scores = tl.where(there, scores, float("-inf"))
    return scores


@triton.jit
def places(stream, column):
    """Where the elements of these places lie, of a stream (addresses of an element each, stride)."""
    return stream[0] + column[:, None].to(tl.int64) * stream[1]


@triton.jit
def loaded(at, there, high, E: tl.constexpr, HIGH: tl.constexpr, EDGE: tl.constexpr):
    """The values of some keys, which lie at `at`. EDGE: some may not exist."""
    if EDGE or HIGH != E:
        return tl.load(at, mask=there[:, None] & (high < E)[None, :], other=0)
    else:
        return tl.load(at)


@triton.jit
def folded(state, scores, values, FACTOR: tl.constexpr, GUARDED: tl.constexpr):
    """(peak, total, sums) with some more keys of these values, whose scores are still to be scaled by FACTOR. GUARDED:
    a row may have seen nothing yet.
    """
    peak, total, acc = state
    higher = tl.maximum(peak, tl.max(scores, 1))
    safe = higher
    if GUARDED:
        safe = tl.where(higher == float("-inf"), 0.0, higher)
    powers = tl.exp2(scores * FACTOR - (safe * FACTOR)[:, None])
    scale = tl.exp2((peak - safe) * FACTOR)
    acc = tl.dot(powers.to(values.dtype), values, acc * scale[:, None], input_precision="ieee")
    return higher, total * scale + tl.sum(powers, 1), acc


@triton.jit
def stretch(t, first, last, part, M: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr, SLICES: tl.constexpr):
    """Where a slice's keys begin, where those end that M queries from `first` on see whole by N, and where all end."""
    whole, end = t // N * N, t
    if CAUSAL:
        whole = tl.maximum(tl.minimum(t, first + last + 1), 0) // N * N
        end = tl.maximum(tl.minimum(t, first + M + last), 0)
    start = 0
    if SLICES > 1:
        span = tl.cdiv(tl.cdiv(end, N), SLICES) * N
        start, end = part * span, tl.minimum(end, part * span + span)
        whole = tl.minimum(whole, end)
    return start, whole, end


@triton.jit
def flash(
    q, k, v, mask, partial, counters, outputs, extra, gathered, uniforms, row_sizes, heads, shared, s, t, last,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, SCALE: tl.constexpr, CAP: tl.constexpr,
    D: tl.constexpr, E: tl.constexpr, WIDE: tl.constexpr, HIGH: tl.constexpr, ADDED: tl.constexpr,
    CAUSAL: tl.constexpr, NAN: tl.constexpr, M: tl.constexpr, N: tl.constexpr, TAIL: tl.constexpr,
    SLICES: tl.constexpr, ONCE: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Operands are (address, strides of batch, head, place, element). SCALE and CAP count millionths of millionths,
    WIDE and HIGH are D and E as powers of two. Blocks of N keys that all queries see whole come first, then blocks of
    TAIL keys. ONCE: there is one block, of TAIL keys at most, whose values are asked for with its keys. EARLY: 1, the
    next kernel may start behind the last load; 2, at once.
    """
    FACTOR: tl.constexpr = 1.4426950408889634e-12 * SCALE if CAP <= 0 and ADDED == 0 and SCALE > 0 else 1.0
    grid.release(EARLY == 2)
    grid.wait(EARLY)
    tiles = tl.cdiv(s, M)
    number, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    which, first = number // tiles, (number % tiles) * M
    row = first + tl.arange(0, M)
    batch, head = (which // heads).to(tl.int64), (which % heads).to(tl.int64)
    keys_head = head // (heads // shared)
    along, high = tl.arange(0, WIDE), tl.arange(0, HIGH)
    q_rows = q[0] + batch * q[1][0] + head * q[1][1] + row.to(tl.int64)[:, None] * q[1][2] + along[None, :] * q[1][3]
    queries = tl.load(q_rows, mask=(row < s)[:, None] & (along < D)[None, :], other=0)
    keys = (k[0] + batch * k[1][0] + keys_head * k[1][1] + along[:, None] * k[1][3], k[1][2])
    values = (v[0] + batch * v[1][0] + keys_head * v[1][1] + high[None, :] * v[1][3], v[1][2])
    seen = 0
    if ADDED > 0:
        seen = (mask[0] + batch * mask[1][0] + head * mask[1][1], mask[1][2], mask[1][3])
    state = (tl.full((M,), float("-inf"), tl.float32), tl.zeros((M,), tl.float32), tl.zeros((M, HIGH), tl.float32))
    start, whole, end = stretch(t, first, last, part, M, N, CAUSAL, SLICES)
    for begin in range(start, whole, N):
        column = begin + tl.arange(0, N)
        scores = scored(queries, keys, seen, row, column, s, t, last, along, SCALE, CAP, D, WIDE, ADDED, CAUSAL, False)
        these = loaded(places(values, column), column < t, high, E, HIGH, False)
        state = folded(state, scores, these, FACTOR, ADDED > 0)
    for begin in range(tl.maximum(start, whole), end, TAIL):
        column = begin + tl.arange(0, TAIL)
        if ONCE:
            these = loaded(places(values, column), column < t, high, E, HIGH, True)
        scores = scored(queries, keys, seen, row, column, s, t, last, along, SCALE, CAP, D, WIDE, ADDED, CAUSAL, True)
        if not ONCE:
            these = loaded(places(values, column), column < t, high, E, HIGH, True)
        state = folded(state, scores, these, FACTOR, True)
    grid.release(EARLY == 1)
    last_part = True
    if SLICES > 1:
        scaled = (state[0] * FACTOR, state[1], state[2])
        state, last_part = gathered_up(scaled, number, part, partial, counters, M, HIGH, SLICES)
    if last_part:
        total = state[1]
        if not NAN:
            total = tl.where(total == 0, 1.0, total)
        base = which * s
        site.finish(
            state[2] / total[:, None], base + row, high, base + s, E, outputs, extra, gathered, uniforms, row_sizes,
            body, output_kinds, extra_kinds,
        )  # fmt: skip


@triton.jit
def gathered_up(
    state, number, part, partial, counters, M: tl.constexpr, HIGH: tl.constexpr, SLICES: tl.constexpr
):  # fmt: skip
    """The (peak, total, sums) of all slices of the keys, and whether this block was the last to arrive: only then are
    they whole. A slice leaves M peaks, M totals and M rows of sums.
    """
    ROOM: tl.constexpr = M * (HIGH + 2)
    line = tl.arange(0, M)
    element = line[:, None] * HIGH + tl.arange(0, HIGH)[None, :]
    own = partial + (number.to(tl.int64) * SLICES + part) * ROOM
    tl.store(own + line, state[0])
    tl.store(own + M + line, state[1])
    tl.store(own + 2 * M + element, state[2])
    tl.debug_barrier()
    arrived = tl.atomic_add(counters + number, 1, sem="acq_rel") == SLICES - 1
    peak, total, acc = (
        tl.full((M,), float("-inf"), tl.float32),
        tl.zeros((M,), tl.float32),
        tl.zeros((M, HIGH), tl.float32),
    )
    if arrived:
        for each in range(SLICES):
            other = partial + (number.to(tl.int64) * SLICES + each) * ROOM
            its_peak = tl.load(other + line, cache_modifier=".cg")
            higher = tl.maximum(peak, its_peak)
            safe = tl.where(higher == float("-inf"), 0.0, higher)
            mine, its = tl.exp2(peak - safe), tl.exp2(its_peak - safe)
            total = total * mine + tl.load(other + M + line, cache_modifier=".cg") * its
            sums = tl.load(other + 2 * M + element, cache_modifier=".cg")
            acc = acc * mine[:, None] + sums * its[:, None]
            peak = higher
        tl.store(counters + number, 0)
    return (peak, total, acc), arrived


class AttentionStrategy:
    """Attention of static head sizes, with any mask that broadcasts."""

    name = "flash"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Queries and keys a block, the best guess first."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        reason = emit.refusal(region.body) or heads.refusal(
            [one.dtype for one in region.inputs[:3]], [region.inputs[0].shape[3], region.inputs[2].shape[3]]
        )
        if reason:
            return Refusal(reason)
        processors, wide = arch_of(target).processors, max(grid.power_of_two(one) for one in _widths(region))
        keys, queries = dim.bounds(region.inputs[1].shape[2])[1], dim.product(region.domain[:3])
        few = isinstance(queries, int) and queries <= processors and (keys is None or keys >= 256)
        if few and region.inputs[0].dtype is not dt.f32:
            fits = [row for row in _SLICED if row[0] * wide <= _TILE and (keys is None or row[0] * row[1] <= keys)]
            return tabled(self.name, (*_NAMES, "slices"), [(16, n, 4, 3, slices) for n, slices in fits])
        return tabled(self.name, _NAMES, _shapes(region, processors, wide, keys))

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Attention)
        op, (q, k, v, *masks) = region.anchor, region.inputs
        out = site_of(region, range(4)).fillings()
        bodies = ("body", "output_kinds", "extra_kinds")
        M, N, slices = int(tactic["m"]), int(tactic["n"]), tactic.number("slices", 1)
        D, E = _widths(region)
        tiles = dim.product(region.domain[:2]) * dim.ceildiv(region.domain[2], M)
        high = max(16, grid.power_of_two(E))
        sums, room, zeroed = slices_of(tiles, M, high + 2, slices)
        fillings: dict[str, Filling] = {
            "q": _stream(q),
            "k": _stream(k),
            "v": _stream(v),
            "mask": _stream(_spread(masks[0], region)) if masks else 0,
            **sums,
            **{name: one for name, one in out.items() if name not in bodies},
            **{"heads": number(q.shape[1]), "shared": number(k.shape[1])},
            **{"s": number(q.shape[2]), "t": number(k.shape[2]), "last": number(op.offset)},
            **{name: out[name] for name in bodies},
            **{"SCALE": round(op.scale * 1e12), "CAP": round(op.softcap * 1e12)},
            **{"D": D, "E": E, "WIDE": max(16, grid.power_of_two(D)), "HIGH": high},
            "ADDED": 0 if not masks else 1 if masks[0].dtype is dt.boolean else 2,
            **{"CAUSAL": int(op.causal), "NAN": int(op.blind == "nan")},
            **{"M": M, "N": N, "TAIL": _tail(op, region, N), "SLICES": slices},
            "ONCE": int(_once(op, region, N, slices)),
            "EARLY": _early(region, tiles * slices, target),
        }
        made = launch(f"{__name__}:flash", tiles * slices, fillings, int(tactic["warps"]), int(tactic["stages"]))
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _shapes(region: Anchored, processors: int, wide: int, keys: int | None) -> Sequence[Sequence[int]]:
    """Queries and keys a block, warps and stages: first what gives each multiprocessor a block."""
    single = region.inputs[0].dtype is dt.f32
    most_keys = 128 if keys is None or keys > 256 else grid.power_of_two(max(keys, 32))
    rows = [m for m in (128, 64, 32, 16) if m <= (32 if single else 128 if wide <= 128 else 64)]
    matrices, queries = dim.bounds(dim.product(region.domain[:2]))[1] or 64, dim.bounds(region.domain[2])[1] or 512
    first = next((m for m in rows if -(-queries // m) * matrices >= processors), 16)
    rows.sort(key=lambda m: max(m, first) // min(m, first))
    columns = [n for n in ((32,) if single else (64, 128, 32, 256)) if n <= most_keys and n * wide <= _TILE]
    found = [(m, n, 8 if m == 128 else 4, stages) for m in rows for n in columns for stages in (2, 3)]
    assert isinstance(region.anchor, Attention)
    at_once = most_keys in columns and most_keys >= 128 and _once(region.anchor, region, most_keys, 1)
    once = [(m, most_keys, 8, 2) for m in (32, 64)] if at_once else []
    return found[:2] + once + found[2:]


def _early(region: Anchored, blocks: Size, target: Target) -> int:
    """When the next kernel may start: at once where each multiprocessor has a block at most, and blocks have more to do
    than to load, as they have with several queries.
    """
    arch = arch_of(target)
    alone = isinstance(blocks, int) and blocks <= arch.processors and region.domain[2] != 1
    return int(arch.early) * (2 if alone else 1)


def _once(op: Attention, region: Anchored, n: int, slices: int) -> bool:
    """Whether a block takes all keys at once."""
    keys = region.inputs[1].shape[2]
    return slices == 1 and not op.causal and isinstance(keys, int) and keys < n


def _tail(op: Attention, region: Anchored, n: int) -> int:
    """How many keys a block takes at the end: no more than are left."""
    keys = region.inputs[1].shape[2]
    if op.causal or not isinstance(keys, int) or keys % n == 0:
        return n
    return min(n, max(16, grid.power_of_two(keys % n)))


def _widths(region: Anchored) -> tuple[int, int]:
    sizes = region.inputs[0].shape[3], region.inputs[2].shape[3]
    return tuple(size if isinstance(size, int) else 0 for size in sizes)  # type: ignore[return-value]


def _stream(one: Operand) -> Filling:
    return (place(one), numbers(one.strides))


def _spread(mask: Operand, region: Anchored) -> Operand:
    """The mask over batch, head, query and key."""
    whole = (*region.domain[:3], region.inputs[1].shape[2])
    missing = len(whole) - len(mask.shape)
    pairs = zip(mask.shape, mask.strides, whole[missing:], strict=True)
    steps = (0,) * missing + tuple(0 if size == 1 and other != 1 else step for size, step, other in pairs)
    return Operand(mask.value, mask.dtype, whole, steps, mask.offset)


STRATEGY = AttentionStrategy()

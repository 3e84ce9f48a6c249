"""Attention of ONNX Runtime's own domain: packed projections, caches, masks by length, shared heads of keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.attention import joined, rotated, split
from tenfold.importers.onnx.cache import laid_over
from tenfold.importers.shorthand import apply, cast, filled, measure, number, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Mul, Sub
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, GreaterOrEqual, Less, LessOrEqual, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand
from tenfold.ops.normalize import RMSNorm

DOMAIN = "com.microsoft"


def attention(node: Operator) -> Results:
    """Attention over a packed projection: q, k and v are slices of input @ weights + bias."""
    packed, bias = MatMul()(node.input(0), node.input(1)), node.optional(2)
    packed = packed if bias is None else apply(Add(), packed, bias)
    return attended_by_parts(node, packed, node.optional(3), node.optional(4), node.optional(5))


def attended_by_parts(
    node: Operator, packed: Value, mask: Value | None, past: Value | None, bias: Value | None
) -> Results:
    """Attention over q, k and v side by side [B, S, 3 H D], and the cache of both where it is wanted."""
    heads, whole = node.integer("num_heads"), packed.type.shape[2]
    sizes: tuple[Size, ...] = node.integers("qkv_hidden_sizes", ()) or (whole // 3,) * 3
    starts = (0, sizes[0], sizes[0] + sizes[1])
    q, k, v = (split(part(packed, 2, start, size), heads) for start, size in zip(starts, sizes, strict=True))
    for name in ("do_rotary", "past_present_share_buffer"):
        if node.flag(name, False):
            raise node.unsupported(name)
    if past is not None:
        old = [reshaped(part(past, 0, index, 1), past.type.shape[1:]) for index in (0, 1)]
        k, v = Concat(2)(old[0], k), Concat(2)(old[1], v)
    y = _attended(node, q, k, v, mask, bias)
    if not node.wants(1):
        return y
    present = Concat(0)(*(reshaped(one, (1, *one.type.shape)) for one in (k, v)))
    return y, present


def multi_head_attention(node: Operator) -> Results:
    """Attention over q, k and v [B, S, H D], or packed [B, S, H, parts, D], with a bias for all three and caches."""
    heads, bias = node.integer("num_heads"), node.optional(3)
    for index in (8, 9):
        if node.optional(index) is not None:
            raise node.unsupported(f"input {index}: caches shared between calls")
    values = _three(node)
    if bias is not None:
        sizes = [one.type.shape[-1] for one in values]
        starts: tuple[Size, ...] = (0, sizes[0], sizes[0] + sizes[1])
        pieces = [part(bias, 0, start, size) for start, size in zip(starts, sizes, strict=True)]
        values = [apply(Add(), one, piece) for one, piece in zip(values, pieces, strict=True)]
    q, k, v = (one if one.type.rank == 4 else split(one, heads) for one in values)
    if node.optional(6) is not None:
        k, v = Concat(2)(node.input(6), k), Concat(2)(node.input(7), v)
    return _attended(node, q, k, v, node.optional(4), node.optional(5)), k, v


def _three(node: Operator) -> list[Value]:
    q, k, v = node.input(0), node.optional(1), node.optional(2)
    if k is None:
        return _unpacked(q)
    if v is None:
        return [q, *_unpacked(k)]
    return [q, k, v]


def _unpacked(x: Value) -> list[Value]:
    """[B, S, H, parts, D] as that many values [B, S, H D]."""
    batch, steps, heads, parts, size = x.type.shape
    count = parts if isinstance(parts, int) else 0
    return [reshaped(part(x, 3, at, 1), (batch, steps, heads * size)) for at in range(count)]


def _scale(node: Operator, size: Size) -> float:
    return node.number("scale", 0.0) or 1 / math.sqrt(_whole(node, size))


def _attended(node: Operator, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None) -> Value:
    earlier = k.type.shape[2] - q.type.shape[2]
    causal = node.flag("unidirectional", False)
    op = Attention(_scale(node, q.type.shape[3]), causal, earlier if causal else 0)
    hidden = None if mask is None else _padding(node, mask, q, k)
    total = hidden if bias is None else bias if hidden is None else apply(Add(), bias, hidden)
    return joined(op(q, k, v) if total is None else op(q, k, v, total))


def _padding(node: Operator, mask: Value, q: Value, k: Value) -> Value:
    """What the mask adds to the scores: it states lengths, ends and then starts, or each place."""
    seen = _visible(node, mask, k.type.shape[0], q.type.shape[2], k.type.shape[2])
    filter_value = node.number("mask_filter_value", -10000.0)
    return apply(Mul(), apply(Sub(), number(1, q), cast(seen, q.type.dtype)), filter_value)


def _visible(node: Operator, mask: Value, batch: Size, queries: Size, keys: Size) -> Value:
    place, size = Iota(0, 1, keys)(), mask.type.shape[0]
    if mask.type.rank == 1:
        many = size if dim.known_equal(size, 1) else batch
        ends = reshaped(cast(part(mask, 0, 0, many), dt.i64), (many, 1, 1, 1))
        seen = apply(Less(), place, ends)
        if dim.known_equal(size, 2 * batch):
            starts = reshaped(cast(part(mask, 0, batch, batch), dt.i64), (batch, 1, 1, 1))
            seen = apply(And(), seen, apply(GreaterOrEqual(), place, starts))
        return seen
    if mask.type.rank == 4:
        mask = part(part(mask, 3, 0, keys), 2, keys - queries, queries)
        return cast(mask, dt.boolean)
    if mask.type.rank not in (2, 3):
        raise node.unsupported(f"a mask of shape {mask.type}")
    middle = (1, 1) if mask.type.rank == 2 else (1,)
    return reshaped(cast(mask, dt.boolean), (size, *middle, *mask.type.shape[1:]))


def _whole(node: Operator, size: Size) -> int:
    if not isinstance(size, int):
        raise node.unsupported(f"the size {size} must be known when the engine is built")
    return size


def group_query_attention(node: Operator) -> Results:
    """Causal attention whose keys and values lie in caches; the last of seqlens_k[b] + 1 places are the new ones."""
    _refuse(node)
    counts = (node.integer("num_heads"), *(node.integer("kv_num_heads"),) * 2)
    q, k, v = (split(one, many) for one, many in zip(_projected(node, counts), counts, strict=True))
    if node.optional(14) is not None:
        normal = RMSNorm(3, node.number("qk_norm_epsilon", 1e-6))
        q, k = normal(q, node.input(14)), normal(k, node.input(15))
    lengths, total = cast(node.input(5), dt.i64), (node.contents(6) or (0,))[0]
    steps = q.type.shape[2]
    later = measure(dim.logical_not(dim.equal(steps, total)), dt.i64)
    past = apply(Mul(), apply(Sub(), apply(Add(), lengths, 1), measure(steps, dt.i64)), later)
    past = reshaped(past, (lengths.type.size, 1))
    places = apply(Add(), Iota(0, 1, steps)(), past)
    if node.flag("do_rotary", False):
        q, k = _turned(node, q, places), _turned(node, k, places)
    k, v = (_cached(node.optional(3 + at), new, past, total) for at, new in enumerate((k, v)))
    keys = [part(one, 2, 0, total) for one in (k, v)]
    y = _grouped(node, q, keys[0], keys[1], places, lengths)
    return joined(y), k, v


def _refuse(node: Operator) -> None:
    for name in ("sliding_window_cache", "qk_output"):
        if node.flag(name, False):
            raise node.unsupported(name)
    for name in ("k_quant_type", "v_quant_type"):
        if node.text(name, "NONE") != "NONE":
            raise node.unsupported(f"{name}: caches that are quantised")


def _projected(node: Operator, counts: Sequence[int]) -> Sequence[Value]:
    x = node.input(0)
    if node.optional(1) is not None:
        return x, node.input(1), node.input(2)
    each = dim.divide_exact(x.type.shape[2], sum(counts))
    if each is None:
        raise node.invalid(f"{x.type} does not divide into {sum(counts)} heads")
    starts = (0, counts[0] * each, (counts[0] + counts[1]) * each)
    return [part(x, 2, start, many * each) for start, many in zip(starts, counts, strict=True)]


def _turned(node: Operator, x: Value, places: Value) -> Value:
    given = node.optional(9)
    rows = places if given is None else cast(given, dt.i64)
    cos, sin = (Gather(0)(node.input(index), rows) for index in (7, 8))
    return rotated(x, cos, sin, 0, interleaved=node.flag("rotary_interleaved", False))


def _cached(past: Value | None, new: Value, starts: Value, total: Size) -> Value:
    """[B, H, total or the cache's size, D]: the past, then the new places."""
    if past is None:
        return new
    batch, heads, size, each = past.type.shape
    if dim.known_equal(batch, 1) and dim.known_equal(size + new.type.shape[2], total):
        joined_up: Value = Concat(2)(past, new)
        return joined_up
    room = dim.maximum(total - size, 0)
    cache = past if room == 0 else Concat(2)(past, filled(0, (batch, heads, room, each), past.type.dtype))
    return laid_over(cache, new, starts, 2)


def _grouped(node: Operator, q: Value, k: Value, v: Value, places: Value, lengths: Value) -> Value:
    batch, steps = places.type.shape
    place, query = Iota(0, 1, k.type.shape[2])(), reshaped(places, (batch, 1, steps, 1))
    if node.flag("causal", True):
        seen = apply(LessOrEqual(), place, query)
    else:
        seen = apply(LessOrEqual(), place, reshaped(lengths, (batch, 1, 1, 1)))
    window = node.integer("local_window_size", -1)
    if window > 0:
        seen = apply(And(), seen, apply(Less(), query, apply(Add(), place, window)))
    op = Attention(_scale(node, q.type.shape[3]), softcap=node.number("softcap", 0.0))
    bias, sinks = node.optional(10), node.optional(11)
    smooth = node.integer("smooth_softmax", 0) > 0 or sinks is not None
    if bias is None and not smooth:
        result: Value = op(q, k, v, seen)
        return result
    added = Where()(seen, number(0, q) if bias is None else part(bias, 3, 0, k.type.shape[2]), number(-math.inf, q))
    if smooth:
        heads = node.integer("num_heads")
        added = Expand((batch, heads, *added.type.shape[2:]))(added)
        sink = filled(0, (heads,), q.type.dtype) if sinks is None else sinks
        column = Expand((*added.type.shape[:3], 1))(reshaped(sink, (1, heads, 1, 1)))
        added = Concat(3)(added, column)
        k, v = (
            Concat(2)(one, filled(0, (*one.type.shape[:2], 1, one.type.shape[3]), one.type.dtype)) for one in (k, v)
        )
    result = op(q, k, v, added)
    return result


def rotary_embedding(node: Operator) -> Results:
    """RotaryEmbedding: positions [B, S], or [1] for the first of consecutive ones."""
    x, positions = node.input(0), node.input(1)
    if positions.type.rank == 1:
        steps = x.type.shape[1 if x.type.rank == 3 else 2]
        positions = reshaped(apply(Add(), Iota(0, 1, steps)(), cast(positions, dt.i64)), (1, steps))
    cos, sin = (Gather(0)(node.input(index), positions) for index in (2, 3))
    heads, size = node.integer("num_heads", 0), x.type.shape[-1]
    if not heads and x.type.rank == 3:
        heads = _whole(node, size) // (2 * _whole(node, cos.type.shape[-1]))
    return rotated(x, cos, sin, heads, interleaved=node.flag("interleaved", False))


TABLE: Table = {
    (DOMAIN, "Attention"): ((1, attention),),
    (DOMAIN, "GroupQueryAttention"): ((1, group_query_attention),),
    (DOMAIN, "MultiHeadAttention"): ((1, multi_head_attention),),
    (DOMAIN, "RotaryEmbedding"): ((1, rotary_embedding),),
}

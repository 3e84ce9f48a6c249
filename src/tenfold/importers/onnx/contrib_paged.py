"""Attention of ONNX Runtime's own domain over pages: tokens of all sequences in a row, keys and values in a pool."""

from __future__ import annotations

import math

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.contrib_attention import DOMAIN
from tenfold.importers.shorthand import apply, cast, measure, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mod, Sub
from tenfold.ops.attention import PagedAttention, RotaryEmbedding
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather, GatherElements, ScatterND
from tenfold.ops.logic import LessOrEqual
from tenfold.ops.movement import Concat
from tenfold.ops.normalize import RMSNorm
from tenfold.ops.reduce import Reduce

_UNKNOWN = {10: "slot_mapping", 11: "head_sink", 14: "k_scale", 15: "v_scale"}


def paged_attention(node: Operator) -> Results:
    """PagedAttention: each token is a query of its own, behind the tokens of its sequence; its key is written first."""
    _refuse(node)
    heads, shared = node.integer("num_heads"), node.integer("kv_num_heads")
    pools = [node.input(3), node.input(4)]
    page, width = pools[0].type.shape[1], pools[0].type.shape[3]
    q, k, v = _projected(node, heads, shared, width)
    if node.optional(12) is not None:
        normal = RMSNorm(2, node.number("qk_norm_epsilon", 1e-6))
        q, k = normal(q, node.input(12)), normal(k, node.input(13))
    sequence, place = _places(node, q.type.shape[0])
    if node.flag("do_rotary", False):
        q, k = (_turned(node, one, place) for one in (q, k))
    table = Gather(0)(cast(node.input(7), dt.i64), sequence)
    column, size = reshaped(place, (place.type.size, 1)), measure(page, dt.i64)
    spot = Concat(1)(GatherElements(1)(table, apply(Div(), column, size)), apply(Mod(), column, size))
    pools = [ScatterND()(pool, spot, new) for pool, new in zip(pools, (k, v), strict=True)]
    tokens, _, _ = q.type.shape
    op = PagedAttention(_scale(node, width), softcap=node.number("softcap", 0.0))
    y = op(reshaped(q, (tokens, heads, 1, width)), *pools, table, apply(Add(), place, 1))
    return reshaped(y, (tokens, heads * width)), *pools


def _refuse(node: Operator) -> None:
    for index, name in _UNKNOWN.items():
        if node.optional(index) is not None:
            raise node.unsupported(name)
    for name in ("k_quant_type", "v_quant_type"):
        if node.text(name, "NONE") != "NONE":
            raise node.unsupported(f"{name}: caches that are quantised")
    if node.text("kv_cache_layout", "SEPARATE") != "SEPARATE":
        raise node.unsupported("kv_cache_layout: keys and values in one cache")
    if node.integer("local_window_size", -1) > 0:
        raise node.unsupported("local_window_size")
    if node.integer("rotary_offset", 0):
        raise node.unsupported("rotary_offset")
    if not node.flag("is_causal", True):
        raise node.unsupported("is_causal = 0")


def _scale(node: Operator, width: Size) -> float:
    given = node.number("scale", 0.0)
    if given:
        return given
    if not isinstance(width, int):
        raise node.unsupported("the head size must be known when the engine is built")
    return 1 / math.sqrt(width)


def _projected(node: Operator, heads: int, shared: int, width: Size) -> tuple[Value, Value, Value]:
    """q, k and v as [tokens, heads, D]."""
    x, counts = node.input(0), (heads, shared, shared)
    tokens = x.type.shape[0]
    if node.optional(1) is None:
        starts = (0, heads * width, (heads + shared) * width)
        given = [part(x, 1, start, many * width) for start, many in zip(starts, counts, strict=True)]
    else:
        given = [x, node.input(1), node.input(2)]
    q, k, v = (reshaped(one, (tokens, many, width)) for one, many in zip(given, counts, strict=True))
    return q, k, v


def _places(node: Operator, tokens: Size) -> tuple[Value, Value]:
    """The sequence of each token, and its place there."""
    starts, past = cast(node.input(5), dt.i64), cast(node.input(6), dt.i64)
    batch = past.type.size
    token = reshaped(Iota(0, 1, tokens)(), (tokens, 1))
    ends = reshaped(part(starts, 0, 1, dim.maximum(batch - 1, 0)), (1, dim.maximum(batch - 1, 0)))
    sequence = Reduce("sum", (1,), False)(cast(apply(LessOrEqual(), ends, token), dt.i64))
    begun = apply(Sub(), Gather(0)(past, sequence), Gather(0)(starts, sequence))
    return sequence, apply(Add(), Iota(0, 1, tokens)(), begun)


def _turned(node: Operator, x: Value, place: Value) -> Value:
    half = node.input(8).type.shape[1]
    cos, sin = (reshaped(Gather(0)(node.input(at), place), (place.type.size, 1, half)) for at in (8, 9))
    turned: Value = RotaryEmbedding(node.flag("rotary_interleaved", False))(x, cos, sin)
    return turned


TABLE: Table = {
    (DOMAIN, "PagedAttention"): ((1, paged_attention),),
}

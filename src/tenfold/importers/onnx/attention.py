"""Attention and rotary embeddings: heads split, caches joined, masks made explicit."""

from __future__ import annotations

import math

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.shorthand import apply, cast, number, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mul, Sub, Tanh
from tenfold.ops.attention import Attention, RotaryEmbedding
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Equal, GreaterOrEqual, Less, LessOrEqual, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Pad
from tenfold.ops.normalize import Softmax
from tenfold.ops.reduce import Reduce


def attention(node: Operator) -> Results:
    """Attention; the scores come out too, at the stage that qk_matmul_output_mode names, where they are wanted."""
    q, k, v = heads_of(node)
    past = node.optional(4)
    if past is not None:
        k, v = Concat(2)(past, k), Concat(2)(node.input(5), v)
    lengths = node.optional(6)
    causal = node.flag("is_causal", False)
    offset: Size = 0 if past is None else past.type.shape[2]
    mask = _mask(node, q, k, offset)
    op = Attention(_scale(node, q), causal and lengths is None, offset if causal else 0, node.number("softcap", 0.0))
    y = op(q, k, v) if mask is None else op(q, k, v, mask)
    if node.input(0).type.rank == 3:
        y = joined(y)
    scores = _scores(node, op, q, k, mask) if node.wants(3) else None
    return y, k, v, scores


def heads_of(node: Operator) -> tuple[Value, Value, Value]:
    """q, k and v as [B, H, S, D]; rank 3 is split by the attributes that count heads."""
    found = []
    for index, name in enumerate(("q_num_heads", "kv_num_heads", "kv_num_heads")):
        x = node.input(index)
        found.append(x if x.type.rank == 4 else split(x, node.integer(name)))
    return found[0], found[1], found[2]


def split(x: Value, heads: int) -> Value:
    """[B, S, H D] as [B, H, S, D]."""
    each = dim.divide_exact(x.type.shape[2], heads)
    if each is None:
        raise ValueError(f"{x.type} does not divide into {heads} heads")
    return transposed(reshaped(x, (*x.type.shape[:2], heads, each)), (0, 2, 1, 3))


def joined(x: Value) -> Value:
    """[B, H, S, D] as [B, S, H D]."""
    batch, heads, steps, each = x.type.shape
    return reshaped(transposed(x, (0, 2, 1, 3)), (batch, steps, heads * each))


def _scale(node: Operator, q: Value) -> float:
    size = q.type.shape[3]
    if "scale" in node.attributes:
        return node.number("scale")
    if not isinstance(size, int):
        raise node.unsupported("the head size must be known when the engine is built")
    return 1 / math.sqrt(size)


def _mask(node: Operator, q: Value, k: Value, offset: Size) -> Value | None:
    mask, keys = node.optional(3), k.type.shape[2]
    if mask is not None and not dim.known_equal(mask.type.shape[-1], keys):
        hidden = 0 if mask.type.dtype is dt.boolean else -math.inf
        zeros = (0,) * mask.type.rank
        mask = Pad(zeros, (*zeros[1:], keys - mask.type.shape[-1]), "constant", hidden)(mask)
    visible = [one for one in (_by_length(node, q, k), _by_window(node, q, k, offset)) if one is not None]
    for one in visible:
        mask = one if mask is None else _both(mask, one)
    return mask


def _both(mask: Value, visible: Value) -> Value:
    if mask.type.dtype is dt.boolean:
        return apply(And(), mask, visible)
    result: Value = Where()(visible, mask, number(-math.inf, mask))
    return result


def _by_length(node: Operator, q: Value, k: Value) -> Value | None:
    lengths = node.optional(6)
    if lengths is None:
        return None
    each = reshaped(cast(lengths, dt.i64), (lengths.type.size, 1, 1, 1))
    keys = Iota(0, 1, k.type.shape[2])()
    visible = apply(Less(), keys, each)
    if not node.flag("is_causal", False):
        return visible
    last = apply(Add(), _queries(q, -q.type.shape[2]), each)
    return apply(And(), visible, apply(LessOrEqual(), keys, last))


def _by_window(node: Operator, q: Value, k: Value, offset: Size) -> Value | None:
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    if max(left, right) < 0:
        return None
    keys = Iota(0, 1, k.type.shape[2])()
    lengths = node.optional(6)
    places = _queries(q, offset)
    if lengths is not None and node.optional(4) is None:
        each = reshaped(cast(lengths, dt.i64), (lengths.type.size, 1, 1, 1))
        places = apply(Add(), _queries(q, -q.type.shape[2]), each)
    tests = [apply(GreaterOrEqual(), keys, apply(Sub(), places, left))] if left >= 0 else []
    tests += [apply(LessOrEqual(), keys, apply(Add(), places, right))] if right >= 0 else []
    return tests[0] if len(tests) == 1 else apply(And(), *tests)


def _queries(q: Value, first: Size = 0) -> Value:
    steps = q.type.shape[2]
    return reshaped(Iota(first, 1, steps)(), (steps, 1))


def _scores(node: Operator, op: Attention, q: Value, k: Value, mask: Value | None) -> Value:
    mode = node.integer("qk_matmul_output_mode", 0)
    scores = apply(Mul(), MatMul()(q, transposed(_repeated(k, q.type.shape[1]), (0, 1, 3, 2))), op.scale)
    if mode >= 1 and op.softcap > 0:
        scores = apply(Mul(), Tanh()(apply(Div(), scores, op.softcap)), op.softcap)
    if mode >= 2:
        if op.causal:
            keys = Iota(0, 1, k.type.shape[2])()
            visible = apply(LessOrEqual(), keys, _queries(q, op.offset))
            scores = Where()(visible, scores, number(-math.inf, scores))
        if mask is not None:
            hidden = mask.type.dtype is dt.boolean
            scores = _both(scores, mask) if hidden else apply(Add(), scores, mask)
    if mode < 3:
        return scores
    blind = apply(Equal(), Reduce("max", (3,))(scores), -math.inf)
    result: Value = Where()(blind, number(0, scores), Softmax(3)(scores))
    return result


def _repeated(k: Value, heads: Size) -> Value:
    batch, shared, steps, size = k.type.shape
    if dim.known_equal(shared, heads):
        return k
    each = heads // shared
    spread = Expand((batch, shared, each, steps, size))(reshaped(k, (batch, shared, 1, steps, size)))
    return reshaped(spread, (batch, heads, steps, size))


def rotary_embedding(node: Operator) -> Results:
    """RotaryEmbedding; positions choose rows of the caches."""
    x, positions = node.input(0), node.optional(3)
    heads = node.integer("num_heads", 0)
    caches = [node.input(1), node.input(2)]
    if positions is not None:
        caches = [Gather(0)(cache, positions) for cache in caches]
    return rotated(x, caches[0], caches[1], heads, interleaved=node.flag("interleaved", False))


def rotated(x: Value, cos: Value, sin: Value, heads: int, *, interleaved: bool) -> Value:
    """x [B, H, S, D] or [B, S, H D] turned by cos and sin [B, S, R / 2]."""
    half = cos.type.shape[-1]
    caches = [reshaped(one, (*one.type.shape[:-2], 1, one.type.shape[-2], half)) for one in (cos, sin)]
    op = RotaryEmbedding(interleaved)
    result: Value = op(x, *caches) if x.type.rank == 4 else joined(op(split(x, heads), *caches))
    return result


TABLE: Table = {
    ("", "Attention"): ((23, attention),),
    ("", "RotaryEmbedding"): ((23, rotary_embedding),),
}

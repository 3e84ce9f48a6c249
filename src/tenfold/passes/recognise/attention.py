"""Attention and rotary embeddings that models write as products, softmax, slices and concatenation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mul, Neg
from tenfold.ops.attention import Attention, RotaryEmbedding
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.index import Gather
from tenfold.ops.logic import Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Reshape, Slice, Split, Transpose
from tenfold.ops.normalize import Softmax
from tenfold.rewrite.pattern import either, exact_constant, number, used_once
from tenfold.rewrite.rule import Replacement, rule

_FAR = -1e9
"""What hides a key when it is added to its score."""


def _unscaled(value: Value) -> tuple[Value, float]:
    """(x, c) where `value` is c x, looking through transposes; c is 1 if there is no such factor."""
    match value:
        case Value(Mul(), (x, c)) if number(c) is not None and c.type.rank <= x.type.rank:
            inner, factor = _unscaled(x)
            return inner, factor * (number(c) or 0.0)
        case Value(Div(), (x, c)) if number(c) and c.type.rank <= x.type.rank:
            inner, factor = _unscaled(x)
            return inner, factor / (number(c) or 1.0)
        case Value(Transpose() as op, (x,)):
            inner, factor = _unscaled(x)
            return (value, 1.0) if inner is x else (op(inner), factor)
    return value, 1.0


def _scores(value: Value) -> tuple[Value, Value, float] | None:
    """(q, k', c) where `value` is c q k'."""
    product, factor = _unscaled(value)
    if not isinstance(product.op, MatMul) or not used_once(product):
        return None
    (q, a), (k, b) = map(_unscaled, product.inputs)
    return q, k, factor * a * b


def _masked(value: Value) -> tuple[Value, Value | None]:
    """(scores, mask) where `value` is scores + mask, or scores where the mask holds and -inf elsewhere."""
    for scores, mask in either(value, Add):
        if used_once(scores) and _scores(scores) is not None and len(mask.type.shape) <= scores.type.rank:
            return scores, mask
    match value:
        case Value(Where(), (condition, scores, low)) if number(low) == -math.inf and used_once(scores):
            return scores, condition
    return value, None


def _swapped(value: Value) -> Value:
    rank = value.type.rank
    swapped: Value = Transpose((*range(rank - 2), rank - 1, rank - 2))(value)
    return swapped


def _four(value: Value) -> Value:
    """[S, D] and [B, S, D] as [B, 1, S, D]; a view."""
    shape = value.type.shape
    if len(shape) == 4:
        return value
    lifted: Value = Reshape((*(1,) * (3 - len(shape)), *shape[:-2], 1, *shape[-2:]))(value)
    return lifted


def _alike(*values: Value) -> bool:
    """Whether rank, batch and heads are the same, so that no product broadcasts."""
    first = values[0].type
    return all(v.type.rank == first.rank and v.type.shape[:-2] == first.shape[:-2] for v in values)


@rule(
    """graph (%q: f32[N, 2, S, 4], %k: f32[N, 2, T, 4], %v: f32[N, 2, T, 3], %mask: f32[N, 1, 1, T]) {
      %scores = MatMul(Mul(%q, f32{0.7}), Transpose<permutation=(0, 1, 3, 2)>(%k))
      return MatMul(Softmax<axis=3>(Add(Div(%scores, f32{2.0}), %mask)), %v)
    }""",
    """graph (%q: f32[N, 2, S, 4], %k: f32[N, 2, S, 4], %v: f32[N, 2, S, 3]) {
      return MatMul(Softmax<axis=2>(MatMul(%q, Transpose<permutation=(0, 1, 3, 2)>(%k))), %v)
    }""",
)
def attention(value: Value) -> Replacement:
    """softmax(c (a q) (b k)' + mask) v -> attention(q, k, v, mask) with scale a b c

    k' may come transposed from the start; ranks 2 and 3 are one head.
    """
    match value:
        case Value(MatMul(), (Value(Softmax(axis), (inner,)) as weights, v)) if axis == weights.type.rank - 1:
            scores, mask = _masked(inner)
            found = _scores(scores)
            if found is None or not used_once(weights) or not used_once(inner) or v.type.rank not in (2, 3, 4):
                return None
            q, transposed, scale = found
            if _alike(q, transposed, v) and value.type.dtype.is_float:
                return _attention(q, _swapped(transposed), v, mask, scale, value)
    return None


def _attention(q: Value, k: Value, v: Value, mask: Value | None, scale: float, value: Value) -> Value | None:
    operands = [_four(one) for one in (q, k, v)]
    if mask is not None:
        if mask.type.dtype not in (value.type.dtype, dt.boolean):
            return None
        missing = value.type.rank - mask.type.rank
        full = mask if not missing or mask.type.rank == 0 else Reshape((*(1,) * missing, *mask.type.shape))(mask)
        operands.append(full if mask.type.rank == 0 else _four(full))
    found: Value = Attention(scale, blind="nan")(*operands)
    return found if value.type.rank == 4 else Reshape(value.type.shape)(found)


@rule(
    """graph (%q: f32[N, 2, 2, 4], %k: f32[N, 2, 3, 4], %v: f32[N, 2, 3, 3]) {
      return Attention<scale=0.5>(%q, %k, %v, f32[1, 1, 2, 3]{0, 0, -1e30, 0, 0, 0})
    }""",
    """graph (%q: f32[N, 2, 2, 4], %k: f32[N, 2, 3, 4], %v: f32[N, 2, 3, 3]) {
      return Attention<scale=0.5>(%q, %k, %v, bool[2, 3]{true, true, true, true, true, false})
    }""",
)
def causal(value: Value) -> Replacement:
    """attention(q, k, v, mask) -> causal attention, where a constant mask hides from each query the keys behind its own

    What is added to hidden scores may be finite if it is far below any score, and every query sees some key.
    """
    match value:
        case Value(Attention(causal=False) as op, (q, k, v, mask)) if all(n == 1 for n in mask.type.shape[:-2]):
            array = exact_constant(mask)
            if array is None or array.shape[-2:] != (q.type.shape[2], k.type.shape[2]) or array.shape[-2] < 2:
                return None
            queries, keys = array.shape[-2:]
            plain = array.reshape(queries, keys)
            seen = plain if mask.type.dtype is dt.boolean else plain == 0
            offset = int(np.count_nonzero(seen[0])) - 1
            hidden = plain[~seen]
            far = mask.type.dtype is dt.boolean or bool((hidden <= (_FAR if offset >= 0 else -math.inf)).all())
            if far and np.array_equal(seen, np.tri(queries, keys, offset, dtype=bool)):
                hiding: Value = replace(op, causal=True, offset=offset)(q, k, v)
                return hiding
    return None


def _half(value: Value, number: int) -> Value | None:
    """x where `value` is its first (0) or second (1) half along the last axis."""
    match value:
        case Value(Split(axis, (a, b)), (x,)) if axis == x.type.rank - 1 and a == b:
            return x if value.index == number else None
        case Value(Slice(starts, sizes, steps), (x,)) if set(steps) == {1} and x.type.rank:
            half, whole = sizes[-1], x.type.shape[-1]
            inner = all(start == 0 for start in starts[:-1]) and sizes[:-1] == x.type.shape[:-1]
            return x if inner and half * 2 == whole and starts[-1] == number * half else None
    return None


def _is_rotated(value: Value, x: Value) -> bool:
    """Whether `value` is (-b, a) for x = (a, b)."""
    match value:
        case Value(Concat(axis), (Value(Neg(), (b,)), a)) if axis == x.type.rank - 1:
            return _half(a, 0) is x and _half(b, 1) is x
    return False


def _repeats(value: Value) -> bool:
    """Whether both halves along the last axis are provably the same."""
    array = exact_constant(value)
    if array is not None and array.ndim and array.shape[-1] % 2 == 0:
        first, second = np.split(array, 2, axis=-1)
        return bool(np.array_equal(first, second))
    match value:
        case Value(Concat(axis), (a, b)):
            return a is b and axis == value.type.rank - 1
        case Value(Gather(axis), (table, _)):
            return axis < table.type.rank - 1 and _repeats(table)
        case Value(Reshape(shape), (x,)):
            return x.type.rank > 0 and shape[-1:] == x.type.shape[-1:] and _repeats(x)
        case Value(Slice(_, sizes, steps), (x,)):
            return steps[-1] == 1 and sizes[-1] == x.type.shape[-1] and _repeats(x)
    if isinstance(value.op, Elementwise):
        return all(_repeats(one) or one.type.shape[-1:] in ((), (1,)) for one in value.inputs)
    return False


def _first_half(value: Value, half: Size) -> Value:
    shape = (*value.type.shape[:-1], half)
    first: Value = Slice((0,) * value.type.rank, shape, (1,) * value.type.rank)(value)
    return first


@rule(
    """graph (%x: f32[N, 2, S, 4], %f: f32[S, 2]) {
      %a, %b = Split<axis=3, sizes=(2, 2)>(%x)
      %angles = Concat<axis=1>(%f, %f)
      return Add(Mul(%x, Cos(%angles)), Mul(Concat<axis=3>(Neg(%b), %a), Sin(%angles)))
    }""",
    """graph (%x: f32[N, 2, S, 4], %f: f32[S, 4]) {
      %a, %b = Split<axis=3, sizes=(2, 2)>(%x)
      return Add(Mul(%x, Cos(%f)), Mul(Concat<axis=3>(Neg(%b), %a), Sin(%f)))
    }""",
)
def rotary(value: Value) -> Replacement:
    """(a, b) cos + (-b, a) sin -> rotary embedding of (a, b), where both halves of cos and of sin are the same"""
    for straight, turned in either(value, Add):
        for x, cos in either(straight, Mul):
            for y, sin in either(turned, Mul):
                if _is_rotated(y, x) and _repeats(cos) and _repeats(sin) and x.type == value.type:
                    half = x.type.shape[-1] // 2
                    return RotaryEmbedding()(x, _first_half(cos, half), _first_half(sin, half))
    return None


def _once(value: Value) -> Value | None:
    """x [B, H, T, D] where `value` repeats each of its heads, several times in a row."""
    match value:
        case Value(Reshape(), (Value(Expand(wide), (Value(Reshape(narrow), (x,)),)),)):
            batch, *_, rows, size = x.type.shape if x.type.rank == 4 else (0,) * 4
            alike = len(wide) == len(narrow) == 5 and narrow == (batch, x.type.shape[1], 1, rows, size)
            repeated = (*wide[:2], *wide[3:]) == (*narrow[:2], *narrow[3:])
            joined = value.type.shape == (batch, x.type.shape[1] * wide[2], rows, size) if alike else False
            return x if alike and repeated and joined else None
    return None


@rule(
    """graph (%q: f32[N, 4, S, 8], %k: f32[N, 2, T, 8], %v: f32[N, 2, T, 8]) {
      %a = Expand<shape=(N, 2, 2, T, 8)>(Reshape<shape=(N, 2, 1, T, 8)>(%k))
      %b = Expand<shape=(N, 2, 2, T, 8)>(Reshape<shape=(N, 2, 1, T, 8)>(%v))
      return Attention<scale=0.5>(%q, Reshape<shape=(N, 4, T, 8)>(%a), Reshape<shape=(N, 4, T, 8)>(%b))
    }""",
    """graph (%q: f32[N, 4, S, 8], %k: f32[N, 2, T, 8], %v: f32[N, 2, T, 8]) {
      %a = Expand<shape=(N, 2, 2, T, 8)>(Reshape<shape=(N, 1, 2, T, 8)>(%k))
      %b = Expand<shape=(N, 2, 2, T, 8)>(Reshape<shape=(N, 1, 2, T, 8)>(%v))
      return Attention<scale=0.5>(%q, Reshape<shape=(N, 4, T, 8)>(%a), Reshape<shape=(N, 4, T, 8)>(%b))
    }""",
)
def shared_heads(value: Value) -> Replacement:
    """attention(q, k repeated, v repeated) -> attention(q, k, v), several heads of q to one of k and v"""
    match value:
        case Value(Attention() as op, (q, k, v, *mask)):
            keys, values = _once(k), _once(v)
            if keys is not None and values is not None and keys.type.shape[1] == values.type.shape[1]:
                return op(q, keys, values, *mask)
    return None


ATTENTION = (attention, causal, rotary, shared_heads)

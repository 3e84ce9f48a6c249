"""Attention and what belongs to it, as products, rows and elementwise work."""

from __future__ import annotations

import numpy as np

from tenfold.compiler.fuse.accumulate import narrow, number, wide
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Div, Exp, Maximum, Mul, Sub, Tanh
from tenfold.ops.attention import Attention, PagedAttention, RotaryEmbedding
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Cast, Less, LessOrEqual, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Reshape, Slice, Transpose
from tenfold.ops.reduce import Reduce


def attention(op: Attention, node: Node) -> Value | None:
    """softmax(scale q·kᵀ + mask)·v, the query heads that share a head of keys being an axis of their own"""
    q, k, v, *masks = node.inputs
    heads, shared = q.type.shape[1], k.type.shape[1]
    if not isinstance(heads, int) or not isinstance(shared, int):
        return None
    groups = heads // shared
    grouped = [_grouped(wide(q), shared, groups), _grouped(wide(k), shared, 1), _grouped(wide(v), shared, 1)]
    scores = MatMul()(grouped[0], Transpose((0, 1, 2, 4, 3))(grouped[1]))
    scores = Mul()(scores, number(op.scale, scores))
    if op.softcap > 0:
        cap = number(op.softcap, scores)
        scores = Mul()(Tanh()(Div()(scores, cap)), cap)
    for mask in masks:
        scores = _masked(scores, _mask_by_group(mask, shared, groups))
    if op.causal:
        scores = _masked(scores, _causal(scores.type.shape, op.offset))
    answer = MatMul()(_softmax(scores, op.blind == "zero"), grouped[2])
    return narrow(Reshape(node.output.type.shape)(answer), q)


def paged(op: PagedAttention, node: Node) -> Value:
    """attention over the pages of the table side by side, behind a mask of what is there"""
    q, k, v, table, lengths = node.inputs
    (batch, many), page = table.type.shape, k.type.shape[1]
    ends = Reshape((batch, 1))(Cast(dt.i64)(lengths))
    needed = Less()(Reshape((1, many))(Iota(0, page, many)()), ends)
    chosen = Where()(needed, Cast(dt.i64)(table), Constant(Tensor(np.zeros((), np.int64)))())
    keys, values = (_side_by_side(Gather(0)(one, chosen)) for one in (k, v))
    place, ends = Iota(0, 1, many * page)(), Reshape((batch, 1, 1, 1))(ends)
    seen = Less()(place, ends)
    if op.causal:
        queries = q.type.shape[2]
        last = Add()(Reshape((1, 1, queries, 1))(Iota(-queries, 1, queries)()), ends)
        seen = And()(seen, LessOrEqual()(place, last))
    value: Value = Attention(op.scale, softcap=op.softcap)(q, keys, values, seen)
    return value


def _side_by_side(pages: Value) -> Value:
    """Pages [B, P, page, heads, D] as [B, heads, P page, D]."""
    batch, many, page, heads, width = pages.type.shape
    value: Value = Transpose((0, 2, 1, 3))(Reshape((batch, many * page, heads, width))(pages))
    return value


def _grouped(x: Value, shared: int, groups: int) -> Value:
    batch, _, length, width = x.type.shape
    value: Value = Reshape((batch, shared, groups, length, width))(x)
    return value


def _mask_by_group(mask: Value, shared: int, groups: int) -> Value:
    """A mask that broadcasts to [B, H, S, T] as one that broadcasts to [B, shared, groups, S, T]."""
    rank = mask.type.rank
    if rank < 3:
        return mask
    *front, heads, queries, keys = mask.type.shape
    split = (1, 1) if heads == 1 else (shared, groups)
    value: Value = Reshape((*front, *split, queries, keys))(mask)
    return value


def _masked(scores: Value, mask: Value) -> Value:
    if mask.type.dtype is dt.boolean:
        value: Value = Where()(mask, scores, number(float("-inf"), scores))
    else:
        value = Add()(scores, wide(mask))
    return value


def _causal(shape: tuple[Size, ...], offset: Size) -> Value:
    queries, keys = shape[-2:]
    last = Reshape((queries, 1))(Iota(offset, 1, queries)())
    value: Value = LessOrEqual()(Reshape((1, keys))(Iota(0, 1, keys)()), last)
    return value


def _softmax(scores: Value, zero_if_blind: bool) -> Value:
    """Softmax along the last axis; of nothing but -Inf zeros, or NaN."""
    axes = (scores.type.rank - 1,)
    peak = Reduce("max", axes, True)(scores)
    if zero_if_blind:
        peak = Maximum()(peak, number(scores.type.dtype.limits[0], scores))
    powers = Exp()(Sub()(scores, peak))
    total = Reduce("sum", axes, True)(powers)
    if zero_if_blind:
        total = Maximum()(total, number(float(dt.f32.numpy.type(1e-38)), scores))
    value: Value = Div()(powers, total)
    return value


def rotary(op: RotaryEmbedding, node: Node) -> Value | None:
    """(a cos - b sin, a sin + b cos), the elements beyond the pairs as they are"""
    given, cos, sin = node.inputs
    half, size = cos.type.shape[-1], given.type.shape[-1]
    if not isinstance(half, int):
        return None
    x, c, s = wide(given), wide(cos), wide(sin)
    step = 2 if op.interleaved else 1
    a, b = _part(x, 0, half, step), _part(x, 1 if op.interleaved else half, half, step)
    turned = [Sub()(Mul()(a, c), Mul()(b, s)), Add()(Mul()(a, s), Mul()(b, c))]
    last = x.type.rank - 1
    if op.interleaved:
        pairs = [Reshape((*one.type.shape, 1))(one) for one in turned]
        joined = Concat(last + 1)(*pairs)
        turned = [Reshape((*turned[0].type.shape[:-1], 2 * half))(joined)]
    rest = _part(x, 2 * half, size - 2 * half, 1)
    parts = turned if dim.known_equal(size, 2 * half) else [*turned, _like(rest, turned[0])]
    value = Concat(last)(*parts) if len(parts) > 1 else parts[0]
    return narrow(value, given)


def _part(x: Value, start: int, count: Size, step: int) -> Value:
    """Every `step`-th of the last axis's elements from `start` on."""
    rank = x.type.rank
    starts, steps = (0,) * (rank - 1) + (start,), (1,) * (rank - 1) + (step,)
    value: Value = Slice(starts, (*x.type.shape[:-1], count), steps)(x)
    return value


def _like(rest: Value, turned: Value) -> Value:
    shape = (*turned.type.shape[:-1], rest.type.shape[-1])
    value: Value = rest if rest.type.shape == shape else Expand(shape)(rest)
    return value

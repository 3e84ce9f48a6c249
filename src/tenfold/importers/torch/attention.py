"""Attention: aten's products of queries, keys and values, kept whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, cast, number, reshaped, transposed
from tenfold.importers.torch.tensor import expand
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Mul
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Iota
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.logic import Equal, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.normalize import Softmax
from tenfold.ops.reduce import Reduce

Run = Callable[[Any, Sequence[Any]], list[Any]]
"""What converts a graph of PyTorch's on given values, among the operations where it stands."""


def attention(
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """softmax(scale q k' + mask) v over the last two axes; the others are batch and heads."""
    if dropout:
        raise UnsupportedError("attention with dropout", remedy="call module.eval() first")
    size = q.type.shape[-1]
    if scale is None and not isinstance(size, int):
        raise UnsupportedError("the head size must be known when the engine is built")
    factor = float(scale) if scale is not None else 1 / math.sqrt(int(size))  # type: ignore[arg-type]
    outer = broadcast_shapes(*(one.type.shape[:-2] for one in (q, k, v))) if not enable_gqa else q.type.shape[:-2]
    heads = [_four(one, outer, enable_gqa) for one in (q, k, v)]
    masks = [] if mask is None else [_mask(mask, q, outer)]
    y: Value = Attention(factor, causal)(*heads, *masks)
    return reshaped(y, (*outer, q.type.shape[-2], v.type.shape[-1]))


def _four(x: Value, outer: tuple[Any, ...], grouped: bool) -> Value:
    """As [batch, heads, rows, size]."""
    wide = x if grouped else expand(x, (*outer, *x.type.shape[-2:]))
    batch, rows = wide.type.shape[:-2], wide.type.shape[-2:]
    heads = batch[-1] if len(batch) > 1 else 1
    return reshaped(wide, (dim.product(batch[:-1]) if len(batch) > 1 else dim.product(batch), heads, *rows))


def _mask(mask: Value, q: Value, outer: tuple[Any, ...]) -> Value:
    value = mask if mask.type.dtype is dt.boolean else cast(mask, q.type.dtype)
    if len(outer) <= 2:
        shape = value.type.shape
        if len(outer) == 1 and len(shape) == 3:
            return reshaped(value, (shape[0], 1, *shape[1:]))
        return reshaped(value, (*(1,) * (4 - len(shape)), *shape))
    wide = expand(value, (*outer, *value.type.shape[-2:]))
    return reshaped(wide, (dim.product(outer[:-1]), outer[-1], *value.type.shape[-2:]))


def flash(
    q: Value,
    k: Value,
    v: Value,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    attn_mask: Value | None = None,
    scale: float | None = None,
) -> tuple[Value, None]:
    """The same, as PyTorch's own decomposition names it for CPUs."""
    return attention(q, k, v, attn_mask, dropout, causal, scale=scale), None


def flex(
    run: Run,
    q: Value,
    k: Value,
    v: Value,
    score: Any,
    block_mask: Sequence[Any],
    scale: float,
    options: Any = None,
    score_more: Sequence[Any] = (),
    mask_more: Sequence[Any] = (),
) -> tuple[Value, None, None]:
    """flex_attention on [batch, heads, rows, size]: what `score` makes of each score, hidden where the mask says so.

    Both are followed once, on all places at a time.
    """
    sizes = (*q.type.shape[:3], k.type.shape[2])
    counted = enumerate(Iota(0, 1, size)() for size in sizes)
    places = [reshaped(one, [sizes[at] if at == axis else 1 for at in range(4)]) for axis, one in counted]
    (seen,) = run(block_mask[-1], [*places, *mask_more])
    mask = expand(seen, (*seen.type.shape[:2], *sizes[2:])) if isinstance(seen, Value) and seen.type.rank == 4 else None
    wide = dt.f64 if q.type.dtype is dt.f64 else dt.f32
    untouched = Value(Type(wide, sizes))
    if run(score, [untouched, *places, *score_more])[0] is untouched:
        return attention(q, k, v, mask, scale=scale, enable_gqa=True), None, None
    keys, values = (_repeated(one, q) for one in (k, v))
    product: Value = MatMul()(cast(q, wide), transposed(cast(keys, wide), (0, 1, 3, 2)))
    (changed,) = run(score, [apply(Mul(), product, scale), *places, *score_more])
    scores: Value = changed if mask is None else Where()(mask, changed, number(-math.inf, changed))
    y: Value = MatMul()(cast(safe_softmax(scores, -1), q.type.dtype), values)
    return y, None, None


def _repeated(x: Value, q: Value) -> Value:
    """Keys or values [batch, shared heads, rows, size] for each of q's heads."""
    batch, heads, rows, size = x.type.shape
    if dim.known_equal(heads, q.type.shape[1]):
        return x
    times = q.type.shape[1] // heads
    wide = expand(reshaped(x, (batch, heads, 1, rows, size)), (batch, heads, times, rows, size))
    return reshaped(wide, (batch, q.type.shape[1], rows, size))


def safe_softmax(x: Value, axis: int, dtype: DType | None = None) -> Value:
    """Softmax; zeros where every score is negative infinity."""
    scores, along = x if dtype is None else cast(x, dtype), axis % x.type.rank
    hidden = apply(Equal(), Reduce("max", (along,))(scores), -math.inf)
    found: Value = Where()(hidden, number(0, scores), Softmax(along)(scores))
    return found


TABLE: Mapping[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": attention,
    "_safe_softmax": safe_softmax,
    "_scaled_dot_product_flash_attention_for_cpu": flash,
}

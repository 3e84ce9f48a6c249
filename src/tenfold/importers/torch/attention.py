"""Attention: aten's products of queries, keys and values, kept whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import cast, reshaped
from tenfold.importers.torch.tensor import expand
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.attention import Attention
from tenfold.ops.elementwise import broadcast_shapes


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


TABLE: Mapping[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": attention,
    "_scaled_dot_product_flash_attention_for_cpu": flash,
}

"""Attention: with learnt products for many heads, or of what comes in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from tenfold.importers.keras.activation import lowest, truth, where
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.keras.reshaping import repeated
from tenfold.importers.shorthand import apply, filled, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops import attention
from tenfold.ops.arithmetic import Abs, Add, Mul, Sub, Tanh
from tenfold.ops.constant import Iota
from tenfold.ops.logic import And, GreaterOrEqual, Less
from tenfold.ops.matmul import MatMul
from tenfold.ops.normalize import Softmax
from tenfold.ops.reduce import Reduce


def _projection(layer: Layer, attribute: str, name: str, equation: str, shape: Sequence[int], axes: str) -> Layer:
    config: Mapping[str, Any] = {
        "name": name,
        "trainable": True,
        "dtype": layer.config.get("dtype"),
        "equation": equation,
        "output_shape": list(shape),
        "bias_axes": axes if layer.flag("use_bias", True) else None,
        "activation": "sigmoid" if name == "gate" else None,
    }
    return layer.child(attribute, {"class_name": "EinsumDense", "config": config})


def _heads(layer: Layer, name: str, x: Value, heads: int, size: int) -> Value:
    """x [..., D] as [..., heads, size]."""
    found: Value = _projection(layer, f"{name}_dense", name, "...c,cde->...de", (heads, size), "de")(x)
    return found


def _rejoined(layer: Layer, x: Value, shape: Sequence[int], attribute: str = "output_dense") -> Value:
    letters = "fghijk"[: len(shape)]
    equation = f"...de,de{letters}->...{letters}"
    found: Value = _projection(layer, attribute, "attention_output", equation, shape, letters)(x)
    return found


def multi_head(
    layer: Layer, query: Value, value: Value, key: Value | None = None, **settings: Any
) -> Value | list[Value]:
    """MultiHeadAttention over one axis or several."""
    heads, size = layer.integer("num_heads"), layer.integer("key_dim")
    wide = size if layer.config.get("value_dim") is None else layer.integer("value_dim")
    q = _heads(layer, "query", query, heads, size)
    k = _heads(layer, "key", value if key is None else key, heads, size)
    gate = _heads(layer, "gate", query, heads, wide) if layer.flag("use_gate", False) else None
    v = _heads(layer, "value", value, heads, wide)
    axes = tuple(range(1, query.type.rank - 1))
    if layer.config.get("attention_axes") is not None:
        axes = layer.axes("attention_axes", query.type.rank)
    mask = _mask(layer, query, value, key, settings, layer.config.get("sliding_window"))
    if mask is not None and (len(axes) != query.type.rank - 2 or len(mask.type.shape) != 3):
        mask = _over_several(layer, mask, len(axes), query.type.rank)
    over = _Over(q, axes)
    rows = [over.apart(one) for one in (q, k, v)]
    y, scores = _attended(rows, 1 / math.sqrt(size), mask, settings)
    together = over.together(y)
    shape = _output_shape(layer, query)
    found = _rejoined(layer, together if gate is None else apply(Mul(), together, gate), shape)
    return found if scores is None else [found, scores]


def _output_shape(layer: Layer, query: Value) -> tuple[int, ...]:
    stated, last = layer.config.get("output_shape"), query.type.shape[-1]
    if stated:
        return layer.each("output_shape", 1 if isinstance(stated, int) else len(stated))
    if not isinstance(last, int):
        raise layer.invalid(f"the last size of {query.type} must be known")
    return (last,)


class _Over:
    """Tensors [batch, *S, heads, size] whose axes of attention become one, the others of S samples."""

    def __init__(self, like: Value, axes: Sequence[int]) -> None:
        rank = like.type.rank
        rest = [at for at in range(rank - 2) if at not in axes]
        self.order = (*rest, rank - 2, *axes, rank - 1)
        self.rest, self.axes = rest, axes
        self.shape = like.type.shape

    def apart(self, x: Value) -> Value:
        """As [samples, heads, places, size]."""
        shape = x.type.shape
        samples, places = (dim.product([shape[at] for at in group]) for group in (self.rest, self.axes))
        return reshaped(transposed(x, self.order), (samples, shape[-2], places, shape[-1]))

    def together(self, y: Value) -> Value:
        """Back as [batch, *S, heads, size]."""
        sizes = [*(self.shape[at] for at in self.rest), y.type.shape[1], *(self.shape[at] for at in self.axes)]
        apart = reshaped(y, (*sizes, y.type.shape[3]))
        return transposed(apart, [self.order.index(at) for at in range(len(self.order))])


def _over_several(layer: Layer, mask: Value, axes: int, rank: int) -> Value:
    """A mask [B, *T, *S] of several axes of attention, each as one."""
    if axes != rank - 2 or mask.type.rank != 1 + 2 * axes:
        raise layer.unsupported(f"a mask {mask.type} for attention over {axes} of {rank - 2} axes")
    shape = mask.type.shape
    return reshaped(mask, (shape[0], dim.product(shape[1 : 1 + axes]), dim.product(shape[1 + axes :])))


def _attended(
    rows: Sequence[Value], scale: float, mask: Value | None, settings: Mapping[str, Any]
) -> tuple[Value, Value | None]:
    """The attended values [samples, heads, places, size], and the scores if they are asked for."""
    q, k, v = rows
    if mask is not None and mask.type.rank == 3:
        mask = reshaped(mask, (mask.type.shape[0], 1, *mask.type.shape[1:]))
    causal = bool(settings.get("use_causal_mask"))
    if not settings.get("return_attention_scores"):
        masks = [] if mask is None else [where(mask, filled(0, (), q.type.dtype), lowest(q))]
        found: Value = attention.Attention(scale, causal)(q, k, v, *masks)
        return found, None
    scores = apply(MatMul(), apply(Mul(), q, scale), transposed(k, (0, 1, 3, 2)))
    if causal:
        mask = _joined([mask, _band(scores.type.shape[2], scores.type.shape[3], None)])
    masked = scores if mask is None else where(mask, scores, lowest(scores))
    shares: Value = Softmax(3)(masked)
    shares = shares if mask is None else where(mask, shares, 0.0)
    return apply(MatMul(), shares, v), shares


def _joined(masks: Sequence[Value | None]) -> Value | None:
    found = [one for one in masks if one is not None]
    return reduce(lambda a, b: apply(And(), a, b), found) if found else None


def _mask(
    layer: Layer, query: Value, value: Value, key: Value | None, settings: Mapping[str, Any], window: Any
) -> Value | None:
    """What all masks leave, as [B, T, S]."""
    masks = layer.context.masks
    of_query = settings.get("query_mask") or masks.get(query)
    of_value = settings.get("value_mask") or masks.get(value)
    of_key = settings.get("key_mask") or (None if key is None or key is value else masks.get(key))
    found = [truth(settings.get("attention_mask"))]
    found += [reshaped(one, (*one.type.shape, 1)) for one in [truth(of_query)] if one is not None]
    for one in (truth(of_value), truth(of_key)):
        if one is not None:
            found.append(reshaped(one, (one.type.shape[0], 1, one.type.shape[1])))
    if window is not None:
        found.append(
            reshaped(
                _band(query.type.shape[1], value.type.shape[1], int(window)),
                (1, query.type.shape[1], value.type.shape[1]),
            )
        )
    return _joined(found)


def _band(rows: Size, columns: Size, window: int | None) -> Value:
    """Which columns a row sees: those up to it, or those nearer than a window."""
    row = reshaped(Iota(0, 1, rows)(), (rows, 1))
    column = reshaped(Iota(0, 1, columns)(), (1, columns))
    if window is None:
        return apply(GreaterOrEqual(), row, column)
    return apply(Less(), apply(Abs(), apply(Sub(), row, column)), window)


def grouped_query(
    layer: Layer, query: Value, value: Value, key: Value | None = None, **settings: Any
) -> Value | list[Value]:
    """GroupQueryAttention: several heads of queries share one of keys and values."""
    heads, shared, size = (layer.integer(name) for name in ("num_query_heads", "num_key_value_heads", "head_dim"))
    q = _heads(layer, "query", query, heads, size)
    k = _heads(layer, "key", value if key is None else key, shared, size)
    v = _heads(layer, "value", value, shared, size)
    gate = _heads(layer, "gate", query, heads, size) if layer.flag("use_gate", False) else None
    mask = _mask(layer, query, value, key, settings, layer.config.get("sliding_window"))
    rows = [transposed(one, (0, 2, 1, 3)) for one in (q, k, v)]
    if settings.get("return_attention_scores"):
        rows[1:] = [repeated(one, 1, heads // shared) for one in rows[1:]]
    y, scores = _attended(rows, 1 / math.sqrt(size), mask, settings)
    together = transposed(y, (0, 2, 1, 3))
    found = _rejoined(layer, together if gate is None else apply(Mul(), together, gate), _output_shape(layer, query))
    return found if scores is None else [found, scores]


def by_scores(layer: Layer, inputs: Sequence[Value], **settings: Any) -> Value | list[Value]:
    """Attention and AdditiveAttention: of queries, values and keys [B, T, D] as they come."""
    query, value = inputs[0], inputs[1]
    key = inputs[2] if len(inputs) > 2 else value
    scores = _scores(layer, query, key)
    given = layer.explicit if isinstance(layer.explicit, list) else [layer.context.masks.get(one) for one in inputs]
    of_query, of_value = truth(given[0]), truth(given[1])
    mask = None if of_value is None else reshaped(of_value, (of_value.type.shape[0], 1, of_value.type.shape[1]))
    if settings.get("use_causal_mask"):
        mask = _joined([mask, _band(scores.type.shape[-2], scores.type.shape[-1], None)])
    masked = scores if mask is None else where(mask, scores, apply(Add(), scores, _out_of_sight(scores)))
    shares: Value = Softmax(scores.type.rank - 1)(masked)
    y = apply(MatMul(), shares, value)
    if of_query is not None:
        y = where(reshaped(of_query, (*of_query.type.shape, 1)), y, 0.0)
    y = layer.masked(y, of_query)
    return [y, shares] if settings.get("return_attention_scores") else y


def _out_of_sight(scores: Value) -> float:
    return -65504.0 if scores.type.dtype.bits == 16 else -1e9


def _scores(layer: Layer, query: Value, key: Value) -> Value:
    additive = layer.kind == "AdditiveAttention"
    shape = (query.type.shape[-1],) if additive else ()
    scale = layer.weight("scale", shape) if layer.flag("use_scale", additive) else None
    if not additive and layer.text("score_mode", "dot", ("dot", "concat")) == "dot":
        products = apply(
            MatMul(), query, transposed(key, (*range(key.type.rank - 2), key.type.rank - 1, key.type.rank - 2))
        )
        return products if scale is None else apply(Mul(), products, scale)
    q = reshaped(query, (*query.type.shape[:-1], 1, query.type.shape[-1]))
    k = reshaped(key, (*key.type.shape[:-2], 1, *key.type.shape[-2:]))
    sums, last = apply(Add(), q, k), (q.type.rank - 1,)
    if additive:
        bent = apply(Tanh(), sums)
        return apply(Reduce("sum", last, False), bent if scale is None else apply(Mul(), bent, scale))
    weight = layer.weight("concat_score_weight", ())
    bent = apply(Tanh(), sums if scale is None else apply(Mul(), sums, scale))
    return apply(Mul(), apply(Reduce("sum", last, False), bent), weight)


TABLE: Table = {
    "MultiHeadAttention": multi_head,
    "GroupQueryAttention": grouped_query,
    "Attention": by_scores,
    "AdditiveAttention": by_scores,
}

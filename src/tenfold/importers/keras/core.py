"""The layers that every model has: products, tables of rows, masks, and what does nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.importers.einsum import einsum
from tenfold.importers.keras.activation import activated, where
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, cast, constant, number, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Maximum, Mul, Sqrt, Sub, Tanh
from tenfold.ops.index import Gather
from tenfold.ops.logic import NotEqual
from tenfold.ops.matmul import MatMul
from tenfold.ops.reduce import Reduce


def same(layer: Layer, x: Value, *_: object, **__: object) -> Value:
    """What comes in: the layer acts in training only, or not at all."""
    return x


def dense(layer: Layer, x: Value) -> Value:
    """x times the kernel along the last axis, plus the bias, through the activation."""
    units = layer.integer("units")
    y = apply(MatMul(), x, layer.weight("kernel", (x.type.shape[-1], units)))
    if layer.flag("use_bias", True):
        y = apply(Add(), y, layer.weight("bias", (units,)))
    return activated(layer, y)


def einsum_dense(layer: Layer, x: Value) -> Value:
    """The product that an equation states of x and the kernel, plus a bias along some of its axes."""
    equation = layer.text("equation").replace(" ", "").replace("...", "…")
    inner, arrow, right = equation.partition("->")
    _, comma, kernel = inner.partition(",")
    if not arrow or not comma:
        raise layer.invalid(f"the equation is {equation!r}")
    left, weights = inner.partition(",")[0], layer.weight("kernel", [None] * len(kernel))
    axes = str(layer.config.get("bias_axes") or "")
    count = _contracted(left, kernel, right)
    if count and axes in ("", right[len(left) - count :]):
        return activated(layer, _dense(layer, x, weights, count, bool(axes)))
    y = einsum(equation.replace("…", "..."), x, weights)
    if axes:
        y = apply(Add(), y, layer.weight("bias", _bias_shape(right, axes, y)))
    return activated(layer, y)


def _contracted(left: str, kernel: str, right: str) -> int:
    """How many last axes of x are summed with as many first ones of the kernel; 0 for any other equation."""
    counts = (count for count in range(1, len(left) + 1) if left.endswith(kernel[:count]))
    count = next((one for one in counts if right == left[: len(left) - one] + kernel[one:]), 0)
    return count if len(set(left + kernel[count:])) == len(left) + len(kernel) - count else 0


def _dense(layer: Layer, x: Value, weights: Value, count: int, biased: bool) -> Value:
    """x times the kernel as one matrix, plus the bias, with the kernel's last axes."""
    inner, outer = weights.type.shape[:count], weights.type.shape[count:]
    front = x.type.shape[: x.type.rank - count]
    flat = reshaped(x, (*front, dim.product(inner)))
    y = apply(MatMul(), flat, reshaped(weights, (dim.product(inner), dim.product(outer))))
    if biased:
        y = apply(Add(), y, reshaped(layer.weight("bias", outer), (dim.product(outer),)))
    return reshaped(y, (*front, *outer))


def _bias_shape(right: str, axes: str, y: Value) -> list[Size]:
    """The sizes of y along the axes that have a bias, 1 along those between and after."""
    first = min(right.index(one) for one in axes)
    named = right[first:]
    sizes = y.type.shape[y.type.rank - len(named) :]
    return [size if name in axes else 1 for name, size in zip(named, sizes, strict=True)]


def embedding(layer: Layer, x: Value) -> Value:
    """The row of the table for each number."""
    table = layer.weight("embeddings", (layer.integer("input_dim"), layer.integer("output_dim")))
    places = x if x.type.dtype in (dt.i32, dt.i64) else cast(x, dt.i32)
    rows = apply(Gather(0), table, places)
    return layer.masked(rows, apply(NotEqual(), x, 0)) if layer.flag("mask_zero", False) else rows


def reversible_embedding(layer: Layer, x: Value, reverse: bool = False) -> Value:
    """The row of the table for each number; in reverse the product with every row."""
    rows, columns = layer.integer("input_dim"), layer.integer("output_dim")
    table = layer.weight("embeddings", (rows, columns))
    tied = layer.flag("tie_weights", True)
    back = None if tied else layer.weight("reverse_embeddings", (columns, rows))
    if not reverse:
        places = x if x.type.dtype in (dt.i32, dt.i64) else cast(x, dt.i32)
        found = apply(Gather(0), table, places)
        return layer.masked(found, apply(NotEqual(), x, 0)) if layer.flag("mask_zero", False) else found
    scores = apply(MatMul(), cast(x, layer.compute), transposed(table, (1, 0)) if back is None else back)
    cap = layer.config.get("logit_soft_cap")
    if cap:
        scores = apply(Mul(), apply(Tanh(), apply(Mul(), scores, 1 / float(cap))), float(cap))
    return scores


def masking(layer: Layer, x: Value) -> Value:
    """x, with steps that hold nothing but the mask's value set to 0 and masked out."""
    stated = layer.number("mask_value", 0.0)
    kept = apply(Reduce("any", (x.type.rank - 1,), True), apply(NotEqual(), x, stated))
    return layer.masked(where(kept, x, 0.0), reshaped(kept, kept.type.shape[:-1]))


def rescaling(layer: Layer, x: Value) -> Value:
    """x scale + offset, each a number or one for each channel."""
    wide = cast(x, layer.compute)
    scale, offset = (_parameter(layer, name, default, wide) for name, default in (("scale", 1.0), ("offset", 0.0)))
    return apply(Add(), apply(Mul(), wide, scale), offset)


def _parameter(layer: Layer, name: str, default: float, like: Value) -> Value:
    stated = layer.config.get(name, default)
    if isinstance(stated, list | tuple):
        if not all(isinstance(one, int | float) for one in stated):
            raise layer.invalid(f"{name!r} of its configuration is {stated!r}")
        return constant(np.asarray(stated, like.type.dtype.numpy))
    return number(layer.number(name, default), like)


def normalization(layer: Layer, x: Value) -> Value:
    """(x - mean) / deviation, by numbers of the configuration or by what the layer has adapted to."""
    wide = cast(x, layer.compute)
    axes = () if layer.config.get("axis", -1) is None else layer.axes("axis", x.type.rank, -1)
    mean, variance = (_statistic(layer, name, axes, wide) for name in ("mean", "variance"))
    deviation = apply(Maximum(), apply(Sqrt(), variance), 1e-7)
    if layer.flag("invert", False):
        return apply(Add(), mean, apply(Mul(), wide, deviation))
    return apply(Div(), apply(Sub(), wide, mean), deviation)


def _statistic(layer: Layer, name: str, axes: Sequence[int], like: Value) -> Value:
    """What the configuration states, laid along the axes from the last one on, or else the layer's variable."""
    stated = layer.config.get(name)
    if stated is None:
        found = layer.weight(name, [like.type.shape[at] for at in axes])
    else:
        found = constant(np.asarray(stated, like.type.dtype.numpy))
    own = found.type.shape[max(0, found.type.rank - len(axes)) :]
    sizes: list[Size] = [1] * like.type.rank
    for at, size in zip(reversed(axes), reversed(own), strict=False):
        sizes[at] = size
    return reshaped(found, sizes)


def layer_scale(layer: Layer, x: Value) -> Value:
    """x by a factor for each channel (of keras.applications)."""
    return apply(Mul(), x, layer.weight("gamma", (layer.integer("projection_dim"),)))


def scaled_sum(layer: Layer, values: Sequence[Value]) -> Value:
    """The first of two and a multiple of the second (of keras.applications)."""
    return apply(Add(), values[0], apply(Mul(), values[1], layer.number("scale")))


TABLE: Table = {
    "Dense": dense,
    "LayerScale": layer_scale,
    "CustomScaleLayer": scaled_sum,
    "EinsumDense": einsum_dense,
    "Embedding": embedding,
    "ReversibleEmbedding": reversible_embedding,
    "Masking": masking,
    "Rescaling": rescaling,
    "Normalization": normalization,
    **{
        name: same
        for name in (
            *("Identity", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
            *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "StochasticDepth"),
        )
    },
}

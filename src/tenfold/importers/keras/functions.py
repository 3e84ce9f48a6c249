"""Operations of keras.ops that layers have too: convolutions, pools, norms, attention, images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tenfold.importers.keras.activation import lowest, where
from tenfold.importers.keras.conv import channels_back, channels_first, correlated
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.operands import numbers, real
from tenfold.importers.keras.pool import pooled
from tenfold.importers.keras.resample import bordered, of_aspect, resized
from tenfold.importers.keras.reshaping import cropped
from tenfold.importers.shorthand import apply, axis_of, cast, constant, filled, reshaped, transposed
from tenfold.ir.graph import Value
from tenfold.ops import attention
from tenfold.ops.arithmetic import Add, Mul, Rsqrt, Sub
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import DepthToSpace, Pad, SpaceToDepth
from tenfold.ops.normalize import LayerNorm, RMSNorm
from tenfold.ops.pool import PoolKind


def pool(kind: PoolKind) -> Converter:
    """Windows of images."""

    def convert(layer: Layer, x: Value) -> Value:
        last, rank = layer.channels_last(), x.type.rank - 2
        size = layer.each("pool_size", rank)
        steps = size if layer.config.get("strides") is None else layer.each("strides", rank)
        return channels_back(
            pooled(channels_first(x, last), kind, size, steps, layer.text("padding", "valid").lower()), last
        )

    return convert


def _correlated(layer: Layer, images: Value, kernel: Value, groups: int) -> Value:
    rank = images.type.rank - 2
    steps, gaps = layer.each("strides", rank, 1), layer.each("dilation_rate", rank, 1)
    return correlated(images, kernel, steps, gaps, layer.text("padding", "valid").lower(), groups)


def convolution(layer: Layer, x: Value, kernel: Value) -> Value:
    """With a kernel [*K, C / groups, O]."""
    last = layer.channels_last()
    images = channels_first(x, last)
    channels, shared = images.type.shape[1], kernel.type.shape[-2]
    if not isinstance(channels, int) or not isinstance(shared, int):
        raise layer.invalid("the numbers of channels must be known")
    return channels_back(_correlated(layer, images, kernel, channels // shared), last)


def depthwise(layer: Layer, x: Value, kernel: Value) -> Value:
    """With a kernel [*K, C, M]."""
    last = layer.channels_last()
    return channels_back(_by_channel(layer, channels_first(x, last), kernel), last)


def _by_channel(layer: Layer, images: Value, kernel: Value) -> Value:
    *taps, channels, multiplier = kernel.type.shape
    if not isinstance(channels, int):
        raise layer.invalid("the number of channels must be known")
    return _correlated(layer, images, reshaped(kernel, (*taps, 1, channels * multiplier)), channels)


def separable(layer: Layer, x: Value, depthwise_kernel: Value, pointwise_kernel: Value) -> Value:
    """Depthwise, then of single places."""
    last = layer.channels_last()
    between = _by_channel(layer, channels_first(x, last), depthwise_kernel)
    ones = (1,) * (x.type.rank - 2)
    return channels_back(correlated(between, pointwise_kernel, ones, ones, "valid"), last)


def batch_norm(
    layer: Layer, x: Value, mean: Value, variance: Value, offset: Value | None = None, scale: Value | None = None
) -> Value:
    """By given statistics."""
    at = axis_of(layer.integer("axis"), x.type.rank)
    along = [size if place == at else 1 for place, size in enumerate(x.type.shape)]
    inverse = apply(Rsqrt(), apply(Add(), variance, layer.number("epsilon", 1e-3)))
    factor = inverse if scale is None else apply(Mul(), inverse, scale)
    y = apply(Mul(), apply(Sub(), x, reshaped(mean, along)), reshaped(factor, along))
    return y if offset is None else apply(Add(), y, reshaped(offset, along))


def _last_axes(layer: Layer, x: Value) -> int:
    axes = sorted(axis_of(one, x.type.rank) for one in numbers(layer.config.get("axis", -1)))
    if axes != list(range(axes[0], x.type.rank)):
        raise layer.unsupported(f"a norm over the axes {axes} of {x.type}")
    return axes[0]


def _epsilon(layer: Layer, default: float) -> float:
    return default if layer.config.get("epsilon") is None else layer.number("epsilon")


def layer_norm(layer: Layer, x: Value, gamma: Value | None = None, beta: Value | None = None) -> Value:
    """Over the last axes."""
    first = _last_axes(layer, x)
    shape = x.type.shape[first:]
    scale, bias = (filled(value, shape, x.type.dtype) if one is None else one for one, value in ((gamma, 1), (beta, 0)))
    return apply(LayerNorm(first, _epsilon(layer, 1e-7)), x, scale, bias)


def rms_norm(layer: Layer, x: Value, scale: Value | None = None) -> Value:
    """Over the last axes."""
    first = _last_axes(layer, x)
    factor = filled(1, x.type.shape[first:], x.type.dtype) if scale is None else scale
    return apply(RMSNorm(first, _epsilon(layer, 1e-7)), x, factor)


def dot_product_attention(
    layer: Layer,
    query: Value,
    key: Value,
    value: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    scale: float | None = None,
) -> Value:
    """Of queries, keys and values [B, T, heads, size]."""
    size = query.type.shape[-1]
    if not isinstance(size, int):
        raise layer.invalid(f"the last size of {query.type} must be known")
    added = [] if bias is None else [bias]
    if mask is not None:
        added = [mask] if bias is None else [where(mask, bias, lowest(bias))]
    cap = layer.config.get("attn_logits_soft_cap")
    factor = 1 / math.sqrt(size) if scale is None else float(scale)
    op = attention.Attention(factor, layer.flag("is_causal", False), softcap=float(cap or 0.0))
    rows = [transposed(one, (0, 2, 1, 3)) for one in (query, key, value)]
    found: Value = op(*rows, *added)
    return transposed(found, (0, 2, 1, 3))


def blocks(op: type[DepthToSpace] | type[SpaceToDepth]) -> Converter:
    """Channels to squares of places, or back."""

    def convert(layer: Layer, x: Value) -> Value:
        last = layer.channels_last()
        found: Value = op(layer.integer("block_size"))(channels_first(x, last))
        return channels_back(found, last)

    return convert


def resize(layer: Layer, x: Value) -> Value:
    """Images at other sizes."""
    last = layer.channels_last()
    batch = x if x.type.rank == 4 else reshaped(x, (1, *x.type.shape))
    images, (height, width) = real(channels_first(batch, last)), layer.each("size", 2)
    if layer.flag("crop_to_aspect_ratio", False):
        images = of_aspect(layer, images, height, width)
    elif layer.flag("pad_to_aspect_ratio", False):
        images = bordered(layer, images, height, width, layer.number("fill_value", 0.0))
    mode = layer.text("interpolation", "bilinear")
    found = channels_back(resized(layer, images, (height, width), mode, layer.flag("antialias", False)), last)
    return found if x.type.rank == 4 else reshaped(found, found.type.shape[1:])


def bordered_or_cropped(pad: bool) -> Converter:
    """Rows and columns added, or taken away, at the four sides."""

    def convert(layer: Layer, x: Value) -> Value:
        first = (x.type.rank - 3) + (0 if layer.channels_last() else 1)
        word, ends = "padding" if pad else "cropping", {}
        for at, low, high, size in ((first, "top", "bottom", "height"), (first + 1, "left", "right", "width")):
            ends[at] = _sides(layer, x.type.shape[at], f"{low}_{word}", f"{high}_{word}", f"target_{size}", pad)
        if not pad:
            return cropped(x, ends)
        before, after = (tuple(ends.get(at, (0, 0))[end] for at in range(x.type.rank)) for end in (0, 1))
        return apply(Pad(before, after), x)

    return convert


def _sides(layer: Layer, size: Any, low: str, high: str, target: str, pad: bool) -> tuple[Any, Any]:
    """Two of the counts before, after, and the size at the end, as the first two."""
    before, after, wanted = (layer.config.get(name) for name in (low, high, target))
    total = None if wanted is None else (wanted - size if pad else size - wanted)
    if before is None:
        before = (total or 0) - (after or 0)
    return before, after if total is None or after is not None else total - before


def grayscale(layer: Layer, x: Value) -> Value:
    """The luma of ITU-R BT.601."""
    shares, last = np.array([0.2989, 0.587, 0.114]), layer.channels_last()
    value = real(x)
    axis = x.type.rank - 1 if last else x.type.rank - 3
    order = [*(at for at in range(x.type.rank) if at != axis), axis]
    moved = apply(MatMul(), transposed(value, order), constant(shares.astype(value.type.dtype.numpy).reshape(3, 1)))
    return cast(transposed(moved, [order.index(at) for at in range(x.type.rank)]), x.type.dtype)


OPERATIONS: Table = {
    "MaxPool": pool("max"),
    "AveragePool": pool("average"),
    "Conv": convolution,
    "DepthwiseConv": depthwise,
    "SeparableConv": separable,
    "BatchNorm": batch_norm,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "DotProductAttention": dot_product_attention,
    "DepthToSpace": blocks(DepthToSpace),
    "SpaceToDepth": blocks(SpaceToDepth),
    "Resize": resize,
    "PadImages": bordered_or_cropped(True),
    "CropImages": bordered_or_cropped(False),
    "RGBToGrayscale": grayscale,
}

"""Convolutions: Keras writes kernels [*K, C / groups, O], and images with the channels last unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenfold.importers.keras.activation import activated
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add
from tenfold.ops.conv import Conv, ConvTranspose

Pads = tuple[tuple[Size, ...], tuple[Size, ...]]


def channels_first(x: Value, last: bool) -> Value:
    """[N, *S, C] as [N, C, *S]."""
    return transposed(x, (0, x.type.rank - 1, *range(1, x.type.rank - 1))) if last else x


def channels_back(x: Value, last: bool) -> Value:
    """[N, C, *S] as [N, *S, C]."""
    return transposed(x, (0, *range(2, x.type.rank), 1)) if last else x


def same_pads(sizes: Sequence[Size], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Pads:
    """The padding that makes as many windows as strides fit into the sizes, an odd place more at the end."""
    totals = []
    for size, taps, step, gap in zip(sizes, kernel, strides, dilations, strict=True):
        over = (dim.ceildiv(size, step) - 1) * step + gap * (taps - 1) + 1 - size if step > 1 else gap * (taps - 1)
        totals.append(max(over, 0) if isinstance(over, int) else dim.maximum(over, 0))
    before = tuple(total // 2 for total in totals)
    return before, tuple(total - first for total, first in zip(totals, before, strict=True))


def correlated(
    x: Value,
    kernel: Value,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: str,
    groups: int = 1,
) -> Value:
    """x [N, C, *S] with a kernel [*K, C / groups, O]."""
    rank = kernel.type.rank - 2
    taps = tuple(int(size) for size in kernel.type.shape[:rank] if isinstance(size, int))
    zeros: tuple[Size, ...] = (0,) * rank
    before, after = zeros, zeros
    if padding == "same":
        before, after = same_pads(x.type.shape[2:], taps, strides, dilations)
    elif padding == "causal":
        before = tuple(gap * (size - 1) for gap, size in zip(dilations, taps, strict=True))
    ordered = transposed(kernel, (rank + 1, rank, *range(rank)))
    return apply(Conv(tuple(strides), tuple(dilations), before, after, groups), x, ordered)


def convolution(rank: int) -> Any:
    """Conv1D, Conv2D, Conv3D."""

    def convert(layer: Layer, x: Value) -> Value:
        last = layer.channels_last()
        groups, filters = layer.integer("groups", 1), layer.integer("filters")
        images = channels_first(x, last)
        channels = images.type.shape[1]
        if not isinstance(channels, int) or groups < 1 or channels % groups:
            raise layer.invalid(f"{channels} channels do not divide into {groups} groups")
        kernel = layer.weight("kernel", (*layer.each("kernel_size", rank), channels // groups, filters))
        y = correlated(images, kernel, *_settings(layer, rank), groups)
        return _ended(layer, y, filters, last)

    return convert


def _settings(layer: Layer, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    dilations = layer.each("dilation_rate", rank, 1)
    padding = layer.text("padding", "valid").lower()
    if padding not in ("valid", "same", "causal"):
        raise layer.invalid(f"padding is {padding!r}, not valid, same or causal")
    return layer.each("strides", rank, 1), dilations, padding


def _ended(layer: Layer, y: Value, filters: int, last: bool) -> Value:
    """The bias, the activation, and the channels back where they were."""
    if layer.flag("use_bias", True):
        bias = layer.weight("bias", (filters,))
        y = apply(Add(), y, reshaped(bias, (1, filters, *(1,) * (y.type.rank - 2))))
    return activated(layer, channels_back(y, last))


def _by_channel(kernel: Value, channels: int, multiplier: int) -> Value:
    """A depthwise kernel [*K, C, M] as one of C groups: [*K, 1, C M]."""
    return reshaped(kernel, (*kernel.type.shape[:-2], 1, channels * multiplier))


def depthwise(rank: int) -> Any:
    """DepthwiseConv1D, DepthwiseConv2D."""

    def convert(layer: Layer, x: Value) -> Value:
        last, multiplier = layer.channels_last(), layer.integer("depth_multiplier", 1)
        images = channels_first(x, last)
        channels = _channels(layer, images)
        stated = layer.each("kernel_size", rank)
        name = "depthwise_kernel" if layer.context.version < 3 else "kernel"
        kernel = _by_channel(layer.weight(name, (*stated, channels, multiplier)), channels, multiplier)
        y = correlated(images, kernel, *_settings(layer, rank), channels)
        return _ended(layer, y, channels * multiplier, last)

    return convert


def _channels(layer: Layer, images: Value) -> int:
    found = images.type.shape[1]
    if not isinstance(found, int):
        raise layer.invalid(f"the number of channels of {images.type} must be known")
    return found


def separable(rank: int) -> Any:
    """SeparableConv1D, SeparableConv2D: a depthwise convolution, then one of single places."""

    def convert(layer: Layer, x: Value) -> Value:
        last, multiplier, filters = (
            layer.channels_last(),
            layer.integer("depth_multiplier", 1),
            layer.integer("filters"),
        )
        images = channels_first(x, last)
        channels = _channels(layer, images)
        wide = channels * multiplier
        kernel = layer.weight("depthwise_kernel", (*layer.each("kernel_size", rank), channels, multiplier))
        mixing = layer.weight("pointwise_kernel", (*(1,) * rank, wide, filters))
        between = correlated(images, _by_channel(kernel, channels, multiplier), *_settings(layer, rank), channels)
        ones = (1,) * rank
        return _ended(layer, correlated(between, mixing, ones, ones, "valid"), filters, last)

    return convert


def transposed_convolution(rank: int) -> Any:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose: kernels are [*K, O, C]."""

    def convert(layer: Layer, x: Value) -> Value:
        last, filters = layer.channels_last(), layer.integer("filters")
        images = channels_first(x, last)
        taps = layer.each("kernel_size", rank)
        strides, dilations, padding = _settings(layer, rank)
        stated = layer.config.get("output_padding")
        extra = None if stated is None else layer.each("output_padding", rank)
        kernel = layer.weight("kernel", (*taps, filters, _channels(layer, images)))
        ordered = transposed(kernel, (rank + 1, rank, *range(rank)))
        rows = [
            _trims((k - 1) * d + 1, s, padding, None if extra is None else extra[at])
            for at, (k, s, d) in enumerate(zip(taps, strides, dilations, strict=True))
        ]
        before, after, more = (tuple(column) for column in zip(*rows, strict=True))
        y = apply(ConvTranspose(strides, dilations, before, after, more), images, ordered)
        return _ended(layer, y, filters, last)

    return convert


def _trims(reach: int, stride: int, padding: str, extra: int | None) -> tuple[int, int, int]:
    """How many elements of the whole result are left out before and after, and how many zeros follow it.

    Keras's results have size * stride elements under "same", and max(reach, stride) - stride more under "valid".
    """
    if padding != "same":
        return 0, 0, max(stride - reach, 0) if extra is None else extra
    total = stride + reach - 2 if extra is None else reach + reach % 2 - 2 + extra
    first = min(total - total // 2, reach - 1)
    over = reach - 1 - (total - first)
    return reach - 1 - first, max(over, 0), max(-over, 0)


TABLE: Table = {
    **{f"Conv{rank}D": convolution(rank) for rank in (1, 2, 3)},
    **{f"Convolution{rank}D": convolution(rank) for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": transposed_convolution(rank) for rank in (1, 2, 3)},
    **{f"Convolution{rank}DTranspose": transposed_convolution(rank) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": depthwise(rank) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": separable(rank) for rank in (1, 2)},
    **{f"SeparableConvolution{rank}D": separable(rank) for rank in (1, 2)},
}

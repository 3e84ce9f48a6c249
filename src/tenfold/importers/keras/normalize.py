"""Norms. What Keras computes in f32 whatever its policy is computed so here, and rounded once."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, cast, filled, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Maximum, Mul, Rsqrt, Sqrt, Sub
from tenfold.ops.normalize import GroupNorm, LayerNorm, RMSNorm
from tenfold.ops.reduce import Reduce


def batch(layer: Layer, x: Value) -> Value:
    """x standardised by the moving statistics: one factor and one offset a channel, found in f64 and rounded once."""
    (axis,) = layer.axes("axis", x.type.rank, -1)
    shape = (x.type.shape[axis],)
    gamma = layer.weight("gamma", shape, keep=True) if layer.flag("scale", True) else None
    beta = layer.weight("beta", shape, keep=True) if layer.flag("center", True) else None
    mean, variance = (cast(layer.weight(f"moving_{name}", shape, keep=True), dt.f64) for name in ("mean", "variance"))
    spread = apply(Sqrt(), apply(Add(), variance, layer.number("epsilon", 1e-3)))
    factor = apply(Div(), filled(1, shape, dt.f64) if gamma is None else cast(gamma, dt.f64), spread)
    offset = apply(Sub(), filled(0, shape, dt.f64) if beta is None else cast(beta, dt.f64), apply(Mul(), mean, factor))
    wide = _wide(x)
    along = [shape[0] if at == axis else 1 for at in range(x.type.rank)]
    factor, offset = (reshaped(cast(one, wide.type.dtype), along) for one in (factor, offset))
    return cast(apply(Add(), apply(Mul(), wide, factor), offset), layer.compute)


def _wide(x: Value) -> Value:
    return cast(x, dt.f32) if x.type.dtype.bits < 32 or not x.type.dtype.is_float else x


def layer_norm(layer: Layer, x: Value) -> Value:
    """x standardised along its axes; with `rms_scaling` only divided by its deviation from the mean."""
    axes, epsilon = layer.axes("axis", x.type.rank, -1), layer.number("epsilon", 1e-3)
    shape = [x.type.shape[at] for at in axes]
    only_scale = layer.flag("rms_scaling", False)
    gamma = layer.weight("gamma", shape, keep=True) if only_scale or layer.flag("scale", True) else None
    beta = layer.weight("beta", shape, keep=True) if layer.flag("center", True) and not only_scale else None
    wide = _wide(x)
    if only_scale:
        y = apply(Mul(), apply(Mul(), wide, _inverse(wide, axes, epsilon)), _along(gamma, 1, axes, wide))
    elif axes == tuple(range(axes[0], x.type.rank)):
        scale, bias = (_parameter(one, value, shape, wide) for one, value in ((gamma, 1), (beta, 0)))
        y = apply(LayerNorm(axes[0], epsilon), wide, scale, bias)
    else:
        centred = apply(Sub(), wide, apply(Reduce("mean", axes), wide))
        y = apply(Mul(), apply(Mul(), centred, _inverse(wide, axes, epsilon)), _along(gamma, 1, axes, wide))
        y = apply(Add(), y, _along(beta, 0, axes, wide))
    return cast(y, layer.compute)


def _inverse(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """1 / sqrt(variance + epsilon)."""
    centred = apply(Sub(), x, apply(Reduce("mean", tuple(axes)), x))
    variance = apply(Reduce("mean", tuple(axes)), apply(Mul(), centred, centred))
    return apply(Rsqrt(), apply(Add(), variance, epsilon))


def _parameter(found: Value | None, value: float, shape: Sequence[Size], like: Value) -> Value:
    return filled(value, shape, like.type.dtype) if found is None else cast(found, like.type.dtype)


def _along(found: Value | None, value: float, axes: Sequence[int], like: Value) -> Value:
    """A parameter with an axis of size 1 for every axis that it does not vary along."""
    sizes = [like.type.shape[at] if at in axes else 1 for at in range(like.type.rank)]
    shape = [like.type.shape[at] for at in axes]
    return reshaped(_parameter(found, value, shape, like), sizes)


def rms_norm(layer: Layer, x: Value) -> Value:
    """x over the root of its mean square along its axes, times a scale."""
    axes, epsilon = layer.axes("axis", x.type.rank, -1), layer.number("epsilon", 1e-6)
    scale = layer.weight("scale", [x.type.shape[at] for at in axes])
    if axes == tuple(range(axes[0], x.type.rank)):
        return apply(RMSNorm(axes[0], epsilon), x, scale)
    wide = _wide(x)
    power = apply(Reduce("mean", axes), apply(Mul(), wide, wide))
    y = apply(Mul(), wide, apply(Rsqrt(), apply(Add(), power, epsilon)))
    return cast(apply(Mul(), y, _along(scale, 1, axes, wide)), layer.compute)


def group_norm(layer: Layer, x: Value) -> Value:
    """Each of some runs of channels standardised; -1 stands for a run a channel."""
    (axis,) = layer.axes("axis", x.type.rank, -1)
    channels = x.type.shape[axis]
    if not isinstance(channels, int):
        raise layer.invalid(f"the number of channels of {x.type} must be known")
    stated = layer.integer("groups", 32)
    groups = channels if stated == -1 else stated
    if groups < 1 or channels % groups:
        raise layer.invalid(f"{channels} channels do not divide into {groups} groups")
    gamma = layer.weight("gamma", (channels,), keep=True) if layer.flag("scale", True) else None
    beta = layer.weight("beta", (channels,), keep=True) if layer.flag("center", True) else None
    wide = _wide(x)
    scale, bias = (_parameter(one, value, (channels,), wide) for one, value in ((gamma, 1), (beta, 0)))
    order = (0, axis, *(at for at in range(1, x.type.rank) if at != axis))
    y = apply(GroupNorm(groups, layer.number("epsilon", 1e-3)), transposed(wide, order), scale, bias)
    return cast(transposed(y, [order.index(at) for at in range(x.type.rank)]), layer.compute)


def unit_norm(layer: Layer, x: Value) -> Value:
    """x over its length along its axes."""
    axes = layer.axes("axis", x.type.rank, -1)
    power = apply(Reduce("sum", axes), apply(Mul(), x, x))
    return apply(Mul(), x, apply(Rsqrt(), apply(Maximum(), power, 1e-12)))


def spectral_norm(layer: Layer, x: Value) -> Value:
    """The layer within: its kernel was divided by its spectral norm in training."""
    found: Value = layer.child("layer")(x)
    return cast(found, x.type.dtype) if x.type.dtype.is_float else found


TABLE: Table = {
    "BatchNormalization": batch,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "GroupNormalization": group_norm,
    "UnitNormalization": unit_norm,
    "SpectralNormalization": spectral_norm,
}

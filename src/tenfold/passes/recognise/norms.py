"""Norms and softmax that models write as reductions and arithmetic."""

from __future__ import annotations

import math

import numpy as np

from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Div, Exp, Maximum, Minimum, Mul, Rsqrt, Sqrt, Sub
from tenfold.ops.constant import Constant, scalar
from tenfold.ops.movement import Expand, Reshape
from tenfold.ops.normalize import GroupNorm, LayerNorm, RMSNorm, Softmax
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.pattern import constant, either, exactly, number, same_type, used_once
from tenfold.rewrite.rule import Replacement, rule


@rule(
    "graph (%x: f32[N, 4]) { return Mul(Reduce<kind='sum', axes=(1,)>(%x), f32{0.25}) }",
    "graph (%x: f32[N, 4]) { return Mul(Reduce<kind='sum', axes=(1,)>(%x), f32{0.5}) }",
)
def mean(value: Value) -> Replacement:
    """sum(x) / n -> mean(x), n the count of what is summed"""
    match value:
        case Value(Mul() | Div() as op, (Value(Reduce("sum", axes, keepdims), (x,)), factor)):
            counts = [x.type.shape[axis] for axis in axes]
            share = number(factor)
            if not x.type.dtype.is_float or not share or not all(isinstance(count, int) for count in counts):
                return None
            count = math.prod(count for count in counts if isinstance(count, int))
            if math.isclose(share if isinstance(op, Div) else 1 / share, count, rel_tol=1e-7):
                return Reduce("mean", axes, keepdims)(x) if factor.type.rank <= value.inputs[0].type.rank else None
    return None


@rule(
    "graph (%x: f32[N, 4, 5]) { return Reshape<shape=(N, 1, 5)>(Reduce<kind='max', axes=(1,), keepdims=false>(%x)) }",
    "graph (%x: f32[N, 4, 5]) { return Reshape<shape=(N, 5, 1)>(Reduce<kind='max', axes=(1,), keepdims=false>(%x)) }",
)
def keep_axes(value: Value) -> Replacement:
    """reduce(x) with its axes put back as 1 -> reduce(x) that keeps them"""
    match value:
        case Value(Reshape(shape), (Value(Reduce(kind, axes, False), (x,)),)):
            kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.type.shape))
            return Reduce(kind, axes)(x) if shape == kept else None
    return None


@rule(
    "graph (%x: f32[2]) { return Maximum(%x, f32{-inf}) }",
    "graph (%x: f32[2]) { return Maximum(%x, f32{inf}) }",
)
def unlimited(value: Value) -> Replacement:
    """max(x, -inf) -> x;  min(x, inf) -> x"""
    match value:
        case Value(Maximum(), (x, limit)) if exactly(limit, -math.inf) and same_type(x, value):
            return x
        case Value(Minimum(), (x, limit)) if exactly(limit, math.inf) and same_type(x, value):
            return x
    return None


@rule(
    """graph (%x: f32[N, 4]) {
      %e = Exp(Sub(%x, Reduce<kind='max', axes=(1,)>(%x)))
      return Div(%e, Reduce<kind='sum', axes=(1,)>(%e))
    }""",
    """graph (%x: f32[N, 4]) {
      %e = Exp(%x)
      return Div(%e, Reduce<kind='sum', axes=(1,)>(%e))
    }""",
)
def softmax(value: Value) -> Replacement:
    """exp(x - max(x)) / sum(exp(x - max(x))) along one axis -> softmax(x)"""
    match value:
        case Value(
            Div(), (Value(Exp(), (Value(Sub(), (x, top)),)) as powers, Value(Reduce("sum", (axis,), True), (e,)))
        ):
            if x.type.dtype.is_float and e is powers and top.op == Reduce("max", (axis,)) and top.inputs[0] is x:
                return Softmax(axis)(x)
    return None


def _row_axis(axes: tuple[int, ...], x: Value) -> int | None:
    """The first of the axes, if they are all axes of x from it on."""
    first = min(axes, default=x.type.rank)
    return first if sorted(axes) == list(range(first, x.type.rank)) and axes else None


def _divided_by_root(value: Value) -> tuple[Value, Value, float] | None:
    """(x, power, epsilon) where `value` is x / sqrt(power + epsilon)."""
    match value:
        case Value(Div(), (x, Value(Sqrt(), (Value(Add(), (power, epsilon)),)))):
            added = number(epsilon)
            return None if added is None else (x, power, added)
    for x, root in either(value, Mul):
        match root:
            case Value(Rsqrt(), (Value(Add(), (power, epsilon)),)):
                added = number(epsilon)
                return None if added is None else (x, power, added)
    return None


def _mean_square(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """(x, axes) where `value` is the mean of x x."""
    match value:
        case Value(Reduce("mean", axes, True), (Value(Mul(), (x, y)),)) if x is y:
            return x, axes
    return None


def _centred(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """(x, axes) where `value` is x less its mean."""
    match value:
        case Value(Sub(), (x, Value(Reduce("mean", axes, True), (y,)))) if x is y:
            return x, axes
    return None


@rule(
    """graph (%x: f32[N, 8]) {
      %c = Sub(%x, Reduce<kind='mean', axes=(1,)>(%x))
      return Div(%c, Sqrt(Add(Reduce<kind='mean', axes=(1,)>(Mul(%c, %c)), f32{1e-5})))
    }""",
    """graph (%x: f32[N, 8]) {
      %c = Sub(%x, Reduce<kind='mean', axes=(1,)>(%x))
      return Div(%c, Sqrt(Add(Reduce<kind='mean', axes=(1,)>(Mul(%x, %c)), f32{1e-5})))
    }""",
)
def layer_norm(value: Value) -> Replacement:
    """(x - mean(x)) / sqrt(mean((x - mean(x))²) + e) over the last axes -> layer norm of x, scale 1, bias -0"""
    parts = _divided_by_root(value)
    if parts is None:
        return None
    centred, power, epsilon = parts
    square, outer = _mean_square(power), _centred(centred)
    if square is None or outer is None or square != (centred, outer[1]):
        return None
    x, axes = outer
    axis = _row_axis(axes, x)
    dtype = value.type.dtype
    return None if axis is None else LayerNorm(axis, epsilon)(x, scalar(1, dtype)(), scalar(-0.0, dtype)())


@rule(
    """graph (%x: f32[N, 8]) {
      %m = Reduce<kind='mean', axes=(1,)>(%x)
      %v = Sub(Reduce<kind='mean', axes=(1,)>(Mul(%x, %x)), Mul(%m, %m))
      return Mul(Sub(%x, %m), Rsqrt(Add(Maximum(%v, f32{0.0}), f32{1e-5})))
    }""",
    """graph (%x: f32[N, 8]) {
      %m = Reduce<kind='mean', axes=(1,)>(%x)
      %v = Sub(Reduce<kind='mean', axes=(1,)>(Mul(%x, %x)), %m)
      return Mul(Sub(%x, %m), Rsqrt(Add(Maximum(%v, f32{0.0}), f32{1e-5})))
    }""",
)
def layer_norm_by_moments(value: Value) -> Replacement:
    """(x - m) / sqrt(max(mean(x x) - m m, 0) + e), m = mean(x) -> layer norm of x, scale 1, bias -0

    The variance by centred squares is the same sum without its cancellation.
    """
    parts = _divided_by_root(value)
    outer = _centred(parts[0]) if parts else None
    if parts is None or outer is None:
        return None
    (_, power, epsilon), (x, axes) = parts, outer
    m = parts[0].inputs[1]
    if isinstance(power.op, Maximum) and exactly(power.inputs[1], 0.0):
        power = power.inputs[0]
    match power:
        case Value(Sub(), (square, Value(Mul(), (a, b)))) if a is b and a is m and _mean_square(square) == (x, axes):
            axis, dtype = _row_axis(axes, x), value.type.dtype
            return None if axis is None else LayerNorm(axis, epsilon)(x, scalar(1, dtype)(), scalar(-0.0, dtype)())
    return None


@rule(
    "graph (%x: f32[N, 8]) { return Mul(%x, Rsqrt(Add(Reduce<kind='mean', axes=(1,)>(Mul(%x, %x)), f32{1e-5}))) }",
    "graph (%x: f32[8, N]) { return Mul(%x, Rsqrt(Add(Reduce<kind='mean', axes=(0,)>(Mul(%x, %x)), f32{1e-5}))) }",
)
def rms_norm(value: Value) -> Replacement:
    """x / sqrt(mean(x x) + e) over the last axes -> RMS norm of x, scale 1"""
    parts = _divided_by_root(value)
    if parts is None:
        return None
    x, power, epsilon = parts
    square = _mean_square(power)
    if square is None or square[0] is not x:
        return None
    axis = _row_axis(square[1], x)
    return None if axis is None else RMSNorm(axis, epsilon)(x, scalar(1, value.type.dtype)())


def _absorbs(norm: Value, value: Value) -> bool:
    """Whether `value` joins the norm, which nothing else uses, with a constant that varies along its rows only."""
    if not isinstance(norm.op, LayerNorm | RMSNorm) or not used_once(norm) or not same_type(norm, value):
        return False
    c, row = value.inputs[1], norm.type.rank - norm.op.axis
    outer = c.type.shape[: max(0, c.type.rank - row)]
    return isinstance(c.op, Constant) and all(size == 1 for size in outer)


@rule(
    "graph (%x: f32[N, 2]) { return Mul(LayerNorm<axis=1>(%x, f32{1}, f32{0}), f32[2]{2.0, 3.0}) }",
    "graph (%x: f32[2, 2]) { return Mul(LayerNorm<axis=1>(%x, f32{1}, f32{0}), f32[2, 1]{2.0, 3.0}) }",
)
def norm_scale(value: Value) -> Replacement:
    """norm(x, s, b) c -> norm(x, s c, b c);  a bias of -0 stays"""
    match value:
        case Value(Mul(), (Value(LayerNorm() as op, (x, s, b)) as norm, c)) if _absorbs(norm, value):
            return op(x, Mul()(s, c), b if exactly(b, -0.0) else Mul()(b, c))
        case Value(Mul(), (Value(RMSNorm() as op, (x, s)) as norm, c)) if _absorbs(norm, value):
            return op(x, Mul()(s, c))
    return None


@rule(
    "graph (%x: f32[N, 2]) { return Add(LayerNorm<axis=1>(%x, f32{1}, f32{0}), f32[2]{2.0, 3.0}) }",
    "graph (%x: f32[N, 2], %y: f32[2]) { return Add(LayerNorm<axis=1>(%x, f32{1}, f32{0}), %y) }",
)
def norm_bias(value: Value) -> Replacement:
    """norm(x, s, b) + c -> norm(x, s, b + c)"""
    match value:
        case Value(Add(), (Value(LayerNorm() as op, (x, s, b)) as norm, c)) if _absorbs(norm, value):
            return op(x, s, Add()(b, c))
    return None


@rule(
    """graph (%x: f32[N, 4, H, W]) {
      %n = GroupNorm<groups=2>(Reshape<shape=(N, 2, 2*H*W)>(%x), f32[2]{1, 1}, f32[2]{0, 0})
      return Reshape<shape=(N, 4, H, W)>(%n)
    }""",
    """graph (%x: f32[N, 4, H, W]) {
      %n = GroupNorm<groups=2>(Reshape<shape=(N, 2, 2*H*W)>(%x), f32[2]{1, 2}, f32[2]{0, 0})
      return Reshape<shape=(N, 4, H, W)>(%n)
    }""",
)
def group_norm(value: Value) -> Replacement:
    """instance norm of x with its channels joined in groups, then parted again -> group norm of x"""
    match value:
        case Value(Reshape(shape), (Value(GroupNorm(groups, epsilon), (Value(Reshape(joined), (x,)), s, b)),)):
            parted = shape == x.type.shape and len(shape) > 2 and joined[:2] == (shape[0], groups)
            if parted and isinstance(shape[1], int) and exactly(s, 1.0) and number(b) == 0:
                ones, zeros = np.ones(shape[1]), np.full(shape[1], number(b))
                return GroupNorm(groups, epsilon)(x, *(_vector(one, x.type.dtype) for one in (ones, zeros)))
    return None


def _vector(array: Array, dtype: DType) -> Value:
    vector: Value = Constant(Tensor(array.astype(dtype.numpy)))()
    return vector


def _by_channel(norm: Value, value: Value) -> Value | None:
    """The constant that `value` joins the norm with, which nothing else uses, as a vector of all channels."""
    c, channels = value.inputs[1], norm.type.shape[1]
    array = constant(c)
    if array is None or not isinstance(channels, int) or not used_once(norm) or not same_type(norm, value):
        return None
    shape = (1,) * (norm.type.rank - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    vector: Value = Expand((channels,))(Reshape((shape[1],))(c))
    return vector


@rule(
    "graph (%x: f32[N, 2, H]) { return Mul(GroupNorm<groups=1>(%x, f32[2]{1, 1}, f32[2]{0, 5}), f32[2, 1]{2, 3}) }",
    "graph (%x: f32[N, 2, 2]) { return Mul(GroupNorm<groups=1>(%x, f32[2]{1, 1}, f32[2]{0, 5}), f32[2]{2, 3}) }",
)
def group_norm_scale(value: Value) -> Replacement:
    """group norm(x, s, b) c -> group norm(x, s c, b c);  group norm(x, s, b) + c -> group norm(x, s, b + c)"""
    match value:
        case Value(Mul() | Add() as joined, (Value(GroupNorm() as op, (x, s, b)) as norm, _)):
            c = _by_channel(norm, value)
            if c is not None:
                return op(x, Mul()(s, c), Mul()(b, c)) if isinstance(joined, Mul) else op(x, s, Add()(b, c))
    return None


NORMS = (
    *(group_norm, group_norm_scale),
    *(mean, keep_axes, unlimited, softmax, layer_norm, layer_norm_by_moments, rms_norm),
    *(norm_scale, norm_bias),
)

"""aten's activations, products of matrices and norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, axis_of, cast, filled, number, part, per_channel, reshaped, transposed
from tenfold.importers.torch.math import add, where
from tenfold.importers.torch.promote import floating
from tenfold.importers.torch.reduce import norm
from tenfold.importers.torch.tensor import along_one, expand, transpose
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops import activation
from tenfold.ops.arithmetic import Abs, Add, Div, Maximum, Mul, Rsqrt, Sqrt, Sub
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Greater, GreaterOrEqual, Less, LessOrEqual, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Pad
from tenfold.ops.normalize import GroupNorm, LayerNorm, LogSoftmax, RMSNorm, Softmax
from tenfold.ops.reduce import Reduce

Converter = Callable[..., Any]


def plain(op: Op) -> Converter:
    """One operation of one input."""

    def convert(x: Value) -> Value:
        return apply(op, x)

    return convert


def with_numbers(kind: type[Op], *defaults: float) -> Converter:
    """An operation whose fields are the operator's numbers."""

    def convert(x: Value, *given: float) -> Value:
        return apply(kind(*map(float, (*given, *defaults[len(given) :]))), x)

    return convert


def gelu(x: Value, *, approximate: str = "none") -> Value:
    """Gelu by the error function, or by its approximation."""
    return apply(activation.Gelu(approximate == "tanh"), x)


def elu(x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    """scale times Elu of input_scale times x."""
    y = x if input_scale == 1 else apply(Mul(), x, input_scale)
    found = apply(activation.Elu(float(alpha)), y)
    return found if scale == 1 else apply(Mul(), found, scale)


def relu6(x: Value) -> Value:
    """x between 0 and 6."""
    return hardtanh(x, 0.0, 6.0)


def hardtanh(x: Value, low: float = -1, high: float = 1) -> Value:
    """x within the bounds."""
    result: Value = activation.Clip()(x, number(low, x), number(high, x))
    return result


def softplus(x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    scaled = x if beta == 1 else apply(Mul(), x, beta)
    soft = apply(activation.Softplus(), scaled)
    soft = soft if beta == 1 else apply(Div(), soft, beta)
    return soft if threshold >= 20 else where(apply(Greater(), scaled, threshold), x, soft)


def glu(x: Value, axis: int = -1) -> Value:
    """The first half of an axis times the sigmoid of the second."""
    at = axis_of(axis, x.type.rank)
    half = x.type.shape[at] // 2
    gate = apply(activation.Sigmoid(), part(x, at, half, half))
    return apply(Mul(), part(x, at, 0, half), gate)


def prelu(x: Value, slope: Value) -> Value:
    """x, its negative part times a slope (one, or one a channel)."""
    if slope.type.size != 1 and x.type.rank > 1:
        slope = per_channel(slope, x.type.rank)
    return apply(activation.PRelu(), x, slope)


def threshold(x: Value, bound: float, value: float) -> Value:
    """x where it is above the bound, else the value, in x's type."""
    return where(apply(Greater(), x, bound), x, number(value, x))


def hard_shrink(x: Value, bound: float = 0.5) -> Value:
    """x, but 0 within the bound."""
    return where(apply(LessOrEqual(), apply(Abs(), x), bound), 0.0, x)


def soft_shrink(x: Value, bound: float = 0.5) -> Value:
    """x moved to 0 by the bound."""
    return apply(Sub(), x, hardtanh(x, -float(bound), float(bound)))


def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x))."""
    return apply(activation.LogSigmoid(), x)


def log_sigmoid_forward(x: Value) -> tuple[Value, None]:
    """log(sigmoid(x)), and nothing for a gradient."""
    return log_sigmoid(x), None


def dropout(x: Value, p: float = 0.5, train: bool | None = False) -> Value:
    """x itself: nothing is dropped outside training."""
    if train and p:
        raise UnsupportedError("dropout in training mode", remedy="call module.eval() first")
    return x


def native_dropout(x: Value, p: float, train: bool | None) -> tuple[Value, Value]:
    """x itself, and a mask that keeps everything."""
    return dropout(x, p, train), filled(1, x.type.shape, dt.boolean)


def softmax(kind: type[Softmax] | type[LogSoftmax]) -> Converter:
    """Softmax along an axis, in another element type if one is stated."""

    def convert(x: Value, axis: int, dtype: DType | bool | None = None, **_: Any) -> Value:
        wanted = dt.f32 if dtype is True else dtype or x.type.dtype
        y = cast(x, floating(wanted))
        return apply(kind(axis_of(axis, x.type.rank)), y)

    return along_one(convert)


def linear(x: Value, weight: Value, bias: Value | None = None) -> Value:
    """x times the transpose of the weight, plus the bias."""
    product = apply(MatMul(), x, transpose(weight, -1, -2) if weight.type.rank > 1 else weight)
    return product if bias is None else apply(Add(), product, bias)


def matmul(x: Value, y: Value, *_: Any) -> Value:
    """The product of matrices, as NumPy's."""
    return apply(MatMul(), x, y)


def addmm(x: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta x + alpha a b."""
    product = apply(MatMul(), a, b)
    scaled = product if alpha == 1 else apply(Mul(), product, alpha)
    return scaled if beta == 0 else add(scaled, x, beta)


def addbmm(x: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta x + alpha times the sum of the products of stacked matrices."""
    summed = apply(Reduce("sum", (0,), False), apply(MatMul(), a, b))
    return add(summed if alpha == 1 else apply(Mul(), summed, alpha), x, beta)


def grouped(
    x: Value, weights: Value, ends: Value | None = None, bias: Value | None = None, dtype: DType | None = None
) -> Value:
    """Runs of rows of x, each by a matrix of its own; run g ends before row ends[g].

    Every row goes by every matrix, and each takes the one product that is its own.
    """
    if ends is None or x.type.rank != 2 or weights.type.rank != 3 or bias is not None:
        raise UnsupportedError(f"a grouped product of {x.type} and {weights.type}")
    products = apply(MatMul(), reshaped(x, (1, *x.type.shape)), weights)
    rows = reshaped(cast(Iota(0, 1, x.type.shape[0])(), ends.type.dtype), (1, x.type.shape[0], 1))
    last = reshaped(ends, (ends.type.size, 1, 1))
    first = part(apply(Pad((1, 0, 0), (0, 0, 0)), last), 0, 0, ends.type.size)
    own = apply(And(), apply(GreaterOrEqual(), rows, first), apply(Less(), rows, last))
    kept: Value = Where()(own, products, number(0, products))
    return apply(Reduce("sum", (0,), False), kept)


def outer(x: Value, y: Value) -> Value:
    """Every product of an element of x and one of y."""
    return apply(Mul(), reshaped(x, (x.type.size, 1)), y)


def layer_norm(
    x: Value,
    shape: Sequence[Size],
    weight: Value | None = None,
    bias: Value | None = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Value:
    """LayerNorm over the last axes."""
    scale = filled(1, shape, x.type.dtype) if weight is None else weight
    offset = filled(0, shape, x.type.dtype) if bias is None else bias
    return apply(
        LayerNorm(x.type.rank - len(shape), float(epsilon)), x, cast(scale, x.type.dtype), cast(offset, x.type.dtype)
    )


def native_layer_norm(
    x: Value, shape: Sequence[Size], weight: Value | None, bias: Value | None, epsilon: float
) -> tuple[Value, Value, Value]:
    """LayerNorm, the mean, and 1 / deviation."""
    axes = tuple(range(x.type.rank - len(shape), x.type.rank))
    mean, inverse = _moments(x, axes, epsilon)
    return layer_norm(x, shape, weight, bias, epsilon), mean, inverse


def _moments(x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value]:
    wide = cast(x, dt.f32) if x.type.dtype.bits < 32 else x
    mean: Value = Reduce("mean", axes)(wide)
    centred = apply(Sub(), wide, mean)
    variance: Value = Reduce("mean", axes)(apply(Mul(), centred, centred))
    return mean, apply(Rsqrt(), apply(Add(), variance, epsilon))


def rms_norm(x: Value, shape: Sequence[Size], weight: Value | None = None, epsilon: float | None = None) -> Value:
    """RMSNorm over the last axes."""
    scale = filled(1, shape, x.type.dtype) if weight is None else cast(weight, x.type.dtype)
    smallest = {64: 2.0**-52, 32: 2.0**-23, 16: 2.0**-10}[x.type.dtype.bits]
    return apply(RMSNorm(x.type.rank - len(shape), float(smallest if epsilon is None else epsilon)), x, scale)


def fused_rms_norm(x: Value, shape: Sequence[Size], weight: Value | None, epsilon: float | None) -> tuple[Value, None]:
    """RMSNorm over the last axes."""
    return rms_norm(x, shape, weight, epsilon), None


def group_norm(
    x: Value, groups: int, weight: Value | None = None, bias: Value | None = None, epsilon: float = 1e-5, *_: Any
) -> Value:
    """GroupNorm."""
    channels = (x.type.shape[1],)
    scale = filled(1, channels, x.type.dtype) if weight is None else cast(weight, x.type.dtype)
    offset = filled(0, channels, x.type.dtype) if bias is None else cast(bias, x.type.dtype)
    return apply(GroupNorm(groups, float(epsilon)), x, scale, offset)


def native_group_norm(
    x: Value, weight: Value | None, bias: Value | None, n: Size, c: Size, hw: Size, groups: int, epsilon: float
) -> tuple[Value, Value, Value]:
    """GroupNorm, and each group's mean and 1 / deviation."""
    rows = reshaped(x, (n, groups, (c // groups) * hw))
    mean, inverse = (reshaped(one, (n, groups)) for one in _moments(rows, (2,), epsilon))
    return group_norm(x, groups, weight, bias, epsilon), mean, inverse


def instance_norm(
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    own: bool,
    momentum: float,
    epsilon: float,
    *_: Any,
) -> Value:
    """Each channel of each image standardised by itself, or by the running statistics."""
    if not own and mean is not None and variance is not None:
        return _standardised(x, weight, bias, mean, variance, epsilon)
    channels = x.type.shape[1]
    if not isinstance(channels, int):
        raise UnsupportedError("the number of channels must be known when the engine is built")
    return group_norm(x, channels, weight, bias, epsilon)


def batch_norm(
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    training: bool,
    momentum: float,
    epsilon: float,
    *_: Any,
) -> Value:
    """x standardised by the running statistics; in training by those of the batch."""
    if training or mean is None or variance is None:
        return _by_batch(x, weight, bias, epsilon)[0]
    return _standardised(x, weight, bias, mean, variance, epsilon)


def _standardised(
    x: Value, weight: Value | None, bias: Value | None, mean: Value, variance: Value, epsilon: float
) -> Value:
    """x * factor + offset, both computed in f64 and rounded once."""
    spread = apply(Sqrt(), apply(Add(), cast(variance, dt.f64), epsilon))
    one = filled(1, mean.type.shape, dt.f64)
    factor = apply(Div(), one if weight is None else cast(weight, dt.f64), spread)
    shift = apply(Mul(), cast(mean, dt.f64), factor)
    offset = apply(Sub(), filled(0, mean.type.shape, dt.f64) if bias is None else cast(bias, dt.f64), shift)
    wide = [per_channel(cast(each, x.type.dtype), x.type.rank) for each in (factor, offset)]
    return apply(Add(), apply(Mul(), x, wide[0]), wide[1])


def _by_batch(x: Value, weight: Value | None, bias: Value | None, epsilon: float) -> tuple[Value, Value, Value]:
    axes = (0, *range(2, x.type.rank))
    mean, inverse = _moments(x, axes, epsilon)
    y = cast(apply(Mul(), apply(Sub(), x, mean), inverse), x.type.dtype)
    y = y if weight is None else apply(Mul(), y, per_channel(weight, x.type.rank))
    y = y if bias is None else apply(Add(), y, per_channel(bias, x.type.rank))
    channels = (x.type.shape[1],)
    return y, reshaped(mean, channels), reshaped(inverse, channels)


def batch_norm_running(
    x: Value, weight: Value | None, bias: Value | None, mean: Value, variance: Value, momentum: float, epsilon: float
) -> tuple[Value, None, None]:
    """x standardised by the running statistics."""
    return _standardised(x, weight, bias, mean, variance, epsilon), None, None


def batch_norm_functional(
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Value, ...]:
    """x standardised, what the batch was standardised by, and the running statistics after it."""
    if not training:
        empty = filled(0, (0,), x.type.dtype)
        return _standardised(x, weight, bias, mean, variance, epsilon), empty, empty, mean, variance
    y, own_mean, inverse = _by_batch(x, weight, bias, epsilon)
    count = dim.product(x.type.shape) // x.type.shape[1]
    if not isinstance(count, int):
        raise UnsupportedError("batch statistics over sizes that are not known", remedy="call module.eval() first")
    own = apply(Sub(), apply(Div(), number(1, inverse), apply(Mul(), inverse, inverse)), epsilon)
    unbiased = apply(Mul(), own, count / max(1, count - 1))
    running = [_moved(old, new, momentum) for old, new in ((mean, own_mean), (variance, unbiased))]
    return y, own_mean, inverse, *running


def _moved(old: Value, new: Value, momentum: float) -> Value:
    return apply(Add(), apply(Mul(), old, 1 - momentum), apply(Mul(), new, momentum))


def batch_norm_no_stats(
    x: Value, weight: Value | None, bias: Value | None, training: bool, momentum: float, epsilon: float
) -> tuple[Value, Value, Value]:
    """x standardised by its own statistics."""
    return _by_batch(x, weight, bias, epsilon)


def normalised(x: Value, order: float = 2.0, axis: int = 1, epsilon: float = 1e-12) -> Value:
    """x over its norm along an axis."""
    return apply(Div(), x, apply(Maximum(), norm(x, order, axis, True), epsilon))


def cosine_similarity(x: Value, y: Value, axis: int = 1, epsilon: float = 1e-8) -> Value:
    """The cosine of the angle between vectors along an axis."""
    if not max(x.type.rank, y.type.rank):
        x, y, axis = reshaped(x, (1,)), reshaped(y, (1,)), 0
    shape = broadcast_shapes(x.type.shape, y.type.shape)
    x, y = (one if one.type.shape == shape else expand(one, shape) for one in (x, y))
    at = axis_of(axis, len(shape))
    a, b = normalised(x, 2.0, at, epsilon), normalised(y, 2.0, at, epsilon)
    return apply(Reduce("sum", (at,), False), apply(Mul(), a, b))


def distances(x: Value, y: Value, p: float = 2.0, *_: Any) -> Value:
    """The p-norm of the difference of every row of x and every row of y."""
    rows = reshaped(x, (*x.type.shape[:-1], 1, x.type.shape[-1]))
    columns = reshaped(y, (*y.type.shape[:-2], 1, *y.type.shape[-2:]))
    return norm(apply(Sub(), rows, columns), p, -1)


def pair_distances(x: Value, p: float = 2.0) -> Value:
    """The p-norm of the difference of every two rows."""
    rows = x.type.shape[0]
    if not isinstance(rows, int):
        raise UnsupportedError("the number of rows must be known when the engine is built", remedy="fix it by dims=")
    left, right = (Gather(0)(x, Constant(Tensor(one))()) for one in np.triu_indices(rows, 1))
    return norm(apply(Sub(), left, right), p, -1)


def weight_norm(v: Value, g: Value, axis: int = 0) -> Value:
    """v in the lengths g."""
    rest = tuple(at for at in range(v.type.rank) if at != axis_of(axis, v.type.rank))
    return apply(Mul(), v, apply(Div(), g, norm(v, 2, rest, True)))


def bilinear(x: Value, y: Value, weight: Value, bias: Value | None = None) -> Value:
    """x' W y for each matrix of the weight."""
    outputs, left, right = weight.type.shape
    flat = reshaped(transposed(weight, (1, 0, 2)), (left, outputs * right))
    half = reshaped(apply(MatMul(), x, flat), (*x.type.shape[:-1], outputs, right))
    wide = reshaped(y, (*y.type.shape[:-1], right, 1))
    found = reshaped(apply(MatMul(), half, wide), (*x.type.shape[:-1], outputs))
    return found if bias is None else apply(Add(), found, bias)


TABLE: Mapping[str, Converter] = {
    "relu": plain(activation.Relu()),
    "relu6": relu6,
    "silu": plain(activation.Silu()),
    "hardswish": plain(activation.HardSwish()),
    "hardsigmoid": plain(activation.HardSigmoid(1 / 6, 0.5)),
    "mish": plain(activation.Mish()),
    "selu": plain(activation.Selu(1.67326319217681884765625, 1.05070102214813232421875)),
    "leaky_relu": with_numbers(activation.LeakyRelu, 0.01),
    "celu": with_numbers(activation.Celu, 1.0),
    "gelu": gelu,
    "elu": elu,
    "hardtanh": hardtanh,
    "softplus": softplus,
    "glu": glu,
    "prelu": prelu,
    "_prelu_kernel": prelu,
    "threshold": threshold,
    "hardshrink": hard_shrink,
    "softshrink": soft_shrink,
    "log_sigmoid": log_sigmoid,
    "log_sigmoid_forward.default": log_sigmoid_forward,
    "dropout": dropout,
    "feature_dropout": dropout,
    "alpha_dropout": dropout,
    "native_dropout": native_dropout,
    "softmax.int": softmax(Softmax),
    "_softmax": softmax(Softmax),
    "log_softmax.int": softmax(LogSoftmax),
    "_log_softmax": softmax(LogSoftmax),
    "linear": linear,
    "matmul": matmul,
    "mm": matmul,
    "bmm": matmul,
    "mv": matmul,
    "dot": matmul,
    "inner": linear,
    "addmm": addmm,
    "baddbmm": addmm,
    "addmv": addmm,
    "addbmm": addbmm,
    "outer": outer,
    "_grouped_mm": grouped,
    "layer_norm": layer_norm,
    "native_layer_norm": native_layer_norm,
    "rms_norm": rms_norm,
    "_fused_rms_norm": fused_rms_norm,
    "group_norm": group_norm,
    "native_group_norm": native_group_norm,
    "instance_norm": instance_norm,
    "batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": batch_norm_running,
    "_native_batch_norm_legit_functional": batch_norm_functional,
    "_native_batch_norm_legit.no_stats": batch_norm_no_stats,
    "cosine_similarity": cosine_similarity,
    "_cdist_forward": distances,
    "cdist": distances,
    "_pdist_forward": pair_distances,
    "pdist": pair_distances,
    "_weight_norm": weight_norm,
    "bilinear": bilinear,
}

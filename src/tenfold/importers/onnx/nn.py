"""Activations, products of matrices, and normalisation."""

from __future__ import annotations

from collections.abc import Callable

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.shorthand import (
    apply,
    axis_of,
    cast,
    filled,
    number,
    per_channel,
    reshaped,
    transposed,
)
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops import activation
from tenfold.ops.arithmetic import Abs, Add, Div, Maximum, Minimum, Mul, Pow, Rsqrt, Sqrt, Sub, Tanh
from tenfold.ops.constant import Iota
from tenfold.ops.logic import Equal
from tenfold.ops.matmul import MatMul
from tenfold.ops.normalize import LRN, GroupNorm, LayerNorm, LogSoftmax, LpNormalize, RMSNorm, Softmax
from tenfold.ops.reduce import ArgReduce, Reduce


def plain(op: Op) -> Converter:
    """An operator of one input and no attributes."""

    def convert(node: Operator) -> Results:
        result: Value = op(node.input(0))
        return result

    return convert


def with_numbers(kind: type[Op], **defaults: float) -> Converter:
    """An operator of one input whose attributes are numbers, of the same names in the operation and in ONNX."""

    def convert(node: Operator) -> Results:
        result: Value = kind(**{name: node.number(name, default) for name, default in defaults.items()})(node.input(0))
        return result

    return convert


def gelu(node: Operator) -> Results:
    """Gelu by the error function, or by its approximation."""
    form = node.text("approximate", "none", ("none", "tanh"))
    result: Value = activation.Gelu(form == "tanh")(node.input(0))
    return result


def shrink(node: Operator) -> Results:
    """Shrink; `lambd` is the threshold."""
    result: Value = activation.Shrink(node.number("lambd", 0.5), node.number("bias", 0.0))(node.input(0))
    return result


def prelu(node: Operator) -> Results:
    """PRelu; before opset 7 a slope of rank 1 belongs to the channels."""
    x, slope = node.input(0), node.input(1)
    if node.version < 7 and slope.type.rank == 1 and slope.type.size != 1:
        slope = per_channel(slope, x.type.rank)
    result: Value = activation.PRelu()(x, slope)
    return result


def clip_by_attributes(node: Operator) -> Results:
    """Clip before opset 11."""
    x = node.input(0)
    low, high = (node.attributes.get(name) for name in ("min", "max"))
    bounds = [number(one, x) if isinstance(one, int | float) else None for one in (low, high)]
    return _clip(x, bounds[0], bounds[1])


def clip(node: Operator) -> Results:
    """Clip; either bound may be absent."""
    return _clip(node.input(0), node.optional(1), node.optional(2))


def _clip(x: Value, low: Value | None, high: Value | None) -> Value:
    if low is not None and high is not None:
        result: Value = activation.Clip()(x, low, high)
        return result
    if low is not None:
        return apply(Maximum(), x, low)
    return x if high is None else apply(Minimum(), x, high)


def softmax(kind: type[Softmax] | type[LogSoftmax]) -> Converter:
    """Softmax along one axis."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        result: Value = kind(axis_of(node.integer("axis", -1), x.type.rank))(x)
        return result

    return convert


def softmax_flat(kind: type[Softmax] | type[LogSoftmax]) -> Converter:
    """Before opset 13: along all axes from `axis` on, as one."""

    def convert(node: Operator) -> Results:
        return _over_flat(node, lambda x, axis: kind(axis)(x))

    return convert


def hardmax(node: Operator) -> Results:
    """1 at the first greatest element along one axis, else 0."""
    x = node.input(0)
    return _hardmax(x, axis_of(node.integer("axis", -1), x.type.rank))


def hardmax_flat(node: Operator) -> Results:
    """Before opset 13: along all axes from `axis` on, as one."""
    return _over_flat(node, _hardmax)


def _over_flat(node: Operator, along: Callable[[Value, int], Value]) -> Value:
    x = node.input(0)
    axis = axis_of(node.integer("axis", 1), x.type.rank)
    if axis == x.type.rank - 1:
        return along(x, axis)
    rows, columns = dim.product(x.type.shape[:axis]), dim.product(x.type.shape[axis:])
    return reshaped(along(reshaped(x, (rows, columns)), 1), x.type.shape)


def _hardmax(x: Value, axis: int) -> Value:
    best = ArgReduce("max", axis)(x)
    size = x.type.shape[axis]
    places = reshaped(Iota(0, 1, size)(), tuple(size if at == axis else 1 for at in range(x.type.rank)))
    return cast(Equal()(best, places), x.type.dtype)


def matmul(node: Operator) -> Results:
    """MatMul."""
    result: Value = MatMul()(node.input(0), node.input(1))
    return result


def gemm(node: Operator) -> Results:
    """alpha A' B' + beta C; A and B transposed where the attributes say so."""
    a, b, c = node.input(0), node.input(1), node.optional(2)
    if node.flag("transA", False):
        a = transposed(a, (1, 0))
    if node.flag("transB", False):
        b = transposed(b, (1, 0))
    y = _scaled(MatMul()(a, b), node.number("alpha", 1.0))
    beta = node.number("beta", 1.0)
    return y if c is None or beta == 0 else apply(Add(), y, _scaled(c, beta))


def _scaled(x: Value, factor: float) -> Value:
    return x if factor == 1 else apply(Mul(), x, factor)


def batch_normalization(node: Operator) -> Results:
    """x * factor + offset with factor = scale / sqrt(var + epsilon) and offset = bias - mean * factor.

    Both are computed in f64 and rounded once; where the statistics are constant, folding makes them constants.
    In training mode the statistics are those of the batch, and their running means come out too.
    """
    x, scale, bias, mean, variance = (node.input(index) for index in range(5))
    epsilon = node.number("epsilon", 1e-5)
    trained = node.flag("training_mode", False) or (node.version < 14 and node.wants(1))
    if not trained:
        return (_normalized(x, scale, bias, mean, variance, epsilon),)
    axes = (0, *range(2, x.type.rank))
    batch_mean = Reduce("mean", axes, False)(x)
    centred = apply(Sub(), x, per_channel(batch_mean, x.type.rank))
    batch_variance = Reduce("mean", axes, False)(apply(Mul(), centred, centred))
    momentum = node.number("momentum", 0.9)
    running = [
        apply(Add(), _scaled(old, momentum), cast(_scaled(new, 1 - momentum), old.type.dtype))
        for old, new in ((mean, batch_mean), (variance, batch_variance))
    ]
    y = _normalized(x, scale, bias, batch_mean, batch_variance, epsilon)
    return (y, *running, *([batch_mean, batch_variance] if node.version < 14 else []))[: len(node.outputs)]


def _normalized(x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: float) -> Value:
    factor = apply(Div(), cast(scale, dt.f64), apply(Sqrt(), apply(Add(), cast(variance, dt.f64), epsilon)))
    offset = apply(Sub(), cast(bias, dt.f64), apply(Mul(), cast(mean, dt.f64), factor))
    factor, offset = (
        per_channel(one, x.type.rank) if one.type.rank == 1 else one
        for one in (cast(factor, x.type.dtype), cast(offset, x.type.dtype))
    )
    return apply(Add(), apply(Mul(), x, factor), offset)


def instance_normalization(node: Operator) -> Results:
    """GroupNorm with a group a channel."""
    x = node.input(0)
    channels = x.type.shape[1]
    if not isinstance(channels, int):
        raise node.unsupported(f"the number of channels, {channels}, must be known when the engine is built")
    result: Value = GroupNorm(channels, node.number("epsilon", 1e-5))(x, node.input(1), node.input(2))
    return result


def group_normalization(node: Operator) -> Results:
    """GroupNorm; in opset 18 scale and bias belong to the groups, later to the channels."""
    x, scale, bias = (node.input(index) for index in range(3))
    groups = node.integer("num_groups")
    if node.version < 21:
        each = dim.divide_exact(x.type.shape[1], groups)
        if each is None:
            raise node.invalid(f"{x.type.shape[1]} channels do not divide into {groups} groups")
        shape = (groups, each)
        ones = filled(1, shape, x.type.dtype)
        scale, bias = (
            reshaped(apply(Mul(), ones, reshaped(one, (groups, 1))), (x.type.shape[1],)) for one in (scale, bias)
        )
    result: Value = GroupNorm(groups, node.number("epsilon", 1e-5))(x, scale, bias)
    return result


def layer_normalization(node: Operator) -> Results:
    """LayerNorm; the mean and 1 / deviation come out too where they are wanted."""
    x, scale, bias = node.input(0), node.input(1), node.optional(2)
    axis, epsilon = axis_of(node.integer("axis", -1), x.type.rank), node.number("epsilon", 1e-5)
    if bias is None:
        bias = filled(0, scale.type.shape, scale.type.dtype)
    y: Value = LayerNorm(axis, epsilon)(x, scale, bias)
    if not (node.wants(1) or node.wants(2)):
        return y
    wide = cast(x, dt.f32 if x.type.dtype.bits < 32 else x.type.dtype)
    axes = tuple(range(axis, x.type.rank))
    mean: Value = Reduce("mean", axes)(wide)
    centred = apply(Sub(), wide, mean)
    variance: Value = Reduce("mean", axes)(apply(Mul(), centred, centred))
    return y, mean, apply(Rsqrt(), apply(Add(), variance, epsilon))


def rms_normalization(node: Operator) -> Results:
    """RMSNorm."""
    x = node.input(0)
    axis, epsilon = axis_of(node.integer("axis", -1), x.type.rank), node.number("epsilon", 1e-5)
    result: Value = RMSNorm(axis, epsilon)(x, node.input(1))
    return result


def mean_variance_normalization(node: Operator) -> Results:
    """(x - mean) / (deviation + 1e-9) over `axes`."""
    x = node.input(0)
    axes = tuple(axis_of(axis, x.type.rank) for axis in node.integers("axes", (0, 2, 3)))
    centred = apply(Sub(), x, Reduce("mean", axes)(x))
    deviation = apply(Sqrt(), Reduce("mean", axes)(apply(Mul(), centred, centred)))
    return apply(Div(), centred, apply(Add(), deviation, 1e-9))


def lrn(node: Operator) -> Results:
    """LRN."""
    sizes = (node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0))
    result: Value = LRN(node.integer("size"), *sizes)(node.input(0))
    return result


def lp_normalization(node: Operator) -> Results:
    """LpNormalize."""
    x = node.input(0)
    result: Value = LpNormalize(axis_of(node.integer("axis", -1), x.type.rank), node.integer("p", 2))(x)
    return result


def global_lp_pool(node: Operator) -> Results:
    """The p-norm of each channel."""
    x = node.input(0)
    p, axes = float(node.attributes.get("p", 2)), tuple(range(2, x.type.rank))  # type: ignore[arg-type]
    if p in (1.0, 2.0):
        result: Value = Reduce("l1" if p == 1 else "l2", axes)(x)
        return result
    return apply(Pow(), Reduce("sum", axes)(apply(Pow(), Abs()(x), p)), 1 / p)


def global_pool(kind: str) -> Converter:
    """The mean or the greatest element of each channel."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        result: Value = Reduce(kind, tuple(range(2, x.type.rank)))(x)  # type: ignore[arg-type]
        return result

    return convert


TABLE: Table = {
    ("", "Relu"): ((1, plain(activation.Relu())),),
    ("", "Sigmoid"): ((1, plain(activation.Sigmoid())),),
    ("", "Tanh"): ((1, plain(Tanh())),),
    ("", "Softplus"): ((1, plain(activation.Softplus())),),
    ("", "Softsign"): ((1, plain(activation.Softsign())),),
    ("", "HardSwish"): ((14, plain(activation.HardSwish())),),
    ("", "Mish"): ((18, plain(activation.Mish())),),
    ("", "LeakyRelu"): ((1, with_numbers(activation.LeakyRelu, alpha=0.01)),),
    ("", "ThresholdedRelu"): ((1, with_numbers(activation.ThresholdedRelu, alpha=1.0)),),
    ("", "Elu"): ((1, with_numbers(activation.Elu, alpha=1.0)),),
    ("", "Celu"): ((12, with_numbers(activation.Celu, alpha=1.0)),),
    ("", "Swish"): ((24, with_numbers(activation.Swish, alpha=1.0)),),
    ("", "HardSigmoid"): ((1, with_numbers(activation.HardSigmoid, alpha=0.2, beta=0.5)),),
    ("", "Selu"): (
        (1, with_numbers(activation.Selu, alpha=1.6732, gamma=1.0507)),
        (6, with_numbers(activation.Selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)),
    ),
    ("", "Gelu"): ((20, gelu),),
    ("", "Shrink"): ((9, shrink),),
    ("", "PRelu"): ((1, prelu),),
    ("", "Clip"): ((1, clip_by_attributes), (11, clip)),
    ("", "Softmax"): ((1, softmax_flat(Softmax)), (13, softmax(Softmax))),
    ("", "LogSoftmax"): ((1, softmax_flat(LogSoftmax)), (13, softmax(LogSoftmax))),
    ("", "Hardmax"): ((1, hardmax_flat), (13, hardmax)),
    ("", "MatMul"): ((1, matmul),),
    ("", "Gemm"): ((1, gemm),),
    ("", "BatchNormalization"): ((1, batch_normalization),),
    ("", "InstanceNormalization"): ((1, instance_normalization),),
    ("", "GroupNormalization"): ((18, group_normalization),),
    ("", "LayerNormalization"): ((1, layer_normalization),),
    ("", "RMSNormalization"): ((23, rms_normalization),),
    ("", "MeanVarianceNormalization"): ((1, mean_variance_normalization),),
    ("", "LRN"): ((1, lrn),),
    ("", "LpNormalization"): ((1, lp_normalization),),
    ("", "GlobalAveragePool"): ((1, global_pool("mean")),),
    ("", "GlobalMaxPool"): ((1, global_pool("max")),),
    ("", "GlobalLpPool"): ((1, global_lp_pool),),
}

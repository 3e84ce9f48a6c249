"""Composites over rows, in reductions and elementwise operations: what fusion then takes back into one sweep.

Interiors are f32 at least, whatever the element type.
"""

from __future__ import annotations

from collections.abc import Callable

from tenfold.compiler.fuse import indexing, windows
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Log, Maximum, Mul, Rsqrt, Sqrt, Sub
from tenfold.ops.constant import Sizes, scalar
from tenfold.ops.attention import Attention
from tenfold.ops.control import If
from tenfold.ops.logic import Cast, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Pad, Reshape, Transpose
from tenfold.ops.normalize import GroupNorm, LayerNorm, LogSoftmax, LpNormalize, RMSNorm, Softmax
from tenfold.ops.pool import Pool
from tenfold.ops.reduce import ArgReduce, Reduce


def decompose(graph: Graph) -> None:
    """Replace each composite of the graph and of its subgraphs, in place, until none is left that has a rule."""
    waiting = list(graph.nodes)
    while waiting:
        node = waiting.pop()
        rule = RULES.get(type(node.op))
        if isinstance(node.op, If):
            decompose(node.op.then_branch)
            decompose(node.op.else_branch)
        replacement = rule(node) if rule else None
        if replacement is not None:
            waiting += _adopt(replacement, node)
            graph.replace_uses(node.output, replacement)
            graph.remove(node)


def _adopt(value: Value, node: Node) -> list[Node]:
    """Say of the floating nodes behind `value` what they stand for; those nodes."""
    stack, found = [value], []
    while stack:
        producer = stack.pop().producer
        if producer is not None and producer.graph is None and producer not in found:
            producer.source, producer.name = node.source, node.name
            stack.extend(producer.inputs)
            found.append(producer)
    return found


def _wide(value: Value) -> Value:
    return Cast(accumulator(value.type.dtype))(value) if value.type.dtype.bits < 32 else value


def accumulator(dtype: DType) -> DType:
    """The element type in which a sum of such elements is kept."""
    return dt.f32 if dtype.is_float and dtype.bits < 32 else dtype


def _narrow(value: Value, like: Value) -> Value:
    return Cast(like.type.dtype)(value) if value.type.dtype != like.type.dtype else value


def _mean(x: Value, axes: tuple[int, ...]) -> Value:
    count = dim.product(x.type.shape[axis] for axis in axes)
    divisor = Cast(x.type.dtype)(Sizes((count,), ())())
    if isinstance(count, int):
        divisor = _number(count, x)
    return Div()(Reduce("sum", axes, True)(x), divisor)


def _number(value: float, like: Value) -> Value:
    return scalar(value, like.type.dtype)()


def softmax(node: Node) -> Value:
    """exp(x - max(x)) / sum(exp(x - max(x)))"""
    (given,) = node.inputs
    x, axes = _wide(given), (node.op.axis % given.type.rank,)
    powers = Exp()(Sub()(x, Reduce("max", axes, True)(x)))
    return _narrow(Div()(powers, Reduce("sum", axes, True)(powers)), given)


def log_softmax(node: Node) -> Value:
    """x - max(x) - log(sum(exp(x - max(x))))"""
    (given,) = node.inputs
    x, axes = _wide(given), (node.op.axis % given.type.rank,)
    shifted = Sub()(x, Reduce("max", axes, True)(x))
    return _narrow(Sub()(shifted, Log()(Reduce("sum", axes, True)(Exp()(shifted)))), given)


def layer_norm(node: Node) -> Value:
    """(x - mean) · rsqrt(variance + epsilon) · scale + bias, over the axes from `axis` on"""
    given, scale, bias = node.inputs
    x = _wide(given)
    axes = tuple(range(node.op.axis % given.type.rank, given.type.rank))
    return _narrow(Add()(Mul()(_standardised(x, axes, node.op.epsilon), _wide(scale)), _wide(bias)), given)


def _standardised(x: Value, axes: tuple[int, ...], epsilon: float) -> Value:
    centred = Sub()(x, _mean(x, axes))
    variance = _mean(Mul()(centred, centred), axes)
    return Mul()(centred, Rsqrt()(Add()(variance, _number(epsilon, x))))


def rms_norm(node: Node) -> Value:
    """x · rsqrt(mean(x²) + epsilon) · scale, over the axes from `axis` on"""
    given, scale = node.inputs
    x = _wide(given)
    axes = tuple(range(node.op.axis % given.type.rank, given.type.rank))
    square = _mean(Mul()(x, x), axes)
    return _narrow(Mul()(Mul()(x, Rsqrt()(Add()(square, _number(node.op.epsilon, x)))), _wide(scale)), given)


def group_norm(node: Node) -> Value:
    """Standardised within each group of channels of each image, then scaled and shifted by channel"""
    given, scale, bias = node.inputs
    batch, channels, *space = given.type.shape
    groups = node.op.groups
    x = Reshape((batch, groups, channels // groups, *space))(_wide(given))
    normal = _standardised(x, tuple(range(2, x.type.rank)), node.op.epsilon)
    flat = (1, groups, channels // groups, *(1 for _ in space))
    scaled = Add()(Mul()(normal, Reshape(flat)(_wide(scale))), Reshape(flat)(_wide(bias)))
    return Reshape(given.type.shape)(_narrow(scaled, given))


def lp_normalize(node: Node) -> Value:
    """x / (the p-norm of x along the axis, 1 where that is 0)"""
    (given,) = node.inputs
    x, axes = _wide(given), (node.op.axis % given.type.rank,)
    size = Abs()(x) if node.op.p == 1 else Mul()(x, x)
    norm = Reduce("sum", axes, True)(size)
    if node.op.p == 2:
        norm = Sqrt()(norm)
    tiny = _number(float(dt.f32.numpy.type(1e-38)), x)
    return _narrow(Div()(x, Maximum()(norm, tiny)), given)


def reduce(node: Node) -> Value | None:
    """Sums of functions, and functions of sums; the row's axes are kept, and dropped by a view"""
    (given,) = node.inputs
    op = node.op
    axes = tuple(axis % given.type.rank for axis in op.axes)
    inner = {"sum_square": "square", "l2": "square", "l1": "abs", "log_sum_exp": "exp"}.get(op.kind)
    outer = {"l2": Sqrt(), "log_sum": Log()}.get(op.kind)
    simple = inner is None and outer is None
    if simple and op.kind != "mean" and op.keepdims and given.type.dtype.bits >= 32 and op.axes == axes:
        return None
    x = _wide(given) if op.kind not in ("max", "min", "any", "all") else given
    if op.kind == "log_sum_exp":
        peak = Reduce("max", axes, True)(x)
        result = Add()(Log()(Reduce("sum", axes, True)(Exp()(Sub()(x, peak)))), peak)
    else:
        element = {"square": lambda: Mul()(x, x), "abs": lambda: Abs()(x), None: lambda: x}[inner]()
        kind = op.kind if simple else "sum"
        result = _mean(x, axes) if kind == "mean" else Reduce(kind, axes, True)(element)
        result = outer(result) if outer else result
    result = _narrow(result, given)
    return result if op.keepdims else Reshape(node.output.type.shape)(result)


def pad(node: Node) -> Value | None:
    """Constants around the data, or its own elements"""
    return windows.pad(node) or indexing.pad(node)


def attention(node: Node) -> Value | None:
    """softmax(q·kᵀ·scale + mask)·v, each query head with its share of the key heads"""
    op = node.op
    q, k, v, *rest = node.inputs
    if op.causal or op.softcap or not dim.known_equal(q.type.shape[1], k.type.shape[1]):
        return None
    rank = k.type.rank
    turn = (*range(rank - 2), rank - 1, rank - 2)
    scores = Mul()(MatMul()(_wide(q), Transpose(turn)(_wide(k))), _number(op.scale, _wide(q)))
    for mask in rest:
        if mask.type.dtype is dt.boolean:
            scores = Where()(mask, scores, _number(float("-inf"), scores))
        else:
            scores = Add()(scores, _wide(mask))
    return _narrow(MatMul()(Softmax(rank - 1)(scores), _wide(v)), q)


def arg_reduce(node: Node) -> Value | None:
    """The reduced axis is kept, and dropped by a view"""
    op = node.op
    if op.keepdims:
        return None
    kept = ArgReduce(op.kind, op.axis, True, op.last)(*node.inputs)
    return Reshape(node.output.type.shape)(kept)


RULES: dict[type, Callable[[Node], Value | None]] = {
    Pad: pad,
    **indexing.RULES,
    Pool: windows.pool,
    Attention: attention,
    Softmax: softmax,
    LogSoftmax: log_softmax,
    LayerNorm: layer_norm,
    RMSNorm: rms_norm,
    GroupNorm: group_norm,
    LpNormalize: lp_normalize,
    Reduce: reduce,
    ArgReduce: arg_reduce,
}

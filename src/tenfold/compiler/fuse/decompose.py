"""Composites over rows, in reductions and elementwise operations: what fusion then takes back into one sweep.

Interiors are f32 at least, whatever the element type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenfold.compiler.fuse import (
    distinct,
    draws,
    fourier,
    indexing,
    linear,
    quantize,
    resample,
    revealed,
    transposed,
    windows,
)
from tenfold.compiler.fuse.accumulate import accumulator, narrow, number, wide
from tenfold.compiler.fuse.attention import attention, paged, rotary
from tenfold.compiler.loops import LOOPS
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Log, Maximum, Mul, Pow, Rsqrt, Sqrt, Sub
from tenfold.ops.attention import Attention, PagedAttention, RotaryEmbedding
from tenfold.ops.constant import Sizes
from tenfold.ops.control import If
from tenfold.ops.dynamic import Deferred
from tenfold.ops.logic import Cast, IsInf, Where
from tenfold.ops.movement import Append, Concat, Pad, Reshape, Slice
from tenfold.ops.normalize import LRN, GroupNorm, LayerNorm, LogSoftmax, LpNormalize, RMSNorm, Softmax
from tenfold.ops.pool import Pool
from tenfold.ops.reduce import ArgReduce, Reduce, ReduceKind
from tenfold.ops.sort import Unique
from tenfold.rewrite.rule import check_replacement, specialise


def decompose(graph: Graph, keeps: Callable[[Node], bool] = lambda node: False) -> None:
    """Replace each composite of the graph and of its subgraphs, in place, until none is left that has a rule; but for
    those of the graph itself that the target `keeps`, as it has kernels for them.
    """
    waiting = list(graph.nodes)
    while waiting:
        node = waiting.pop()
        rule = RULES.get(type(node.op)) if not keeps(node) else None
        if isinstance(node.op, If):
            decompose(node.op.then_branch, _conditional)
            decompose(node.op.else_branch, _conditional)
        elif isinstance(node.op, LOOPS):
            decompose(node.op.body, _conditional)
        found = rule(node.op, node) if rule else None
        if found is None:
            continue
        waiting += _replaced(graph, node, found)
        if isinstance(node.op, GroupNorm) and isinstance(found, Value):
            _ahead(graph, found)


def _ahead(graph: Graph, view: Value) -> None:
    """What is computed of each element of a view alone is computed ahead of it, so that it joins a row's elements."""
    while view not in graph.outputs and len(view.uses) == 1:
        (user,) = view.uses
        if not user.op.elementwise or len(user.inputs) != 1 or view.producer is None:
            return
        moved = Reshape(view.type.shape)(user.op(*view.producer.inputs))
        _replaced(graph, user, moved)
        view = moved


def take_apart(graph: Graph, node: Node) -> None:
    """Replace one composite that has a rule by its parts, in place."""
    found = RULES[type(node.op)](node.op, node)
    if found is not None:
        _replaced(graph, node, found)


def _replaced(graph: Graph, node: Node, found: Value | tuple[Value, ...]) -> list[Node]:
    """Put values in place of a node's results; the nodes behind them."""
    learned: dict[str, Size] = {}
    made: list[Node] = []
    for old, new in zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=True):
        made += _adopt(new, node)
        learned |= check_replacement(old, new)
        graph.replace_uses(old, new)
    graph.remove(node)
    if learned:
        specialise(graph, learned)
    return made


def _conditional(node: Node) -> bool:
    """Whether a node states conditions of its own, which only the outermost graph keeps."""
    return isinstance(node.op, Deferred) and bool(node.op.body.assumptions)


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


def _mean(x: Value, axes: tuple[int, ...]) -> Value:
    count = dim.product(x.type.shape[axis] for axis in axes)
    divisor = Cast(x.type.dtype)(Sizes((count,), ())())
    if isinstance(count, int):
        divisor = number(count, x)
    return Div()(Reduce("sum", axes, True)(x), divisor)


def softmax(op: Softmax, node: Node) -> Value:
    """exp(x - max(x)) / sum(exp(x - max(x)))"""
    (given,) = node.inputs
    x, axes = wide(given), (op.axis % given.type.rank,)
    powers = Exp()(Sub()(x, Reduce("max", axes, True)(x)))
    return narrow(Div()(powers, Reduce("sum", axes, True)(powers)), given)


def log_softmax(op: LogSoftmax, node: Node) -> Value:
    """x - max(x) - log(sum(exp(x - max(x))))"""
    (given,) = node.inputs
    x, axes = wide(given), (op.axis % given.type.rank,)
    shifted = Sub()(x, Reduce("max", axes, True)(x))
    return narrow(Sub()(shifted, Log()(Reduce("sum", axes, True)(Exp()(shifted)))), given)


def layer_norm(op: LayerNorm, node: Node) -> Value:
    """(x - mean) · rsqrt(variance + epsilon) · scale + bias, over the axes from `axis` on"""
    given, scale, bias = node.inputs
    x = wide(given)
    axes = tuple(range(op.axis % given.type.rank, given.type.rank))
    return narrow(Add()(Mul()(_standardised(x, axes, op.epsilon), wide(scale)), wide(bias)), given)


def _standardised(x: Value, axes: tuple[int, ...], epsilon: float) -> Value:
    centred = Sub()(x, _mean(x, axes))
    variance = _mean(Mul()(centred, centred), axes)
    return Mul()(centred, Rsqrt()(Add()(variance, number(epsilon, x))))


def rms_norm(op: RMSNorm, node: Node) -> Value:
    """x · rsqrt(mean(x²) + epsilon) · scale, over the axes from `axis` on"""
    given, scale = node.inputs
    x = wide(given)
    axes = tuple(range(op.axis % given.type.rank, given.type.rank))
    square = _mean(Mul()(x, x), axes)
    return narrow(Mul()(Mul()(x, Rsqrt()(Add()(square, number(op.epsilon, x)))), wide(scale)), given)


def group_norm(op: GroupNorm, node: Node) -> Value:
    """Standardised within each group of channels of each image, then scaled and shifted by channel"""
    given, scale, bias = node.inputs
    batch, channels, *space = given.type.shape
    groups = op.groups
    x = wide(Reshape((batch, groups, channels // groups, *space))(given))
    normal = _standardised(x, tuple(range(2, x.type.rank)), op.epsilon)
    flat = (1, groups, channels // groups, *(1 for _ in space))
    scaled = Add()(Mul()(normal, Reshape(flat)(wide(scale))), Reshape(flat)(wide(bias)))
    return Reshape(given.type.shape)(narrow(scaled, given))


def lp_normalize(op: LpNormalize, node: Node) -> Value:
    """x / (the p-norm of x along the axis, 1 where that is 0)"""
    (given,) = node.inputs
    x, axes = wide(given), (op.axis % given.type.rank,)
    size = Abs()(x) if op.p == 1 else Mul()(x, x)
    norm = Reduce("sum", axes, True)(size)
    if op.p == 2:
        norm = Sqrt()(norm)
    tiny = number(float(dt.f32.numpy.type(1e-38)), x)
    return narrow(Div()(x, Maximum()(norm, tiny)), given)


def local_response(op: LRN, node: Node) -> Value:
    """x / (bias + alpha / size · Σ x² over `size` neighbouring channels)^beta"""
    (given,) = node.inputs
    x = wide(given)
    before, after = (op.size - 1) // 2, op.size // 2
    rest = (0,) * (x.type.rank - 2)
    squares = windows.surrounded(Mul()(x, x), (0, before, *rest), (0, after, *rest), 0)
    total: Value | None = None
    for start in range(op.size):
        part = Slice((0, start, *rest), x.type.shape, (1,) * x.type.rank)(squares)
        total = part if total is None else Add()(total, part)
    assert total is not None
    scaled = Add()(Mul()(total, number(op.alpha / op.size, x)), number(op.bias, x))
    return narrow(Div()(x, Pow()(scaled, number(op.beta, x))), given)


def reduce(op: Reduce, node: Node) -> Value | None:
    """Sums of functions, and functions of sums; the row's axes are kept, and dropped by a view"""
    (given,) = node.inputs
    primitive = op.kind in ("sum", "prod") and accumulator(given.type.dtype) is given.type.dtype
    if op.keepdims and (primitive or op.kind in ORDERINGS):
        return None
    result = narrow(_reduced(op.kind, wide(given), op.axes), given)
    return result if op.keepdims else Reshape(node.output.type.shape)(result)


ORDERINGS = ("max", "min", "any", "all")
"""What needs no wider type than its elements."""


def _reduced(kind: ReduceKind, x: Value, axes: tuple[int, ...]) -> Value:
    def total(element: Value) -> Value:
        return Reduce("sum", axes, True)(element)

    match kind:
        case "mean":
            return _mean(x, axes)
        case "sum_square":
            return total(Mul()(x, x))
        case "l1":
            return total(Abs()(x))
        case "l2":
            return Sqrt()(total(Mul()(x, x)))
        case "log_sum":
            return Log()(total(x))
        case "log_sum_exp":
            peak = Reduce("max", axes, True)(x)
            finite = Where()(IsInf()(peak), number(0.0, x), peak)
            return Add()(Log()(total(Exp()(Sub()(x, finite)))), finite)
    return Reduce(kind, axes, True)(x)


def pad(op: Pad, node: Node) -> Value | None:
    """Constants around the data, or its own elements"""
    return windows.pad(op, node) or indexing.pad(op, node)


def arg_reduce(op: ArgReduce, node: Node) -> Value | None:
    """The reduced axis is kept, and dropped by a view"""
    if op.keepdims:
        return None
    kept = ArgReduce(op.kind, op.axis, True, op.last)(*node.inputs)
    return Reshape(node.output.type.shape)(kept)


def append(op: Append, node: Node) -> Value:
    """What lies before, the new elements, what lies behind"""
    buffer, rows = node.inputs
    end = op.start + rows.type.shape[op.axis]
    parts = [_piece(buffer, op.axis, first, last) for first, last in ((0, op.start), (end, buffer.type.shape[op.axis]))]
    return Concat(op.axis)(parts[0], rows, parts[1])


def _piece(x: Value, axis: int, first: Size, last: Size) -> Value:
    starts = tuple(first if one == axis else 0 for one in range(x.type.rank))
    sizes = tuple(last - first if one == axis else size for one, size in enumerate(x.type.shape))
    value: Value = Slice(starts, sizes, (1,) * x.type.rank)(x)
    return value


RULES: dict[type, Callable[[Any, Node], Value | tuple[Value, ...] | None]] = {
    Append: append,
    Pad: pad,
    **indexing.RULES,
    **resample.RULES,
    **quantize.RULES,
    **draws.RULES,
    **transposed.RULES,
    **fourier.RULES,
    **linear.RULES,
    **revealed.RULES,
    Unique: distinct.distinct,
    Pool: windows.pool,
    Attention: attention,
    PagedAttention: paged,
    RotaryEmbedding: rotary,
    Softmax: softmax,
    LogSoftmax: log_softmax,
    LayerNorm: layer_norm,
    RMSNorm: rms_norm,
    GroupNorm: group_norm,
    LpNormalize: lp_normalize,
    LRN: local_response,
    Reduce: reduce,
    ArgReduce: arg_reduce,
}

"""What a call's sizes must fulfil so that every operation fits its inputs: checked before anything runs.

Types with open sizes fit "if the sizes agree". Here each such if becomes a condition that names its operator. One of
sizes that only the data decide is checked once they are known. Where only the data decide whether an operation runs,
only conditions of sizes that are decided there are kept: the others are left to the operation itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tenfold.compiler.layout import Assumption
from tenfold.ir import dim, unknown
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node
from tenfold.ir.op import Op
from tenfold.ir.substitute import parse
from tenfold.ir.text import sizes_in
from tenfold.ir.type import Type
from tenfold.ops.attention import Attention, PagedAttention
from tenfold.ops.control import If, Loop, Scan
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.index import GatherElements, GatherND, ScatterElements, ScatterND
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, DepthToSpace, Expand, Pad, Slice, SpaceToDepth, Split
from tenfold.ops.normalize import GroupNorm, LayerNorm, RMSNorm
from tenfold.ops.pool import Pool
from tenfold.ops.recurrent import GRU, LSTM, RNN
from tenfold.ops.sort import NonMaxSuppression, TopK

Shape = tuple[Size, ...]


def conditions(graph: Graph, guard: Size = 1) -> list[Assumption]:
    """The conditions of a graph and of its subgraphs, where `guard` is not 0."""
    found: dict[Size, Assumption] = {}
    for node in graph.nodes:
        inputs = tuple(value.type for value in node.inputs)
        for condition in (*_fitting(node.op, inputs), *_existing(node)):
            if condition != 1:
                formula = dim.logical_or(dim.logical_not(guard), condition)
                shown = f"{node.op.name} of {', '.join(map(str, inputs))}" if inputs else node.op.name
                found.setdefault(formula, Assumption(formula, f"{shown} does not fit", node.source))
        known = dict(_subgraphs(node))
        for inner in node.op.graphs:
            own = unknown.of_graph(inner) - unknown.of_types(inputs)
            for one in conditions(inner, dim.logical_and(guard, known.get(inner, 1))):
                if inner in known or not own.isdisjoint(unknown.of_sizes((one.formula,))):
                    found.setdefault(one.formula, one)
    return list(found.values())


def late_conditions(graph: Graph) -> list[Assumption]:
    """Those of sizes that only the data decide, of a graph as it is scheduled."""
    return [one for one in conditions(graph) if unknown.of_sizes((one.formula,))]


def written(found: Iterable[Assumption]) -> list[Any]:
    """Conditions as JSON-ready data."""
    return [[str(one.formula), one.message, list(one.source)] for one in found]


def read(data: Iterable[Any], graph: Graph) -> list[Assumption]:
    """The conditions that `written` wrote, over the sizes of a graph."""
    known = (symbol for size in sizes_in(graph) for symbol in dim.declared(size))
    symbols: dict[str, Size] = {found.name: symbol for symbol in known if (found := symbol.symbol)}
    return [Assumption(parse(text, symbols), said, tuple(source)) for text, said, source in data]


def _subgraphs(node: Node) -> Iterator[tuple[Graph, Size]]:
    """The subgraphs of a node, and when they run, where that is known before the call."""
    known = [value.type.entries[0] if value.type.entries else None for value in node.inputs[:2]]
    match node.op:
        case If(then, otherwise) if known[0] is not None:
            yield then, known[0]
            yield otherwise, dim.logical_not(known[0])
        case Loop(body) if known[0] is not None and known[1] is not None:
            yield body, dim.logical_and(dim.less(0, known[0]), known[1])
        case Scan(body, carried):
            yield body, dim.less(0, node.inputs[carried].type.shape[0])


def _existing(node: Node) -> Iterator[Size]:
    """No size is negative."""
    for value in node.outputs:
        yield from (dim.less_equal(0, size) for size in value.type.shape if isinstance(size, Dim))


def _fitting(op: Op, inputs: tuple[Type, ...]) -> Iterable[Size]:
    if isinstance(op, Elementwise):
        return _broadcast(*(one.shape for one in inputs))
    rule = _RULES.get(type(op))
    return rule(op, *inputs) if rule else ()


def _same(pairs: Iterable[tuple[Size, Size]]) -> Iterator[Size]:
    return (dim.equal(a, b) for a, b in pairs)


def _same_or_one(pairs: Iterable[tuple[Size, Size]]) -> Iterator[Size]:
    """The first of each pair is the second, or 1."""
    return (dim.logical_or(dim.equal(a, b), dim.equal(a, 1)) for a, b in pairs)


def _broadcast(*shapes: Shape) -> Iterator[Size]:
    """Sizes of one axis are equal, but for those that are 1."""
    rank = max(map(len, shapes), default=0)
    for sizes in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        apart = [size for size in dict.fromkeys(sizes) if size != 1]
        for at, a in enumerate(apart):
            for b in apart[at + 1 :]:
                yield dim.logical_or(dim.equal(a, b), dim.logical_or(dim.equal(a, 1), dim.equal(b, 1)))


def _matmul(op: MatMul, a: Type, b: Type) -> Iterator[Size]:
    yield dim.equal(a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[0])
    yield from _broadcast(a.shape[:-2], b.shape[:-2])


def _conv(op: Conv, x: Type, w: Type) -> Iterator[Size]:
    yield dim.equal(x.shape[1], w.shape[1] * op.groups)
    yield from _windows(x.shape, op.types((x, w))[0].shape)


def _conv_transpose(op: ConvTranspose, x: Type, w: Type) -> Iterator[Size]:
    yield dim.equal(x.shape[1], w.shape[0])


def _pool(op: Pool, x: Type) -> Iterator[Size]:
    return _windows(x.shape, op.types((x,))[0].shape)


def _windows(x: Shape, y: Shape) -> Iterator[Size]:
    """A window fits each spatial axis that has elements."""
    for size, count in zip(x[2:], y[2:], strict=True):
        yield dim.logical_or(dim.less(0, count), dim.equal(size, 0))


def _concat(op: Concat, *inputs: Type) -> Iterator[Size]:
    first, *rest = (one.shape for one in inputs)
    for shape in rest:
        yield from _same((a, b) for axis, (a, b) in enumerate(zip(first, shape, strict=True)) if axis != op.axis)


def _gather_elements(op: GatherElements | ScatterElements, x: Type, indices: Type, *updates: Type) -> Iterator[Size]:
    for axis, (size, count) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if axis != op.axis % x.rank:
            yield dim.less_equal(count, size)
    for one in updates:
        yield from _same_or_one(zip(one.shape, indices.shape, strict=True))


def _gather_nd(op: GatherND, x: Type, indices: Type) -> Iterator[Size]:
    return _same(zip(x.shape[: op.batch_axes], indices.shape[: op.batch_axes], strict=True))


def _scatter_nd(op: ScatterND, x: Type, indices: Type, updates: Type) -> Iterator[Size]:
    depth = indices.shape[-1]
    wanted = (*indices.shape[:-1], *x.shape[depth:]) if isinstance(depth, int) else updates.shape
    return _same_or_one(zip(updates.shape, wanted, strict=True))


def _expand(op: Expand, x: Type) -> Iterator[Size]:
    return _same_or_one(zip(x.shape, op.shape[len(op.shape) - x.rank :], strict=True))


def _slice(op: Slice, x: Type) -> Iterator[Size]:
    """A stated number of elements is there; formulas of how many are there are cut off by themselves."""
    for start, size, step, whole in zip(op.starts, op.sizes, op.steps, x.shape, strict=True):
        if isinstance(size, int) and size > 0:
            ends = (start, start + (size - 1) * step)
            low, high = ends if step > 0 else reversed(ends)
            yield from (dim.less_equal(0, low), dim.less(high, whole))


def _split(op: Split, x: Type) -> Iterator[Size]:
    yield dim.equal(dim.total(op.sizes), x.shape[op.axis])


def _pad(op: Pad, x: Type) -> Iterator[Size]:
    yield from op.keeps(x)


def _space_to_depth(op: SpaceToDepth, x: Type) -> Iterator[Size]:
    return _same((size % op.block, 0) for size in x.shape[2:])


def _depth_to_space(op: DepthToSpace, x: Type) -> Iterator[Size]:
    yield dim.equal(x.shape[1] % op.block**2, 0)


def _top_k(op: TopK, x: Type) -> Iterator[Size]:
    yield dim.less_equal(op.k, x.shape[op.axis])


def _suppression(op: NonMaxSuppression, boxes: Type, scores: Type, *limits: Type) -> Iterator[Size]:
    yield from _same(((boxes.shape[0], scores.shape[0]), (boxes.shape[1], scores.shape[2]), (boxes.shape[2], 4)))


def _attention(op: Attention, q: Type, k: Type, v: Type, *mask: Type) -> Iterator[Size]:
    yield from _same([(q.shape[3], k.shape[3]), (k.shape[2], v.shape[2]), (k.shape[1], v.shape[1])])
    yield from _same([(q.shape[0], k.shape[0]), (k.shape[0], v.shape[0])])
    for one in mask:
        yield from _broadcast((*q.shape[:3], k.shape[2]), one.shape)


def _paged(op: PagedAttention, q: Type, k: Type, v: Type, table: Type, lengths: Type) -> Iterator[Size]:
    yield from _same([(q.shape[3], k.shape[3]), *zip(k.shape[:3], v.shape[:3], strict=True)])
    yield from _same([(q.shape[0], table.shape[0]), (q.shape[0], lengths.shape[0])])


def _recurrent(op: RNN | GRU | LSTM, x: Type, w: Type, *rest: Type) -> Iterator[Size]:
    yield dim.equal(x.shape[2], w.shape[1])
    for state in rest[1 + op.biases : 1 + op.biases + op.states]:
        yield from _same([(state.shape[0], x.shape[1]), (state.shape[1], op.hidden)])
    if op.lengths:
        yield dim.equal(rest[-1].shape[0], x.shape[1])


def _scaled(op: LayerNorm | RMSNorm, x: Type, *scales: Type) -> Iterator[Size]:
    for one in scales:
        yield from _same_or_one(zip(one.shape, x.shape[x.rank - one.rank :], strict=True))


def _group_norm(op: GroupNorm, x: Type, *scales: Type) -> Iterator[Size]:
    yield dim.equal(x.shape[1] % op.groups, 0)
    yield from _same_or_one((one.shape[0], x.shape[1]) for one in scales)


_RULES: Mapping[type[Op], Callable[..., Iterable[Size]]] = {
    MatMul: _matmul,
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    Pool: _pool,
    Concat: _concat,
    GatherElements: _gather_elements,
    ScatterElements: _gather_elements,
    GatherND: _gather_nd,
    ScatterND: _scatter_nd,
    Expand: _expand,
    Slice: _slice,
    Split: _split,
    Pad: _pad,
    SpaceToDepth: _space_to_depth,
    DepthToSpace: _depth_to_space,
    TopK: _top_k,
    NonMaxSuppression: _suppression,
    Attention: _attention,
    PagedAttention: _paged,
    RNN: _recurrent,
    GRU: _recurrent,
    LSTM: _recurrent,
    LayerNorm: _scaled,
    RMSNorm: _scaled,
    GroupNorm: _group_norm,
}
"""Of each operation, what sizes must fulfil that `infer` could not compare."""

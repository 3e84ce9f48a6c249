"""Branches and loops that a step table can take, and what loops hold from turn to turn.

An input of a Loop or Scan and an input of its body at the same position belong together, so that one description
serves both: carried states, sequences of which each turn sees one element, and captures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tenfold.ir import dim, unknown
from tenfold.ir.dim import Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ops.constant import Constant, Sizes
from tenfold.ops.control import Loop, Scan

LOOPS = (Loop, Scan)


@dataclass(eq=False)
class Turns:
    """A loop in the step table.

    `limit` is the most turns, a formula or an i64 in memory; `condition` a bool that must hold before each turn;
    `number` is where the body reads the turn's number; `moves` are the states with the buffers that hold their next
    values at the end of a turn; `elements` stand for one element of a sequence outside; `lasting` are the
    buffers that the loop fills, or reads at each turn; `guard` is 0 where no turn is taken for certain.
    """

    body: Graph
    limit: Size | Value
    condition: Value | None = None
    number: Value | None = None
    moves: list[tuple[Value, Value]] = field(default_factory=list)
    elements: dict[Value, Value] = field(default_factory=dict)
    lasting: list[Value] = field(default_factory=list)
    guard: Size = 1


def body_of(op: Op) -> Graph:
    """The body of a Loop or Scan."""
    assert isinstance(op, LOOPS)
    return op.body


def first_result(op: Op) -> int:
    """The position of the first input whose next value the body returns: its outputs count from there."""
    return 1 if isinstance(op, Loop) else 0


def carried(op: Op) -> range:
    """The positions of the inputs that change from turn to turn: the states, and a condition that the body decides."""
    if isinstance(op, Loop):
        return range(2 if op.keeps_condition else 1, 2 + op.carried)
    assert isinstance(op, Scan)
    return range(op.carried)


def states(op: Op) -> range:
    """The positions of the inputs that a loop also returns."""
    assert isinstance(op, LOOPS)
    return range(2, 2 + op.carried) if isinstance(op, Loop) else range(op.carried)


def changing(op: Op) -> range:
    """The positions of the inputs that a body sees anew at each turn; the others are captures."""
    return range(2 + op.carried) if isinstance(op, Loop) else range(sequences(op).stop)


def sequences(op: Op) -> range:
    """The positions of the inputs of which each turn sees one element."""
    return range(op.carried, op.carried + op.scanned) if isinstance(op, Scan) else range(0)


def limit_of(node: Node) -> Size | Value:
    """The most turns: a formula if sizes follow from it, or it follows from sizes; else where it lies in memory."""
    if isinstance(node.op, Scan):
        return node.inputs[node.op.carried].type.shape[0]
    assert isinstance(node.op, Loop)
    trips = node.inputs[0]
    sized = isinstance(trips.op, (Constant, Sizes)) or len(node.outputs) > node.op.carried
    return trips.type.entries[0] if trips.type.entries and sized else trips


def guard_of(node: Node) -> Size:
    """0 where it is known before the call that no turn is taken."""
    if isinstance(node.op, Scan):
        return dim.less(0, node.inputs[node.op.carried].type.shape[0])
    trips, condition = (value.type.entries for value in node.inputs[:2])
    return dim.logical_and(dim.less(0, trips[0]) if trips else 1, condition[0] if condition else 1)


def refusal(node: Node) -> str | None:
    """Why an If or a loop ends the span, and Python walks it between native calls; None if the step table can."""
    inner = node.op.graphs
    if any(value.type.dtype.is_object for value in _values(node, inner)):
        return "it holds strings, sequences or optional values"
    if unknown.decided_by(node):
        return "sizes of its results follow from the data"
    outer = unknown.of_types(value.type for value in node.inputs)
    if any(not unknown.of_types(value.type for value in body.inputs) <= outer for body in inner):
        return "sizes of its state change from turn to turn"
    if any(unknown.decided_by(one) for body in inner for one in _nodes(body)):
        return "sizes in it follow from the data"
    return _unsteady(node) if isinstance(node.op, LOOPS) else None


def _unsteady(node: Node) -> str | None:
    body = body_of(node.op)
    if any(value.type.dtype.kind is Kind.COMPLEX for value in _values(node, [body])):
        return "it holds complex numbers"
    for position in carried(node.op):
        before, inside = node.inputs[position].type, body.inputs[position].type
        after = body.outputs[position - first_result(node.op)].type
        if len({(one.dtype, one.shape) for one in (before, inside, after)}) > 1:
            return "its state's type changes from turn to turn"
    return None


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for inner in node.op.graphs:
            yield from _nodes(inner)


def _values(node: Node, bodies: Iterable[Graph]) -> Iterator[Value]:
    yield from (*node.inputs, *node.outputs)
    for body in bodies:
        yield from body.inputs
        for inner in _nodes(body):
            yield from inner.outputs

"""Large batches in portions of a few images: what lies between the operations of a run stays in the last cache.

Each image's result follows from that image alone, so a run of operations on [N, C, *S] may take the first images
through all of it, then the next ones. It pays while what a layer writes for the whole batch is too much for the last
cache, and its weights, which every portion reads again, are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tenfold.codegen.cpu.isa import Isa
from tenfold.compiler.ways import Stretch, leave
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.movement import Concat, Slice
from tenfold.ops.pool import Pool

_MOST = 16
"""The most portions: each has steps and arguments of its own."""
_LAYERS = (Conv, ConvTranspose, Pool)


def portions(graph: Graph, isa: Isa) -> list[Stretch]:
    """The runs of a graph that may be worth it: in portions, or whole."""

    def divide(graph: Graph, nodes: Sequence[Node]) -> None:
        _divide(graph, _Run(nodes), isa)

    return [Stretch(run.nodes, {"in portions": divide, "whole": leave}) for run in _runs(graph, isa)]


@dataclass(frozen=True)
class _Run:
    """Nodes in order, of which only the last one's result is seen outside."""

    nodes: Sequence[Node]

    @property
    def result(self) -> Value:
        return self.nodes[-1].output

    @property
    def batch(self) -> int:
        return _batch(self.result)


def _batch(value: Value) -> int:
    size = value.type.shape[0]
    assert isinstance(size, int)
    return size


def _bytes(value: Value) -> int:
    size = value.type.size
    return size * value.type.dtype.itemsize if isinstance(size, int) else 0


def _runs(graph: Graph, isa: Isa) -> Iterator[_Run]:
    """From each node that no run holds yet, the longest that is worth it."""
    waiting = [node for node in graph.nodes if not isinstance(node.op, Constant)]
    while any(_bytes(value) >= isa.l3 // 4 for node in waiting for value in node.outputs):
        run = _longest(graph, waiting, isa)
        if run:
            yield run
        waiting = waiting[len(run.nodes) if run else 1 :]


def _longest(graph: Graph, nodes: Sequence[Node], isa: Isa) -> _Run | None:
    """The longest run at the start of these nodes that ends in a large result."""
    found: _Run | None = None
    waiting: dict[Value, int] = {}
    layers = 0
    for count, node in enumerate(nodes, 1):
        result = node.output if _by_image(node, isa) else None
        if result is None or _batch(result) != _batch(nodes[0].output):
            break
        for value in dict.fromkeys(node.inputs):
            if value in waiting:
                waiting[value] -= 1
                if not waiting[value]:
                    del waiting[value]
        layers += isinstance(node.op, _LAYERS)
        if not waiting and layers > 1 and _bytes(result) >= isa.l3 // 4:
            found = _Run(tuple(nodes[:count]))
        if result in graph.outputs:
            break
        waiting[result] = len(result.uses)
    return found


def _by_image(node: Node, isa: Isa) -> bool:
    """Whether each image of a result follows from the same image of the operands, and weights are few."""
    if len(node.outputs) != 1 or node.output.type.rank < 3 or not isinstance(node.output.type.size, int):
        return False
    if _batch(node.output) < 2:
        return False
    if isinstance(node.op, Conv | ConvTranspose):
        return isinstance(node.inputs[1].op, Constant) and _bytes(node.inputs[1]) <= isa.l2
    return isinstance(node.op, Pool) or node.op.elementwise


def _divide(graph: Graph, run: _Run, isa: Isa) -> None:
    """Replace a run by its portions, each small enough for an eighth of the last cache, and their concatenation."""
    largest = max(_bytes(node.output) for node in run.nodes)
    count = min(run.batch, _MOST, -(-largest // (isa.l3 // 8)))
    ends = [run.batch * number // count for number in range(count + 1)]
    last = run.nodes[-1]
    whole = Node(Concat(0), [_portion(run, *ends) for ends in pairwise(ends)], name=last.name, source=last.source)
    graph.replace_uses(run.result, whole.output)
    for node in reversed(run.nodes):
        graph.remove(node)


def _portion(run: _Run, first: int, end: int) -> Value:
    """The result's images from `first` to `end`."""
    known: dict[Value, Value] = {}

    def part(value: Value, node: Node) -> Value:
        follows = value.type.rank == node.output.type.rank and value.type.shape[0] == run.batch
        shared = isinstance(node.op, Conv | ConvTranspose) and value is node.inputs[1]
        if shared or not follows:
            return value
        if value not in known:
            starts, shape = (first, *(0,) * (value.type.rank - 1)), (end - first, *value.type.shape[1:])
            known[value] = Slice(starts, shape, (1,) * value.type.rank)(value)
        return known[value]

    for node in run.nodes:
        inputs = [part(value, node) for value in node.inputs]
        made = Node(node.op, inputs, name=f"{node.name}[{first}:{end}]" if node.name else "", source=node.source)
        made.output.name = f"{node.output.name}[{first}:{end}]" if node.output.name else ""
        known[node.output] = made.output
    return known[run.result]

"""The host tier: a group that no kernel takes, as a graph of its own for the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.compiler.fuse.grow import is_number
from tenfold.ir import dim
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Node, Value, again
from tenfold.ir.text import Weights, show, sizes_in
from tenfold.ops.constant import Constant


@dataclass(frozen=True)
class Fragment:
    """Some nodes as the text of a graph: the values it reads in order of its inputs, the tensors it refers to, the
    symbols in its sizes.
    """

    text: str
    reads: list[Value]
    tensors: Weights
    symbols: tuple[Dim, ...]


def fragment(nodes: Sequence[Node], results: Sequence[Value]) -> Fragment:
    """The nodes as a graph that gives these results."""
    nodes = [*_inside(nodes), *nodes]
    inside = {value for node in nodes for value in node.outputs}
    reads = list(dict.fromkeys(v for node in nodes for v in node.inputs if v not in inside))
    graph = Graph(name="host")
    known = {value: graph.input(f"in{number}", value.type) for number, value in enumerate(reads)}
    for node in nodes:
        copy = again(node, [known[value] for value in node.inputs])
        known.update(zip(node.outputs, copy.outputs, strict=True))
    graph.set_outputs([known[value] for value in results], [f"out{number}" for number in range(len(results))])
    weights: Weights = {}
    symbols = dict.fromkeys(symbol for size in sizes_in(graph) for symbol in dim.declared(size))
    return Fragment(show(graph, weights), reads, weights, tuple(symbols))


def _inside(nodes: Sequence[Node]) -> list[Node]:
    """The nodes behind what these nodes use and what lies nowhere in memory: numbers of sizes, constant strings."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for value in node.inputs:
            if value.producer and _is_nowhere(value) and value.producer not in found:
                visit(value.producer)
                found[value.producer] = None

    for node in nodes:
        visit(node)
    return [node for node in found if node not in nodes]


def _is_nowhere(value: Value) -> bool:
    return is_number(value) or (isinstance(value.op, Constant) and value.type.dtype.is_object)

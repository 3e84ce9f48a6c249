"""The host tier: a group that no kernel takes, as a graph of its own for the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.compiler.fuse.grow import is_number
from tenfold.ir.graph import Graph, Node, Value, again
from tenfold.ir.text import Weights, show


def fragment(nodes: Sequence[Node], results: Sequence[Value]) -> tuple[str, list[Value], Weights]:
    """The nodes as the text of a graph, the values it reads in order of its inputs, and the tensors it refers to."""
    nodes = [*_numbers(nodes), *nodes]
    inside = {value for node in nodes for value in node.outputs}
    reads = list(dict.fromkeys(v for node in nodes for v in node.inputs if v not in inside))
    graph = Graph(name="host")
    known = {value: graph.input(f"in{number}", value.type) for number, value in enumerate(reads)}
    for node in nodes:
        copy = again(node, [known[value] for value in node.inputs])
        known.update(zip(node.outputs, copy.outputs, strict=True))
    graph.set_outputs([known[value] for value in results], [f"out{number}" for number in range(len(results))])
    weights: Weights = {}
    return show(graph, weights), reads, weights


def _numbers(nodes: Sequence[Node]) -> list[Node]:
    """The nodes behind the numbers of sizes that these nodes use, and that no kernel writes to memory."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for value in node.inputs:
            if value.producer and is_number(value) and value.producer not in found:
                visit(value.producer)
                found[value.producer] = None

    for node in nodes:
        visit(node)
    return [node for node in found if node not in nodes]

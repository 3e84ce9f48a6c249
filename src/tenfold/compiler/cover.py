"""The pieces of a graph in the order in which they run: a kernel for each region, branches, host steps."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.strategy import Strategy
from tenfold.compiler.fuse.cover import region_of, results_of, source_of
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.fuse.host import fragment
from tenfold.compiler.layout import Layout
from tenfold.compiler.schedule import Branch, HostPiece, Item, Piece, pieces
from tenfold.compiler.tune import choose
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph
from tenfold.ops.control import If
from tenfold.runtime.plan import Label
from tenfold.target import Target


def cover(
    graph: Graph, layout: Layout, strategies: Sequence[Strategy], target: Target, refusals: list[NotFused]
) -> list[Item]:
    """The pieces of a graph in the order in which they run."""
    growth = Growth(graph, layout)
    refusals += growth.refusals
    items: list[Item] = []
    for group in growth.ordered():
        node = group.nodes[0]
        if isinstance(node.op, If):
            branches = (node.op.then_branch, node.op.else_branch)
            then, otherwise = (cover(one, layout, strategies, target, refusals) for one in branches)
            native = all(isinstance(piece, Piece) for piece in pieces((*then, *otherwise)))
            items.append(Branch(node.inputs[0], then, otherwise) if native else host_piece(group, growth, []))
            continue
        piece = choose(region_of(group, growth), strategies, target) if is_region(group) else []
        items.append(host_piece(group, growth, piece) if isinstance(piece, list) else piece)
    return items


def is_region(group: Group) -> bool:
    """False for what has no element type a kernel handles, or sizes that only the data decide."""
    values = [value for node in group.nodes for value in (*node.inputs, *node.outputs)]
    return all(value.type.dtype.kind not in (Kind.STRING, Kind.COMPLEX) for value in values)


def host_piece(group: Group, growth: Growth, refused: list[tuple[str, str]]) -> HostPiece:
    """A group for the interpreter."""
    results = results_of(group, growth)
    text, reads, tensors = fragment(group.nodes, results)
    kind = " ".join(dict.fromkeys(node.op.name for node in group.nodes))
    return HostPiece(text, reads, results, tensors, Label(source_of(group.nodes), kind, "host"), tuple(refused))

"""The pieces of a graph in the order in which they run: a kernel for each region, branches, host steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tenfold.codegen.strategy import Strategy
from tenfold.compiler.fuse.cover import region_of, results_of, source_of
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.fuse.host import fragment
from tenfold.compiler.items import Branch, HostPiece, Item, Repeat, pieces
from tenfold.compiler.layout import Layout
from tenfold.compiler.loops import LOOPS, refusal
from tenfold.compiler.tune import choose
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Node
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
        found = inside(node, layout, group_label(group), lambda one: cover(one, layout, strategies, target, refusals))
        if found is not None:
            items.append(found if isinstance(found, (Branch, Repeat)) else host_piece(group, growth, found))
            continue
        piece = choose(region_of(group, growth), strategies, target) if is_region(group) else []
        items.append(host_piece(group, growth, piece) if isinstance(piece, list) else piece)
    return items


def inside(
    node: Node, layout: Layout, label: Label, covered: Callable[[Graph], list[Item]]
) -> Branch | Repeat | list[tuple[str, str]] | None:
    """A branch or loop in native steps, or why it is not; None for any other node."""
    if isinstance(node.op, LOOPS) and node not in layout.turns:
        return [("loop", refusal(node) or "")]
    if isinstance(node.op, If):
        item: Branch | Repeat = Branch(node.inputs[0], covered(node.op.then_branch), covered(node.op.else_branch))
    elif isinstance(node.op, LOOPS):
        item = Repeat(layout.turns[node], covered(node.op.body), label)
    else:
        return None
    hosted = [piece.label.kind for piece in pieces([item]) if isinstance(piece, HostPiece)]
    return [("steps", f"the host computes its {', '.join(dict.fromkeys(hosted))}")] if hosted else item


def group_label(group: Group) -> Label:
    """What the steps that belong to no kernel of a group stand for."""
    return Label(source_of(group.nodes), " ".join(dict.fromkeys(node.op.name for node in group.nodes)), "steps")


def is_region(group: Group) -> bool:
    """False for what has no element type a kernel handles, or sizes that only the data decide."""
    values = [value for node in group.nodes for value in (*node.inputs, *node.outputs)]
    return all(value.type.dtype.kind not in (Kind.STRING, Kind.COMPLEX) for value in values)


def host_piece(group: Group, growth: Growth, refused: list[tuple[str, str]]) -> HostPiece:
    """A group for the interpreter."""
    results = results_of(group, growth)
    text, reads, tensors = fragment(group.nodes, results)
    return HostPiece(text, reads, results, tensors, replace(group_label(group), tactic="host"), tuple(refused))

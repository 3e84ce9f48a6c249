"""The pieces of a graph in the order in which they run: a kernel for each region, branches, host steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tenfold.codegen.strategy import Strategy
from tenfold.compiler.fuse.cover import region_of, results_of, source_of
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.fuse.host import fragment
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Repeat, Reveal, pieces, walked
from tenfold.compiler.layout import Layout, rearrange
from tenfold.compiler.loops import LOOPS, body_of
from tenfold.compiler.tune import choose
from tenfold.compiler.views import REVEALING
from tenfold.ir import unknown
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.control import If
from tenfold.ops.dynamic import Head
from tenfold.runtime.plan import Label
from tenfold.target import Target


def cover(
    graph: Graph, layout: Layout, strategies: Sequence[Strategy], target: Target, refusals: list[NotFused]
) -> list[Item]:
    """The pieces of a graph in the order in which they run.

    A branch or loop that turns out to hold a host step is laid out anew, to be walked between native calls.
    """
    while True:
        known = len(layout.hosted)
        refusals.clear()
        items = _covered(graph, layout, strategies, target, refusals)
        if len(layout.hosted) == known:
            return items
        rearrange(graph, layout)


def _covered(
    graph: Graph, layout: Layout, strategies: Sequence[Strategy], target: Target, refusals: list[NotFused]
) -> list[Item]:
    growth = Growth(graph, layout)
    refusals += growth.refusals
    items: list[Item] = []
    for group in growth.ordered():
        node = group.nodes[0]
        if node in layout.walked and target.kind != "cpu":
            items.append(host_piece(group, growth, [("steps", layout.walked[node])]))
            continue
        if isinstance(node.op, REVEALING):
            items.append(reveal(node, group_label(group)))
            continue
        found = inside(node, layout, group_label(group), lambda g: _covered(g, layout, strategies, target, refusals))
        if found is not None:
            items.append(found)
            continue
        piece = choose(region_of(group, growth), strategies, target) if is_region(group) else []
        items.append(host_piece(group, growth, piece) if isinstance(piece, list) else piece)
    return items


def inside(node: Node, layout: Layout, label: Label, covered: Callable[[Graph], list[Item]]) -> Item | None:
    """A branch or loop in native steps or between native calls; None for any other node."""
    if node in layout.walked:
        return _walked(node, layout.walked[node], label, covered)
    if isinstance(node.op, If):
        item: Item = Branch(node.inputs[0], covered(node.op.then_branch), covered(node.op.else_branch))
    elif isinstance(node.op, LOOPS):
        item = Repeat(layout.turns[node], covered(node.op.body), label)
    else:
        return None
    hosted = [piece.label.kind for piece in pieces([item]) if isinstance(piece, HostPiece)]
    hosted += [one.label.kind for one in walked([item])]
    if hosted:
        layout.hosted[node.op.graphs[0]] = f"native calls end at its {', '.join(dict.fromkeys(hosted))}"
    return item


def _walked(node: Node, reason: str, label: Label, covered: Callable[[Graph], list[Item]]) -> Choice | Cycle:
    if isinstance(node.op, If):
        return Choice(node, covered(node.op.then_branch), covered(node.op.else_branch), label, reason)
    return Cycle(node, covered(body_of(node.op)), label, reason)


def reveal(node: Node, label: Label) -> Reveal:
    """The numbers that a node has read back."""
    if isinstance(node.op, Head):
        (name,) = unknown.decided_by(node)
        return Reveal(node.inputs[1], (name,), label)
    entries = node.output.type.entries or ()
    return Reveal(node.inputs[0], tuple(str(entry) for entry in entries), label)


def group_label(group: Group) -> Label:
    """What the steps that belong to no kernel of a group stand for."""
    return Label(source_of(group.nodes), " ".join(dict.fromkeys(node.op.name for node in group.nodes)), "steps")


def is_region(group: Group) -> bool:
    """False for what has no element type a kernel handles."""
    values = [value for node in group.nodes for value in (*node.inputs, *node.outputs)]
    return all(value.type.dtype.kind is not Kind.COMPLEX and not value.type.dtype.is_object for value in values)


def deciding_values(nodes: Sequence[Node]) -> list[Value]:
    """The values whose sizes these nodes decide: they are read back, even where nothing else reads them."""
    makers = dict.fromkeys(unknown.deciders(nodes).values())
    return [value for node in makers for value in node.outputs if unknown.of_types((value.type,))]


def host_piece(group: Group, growth: Growth, refused: list[tuple[str, str]]) -> HostPiece:
    """A group for the interpreter."""
    results = results_of(group, growth)
    results += [v for v in deciding_values(group.nodes) if v not in results]
    said = fragment(group.nodes, results)
    label = replace(group_label(group), tactic="host")
    decides = frozenset(unknown.deciders(group.nodes))
    return HostPiece(said.text, said.reads, results, said.tensors, label, tuple(refused), decides, said.symbols)

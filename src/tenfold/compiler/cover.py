"""The pieces of a graph in the order in which they run: a kernel for each region, branches, host steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.strategy import Kernel, Strategy
from tenfold.compiler.arrange import rearrange
from tenfold.compiler.fuse.cover import region_of, results_of, source_of
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.fuse.host import fragment
from tenfold.compiler.items import (
    Branch,
    Choice,
    Cycle,
    HostPiece,
    Item,
    Piece,
    Repeat,
    Reveal,
    operands,
    pieces,
    walked,
)
from tenfold.compiler.layout import Layout
from tenfold.compiler.loops import LOOPS, Turns, body_of
from tenfold.compiler.tune import Chosen, choose
from tenfold.compiler.views import REVEALING
from tenfold.ir import dim, unknown
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.control import If
from tenfold.ops.dynamic import Head
from tenfold.runtime.plan import Label
from tenfold.target import Target


@dataclass(frozen=True, eq=False)
class Machine:
    """Who makes kernels for a target, best first. `beside` is the CPU beside a GPU: it takes what the GPU refuses, what
    has sizes that only the data decide, and branches and loops that no list of launches can hold. `begin` hears of each
    kernel once it is written.
    """

    target: Target
    strategies: Sequence[Strategy]
    beside: Machine | None = None
    begin: Callable[[Kernel], None] | None = None


MOST_LAUNCHES = 1 << 12
"""The launches that a loop may come to on a GPU, where its turns are unrolled."""


def cover(graph: Graph, layout: Layout, machine: Machine, refusals: list[NotFused]) -> list[Item]:
    """The pieces of a graph in the order in which they run.

    A branch or loop that turns out to hold a host step is laid out anew, to be walked between native calls.
    """
    while True:
        known = len(layout.hosted)
        refusals.clear()
        items = _covered(graph, layout, machine, refusals)
        if len(layout.hosted) == known:
            return items
        rearrange(graph, layout)


def _covered(graph: Graph, layout: Layout, machine: Machine, refusals: list[NotFused]) -> list[Item]:
    growth = Growth(graph, layout)
    refusals += growth.refusals
    items: list[Item] = []
    for group in growth.ordered():
        node = group.nodes[0]
        if isinstance(node.op, REVEALING):
            items.append(reveal(node, group_label(group)))
            continue
        found = inside(node, layout, group_label(group), machine, refusals)
        if found is not None:
            items.append(found)
            continue
        piece = chosen(group, growth, machine) if is_region(group) else []
        if machine.begin and isinstance(piece, Chosen):
            machine.begin(piece.kernel)
        items.append(host_piece(group, growth, piece) if isinstance(piece, list) else piece)
    return items


def chosen(group: Group, growth: Growth, machine: Machine) -> Chosen | list[tuple[str, str]]:
    """The piece of a group, by whoever takes it; or, where nobody does, each one's reason."""
    region = region_of(group, growth)
    if machine.beside is None:
        return choose(region, machine.strategies, machine.target)
    reads, writes = operands(region)
    values = [value for node in group.nodes for value in (*node.inputs, *node.outputs)]
    if unknown.of_types(value.type for value in (*values, *(one.value for one in (*reads, *writes)))):
        refused = [(machine.target.kind, "only the data decide its sizes")]
    else:
        found = choose(region, machine.strategies, machine.target)
        if not isinstance(found, list):
            return found
        refused = found
    other = choose(region, machine.beside.strategies, machine.beside.target)
    return refused + other if isinstance(other, list) else replace(other, refused=(*refused, *other.refused))


def inside(node: Node, layout: Layout, label: Label, machine: Machine, refusals: list[NotFused]) -> Item | None:
    """A branch or loop in native steps or between native calls; None for any other node."""

    def covered(graph: Graph) -> list[Item]:
        return _covered(graph, layout, machine.beside or machine, refusals)

    if node in layout.walked:
        return _walked(node, layout.walked[node], label, covered)
    if isinstance(node.op, If):
        item: Item = Branch(node.inputs[0], covered(node.op.then_branch), covered(node.op.else_branch))
    elif isinstance(node.op, LOOPS):
        unrolled = _covered(node.op.body, layout, machine, refusals) if machine.beside else []
        body = unrolled if _unrolls(layout.turns[node], unrolled) else covered(node.op.body)
        item = Repeat(layout.turns[node], body, label)
    else:
        return None
    hosted = [piece.label.kind for piece in pieces([item]) if isinstance(piece, HostPiece)]
    hosted += [one.label.kind for one in walked([item])]
    if hosted:
        layout.hosted[node.op.graphs[0]] = f"native calls end at its {', '.join(dict.fromkeys(hosted))}"
    return item


def _unrolls(turns: Turns, body: Sequence[Item]) -> bool:
    """Whether the turns of a loop are a list of launches: so many as follow from the sizes, and not too many."""
    if isinstance(turns.limit, Value) or turns.condition is not None or not body:
        return False
    most = dim.bounds(turns.limit)[1]
    launches = all(isinstance(one, Piece) and one.kernel.place == "cuda" for one in body)
    return launches and most is not None and most * len(body) <= MOST_LAUNCHES


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

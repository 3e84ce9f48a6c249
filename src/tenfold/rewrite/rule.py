"""How a graph is changed locally: rules, and the driver that applies them until none fires.

A rule is a pure function from a value to what may stand in its place; only the driver edits the graph.
A set of rules is a tuple of them, tried in order, so sets are joined with `+`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenfold.errors import LimitError
from tenfold.ir import unknown
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.interpret import bind
from tenfold.ir.recipe import Decision, sources
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.rewrite.pattern import Asked, asking

Replacement = Value | tuple[Value, ...] | None
Match = Callable[[Value], Replacement]


@dataclass(frozen=True)
class Rule:
    """A rewrite `match` whose docstring states its algebra.

    `match` gives a value, or one for each output of the producer, or None where it does not apply. `fires` and
    `misses` are graphs in the textual form: the smallest example, and a near miss that must stay as it is.
    """

    match: Match
    fires: str
    misses: str

    def __call__(self, value: Value) -> Replacement:
        """What may replace `value`; None if the rule does not apply."""
        return self.match(value)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.match.__name__

    @property
    def algebra(self) -> str:
        """What it does, as an equation."""
        return self.match.__doc__ or ""


Rules = tuple[Rule, ...]


def rule(fires: str, misses: str) -> Callable[[Match], Rule]:
    """Make a rule of the function below, with its smallest example and a near miss."""
    return lambda match: Rule(match, fires, misses)


class Steps:
    """Counts edits by name, and stops them at a limit: half the limit again and again to find the edit that breaks."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.decisions: dict[Decision, None] = {}

    @property
    def exhausted(self) -> bool:
        """True once as many edits were made as the limit allows."""
        return self.limit is not None and self.counts.total() >= self.limit

    def count(self, name: str) -> None:
        """Note one edit."""
        self.counts[name] += 1


def rewrite(graph: Graph, rules: Rules, steps: Steps | None = None) -> Steps:
    """Apply `rules` to `graph` and its subgraphs, in place, until none fires or `steps` is exhausted.

    A replacement inherits the name of what it replaces, and the sources of every node that dies with it. LimitError
    names the rules that undo each other.
    """
    steps = steps or Steps()
    with asking() as asked:
        driver = _Driver(graph, rules, steps, asked)
        while not steps.exhausted and driver.sweep():
            pass
    return steps


EDITS_PER_NODE = 50


class _Driver:
    def __init__(self, graph: Graph, rules: Rules, steps: Steps, asked: Asked) -> None:
        self.asked = asked
        self.graph = graph
        self.rules = rules
        self.steps = steps
        self.made: Counter[str] = Counter()
        self.most = EDITS_PER_NODE * (len(graph) + 10)

    def sweep(self) -> bool:
        """Visit each node but constants once, subgraphs first; True if anything changed."""
        before = self.steps.counts.total()
        for node in self.graph.nodes:
            for inner in node.op.graphs:
                rewrite(inner, self.rules, self.steps)
            if node.graph is self.graph and not self.steps.exhausted and not isinstance(node.op, Constant):
                self.visit(node)
        return self.steps.counts.total() > before

    def visit(self, node: Node) -> None:
        """Let the first rule that matches replace the node's outputs, those that something uses."""
        for value in (one for one in node.outputs if one.uses or one in self.graph.outputs):
            for one in self.rules:
                self.asked.clear()
                found = one(value)
                if found is not None:
                    olds, news = (node.outputs, found) if isinstance(found, tuple) else ((value,), (found,))
                    self.note(one, node)
                    replace(self.graph, node, olds, news)
                    return

    def note(self, fired: Rule, node: Node) -> None:
        """Count the edit, and keep what it took for granted of weights."""
        self.steps.count(fired.name)
        decided = (Decision(tensor, number, fired.name) for tensor, number in self.asked if sources(tensor))
        self.steps.decisions.update(dict.fromkeys(decided))
        self.made[fired.name] += 1
        if self.made.total() > self.most:
            often = ", ".join(name for name, _ in self.made.most_common(3))
            raise LimitError(f"rewriting does not end: {often} keep firing, last at {node}")


def replace(graph: Graph, node: Node, olds: Sequence[Value], news: Sequence[Value]) -> None:
    """Put `news` in the place of `olds`, outputs of `node`, and take out whatever nothing uses any more."""
    fresh = floating(news)
    learned: dict[str, Size] = {}
    for old, new in zip(olds, news, strict=True):
        learned.update(check_replacement(old, new))
        graph.replace_uses(old, new)
    dead = [node, *sweep_dead(graph, [node])]
    source = tuple(dict.fromkeys(name for one in dead for name in one.source))
    for one in fresh:
        one.source = one.source or source
        one.name = one.name or node.name
    if learned:
        specialise(graph, learned)


def check_replacement(old: Value, new: Value) -> dict[str, Size]:
    """What the new value tells of sizes that only the data decided before.

    AssertionError if it cannot stand for the old one: another element type, rank, or a size known to differ.
    """
    fits = new is not old and new.type.dtype == old.type.dtype and new.type.rank == old.type.rank
    assert fits, f"{old} cannot be replaced by {new}"
    learned: dict[str, Size] = {}
    for a, b in zip(old.type.shape, new.type.shape, strict=True):
        assert not (isinstance(a, int) and isinstance(b, int) and a != b), f"{old} cannot be replaced by {new}"
        if isinstance(a, Dim) and a.symbol and a.data_dependent and a is not b:
            learned[a.symbol.name] = b
    return learned


def specialise(graph: Graph, learned: Mapping[str, Size]) -> None:
    """Write what was learned of sizes into the types, attributes and assumptions of `graph` and its subgraphs."""
    graph.assumptions = tuple((substitute(size, learned), operator) for size, operator in graph.assumptions)
    for value in graph.inputs:
        value.type = _specialised(value.type, learned)
    for node in graph.unordered:
        node.op = bind(node.op, learned)
        for inner in node.op.graphs:
            specialise(inner, learned)
        for value in node.outputs:
            value.type = _specialised(value.type, learned)


def _specialised(type: Type, learned: Mapping[str, Size]) -> Type:
    shape = tuple(substitute(size, learned) for size in type.shape)
    entries = type.entries and tuple(substitute(size, learned) for size in type.entries)
    return Type(type.dtype, shape, entries)


def floating(values: Iterable[Value]) -> list[Node]:
    """The nodes that compute `values` and that no graph holds yet, each after those that it uses."""
    found: dict[Node, None] = {}

    def visit(value: Value) -> None:
        node = value.producer
        if node is not None and node.graph is None and node not in found:
            for used in node.inputs:
                visit(used)
            found[node] = None

    for value in values:
        visit(value)
    return list(found)


def sweep_dead(graph: Graph, candidates: Iterable[Node]) -> list[Node]:
    """Remove those of `candidates` that nothing uses, and then what only they used; the removed nodes."""
    removed: list[Node] = []
    stack = list(candidates)
    while stack:
        node = stack.pop()
        if node.graph is not graph or any(value.uses or value in graph.outputs for value in node.outputs):
            continue
        if _decides(graph, node):
            continue
        freed = unknown.needed_by(node)
        graph.remove(node)
        removed.append(node)
        stack.extend(value.producer for value in node.inputs if value.producer)
        if freed:
            stack.extend(one for one in graph.nodes if not freed.isdisjoint(unknown.decided_by(one)))
    return removed


def _decides(graph: Graph, node: Node) -> bool:
    """True if a node decides a size that something else needs."""
    names = unknown.decided_by(node)
    if not names:
        return False
    needed = unknown.of_sizes(size for size, _ in graph.assumptions)
    return not names.isdisjoint(needed.union(*(unknown.needed_by(one) for one in graph.nodes if one is not node)))

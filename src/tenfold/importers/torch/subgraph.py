"""A branch that is traced among the operations around it, and then cut out as a graph of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.torch.aliases import Cell, Ref
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.control import If


@dataclass(frozen=True)
class Subgraphs:
    """`placed` holds the nodes that exist already: what a branch makes beyond them is its own."""

    placed: set[Node]
    assumptions: dict[tuple[Size, str], None]

    def branch(
        self,
        label: str,
        condition: Value,
        yes: Callable[[], list[Any] | None],
        no: Callable[[], list[Any] | None],
        changed: Callable[[], bool],
    ) -> Sequence[Any]:
        """The results of an If; a way that raises is not taken, and every call must then meet the condition."""
        outside = set(self.placed)
        ways = [yes(), no()]
        if changed():
            raise UnsupportedError("a branch that only a call decides changes something outside itself")
        entry = condition.type.entries[0] if condition.type.entries else None
        for taken, other, met in ((0, 1, entry), (1, 0, None if entry is None else dim.logical_not(entry))):
            found = ways[taken]
            if found is not None and ways[other] is None:
                if isinstance(met, Dim):
                    self.assumptions[met, label] = None
                return found
        if ways[0] is None or ways[1] is None:
            raise UnsupportedError("both ways of a branch raise")
        if not ways[0]:
            return []
        return self._joined(condition, outside, ways[0], ways[1])

    def _joined(self, condition: Value, outside: set[Node], yes: list[Any], no: list[Any]) -> Sequence[Any]:
        pairs = list(zip(yes, no, strict=True))
        tensors = [(a.value, b.value) for a, b in pairs if isinstance(a, Ref) and isinstance(b, Ref)]
        for a, b in pairs:
            if not (isinstance(a, Ref) and isinstance(b, Ref)) and a != b:
                raise UnsupportedError(f"a branch that only a call decides gives {a!r} or {b!r}, which are no tensors")
        if not tensors:
            return yes
        captures: dict[Value, None] = {}
        for ends in zip(*tensors, strict=True):
            captures.update(_captured(ends, outside))
        graphs = [_closed(ends, outside, list(captures)) for ends in zip(*tensors, strict=True)]
        found = If(*graphs)(condition, *captures)
        results = iter((found,) if isinstance(found, Value) else found)
        return [Ref(Cell(next(results))) if isinstance(a, Ref) else a for a, _ in pairs]


def _captured(ends: Sequence[Value], outside: set[Node]) -> dict[Value, None]:
    """The values from outside that these are computed from."""
    found: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = list(ends)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.producer is None or (value.producer in outside and value.inputs):
            found[value] = None
        else:
            stack.extend(value.inputs)
    return found


def _closed(ends: Sequence[Value], outside: set[Node], captures: list[Value]) -> Graph:
    graph = Graph()
    known = {value: graph.input(value.name or f"x{at}", value.type) for at, value in enumerate(captures)}
    graph.set_outputs([_copied(one, known) for one in ends], [f"y{at}" for at in range(len(ends))])
    return graph


def _copied(value: Value, known: dict[Value, Value]) -> Value:
    stack = [value]
    while stack:
        one = stack[-1]
        if one in known:
            stack.pop()
            continue
        waiting = [inner for inner in one.inputs if inner not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        made = one.producer
        assert made is not None
        again = Node(made.op, [known[inner] for inner in made.inputs], name=made.name, source=made.source)
        known.update(zip(made.outputs, again.outputs, strict=True))
    return known[value]

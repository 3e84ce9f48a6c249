"""Operators whose sizes follow from small integer operands that only the data decide.

Such an operator is converted as a graph of its own, in which these operands' contents are symbols like those of
the model's own small inputs; `Deferred` runs it once the operands are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tenfold.errors import UnsupportedError
from tenfold.importers.convert import Converter, Operator, Results, Unfollowed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.ops.dynamic import Deferred


@dataclass(frozen=True)
class Inner:
    """The context of an operator within such a graph: what it requires, every run of the graph must meet."""

    graph: Graph

    def decide(self, label: str, condition: Size) -> bool:
        """Nothing is decided here."""
        raise UnsupportedError(f"only data decide {condition}", operator=label)

    @contextmanager
    def given(self, condition: Size) -> Iterator[None]:
        """Nothing here depends on it."""
        yield

    def require(self, label: str, condition: Size) -> None:
        """A condition of the graph."""
        self.graph.assumptions = (*self.graph.assumptions, (condition, label))

    def any_rank(self, names: Sequence[str]) -> bool:
        """Nothing here is an output of the model."""
        return False


def deferred(convert: Converter, node: Operator, index: int) -> Results:
    """What `convert` makes of the operator once the contents of input `index` are known."""
    wanted = {index}
    while True:
        graph = Graph(name=node.type)
        inputs = [None if one is None else _formal(graph, node, at, at in wanted) for at, one in enumerate(node.inputs)]
        try:
            found = convert(replace(node, inputs=tuple(inputs), context=Inner(graph)))
            break
        except Unfollowed as more:
            wanted.add(more.index)
    results = [found] if isinstance(found, Value) else list(found)
    made = [one for one in results if one is not None]
    graph.set_outputs(made, [f"y{at}" for at in range(len(made))])
    given = [value for value, inner in zip(node.inputs, inputs, strict=True) if inner in graph.inputs]
    outer = iter(_listed(Deferred(graph)(*(value for value in given if value is not None))))
    return [None if one is None else next(outer) for one in results]


def once_known(contents: Value, build: Callable[..., Value], *others: Value) -> Value:
    """build(sizes, *others), where the sizes are what a small integer tensor holds."""
    graph = Graph(name="deferred")
    inner = [graph.input(f"x{at}", one.type) for at, one in enumerate(others)]
    known = graph.input("contents", contents.type.with_entries(_symbols(contents, contents.name or "contents")))
    graph.set_outputs([build(known.type.entries, *inner)], ["y"])
    result: Value = Deferred(graph)(*others, contents)
    return result


def _symbols(value: Value, name: str) -> tuple[Size, ...]:
    assert isinstance(value.type.size, int)
    return tuple(dim.symbol(f"{name}[{place}]", low=None) for place in range(value.type.size))


def _formal(graph: Graph, node: Operator, at: int, followed: bool) -> Value:
    value = node.input(at)
    if value.op is not None and not value.inputs:
        again: Value = value.op()
        return again
    if not followed:
        return graph.input(f"x{at}", value.type)
    if not isinstance(value.type.size, int):
        raise node.invalid(f"input {at} says what the operator does, so the model must state how many numbers it has")
    return graph.input(f"x{at}", value.type.with_entries(_symbols(value, f"{node.label}.{at}")))


def _listed(found: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return (found,) if isinstance(found, Value) else found

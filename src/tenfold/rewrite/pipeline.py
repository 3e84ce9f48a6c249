"""Passes in order: run, verified, timed, counted, stopped where asked."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import OptionError
from tenfold.ir import text
from tenfold.ir.graph import Graph
from tenfold.rewrite.rule import Rules, Steps, rewrite

_log = logging.getLogger("tenfold")


@dataclass(frozen=True)
class Pass:
    """A named change of a graph, in place. A subclass's fields are its options."""

    name: str

    def run(self, graph: Graph, steps: Steps) -> None:
        """Change `graph` and its subgraphs, note each edit in `steps`, and stop once they are exhausted."""
        raise NotImplementedError(f"{type(self).__name__}.run")


@dataclass(frozen=True)
class Rewrite(Pass):
    """A set of rules, applied until none fires."""

    rules: Rules

    def run(self, graph: Graph, steps: Steps) -> None:
        """Apply the rules."""
        rewrite(graph, self.rules, steps)


@dataclass(frozen=True)
class Record:
    """What one pass did: its name, its edits by name, nodes before and after (subgraphs' too), seconds."""

    name: str
    edits: Counter[str]
    before: int
    after: int
    seconds: float

    def __str__(self) -> str:
        edits = ", ".join(f"{name} {count}" for name, count in self.edits.most_common())
        return f"{self.name}: {self.before} -> {self.after} nodes in {self.seconds:.3f} s ({edits or 'no edit'})"


Observer = Callable[[Record, Graph], None]
"""Told after each pass what it did, and given the graph as it then is."""


def log(record: Record, graph: Graph) -> None:
    """An observer: the record, on Tenfold's logger."""
    _log.debug("%s", record)


@dataclass(frozen=True)
class Dump:
    """An observer: the graph after each pass, in the textual form, in a file of `folder` numbered in order."""

    folder: Path

    def __call__(self, record: Record, graph: Graph) -> None:
        """Write the next file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in self.folder.glob("*.txt"))
        (self.folder / f"{number:02}-{record.name}.txt").write_text(text.show(graph))


class Pipeline:
    """Passes in order, as a value: joined with `+`, cut with `stopping_at`, run by calling it on a graph."""

    def __init__(self, *passes: Pass) -> None:
        self.passes = passes

    def __add__(self, other: Pipeline) -> Pipeline:
        return Pipeline(*self.passes, *other.passes)

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.passes)

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(one.name for one in self.passes)})"

    def stopping_at(self, name: str) -> Pipeline:
        """The same up to the last pass of that name, itself included; OptionError if there is none."""
        places = [index for index, one in enumerate(self.passes) if one.name == name]
        if not places:
            known = ", ".join(one.name for one in self.passes)
            raise OptionError(f"no pass is called {name!r}", argument=name, remedy=f"the passes are {known}")
        return Pipeline(*self.passes[: places[-1] + 1])

    def __call__(
        self,
        graph: Graph,
        *,
        observers: Iterable[Observer] = (log,),
        limit: int | None = None,
        verify: bool = __debug__,
    ) -> Graph:
        """Change `graph` in place and return it. At most `limit` edits are made, over all passes.

        With `verify`, the graph is checked after each pass; a failure names the pass.
        """
        observers = tuple(observers)
        steps = Steps(limit)
        for one in self.passes:
            before, edits, start = size(graph), steps.counts.copy(), time.perf_counter()
            one.run(graph, steps)
            if verify:
                _verify(graph, one)
            record = Record(one.name, steps.counts - edits, before, size(graph), time.perf_counter() - start)
            for observer in observers:
                observer(record, graph)
            if steps.exhausted:
                break
        graph.decisions += tuple(steps.decisions)
        return graph


def size(graph: Graph) -> int:
    """The number of nodes, those of subgraphs included."""
    return sum(1 + sum(size(inner) for inner in node.op.graphs) for node in graph.nodes)


def _verify(graph: Graph, after: Pass) -> None:
    try:
        graph.verify()
    except AssertionError as error:
        error.add_note(f"after the pass {after.name}")
        raise

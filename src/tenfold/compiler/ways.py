"""Stretches of a graph that may run in one of several ways, and the clock's choice among them.

A way changes a stretch before it is covered by regions: a batch in portions or whole, attention by its own kernel or
taken apart. Each is built as a small engine at usual sizes and timed by turns in a process of its own (race.py); the
timing cache knows the answer by the stretch's text.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.codegen.child import Child
from tenfold.compiler import choices
from tenfold.compiler.before import is_timed
from tenfold.compiler.measure import Point
from tenfold.compiler.timings import Entry
from tenfold.compiler.tune import EFFORTS, Tuning, best, told_of
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.text import show
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.runtime import format

Way = Callable[[Graph, Sequence[Node]], object]
Build = Callable[[Graph], format.Bytes]
_PROGRAM = "tenfold.compiler.race"
_PATIENCE, _LOOK = 60.0, 0.1
"""Seconds that a round may take, and between two looks whether there is time left."""
_SHARE = 0.5
"""The share of the time that ways may take."""
_LEAST_ROUNDS = 3
_WORTH = 100
"""How many times the least that is timed for one kernel a stretch must take: engines of its own cost more to make."""
_LONGER = 10
"""How many times as long as one kernel's its ways are timed."""
_OPERATIONS, _BANDWIDTH = 1e11, 1e10
"""About what a machine does, and moves, in a second."""


def leave(graph: Graph, nodes: Sequence[Node]) -> None:
    """The way that changes nothing."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Nodes in order, of which only the last one's result is seen outside, and the ways in which they may run: what
    changes a graph that holds such nodes, in place, by name. The first is the cost model's choice.
    """

    nodes: Sequence[Node]
    ways: Mapping[str, Way]


def settle(graph: Graph, stretches: Iterable[Stretch], tuning: Tuning, build: Build) -> list[dict[str, Any]]:
    """Let each stretch run in its fastest way: by the timing cache and the clock where the options ask for it and this
    machine can run the target's code, else by the cost model. What a report says of the choices.
    """
    said, every = list[dict[str, Any]](), list(stretches)
    judge = _Judge(tuning, build) if every and tuning.target.runs_here() else None
    for number, stretch in enumerate(every):
        tuning.tell("ways", number, len(every))
        entry = judge.entry(stretch) if judge else None
        source = list(dict.fromkeys(name for node in stretch.nodes for name in node.source))
        if not is_timed(entry):
            entry = tuning.before.way(source, stretch.ways) or entry
        choice = entry.choice if entry else next(iter(stretch.ways))
        stretch.ways[choice](graph, stretch.nodes)
        said.append({"source": source, "tactic": choice, **(told_of(entry) if entry else {})})
    return said


class _Judge:
    """The entries of one target's stretches: from the timing cache, by the clock, or shipped."""

    def __init__(self, tuning: Tuning, build: Build) -> None:
        self._tuning, self._build, self._point = tuning, build, tuning.point
        self._level = tuning.options.effort
        self._effort = tuning.effort if self._level else EFFORTS[1]
        self._shipped = choices.are_there("\n".join(tuning.about))

    def entry(self, stretch: Stretch) -> Entry | None:
        """What is known of a stretch, or is found out now; None where nothing is, it is not worth it, or it has no
        usual sizes.
        """
        if len(stretch.ways) < 2:
            return None
        if not (self._level or self._shipped) or _seconds(stretch, self._point) < _WORTH * self._effort.least:
            return None
        if not all(_is_fixed(value) for node in stretch.nodes for value in node.op.attributes.values()):
            return None
        alone, _ = cut(stretch.nodes, self._point)
        problem = "\n".join([*self._tuning.about, show(alone, {}), "candidates: " + " ".join(stretch.ways)])
        found = self._timed(stretch, problem) if self._level else None
        if found is None or not any(found.times.values()):
            return choices.find(problem, stretch.ways) or found
        return found

    def _timed(self, stretch: Stretch, problem: str) -> Entry:
        """What the timing cache knows, or the clock says if there is time; it is remembered."""
        known = self._tuning.timings.find(problem, self._level)
        if known:
            return known
        least = _LEAST_ROUNDS * len(stretch.ways) * _seconds(stretch, self._point)
        times = self._times(stretch) if self._left() > least else dict.fromkeys(stretch.ways)
        found = Entry(problem, times, best(times), self._level)
        self._tuning.remember(found)
        return found

    def _left(self) -> float:
        """Seconds that are left for ways."""
        return self._tuning.left(_SHARE)

    def _times(self, stretch: Stretch) -> dict[str, float | str | None]:
        """Seconds of each way, None where there was no time, or how the process that timed them ended."""
        with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
            paths = []
            for number, way in enumerate(stretch.ways.values()):
                graph, nodes = cut(stretch.nodes, self._point)
                way(graph, nodes)
                paths.append(Path(folder) / f"{number}.tenfold")
                format.write(paths[-1], self._build(graph))
            answer = raced(paths, self._point.threads, _LONGER * self._effort.each, self._left)
        seconds = [answer] * len(paths) if isinstance(answer, str) else answer
        return dict(zip(stretch.ways, seconds, strict=True))


def raced(
    engines: Sequence[Path], threads: int, seconds: float, left: Callable[[], float]
) -> Sequence[float | None] | str:
    """Seconds of a call of each engine, timed by turns for about so long each, or as long as there is time `left`: the
    least of the rounds after a first one; None without such a round. Or how that failed.
    """
    rounds: list[list[float]] = []
    begun = time.monotonic()
    with Child(_PROGRAM, str(threads), *map(str, engines)) as racing:
        while len(rounds) <= _LEAST_ROUNDS or time.monotonic() - begun < seconds * len(engines):
            line = _within(racing, left)
            if line is None:
                break
            if not line:
                return racing.last_words()
            begun = begun if rounds else time.monotonic()
            rounds.append(json.loads(line))
    return [min(times) for times in zip(*rounds[1:], strict=True)] or [None] * len(engines)


def _within(racing: Child, left: Callable[[], float]) -> bytes | None:
    """The next line of a race, nothing if it has ended or is silent for too long; None if no time is left for one."""
    until = time.monotonic() + _PATIENCE
    while left() > 0:
        line = racing.line(_LOOK)
        if line or racing.has_ended or time.monotonic() > until:
            return line
    return None


def cut(nodes: Sequence[Node], at: Point) -> tuple[Graph, list[Node]]:
    """A graph of copies of these nodes alone, without their names, its inputs at usual sizes; and the copies."""
    graph, made, known = Graph(name="stretch"), list[Node](), dict[Value, Value]()
    for node in nodes:
        for value in node.inputs:
            if value in known:
                continue
            if isinstance(value.op, Constant):
                known[value] = Node(value.op, ()).output
            else:
                known[value] = graph.input(f"in{len(known)}", Type(value.type.dtype, tuple(map(at, value.type.shape))))
        made.append(Node(node.op, [known[value] for value in node.inputs]))
        known.update(zip(node.outputs, made[-1].outputs, strict=True))
    graph.set_outputs([made[-1].output], ["out"])
    return graph, made


def _is_fixed(attribute: object) -> bool:
    """Whether an attribute is the same at all sizes."""
    return all(map(_is_fixed, attribute)) if isinstance(attribute, tuple) else not isinstance(attribute, Dim)


def _seconds(stretch: Stretch, at: Point) -> float:
    """About how long a stretch takes, to tell what is worth a look."""
    total = 0.0
    for node in stretch.nodes:
        cost = node.op.cost(tuple(one.type for one in node.inputs), tuple(one.type for one in node.outputs))
        total += max(at(cost.flops) / _OPERATIONS, at(cost.bytes) / _BANDWIDTH)
    return total

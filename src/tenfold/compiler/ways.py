"""Stretches of a graph that may run in one of several ways, and the clock's choice among them.

A way changes a stretch before it is covered by regions: a batch in portions or whole, attention by its own kernel or
taken apart. Each is built as a small engine at usual sizes and timed by turns in a process of its own (race.py); the
timing cache knows the answer by the stretch's text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold import settings
from tenfold.codegen.cpu.isa import isa_of
from tenfold.compiler.measure import Point
from tenfold.compiler.timings import Entry, generators, machine_kind
from tenfold.compiler.tune import Tuning, best
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.text import show
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.runtime import format

Way = Callable[[Graph, Sequence[Node]], object]
Build = Callable[[Graph], format.Bytes]
_PROGRAM, _ROOT = "tenfold.compiler.race", Path(__file__).parents[2]
_PATIENCE = 60.0
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
    clock = _Clock(tuning, build) if tuning.options.effort and tuning.target.runs_here() else None
    said, every = list[dict[str, Any]](), list(stretches)
    for number, stretch in enumerate(every):
        tuning.tell("ways", number, len(every))
        entry = clock.entry(stretch) if clock else None
        choice = entry.choice if entry else next(iter(stretch.ways))
        source = list(dict.fromkeys(name for node in stretch.nodes for name in node.source))
        stretch.ways[choice](graph, stretch.nodes)
        about = {"effort": entry.effort, "candidates": [list(pair) for pair in entry.times.items()]} if entry else {}
        said.append({"source": source, "tactic": choice, **about})
    return said


class _Clock:
    """The entries of one target's stretches."""

    def __init__(self, tuning: Tuning, build: Build) -> None:
        self._tuning, self._build, self._point = tuning, build, tuning.point
        self._level, self._effort = tuning.options.effort, tuning.effort

    def entry(self, stretch: Stretch) -> Entry | None:
        """What is known of a stretch, or is found out now; None where it is not worth it, or has no usual sizes."""
        if _seconds(stretch, self._point) < _WORTH * self._effort.least:
            return None
        if not all(_is_fixed(value) for node in stretch.nodes for value in node.op.attributes.values()):
            return None
        alone, _ = cut(stretch.nodes, self._point)
        about = [machine_kind(), str(isa_of(self._tuning.target)), f"{self._point.threads} threads", generators()]
        problem = "\n".join([*about, show(alone, {}), "candidates: " + " ".join(stretch.ways)])
        found = self._tuning.timings.find(problem, self._level)
        if found is None:
            in_time = time.perf_counter() - self._tuning.start < self._effort.total / 2
            times = self._times(stretch) if in_time else dict.fromkeys(stretch.ways)
            found = Entry(problem, times, best(times), self._level)
            self._tuning.timings.keep(found)
        return found

    def _times(self, stretch: Stretch) -> dict[str, float | str | None]:
        """Seconds of each way, or how the process that timed them ended."""
        with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
            paths = [Path(folder) / f"{number}.tenfold" for number in range(len(stretch.ways))]
            for path, way in zip(paths, stretch.ways.values(), strict=True):
                graph, nodes = cut(stretch.nodes, self._point)
                way(graph, nodes)
                format.write(path, self._build(graph))
            answer = raced(paths, self._point.threads, _LONGER * self._effort.each)
        seconds = [answer] * len(paths) if isinstance(answer, str) else answer
        return dict(zip(stretch.ways, seconds, strict=True))


def raced(engines: Sequence[Path], threads: int, seconds: float) -> list[float] | str:
    """Seconds of a call of each engine, timed by turns for about so long each; or how that failed."""
    command = [sys.executable, "-m", _PROGRAM, str(threads), str(seconds), *map(str, engines)]
    limit = _PATIENCE + 2 * seconds * len(engines)
    try:
        done = subprocess.run(
            command, env=settings.child_environment(_ROOT), capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    if done.returncode:
        return f"its process ended with status {done.returncode}"
    times: list[float] = json.loads(done.stdout)
    return times


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

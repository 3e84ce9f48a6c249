"""Taps: any value of a running engine, read without changing it.

A value that lies in memory is copied right after the step that completes it: a tapped call walks a copy of the step
table that ends there, and goes on behind. A value inside a kernel is computed by the reference from the values round it
that lie in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError
from tenfold.ir.graph import Value, every_value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Op
from tenfold.ir.program import Program
from tenfold.ops.constant import Constant
from tenfold.runtime import steps
from tenfold.runtime.calls import Inputs
from tenfold.runtime.contents import graph_in
from tenfold.runtime.context import Context
from tenfold.runtime.cpu.block import Status
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.format import File
from tenfold.runtime.frame import Frame
from tenfold.runtime.host import view
from tenfold.runtime.plan import WEIGHTS, Window

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine

Array = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where a value lies: the steps after which it is complete (none for an input), the base and offset slot of its
    buffer, and the slots of the taps' program for its first element, its sizes and its strides.
    """

    steps: tuple[int, ...]
    base: int
    offset: int
    start: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class Taps:
    """What can be read of an engine: the graph its kernels were made from, and where its values lie."""

    def __init__(self, file: File, catalogue: Iterable[type[Op]], section: bytes) -> None:
        data = json.loads(section)
        self.graph = graph_in(file, data["graph"], catalogue)
        values = list(every_value(self.graph))
        for index, name in data["named"]:
            values[index].name = name
        self.places = {values[index]: _place(*about) for index, *about in data["places"]}
        self.symbols: list[str] = data["symbols"]
        results = sorted({s for place in self.places.values() for s in (place.start, *place.sizes, *place.strides)})
        self.program = Program(np.array(data["rows"], np.int64), len(self.symbols), results)
        self.named = {v.name: v for v in values if v.name and not isinstance(v.op, Constant) and self.behind([v])}

    def value(self, name: str) -> Value:
        """The value of that name; InputError if it cannot be read."""
        if name not in self.named:
            raise InputError(
                f"the engine has no value {name!r}",
                argument=name,
                remedy="engine.taps lists what can be read; build with outputs=[…] for a value that was folded away",
            )
        return self.named[name]

    def behind(self, values: Iterable[Value]) -> set[Value] | None:
        """The values in memory that these follow from; None if one follows from what is nowhere."""
        pending, found, seen = list(values), set(), set()
        while pending:
            value = pending.pop()
            if value in seen or isinstance(value.op, Constant):
                continue
            seen.add(value)
            if value in self.places:
                found.add(value)
            elif value.producer is None:
                return None
            else:
                pending.extend(value.inputs)
        return found


def _place(steps: list[int], base: int, offset: int, slots: list[int]) -> Place:
    rank = len(slots) // 2
    return Place(tuple(steps), base, offset, slots[0], tuple(slots[1 : 1 + rank]), tuple(slots[1 + rank :]))


def tap(
    taps: Taps, opened: Callable[[Reading], Context], inputs: Inputs, names: Sequence[str] | None
) -> dict[str, Array]:
    """See `Engine.tap`; `opened` gives a context whose calls read values."""
    if names is not None and (isinstance(names, str) or not isinstance(names, Sequence)):
        raise InputError(f"names is a {type(names).__name__}", argument="names", remedy="give a list of names")
    wanted = {name: taps.value(name) for name in (taps.named if names is None else names)}
    reading = Reading(taps, taps.behind(wanted.values()) or set())
    with opened(reading) as context:
        context.run(inputs)
    reference = Interpreter(reading.sizes)
    return {name: reading.seen[value] for name, value in wanted.items() if _known(value, reading.seen, taps, reference)}


def _known(wanted: Value, known: dict[Value, Array], taps: Taps, reference: Interpreter) -> bool:
    """Whether a value is known, or follows from what is: then it is computed. It does not in a branch not taken."""
    pending = [wanted]
    while pending:
        value = pending[-1]
        if value in known:
            pending.pop()
            continue
        if value in taps.places or value.producer is None:
            return False
        missing = [one for one in value.inputs if one not in known]
        pending += missing
        if not missing:
            arrays = reference.evaluate(value.producer.op, tuple(known[one] for one in value.inputs))
            known.update(zip(value.producer.outputs, arrays, strict=True))
    return True


_LAST = 1 << 40
"""Stands for the end of a call among the steps after which values are read."""


class Reading:
    """What calls leave of some values: copies in `seen`, and what the symbols stood for in `sizes`."""

    def __init__(self, taps: Taps, values: Iterable[Value]) -> None:
        self.seen: dict[Value, Array] = {}
        self.sizes: dict[str, int] = {}
        self._taps = taps
        self._at: dict[int, list[Value]] = {}
        for value in values:
            for step in taps.places[value].steps or (_LAST,):
                self._at.setdefault(step, []).append(value)

    @property
    def stops(self) -> list[int]:
        """The steps that complete values on the way."""
        return [step for step in self._at if 0 <= step < _LAST]

    def begin(self, sizes: dict[str, int], read: Callable[[Window, NDArray[np.int64], int], Array]) -> None:
        """A call of these sizes begins; `read(window, slots, start)` copies what a window shows `start` bytes on."""
        self.sizes, self._read = sizes, read
        self._slots = np.array(self._taps.program.run([sizes[name] for name in self._taps.symbols]), np.int64)

    def passed(self, step: int) -> None:
        """Read what a step has completed."""
        for value in self._at.get(step, ()):
            place, dtype = self._taps.places[value], value.type.dtype
            window = Window(value.name, dtype, place.base, place.offset, place.sizes, place.strides)
            self.seen[value] = self._read(window, self._slots, int(self._slots[place.start]) * dtype.itemsize)

    def end(self) -> None:
        """Read what is complete at the end of a call alone."""
        self.passed(_LAST)


class TappedContext(Context):
    """A context whose calls are read."""

    def __init__(self, engine: Engine, reading: Reading) -> None:
        self._reading = reading
        super().__init__(engine)

    def _open(self) -> None:
        super()._open()
        self._invocation.close()
        engine = self.engine
        table, stops = with_stops(self._plan.steps, self._reading.stops)
        program = engine.executable(replace(self._plan, steps=table))
        stopping = Stopping(program, threads=self._frames.threads, team=engine.team, cancel=self._cancel)
        stopping.watch(self, stops)
        self._invocation, self._bases = stopping, stopping.bases
        self._bases[WEIGHTS] = engine.weights.ctypes.data

    def _walk(self, frame: Frame) -> None:
        self._reading.begin(self._frames.sizes(frame), self._read)
        super()._walk(frame)
        self._reading.sizes = {one.name: int(self._invocation.frame[at]) for at, one in enumerate(self._plan.symbols)}
        for number in range(len(self._plan.spans)):
            self.passed(-1 - number)
        self._reading.end()

    def entering(self, step: int) -> None:
        """Read what the host steps before the native span that begins at a step have made."""
        begins = [span.begin if span.is_native else -1 for span in self._plan.spans]
        for number in range(begins.index(step) if step in begins else 0):
            self.passed(-1 - number)

    def passed(self, step: int) -> None:
        """Read what a step has completed."""
        self._reading.passed(step)

    def _read(self, window: Window, slots: NDArray[np.int64], start: int) -> Array:
        return view(window, slots, lambda base, offset: self._address(base, offset) + start).copy()


class Stopping(Invocation):
    """An invocation whose step table has stops, of which it tells a context."""

    def watch(self, context: TappedContext, stops: dict[int, int]) -> None:
        """Say whom to tell, and behind which steps the table stops."""
        self._context, self._stops = context, stops

    def run(self, brief: bool = False, start: int = 0) -> int:
        """As any invocation's, with stops on the way."""
        self._context.entering(start)
        status = super().run(brief, start)
        while status == Status.DONE and self.step in self._stops:
            ended = self.step
            self._context.passed(self._stops[ended])
            status = super().run(brief, ended + 1)
        return status

    @property
    def error_step(self) -> int:
        """The step of the engine's own table whose kernel ended the last call with an error."""
        step = super().error_step
        return self._stops.get(step + 1, step)


def with_stops(table: NDArray[np.int32], stops: Sequence[int]) -> tuple[NDArray[np.int32], dict[int, int]]:
    """The step table with an END behind each of these steps, and which step each of the new ENDs is behind; the step
    after an END leads back.

    None of the steps may be a jump.
    """
    rows = [tuple(row) for row in table.tolist()]
    ends = {}
    for step in stops:
        ends[len(rows) + 1] = step
        rows += [rows[step], steps.end(), steps.jump(step + 1)]
        rows[step] = steps.jump(len(rows) - 3)
    return steps.table(rows), ends

"""One call that is more than a native span: host steps, branches and loops between native calls, sizes that only data
decide. Values that Python keeps lie in arrays of their own, whose addresses are bases like those of inputs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import Cancelled, ExecutionError
from tenfold.runtime.cpu.invoke import Invocation, late
from tenfold.runtime.frame import Frames
from tenfold.runtime.plan import FIRST_INPUT, Kept, Label, Plan, Span, Window
from tenfold.runtime.windows import view

Array = NDArray[Any]


class Step(Protocol):
    """A span that is not native."""

    def walk(self, walk: Walk) -> None:
        """Do its work in a call."""


Spans = Sequence[tuple[Span, Step | None]]


class Lent(Protocol):
    """What a context lends to a call."""

    def native(self, span: Span) -> None:
        """Run a native span."""

    def begin(self, span: Span) -> None:
        """Hear that Python is about to work on a span."""

    def end(self, span: Span) -> None:
        """Hear that it has done so."""

    def grow(self, size: int) -> None:
        """Make the arena at least so large; what it holds stays."""

    def result(self, number: int, shape: tuple[int, ...]) -> Array:
        """The array that an output is written into."""

    def is_bound(self, number: int) -> bool:
        """Whether the caller gave the array that an output is written into."""

    def took(self, label: Label, start: float, seconds: float) -> None:
        """Hear how long a host step took."""


class Walk:
    """A running call. `slots` and `bases` are its frame's, which native calls read; `values` holds what Python keeps,
    and inputs that are objects, by base; `results` the outputs, None until their sizes are known.
    """

    def __init__(
        self,
        plan: Plan,
        frames: Frames,
        invocation: Invocation,
        lent: Lent,
        inputs: Sequence[Array],
        results: list[Any],
    ) -> None:
        self.plan, self.frames, self.lent, self.results = plan, frames, lent, results
        self.slots, self.bases, self.cancel = invocation.frame, invocation.bases, invocation.cancel
        self._patience = invocation.patience
        self._end = time.monotonic() + self._patience
        self.values: dict[int, Array] = dict(enumerate(inputs, FIRST_INPUT))
        self._first_result = FIRST_INPUT + len(plan.inputs)
        self._numbers = {symbol.name: number for number, symbol in enumerate(plan.symbols)}
        self._learned = {symbol.name for symbol in plan.symbols if not symbol.section}

    def run(self, spans: Spans) -> None:
        """Run some spans in order. Cancelled as soon as somebody asks for it."""
        for span, step in spans:
            if step is None:
                self.lent.native(span)
                continue
            self.check()
            self.lent.begin(span)
            start = time.perf_counter()
            step.walk(self)
            self.lent.end(span)
            if span.host:
                self.lent.took(span.label or Label((), "host", "host"), start, time.perf_counter() - start)

    def check(self) -> None:
        """Cancelled if somebody asked for it; LimitError if the call takes longer than it may."""
        if self.cancel[0]:
            raise Cancelled("the call was cancelled")
        if time.monotonic() > self._end:
            raise late(self._patience)

    def sizes(self, but: Sequence[str] = ()) -> dict[str, int]:
        """What the symbols stand for that are known by now, but for those that are about to be decided anew."""
        return {name: int(self.slots[self._numbers[name]]) for name in self._learned - set(but)}

    def learn(self, found: Mapping[str, int], section: int) -> None:
        """Sizes that were just decided, and what follows from them: slots, room, results."""
        for name in found.keys() & self._numbers.keys():
            self.slots[self._numbers[name]] = found[name]
            self._learned.add(name)
        if not section:
            return
        self.frames.complete(self.slots, section)
        self.lent.grow(int(self.slots[self.plan.arenas[section]]))
        for number, shape in self.frames.outputs_of(section):
            if self.results[number] is None:
                self._place_result(number, self.lent.result(number, self.shape(shape)))

    def shaped_results(self) -> None:
        """At the end: outputs that another value's memory holds get sizes of their own."""
        shapes = self.plan.shapes[len(self.plan.inputs) :]
        for number, (array, shape) in enumerate(zip(self.results, shapes, strict=True)):
            if array is not None and not array.dtype.hasobject and array.shape != (own := self.shape(shape)):
                self.results[number] = array.reshape(own)

    def _place_result(self, number: int, array: Array) -> None:
        self.results[number] = array
        self.bases[self._first_result + number] = array.ctypes.data

    def shape(self, slots: Sequence[int]) -> tuple[int, ...]:
        """The sizes that slots hold."""
        return tuple(int(self.slots[slot]) for slot in slots)

    def read(self, window: Window) -> Array:
        """The tensor that a window shows, in place."""
        return self.values[window.base] if window.dtype.is_object else view(window, self.slots, self.address)

    def address(self, base: int, offset: int) -> int:
        """Where memory begins, `offset` (a slot) bytes after a base."""
        return int(self.bases[base] + self.slots[offset])

    def write(self, window: Window, array: Array) -> None:
        """Copy a tensor to where a window shows."""
        self.read(window)[...] = array

    def keep(self, kept: Kept, array: Array) -> dict[str, int]:
        """Keep a tensor that nothing else refers to; the sizes that it decides."""
        if not kept.dtype.is_object:
            array = _stored(array, kept.order)
            self.bases[kept.base] = array.ctypes.data
        self.values[kept.base] = array
        number = kept.base - self._first_result
        if 0 <= number < len(self.results):
            self._deliver(number, array)
        return {name: size for name, size in zip(kept.names, array.shape, strict=False) if name}

    def _deliver(self, number: int, array: Array) -> None:
        if array.dtype.hasobject or not self.lent.is_bound(number):
            self.results[number] = array
            return
        bound = self.lent.result(number, array.shape)
        bound[...] = array
        self._place_result(number, bound)
        self.values[self._first_result + number] = bound

    def require(self, kept: Kept) -> None:
        """ExecutionError unless a kept tensor has the sizes that were foretold."""
        found, expected = self.values[kept.base].shape, self.shape(kept.shape)
        if found != expected:
            raise ExecutionError(f"{kept.name or 'a value'} has the sizes {list(found)}, not {list(expected)}")


def _stored(array: Array, order: Sequence[int]) -> Array:
    """The array with its axes in memory in this order, writeable."""
    if tuple(order) == tuple(range(array.ndim)):
        stored = np.ascontiguousarray(array).reshape(array.shape)
    else:
        stored = np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))
    return stored if stored.flags.writeable else stored.copy(order="K")


def apart(results: Sequence[Array], sources: Sequence[Array]) -> list[Array]:
    """The results, those copied that share memory with a source or with a result before, or may be held by one."""
    found: list[Array] = []
    held = any(source.dtype.hasobject for source in sources)
    for one in results:
        shared = held or any(np.may_share_memory(one, other) for other in (*sources, *found))
        found.append(one.copy() if shared and not one.dtype.hasobject else one)
    return found

"""A context on a GPU alone: inputs come from the host or lie there already, spans are graphs."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import Cancelled, EngineError, InputError
from tenfold.runtime.context import Array, Context, Inputs
from tenfold.runtime.cpu.arena import fresh_array
from tenfold.runtime.cuda import arrays
from tenfold.runtime.cuda.arrays import DeviceArray
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches, Slots, addressed
from tenfold.runtime.cuda.memory import Block, Staging
from tenfold.runtime.cuda.repeat import Repeat
from tenfold.runtime.cuda.resident import Resident
from tenfold.runtime.frame import Frame
from tenfold.runtime.plan import ARENA, FIRST_INPUT, Label, counters_base
from tenfold.runtime.profile import Profile, in_order
from tenfold.runtime.profile import Step as Timed

REMEMBERED = 64
"""Shapes whose graphs a context keeps."""

REPEATS = 4
"""Kinds of calls that a context repeats without looking at them again."""


class DeviceContext(Context):
    """One running instance on the GPU: a stream, an arena, counters, staging memory, and the graphs of its shapes.

    Arrays of the host are copied there and results back before a call returns. Arrays that lie on the GPU are
    used in place, in the order of their owner's stream; results then are the GPU's too, and may not be complete when
    the call returns: whoever reads them in that stream's order finds them so.
    """

    def _open(self) -> None:
        plan, resident = self.engine.plan, self.engine.resident
        self._resident: Resident = resident
        self._driver: Driver = resident.driver
        self._driver.enter()
        self._stream = self._driver.open_stream()
        self._last = self._stream
        self._memory = Block(self._driver, self.engine.arena_limit)
        self._counters = Block(self._driver, None, zeroed=True)
        self._staging = Staging(self._driver)
        self._counters_at = counters_base(len(plan.inputs), len(plan.outputs))
        self._bases = np.zeros(self._counters_at + 1, np.int64)
        self._graphs: OrderedDict[Frame, list[Launches]] = OrderedDict()
        self._results = arrays.Recycled(self._driver)
        self._repeats: list[Repeat] = []

    def _give_back(self) -> None:
        self._driver.enter()
        self._driver.synchronize(self._last)
        for parts in self._graphs.values():
            for part in parts:
                part.close()
        self._graphs.clear()
        for one in (self._memory, self._counters, self._staging):
            one.close(self._stream)
        self._results.close(self._stream)
        self._driver.synchronize(self._stream)
        self._driver.close_stream(self._stream)

    # running

    def _run(self, inputs: Inputs) -> Sequence[Any]:
        if self._closed:
            raise EngineError("the context is closed", remedy="make another with engine.context()")
        for one in self._repeats:
            repeated = one.run(inputs)
            if repeated is not None:
                return repeated
        given = self._by_name(inputs)
        self._driver.enter()
        sources = self._sources(given)
        stream = self._stream_of(sources)
        frame, results = self._prepare(sources, stream)
        parts = self._parts(frame)
        for part in parts:
            self._part(part, frame, stream)
        self._remember_call(given, frame, stream)
        return self._returned(sources, results, stream, given)

    def _remember_call(self, given: Mapping[str, Any], frame: Frame, stream: Any) -> None:
        """Let later calls be repetitions of this one, if it is one graph on tensors of the GPU."""
        ordered = {name: given[name] for name in self._inputs if name in given}
        whole = len(ordered) == len(self._inputs) and not self._bound_outputs and not self._frames.valued
        if whole and len(self._plan.spans) == 1 and Repeat.of_tensors([*ordered.values()]):
            if len(self._repeats) == REPEATS:
                self._driver.synchronize(self._last)
                self._repeats.pop().close()
            bases = self._bases.copy()
            again = Repeat(self._driver, ordered, stream, self._stream, lambda: self._fresh(frame, bases, stream))
            self._repeats.insert(0, again)

    def _fresh(self, frame: Frame, bases: NDArray[np.int64], stream: Any) -> tuple[Launches, Sequence[DeviceArray]]:
        """Launches of a call on the same inputs, and memory of its own where they write."""
        results = self._outputs_of(frame, stream)
        own = bases.copy()
        own[self._counters_at - len(results) : self._counters_at] = [one.address for one in results]
        made = Launches(self._driver, self._resident.functions, self._plan, self._plan.spans[0], frame.slots)
        made.load(addressed(self._plan, frame.slots, own, self._resident.weights))
        return made, results

    def _forget(self) -> None:
        super()._forget()
        self._drop_repeats()

    def _drop_repeats(self) -> None:
        if self._repeats:
            self._driver.enter()
            self._driver.synchronize(self._last)
            for one in self._repeats:
                one.close()
            self._repeats.clear()

    def _outputs_of(self, frame: Frame, stream: Any) -> list[DeviceArray]:
        found = []
        for spec, shape in zip(self._plan.outputs, frame.outputs, strict=True):
            assert shape is not None, "engines for GPUs alone have no outputs whose sizes only data decide"
            found.append(self._results.take(spec, shape, stream))
        return found

    def _sources(self, given: Mapping[str, Any]) -> list[Array | DeviceArray]:
        """The call's inputs: NumPy's, or arrays that lie on the GPU."""
        for name in given:
            self._require(name, self._inputs, "input")
        found: list[Array | DeviceArray] = []
        for spec in self._plan.inputs:
            array = given.get(spec.name, self._bound_inputs.get(spec.name))
            there = arrays.on_device(spec, array)
            found.append(there if there is not None else self._input(spec, given))
        return found

    def _stream_of(self, sources: Sequence[Array | DeviceArray]) -> Any:
        """The stream of the first array on the GPU that names one, else ours; it waits for the call before."""
        named = next((one.stream for one in sources if isinstance(one, DeviceArray) and one.stream is not None), None)
        stream = self._stream if named is None else self._driver.foreign_stream(named)
        if int(stream) != int(self._last):
            self._driver.follow(stream, self._last)
        self._last = stream
        return stream

    def _prepare(self, sources: Sequence[Array | DeviceArray], stream: Any) -> tuple[Frame, list[DeviceArray]]:
        """The frame of the call, and where results go; all bases are set and inputs on their way."""
        frame = self._frames.find([self._contents(index, one, stream) for index, one in enumerate(sources)])
        before = self._bases[[ARENA, self._counters_at]]
        self._bases[ARENA] = self._memory.reserve(frame.arena, stream)
        counters = int(frame.slots[self.engine.entry["counters"]])
        self._bases[self._counters_at] = self._counters.reserve(counters, stream)
        if not np.array_equal(before, self._bases[[ARENA, self._counters_at]]):
            self._drop_repeats()
        for number, source in enumerate(sources):
            self._bases[FIRST_INPUT + number] = self._placed(number, source, stream)
        results = self._outputs_of(frame, stream)
        self._bases[FIRST_INPUT + len(sources) : self._counters_at] = [one.address for one in results]
        return frame, results

    def _contents(self, number: int, source: Array | DeviceArray, stream: Any) -> Array:
        """What decides a frame: the input's shape, or its contents where sizes follow from them."""
        if not isinstance(source, DeviceArray):
            return source
        if number not in self._frames.valued:
            return np.broadcast_to(np.zeros((), source.spec.dtype.numpy), source.shape)
        array = np.empty(source.shape, source.spec.dtype.numpy)
        self._driver.download(array.ctypes.data, source.address, array.nbytes, stream)
        self._driver.synchronize(stream)
        return array

    def _placed(self, number: int, source: Array | DeviceArray, stream: Any) -> int:
        if isinstance(source, DeviceArray):
            if source.address % arrays.ALIGNMENT == 0:
                return source.address
            return self._staging.moved(number, source.address, source.nbytes, stream)
        return self._staging.uploaded(number, source, stream)

    def _parts(self, frame: Frame) -> list[Launches]:
        """The launches of a frame, remembered."""
        found = self._graphs.get(frame)
        if found is None:
            functions, spans = self._resident.functions, self._plan.spans
            found = [Launches(self._driver, functions, self._plan, span, frame.slots) for span in spans]
            self._graphs[frame] = found
            if len(self._graphs) > REMEMBERED:
                self._driver.synchronize(self._last)
                for part in self._graphs.popitem(last=False)[1]:
                    part.close()
        self._graphs.move_to_end(frame)
        return found

    def _part(self, part: Launches, frame: Frame, stream: Any) -> None:
        if self._cancel[0]:
            raise Cancelled("the call was cancelled")
        part.load(self._addressed(frame))
        part.run(stream, self._stream)

    def _addressed(self, frame: Frame) -> Slots:
        return addressed(self._plan, frame.slots, self._bases, self._resident.weights)

    def _returned(
        self, sources: Sequence[Any], results: Sequence[DeviceArray], stream: Any, given: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Results where the first input lies; those of the host are copied and complete."""
        if sources and isinstance(sources[0], DeviceArray):
            return arrays.like(given.values(), results)
        found = [self._host_result(one) for one in results]
        for array, one in zip(found, results, strict=True):
            self._driver.download(array.ctypes.data, one.address, one.nbytes, stream)
        self._driver.synchronize(stream)
        return found

    def _host_result(self, one: DeviceArray) -> Array:
        bound = self._bound_outputs.get(one.spec.name)
        if bound is None:
            return fresh_array(one.shape, one.spec.dtype.numpy)
        if bound.size < one.size:
            raise InputError(
                f"output {one.spec.name!r} needs {one.shape}, and the bound array has {bound.shape}",
                argument=one.spec.name,
                remedy="bind a larger array",
            )
        return bound.reshape(-1)[: one.size].reshape(one.shape)

    # looking inside

    def profile(self, inputs: Inputs = ()) -> Profile:
        """Run once, launch after launch, and tell how long each took, by the operators of the user's model."""
        with self._lock:
            self._cancel[0] = 0
            given = self._by_name(inputs)
            self._driver.enter()
            sources = self._sources(given)
            stream = self._stream_of(sources)
            frame, results = self._prepare(sources, stream)
            found: list[Timed] = []
            for part in self._parts(frame):
                part.load(self._addressed(frame))
                found += timed(self._driver, part, self._plan.labels, stream)
            outputs = self._returned(sources, results, stream, given)
        return Profile(in_order(found), dict(zip(self._names, outputs, strict=True)), 0)


def timed(driver: Driver, part: Launches, labels: Sequence[Label], stream: Any) -> list[Timed]:
    """Put launches on a stream one by one, and wait; how long each took."""
    begin = time.perf_counter()
    marks = [driver.open_event() for _ in range(len(part) + 1)]
    driver.record(marks[0], stream)
    for number in range(len(part)):
        part.launch_one(number, stream)
        driver.record(marks[number + 1], stream)
    driver.synchronize(stream)
    times = [driver.seconds(a, b) for a, b in itertools.pairwise(marks)]
    for mark in marks:
        driver.close_event(mark)
    starts = begin + np.cumsum([0.0, *times])
    named, unnamed = dict(enumerate(labels)), Label((), "", "")
    rows = zip(part.steps, starts.tolist(), times, strict=False)
    return [Timed(named.get(step, unnamed), step, 1, start, seconds) for step, start, seconds in rows]

"""A context on a GPU alone: inputs come from the host or lie there already, spans are graphs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import Cancelled, EngineError, TenfoldError
from tenfold.runtime.arrays import returning, too_small
from tenfold.runtime.calls import Inputs
from tenfold.runtime.context import Array, Context
from tenfold.runtime.cpu.arena import fresh_array
from tenfold.runtime.cpu.shortcut import address_reader
from tenfold.runtime.cuda import arrays
from tenfold.runtime.cuda.aimed import Aimed
from tenfold.runtime.cuda.alarms import Alarms
from tenfold.runtime.cuda.arrays import DeviceArray, shaped
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches, Slots, addressed
from tenfold.runtime.cuda.lending import Lending
from tenfold.runtime.cuda.memory import LARGE, Block, Results
from tenfold.runtime.cuda.queued import Lane, Queue
from tenfold.runtime.cuda.repeat import Repeat, Repeats
from tenfold.runtime.cuda.resident import Resident
from tenfold.runtime.cuda.state import DeviceState
from tenfold.runtime.frame import Frame
from tenfold.runtime.plan import ARENA, FIRST_INPUT, Label, Spec, counters_base
from tenfold.runtime.profile import Profile, in_order
from tenfold.runtime.profile import Step as Timed
from tenfold.runtime.steps import Opcode
from tenfold.runtime.written import Range, Written


class DeviceContext(Context):
    """One running instance on the GPU: a stream, an arena, counters, staging memory, and the graphs of its shapes.

    Arrays of the host are copied there and results back before a call returns. Arrays that lie on the GPU are
    used in place, in the order of their owner's stream; results then are the GPU's too, and may not be complete when
    the call returns: whoever reads them in that stream's order finds them so. That such a call was given an index
    outside of its axis is the next call's ExecutionError, at the latest that of `close`.
    """

    def _open(self) -> None:
        plan, resident = self.engine.plan, self.engine.resident
        self._resident: Resident = resident
        self._driver: Driver = resident.driver
        self._driver.enter()
        self._stream = self._driver.open_stream()
        self._lending = Lending(self._driver, self._stream)
        self._memory = Block(self._driver, self.engine.arena_limit)
        self._counters = Block(self._driver, None, zeroed=True)
        self._lane = Lane(self._driver, self._alarms)
        self._queued_calls: Queue | None = None
        self._awaited = True
        self._counters_at = counters_base(len(plan.inputs), len(plan.outputs))
        self._bases = np.zeros(self._counters_at + 2, np.int64)
        self._results = arrays.Recycled(self._driver)
        self._pinned = Results(self._driver)
        self._repeats = Repeats(self._driver, self._lending.wait)
        self._state: DeviceState = DeviceState(plan, self._memory, self._driver, lambda: self._lending.last)
        self._version = self._state.version
        entries = [step[4] for step in plan.steps.tolist() if step[0] == Opcode.CALL]
        self._grids = np.array(sorted(set(entries)), np.int64)
        if resident.meets:
            self._driver.meetings.join()

    def _alarms(self) -> Alarms:
        return Alarms(self._driver, self.engine.plan, self.engine.entry.get("alarms", ()))

    def _give_back(self) -> None:
        self._driver.enter()
        if self._queued_calls is not None:
            self._queued_calls.close(self._stream)
        self._lending.close()
        self._state.reset()
        try:
            self._lane.alarms.look()
        finally:
            for one in (self._lane, self._memory, self._counters, self._results):
                one.close(self._stream)
            self._pinned.close()
            self._driver.synchronize(self._stream)
            self._driver.close_stream(self._stream)
            if self._resident.meets:
                self._driver.meetings.leave()

    # running

    def _run(self, inputs: Inputs) -> Sequence[Any]:
        self._require_open()
        self._lane.alarms.look()
        if self._version != self._state.version:
            self._repeats.clear()
            self._version = self._state.version
        repeated = self._repeats.run(self._given_in_order(inputs), self._lending.number)
        if repeated is not None:
            return repeated
        given = self._by_name(inputs)
        self._driver.enter()
        sources = self._sources(given)
        stream = self._lending.stream_of(sources)
        frame, results = self._prepare(sources, stream, self._lane, stream)
        for part in self._parts(frame, self._lane):
            self._part(part, frame, stream)
        self._lending.hold(sources, stream)
        handed = self._for_the_caller(results)
        found = self._returned(sources, handed, stream, given)
        self._remember_call(given, frame, stream, dict(zip((one.spec.name for one in handed), found, strict=True)))
        self._state.commit(frame.slots, results)
        return found

    def _for_the_caller(self, results: Sequence[DeviceArray]) -> list[DeviceArray]:
        """Results but for those that are the state of the next call."""
        return [one for number, one in enumerate(results) if number not in self._state.carried]

    def _remember_call(self, given: Mapping[str, Any], frame: Frame, stream: Any, results: Mapping[str, Any]) -> None:
        """Let later calls be repetitions of this one, if it is one graph on tensors of the GPU."""
        given = {**self._bound_inputs, **given}
        bound = {number: (self._bound_outputs[name], array) for number, (name, array) in enumerate(results.items())
                 if name in self._bound_outputs}  # fmt: skip
        fixed = not self._frames.valued and self._state.stays and len(self._plan.spans) == 1
        if fixed and len(given) == len(self._inputs):
            ordered, bases, home = [given[name] for name in self._inputs], self._bases.copy(), self._stream
            fresh = partial(self._fresh, frame, bases, stream)
            self._repeats.add(ordered, bound, lambda: Repeat(self._driver, ordered, stream, home, fresh, bound))

    def _fresh(
        self, frame: Frame, bases: NDArray[np.int64], stream: Any, places: Sequence[int], sizes: Sequence[int]
    ) -> tuple[Aimed, Sequence[DeviceArray]]:
        """Launches of a call on inputs of these sizes that lie there, and memory of its own where they write."""
        results = self._outputs_of(frame, stream)
        own = bases.copy()
        own[self._counters_at - len(results) : self._counters_at] = [one.address for one in results]
        written = self._written_there(results)
        made = Aimed(
            self._driver, self._resident, self._plan, frame.slots, own, self._places, places, sizes, written, stream
        )
        return made, self._for_the_caller(results)

    def _forget(self) -> None:
        super()._forget()
        self._repeats.clear()

    def _outputs_of(self, frame: Frame, stream: Any) -> list[DeviceArray]:
        found: list[DeviceArray] = []
        for number, (spec, shape) in enumerate(zip(self._plan.outputs, frame.outputs, strict=True)):
            assert shape is not None, "engines for GPUs alone have no outputs whose sizes only data decide"
            bound = self._bound_outputs.get(spec.name)
            if number in self._state.carried:
                found.append(self._state.result(number, shape))
            elif bound is None or isinstance(bound, np.ndarray):
                found.append(self._results.take(spec, shape, stream))
            else:
                found.append(arrays.part_of(spec, bound, shape, int(stream), self._results))
        return found

    def _sources(self, given: Mapping[str, Any]) -> list[Array | DeviceArray]:
        """What the caller gives: NumPy's arrays, or those that lie on the GPU."""
        for name in given:
            self._require(name, self._inputs, "input")
        found: list[Array | DeviceArray] = []
        for spec in self.engine.inputs:
            array = given.get(spec.name, self._bound_inputs.get(spec.name))
            there = arrays.on_device(spec, array)
            found.append(there if there is not None else self._input(spec, given))
        return found

    def _prepare(
        self, sources: Sequence[Array | DeviceArray], stream: Any, lane: Lane, inward: Any
    ) -> tuple[Frame, list[DeviceArray]]:
        """The frame of the call, and where results go; all bases are set, and the host's inputs on their way in the
        stream `inward`.
        """
        frame = self._frame_of(dict(zip(self._places, sources, strict=True)), stream)
        before = self._memory.address, self._counters.address
        counters = int(frame.slots[self.engine.entry["counters"]])
        try:
            self._bases[ARENA] = self._memory.reserve(frame.arena, stream)
            self._bases[self._counters_at] = self._counters.reserve(counters, stream)
        finally:
            if before != (self._memory.address, self._counters.address):
                self._repeats.clear()
        self._bases[self._counters_at + 1] = lane.alarms.address
        results = self._outputs_of(frame, stream)
        written = self._written_there(results)
        for number, source in zip(self._places, sources, strict=True):
            self._bases[FIRST_INPUT + number] = self._placed(number, source, stream, lane, inward, written)
        for number, address in self._state.addresses.items():
            self._bases[FIRST_INPUT + number] = address
        self._bases[self._counters_at - len(results) : self._counters_at] = [one.address for one in results]
        return frame, results

    def _written_there(self, results: Sequence[DeviceArray]) -> Written:
        """The GPU's memory that the caller bound and the call writes."""
        bound = (one for one in results if one.spec.name in self._bound_outputs)
        return Written({one.spec.name: (one.address, one.address + one.nbytes) for one in bound})

    def _frame_of(self, sources: Mapping[int, Array | DeviceArray], stream: Any) -> Frame:
        """The frame of a call that is given these by number; the state has room for its rows."""
        contents = {number: self._contents(number, one, stream) for number, one in sources.items()}
        frame = self._frames.find(self._state.shapes(contents))
        while self._state.make_room(frame.slots):
            frame = self._frames.find(self._state.shapes(contents))
        return frame

    def _contents(self, number: int, source: Array | DeviceArray, stream: Any) -> Array:
        """What decides a frame: the input's shape, or its contents where sizes follow from them."""
        if not isinstance(source, DeviceArray):
            return source
        if number not in self._frames.valued:
            return shaped(source.shape, source.spec.dtype)
        array = np.empty(source.shape, source.spec.dtype.numpy)
        self._driver.download(array.ctypes.data, source.address, array.nbytes, stream)
        self._driver.synchronize(stream)
        return array

    def _placed(
        self, number: int, source: Array | DeviceArray, stream: Any, lane: Lane, inward: Any, written: Written
    ) -> int:
        """Where the call reads an input: in place, unless it is not aligned or is written meanwhile."""
        if isinstance(source, DeviceArray):
            if source.address % arrays.ALIGNMENT == 0 and not written.over(source.address, source.nbytes):
                return source.address
            return lane.staging.moved(number, source.address, source.nbytes, stream)
        if lane is self._lane and not self._awaited:
            self._lending.wait()
            self._awaited = True
        return lane.staging.uploaded(number, source, inward)

    def _parts(self, frame: Frame, lane: Lane) -> list[Launches]:
        """The launches of a frame, remembered."""
        functions, spans = self._resident.functions, self._plan.spans
        key = (frame.slots[self._grids].tobytes(), *self._state.addresses.values()) if self._state else frame
        return lane.parts(
            key, lambda: [Launches(self._driver, functions, self._plan, span, frame.slots) for span in spans]
        )

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
        """Results where the first input lies, or where they are bound; those of the host are copied and complete."""
        hosts = self._hosts(sources, results)
        for array, one in zip(hosts, results, strict=True):
            if array is not None:
                self._driver.download(address_reader()(array), one.address, one.nbytes, stream)
        if all(array is None for array in hosts) and sources and isinstance(sources[0], DeviceArray):
            self._awaited = False
        else:
            self._driver.synchronize(stream)
            self._lane.alarms.look()
        return self._handed(hosts, results, given)

    def _hosts(self, sources: Sequence[Any], results: Sequence[DeviceArray]) -> list[Array | None]:
        """For each result the host's memory that it is copied to; None for one that stays on the GPU."""
        there = bool(sources) and isinstance(sources[0], DeviceArray)
        bound = [self._bound_outputs.get(one.spec.name) for one in results]
        stays = [there if array is None else not isinstance(array, np.ndarray) for array in bound]
        return [None if stay else self._host_result(one) for stay, one in zip(stays, results, strict=True)]

    def _handed(
        self, hosts: Sequence[Array | None], results: Sequence[DeviceArray], given: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Results as arrays of the kind of the first input, or of what is bound, which is handed out itself where its
        shape is the result's.
        """
        returned, there = returning(given.values()), arrays.like([*given.values(), *self._bound_inputs.values()])
        return [
            self._there(one, there) if array is None else returned(array) if returned else array
            for array, one in zip(hosts, results, strict=True)
        ]

    def _there(self, one: DeviceArray, there: Callable[[DeviceArray], Any]) -> Any:
        bound = self._bound_outputs.get(one.spec.name)
        if bound is None:
            return there(one)
        return bound if tuple(getattr(bound, "shape", ())) == one.shape else arrays.like([bound])(one)

    def _own_input(self, spec: Spec, given: Any) -> Any:
        return super()._own_input(spec, given) if arrays.on_device(spec, given) is None else given

    def _own_output(self, spec: Spec, given: Any) -> Any:
        return super()._own_output(spec, given) if arrays.as_output(spec, given) is None else given

    def _place(self, name: str, bound: Any) -> Range:
        there = arrays.on_device(self._outputs[name], bound)
        return super()._place(name, bound) if there is None else (there.address, there.address + there.nbytes)

    def _host_result(self, one: DeviceArray) -> Array:
        bound = self._bound_outputs.get(one.spec.name)
        if bound is None:
            dtype = one.spec.dtype.numpy
            pinned = self._pinned.take(one.shape, dtype)
            return fresh_array(one.shape, dtype) if pinned is None else pinned
        if bound.size < one.size:
            raise too_small(one.spec, one.shape, bound.shape)
        whole: Array = bound.reshape(-1)
        return whole[: one.size].reshape(one.shape)

    # queued

    def _submit(self, inputs: Inputs, token: object) -> Future[dict[str, Any]]:
        order = _Order(self._epoch, token)
        try:
            self._driver.enter()
            order.given = self._by_name(inputs)
            order.sources = self._sources(order.given)
            order.marks = self._lending.marks(order.sources)
        except TenfoldError as error:
            order.promised.set_exception(error)
            return order.promised
        self._enqueue(self._take, order)
        return order.promised

    def _take(self, order: _Order) -> None:
        """Put a queued call on the streams, after those before it."""
        if not order.promised.set_running_or_notify_cancel():
            return
        try:
            with self._lock:
                self._take_turn(order.token)
                try:
                    self._send(order)
                finally:
                    self._take_turn(None)
        except Exception as error:
            order.promised.set_exception(error)

    def _send(self, order: _Order) -> None:
        self._cancel[0] = 0
        if self._epoch != order.epoch:
            raise Cancelled("the call was cancelled before it began")
        if self._closed:
            raise EngineError("the context is closed", remedy="make another with engine.context()")
        driver = self._driver
        driver.enter()
        if self._queued_calls is None:
            self._queued_calls = Queue(driver, self._alarms)
        queue, stream = self._queued_calls, self._lending.next(self._stream)
        if self._written.over_any(order.sources):
            queue.wait()
        lane = queue.lane()
        for mark in order.marks:
            driver.wait(stream, mark)
            driver.close_event(mark)
        try:
            frame, results = self._prepare(order.sources, stream, lane, queue.inward)
            driver.follow(stream, queue.inward)
            for part in self._parts(frame, lane):
                self._part(part, frame, stream)
        except TenfoldError:
            driver.synchronize(queue.inward)
            raise
        self._state.commit(frame.slots, results)
        queue.finish(lane, order.promised, self._arriving(order, self._for_the_caller(results), queue, lane))

    def _arriving(
        self, order: _Order, results: Sequence[DeviceArray], queue: Queue, lane: Lane
    ) -> Callable[[], dict[str, Any]]:
        """What waits for the results of a call that is on its way."""
        driver, hosts = self._driver, self._hosts(order.sources, results)
        copies = [
            (
                array.nbytes >= LARGE and driver.is_pinned(array.ctypes.data),
                (array.ctypes.data, one.address, one.nbytes),
            )
            for array, one in zip(hosts, results, strict=True)
            if array is not None
        ]
        computed, arrived = driver.open_event(), driver.open_event()
        driver.record(computed, self._stream)
        driver.wait(queue.outward, computed)
        for at_once, copy in copies:
            if at_once:
                driver.download(*copy, queue.outward)
        driver.record(arrived, queue.outward)

        def found() -> dict[str, Any]:
            driver.reached(computed)
            for at_once, copy in copies:
                if not at_once:
                    driver.download(*copy, queue.aside)
            driver.synchronize(queue.aside)
            driver.reached(arrived)
            lane.alarms.look()
            for event in (computed, arrived):
                driver.close_event(event)
            if self._epoch != order.epoch:
                raise Cancelled("the call was cancelled")
            ended = self._handed(hosts, [replace(one, stream=None) for one in results], order.given)
            return dict(zip(self._outputs, ended, strict=True))

        return found

    # looking inside

    def profile(self, inputs: Inputs = ()) -> Profile:
        """Run once, launch after launch, and tell how long each took, by the operators of the user's model."""
        with self._lock:
            self._cancel[0] = 0
            given = self._by_name(inputs)
            self._driver.enter()
            sources = self._sources(given)
            stream = self._lending.stream_of(sources)
            frame, results = self._prepare(sources, stream, self._lane, stream)
            found: list[Timed] = []
            for part in self._parts(frame, self._lane):
                part.load(self._addressed(frame))
                found += timed(self._driver, part, self._plan.labels, stream)
            outputs = self._returned(sources, self._for_the_caller(results), stream, given)
            self._state.commit(frame.slots, results)
        return Profile(in_order(found), dict(zip(self._outputs, outputs, strict=True)), 0)


class _Order:
    """A queued call: what was given, and its streams' marks from which on that may be used."""

    def __init__(self, epoch: int, token: object) -> None:
        self.epoch, self.token = epoch, token
        self.promised: Future[dict[str, Any]] = Future()
        self.given: dict[str, Any] = {}
        self.sources: list[Array | DeviceArray] = []
        self.marks: list[Any] = []


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

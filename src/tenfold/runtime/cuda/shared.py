"""A context on a GPU and the CPU beside it: spans of launches, of native code, host steps, branches and loops."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from threading import Lock
from typing import Any

import numpy as np

from tenfold.errors import Cancelled
from tenfold.runtime.arrays import as_result
from tenfold.runtime.calls import Inputs
from tenfold.runtime.context import Array, Context
from tenfold.runtime.cuda import arrays
from tenfold.runtime.cuda.alarms import Alarms
from tenfold.runtime.cuda.arrays import DeviceArray
from tenfold.runtime.cuda.context import timed
from tenfold.runtime.cuda.launches import Launches, addressed
from tenfold.runtime.cuda.memory import Block, PinnedArena, Results
from tenfold.runtime.cuda.mirror import GPU, HOST, Mirror
from tenfold.runtime.cuda.queued import REMEMBERED
from tenfold.runtime.frame import Frame
from tenfold.runtime.plan import FIRST_INPUT, Span, Spec, counters_base
from tenfold.runtime.state import State

LANES = 3
"""Queued calls that are on their way at once."""


class SharedContext(Context):
    """As the CPU's, but that spans of the GPU are graphs of launches on a stream of ours, and that buffers which both
    touch are copied when the other side asks for them. The CPU goes on while the GPU works, until it needs a result.

    Arrays on the GPU are used in place, in the order of their owner's stream; results are of the first input's kind.

    Queued calls go in turns to this context and to twins, which have memory and a stream for copies of their own, but
    launch in the same stream: while the GPU works on one call, the CPU works on another, and a third one's inputs come.
    They begin and end in order.
    """

    def _open(self) -> None:
        super()._open()
        plan, self._resident = self.engine.plan, self.engine.resident
        self._driver = self._resident.driver
        self._driver.enter()
        self._arena = PinnedArena(self._driver, self.engine.arena_limit)
        self._state = State(plan, self._arena)
        self._twins: list[SharedContext] = []
        self._launches = self._driver.open_stream()
        self._owns = True
        self._cpu, self._order = Lock(), Lock()
        self._last = Future[dict[str, Any]]()
        self._last.set_result({})
        self._calls = 0
        invocation = self._invocation
        self._first_output = FIRST_INPUT + len(plan.inputs)
        same = {
            self._first_output + one.output: FIRST_INPUT + one.input
            for one in plan.carried
            if one.grows or one.in_place
        }
        self._mirror = Mirror(self._driver, self._bases, invocation.frame, self.engine.arena_limit, same)
        self._counters = Block(self._driver, None, zeroed=True)
        self._counters_at = counters_base(len(plan.inputs), len(plan.outputs))
        self._alarms = Alarms(self._driver, plan, self.engine.entry.get("alarms", ()))
        self._graphs: OrderedDict[Frame, dict[int, Launches]] = OrderedDict()
        self._on_gpu: dict[int, DeviceArray] = {}
        self._running: Frame | None = None
        self._results = arrays.Recycled(self._driver)
        self._pinned = Results(self._driver)
        if self._resident.meets:
            self._driver.meetings.join()

    def _give_back(self) -> None:
        self._driver.enter()
        self._driver.synchronize(self._mirror.stream)
        if self._resident.meets:
            self._driver.meetings.leave()
        for parts in self._graphs.values():
            for part in parts.values():
                part.close()
        self._graphs.clear()
        self._counters.close(self._mirror.stream)
        self._results.close(self._mirror.stream)
        self._pinned.close()
        self._alarms.close()
        self._mirror.close()
        super()._give_back()

    def _run(self, inputs: Inputs) -> Sequence[Any]:
        self._driver.enter()
        return super()._run(inputs)

    def _input(self, spec: Spec, given: Mapping[str, Any]) -> Array:
        number = self._number(spec)
        there = arrays.on_device(spec, given.get(spec.name, self._bound_inputs.get(spec.name)))
        self._on_gpu.pop(number, None)
        if there is None:
            return super()._input(spec, given)
        if there.stream is not None:
            self._driver.follow(self._mirror.stream, self._driver.foreign_stream(there.stream))
        self._on_gpu[number] = there
        array = np.empty(there.shape, spec.dtype.numpy)
        if number in self._frames.valued:
            self._driver.download(array.ctypes.data, there.address, there.nbytes, self._mirror.stream)
            self._driver.synchronize(self._mirror.stream)
        return array

    def _result(self, number: int, shape: tuple[int, ...]) -> Array:
        spec = self._plan.outputs[number]
        if number in self._state.carried or spec.name in self._bound_outputs or spec.dtype.is_object:
            return super()._result(number, shape)
        pinned = self._pinned.take(shape, spec.dtype.numpy)
        return super()._result(number, shape) if pinned is None else pinned

    def _number(self, spec: Spec) -> int:
        return next(number for number, one in enumerate(self._plan.inputs) if one is spec)

    def _walk(self, frame: Frame) -> None:
        self._running = frame
        self._invocation.frame[:] = frame.slots
        counters = int(frame.slots[self.engine.entry["counters"]])
        given = [self._given(number) for number in range(len(self._plan.inputs))]
        self._mirror.told = None if self._host_steps is None else self._host_steps.append
        self._mirror.begin(frame.arena, given)
        self._alarms.clear()
        self._mirror.gpu[self._counters_at + 1] = self._alarms.address
        self._mirror.gpu[self._counters_at] = self._counters.reserve(counters, self._mirror.stream)
        super()._walk(frame)
        self._deliver()

    def _given(self, number: int) -> tuple[int, int, int]:
        there = self._on_gpu.get(number)
        if there is None:
            return FIRST_INPUT + number, 0, HOST
        address = there.address
        if address % arrays.ALIGNMENT:
            address = self._mirror.moved(FIRST_INPUT + number, address, there.nbytes)
        return FIRST_INPUT + number, address, GPU

    def _deliver(self) -> None:
        """Results that the GPU made last come to the host, unless the caller's arrays are on the GPU; state always."""
        for number, array in enumerate(self._tensors[1]):
            wanted = array is not None and (0 not in self._on_gpu or number in self._state.carried)
            if wanted and self._mirror.holds(self._first_output + number) == GPU:
                self._mirror.fetch(self._first_output + number, array.ctypes.data, array.nbytes)
        self._driver.synchronize(self._mirror.stream)
        self._alarms.look()

    def _begin(self, span: Span) -> None:
        self._mirror.ready(span.sees, HOST)

    def _end(self, span: Span) -> None:
        self._mirror.made(span.makes, HOST)

    def _native(self, span: Span, brief: bool) -> None:
        if span.place == "cuda":
            self._launch(span)
            return
        self._begin(span)
        with self._cpu:
            super()._native(span, brief)
        self._end(span)

    def _launch(self, span: Span) -> None:
        if self._cancel[0]:
            raise Cancelled("the call was cancelled")
        mirror, stream = self._mirror, self._mirror.stream
        mirror.ready(span.sees, GPU)
        mirror.room(span.makes)
        part = self._part(span)
        part.load(addressed(self._plan, self._invocation.frame, mirror.gpu, self._resident.weights))
        if self._host_steps is None:
            self._driver.follow(self._launches, stream)
            part.run(self._launches, stream)
            self._driver.follow(stream, self._launches)
        else:
            self._host_steps += timed(self._driver, part, self._plan.labels, stream)
        mirror.made(span.makes, GPU)

    def _part(self, span: Span) -> Launches:
        """The launches of a span in the running frame, remembered."""
        assert self._running is not None
        parts = self._graphs.setdefault(self._running, {})
        self._graphs.move_to_end(self._running)
        if span.begin not in parts:
            slots = self._running.slots
            parts[span.begin] = Launches(self._driver, self._resident.functions, self._plan, span, slots)
        if len(self._graphs) > REMEMBERED:
            self._driver.synchronize(self._mirror.stream)
            for part in self._graphs.popitem(last=False)[1].values():
                part.close()
        return parts[span.begin]

    # queued

    def _submit(self, inputs: Inputs, token: object) -> Future[dict[str, Any]]:
        alone, bound = bool(self._state or self._bound_outputs), dict(self._bound_inputs)
        with self._order:
            self._calls += 1
            lane = self if alone else self._lane(self._calls % LANES)
            self._last = lane._enqueue(lane._take, inputs, bound, lane._epoch, token, self._last, alone)
            return self._last

    def _lane(self, number: int) -> SharedContext:
        """This context or a twin."""
        while len(self._twins) < number:
            self._twins.append(SharedContext(self.engine, self._frames.threads))
            self._twins[-1]._join(self)
        return self._twins[number - 1] if number else self

    def _join(self, first: SharedContext) -> None:
        """Take turns with another context: on the CPU, so that each has all threads, and on the GPU."""
        self._driver.close_stream(self._launches)
        self._cpu, self._launches, self._owns = first._cpu, first._launches, False

    def _take(
        self,
        inputs: Inputs,
        bound: Mapping[str, Any],
        epoch: int,
        token: object,
        before: Future[dict[str, Any]],
        alone: bool,
    ) -> dict[str, Any]:
        """A queued call, which ends after the one before, and if `alone` begins then."""
        if alone:
            wait([before])
        try:
            given = self._by_name(inputs)
            return self._queued(given | {name: bound[name] for name in bound if name not in given}, epoch, token)
        finally:
            wait([before])

    def _stop(self, token: object) -> None:
        super()._stop(token)
        for one in self._twins:
            one._stop(token)

    def cancel(self) -> None:
        """End the running calls and the queued ones with Cancelled."""
        super().cancel()
        for one in self._twins:
            one.cancel()

    def close(self) -> None:
        """Give memory and threads back. Waits for the running calls; queued ones end with EngineError."""
        super().close()
        for one in self._twins:
            one.close()
        if self._owns:
            self._owns = False
            self._driver.enter()
            self._driver.close_stream(self._launches)

    def _handed_out(self, results: Sequence[Any], given: Mapping[str, Any]) -> Sequence[Any]:
        """Where the model's first input lies on the GPU, results do too."""
        if 0 not in self._on_gpu:
            return super()._handed_out(results, given)
        rest = [number for number in range(len(self._plan.outputs)) if number not in self._state.carried]
        pairs = zip(rest, self.engine.outputs, results, strict=True)
        found = [self._on_the_gpu(number, spec, array) for number, spec, array in pairs]
        self._driver.synchronize(self._mirror.stream)
        return [*map(arrays.like([given.get(self._plan.inputs[0].name)]), found)]

    def _on_the_gpu(self, number: int, spec: Spec, array: Array) -> Any:
        if spec.dtype.is_object:
            return as_result(spec, array, None)
        mirror, base = self._mirror, self._first_output + number
        made = self._results.take(spec, array.shape, mirror.stream)
        if mirror.holds(base) == GPU:
            self._driver.copy(made.address, int(mirror.gpu[base]), made.nbytes, mirror.stream)
        else:
            self._driver.upload(made.address, array.ctypes.data, made.nbytes, mirror.stream)
        return made

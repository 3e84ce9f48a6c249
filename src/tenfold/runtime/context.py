"""A context: one running instance of an engine. Mutable, used by one call at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import Cancelled, EngineError, InputError
from tenfold.ir.dtype import Kind
from tenfold.runtime.advance import Advance
from tenfold.runtime.arrays import as_input, as_result, by_name, returning, too_small
from tenfold.runtime.bindings import Bindings
from tenfold.runtime.calls import Inputs
from tenfold.runtime.cpu.arena import Arena, fresh_array
from tenfold.runtime.cpu.block import KERNEL_ERROR, Status
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.cpu.quick import quick_calls
from tenfold.runtime.cpu.shortcut import Replay
from tenfold.runtime.failures import outside
from tenfold.runtime.frame import Frame, Frames
from tenfold.runtime.lent import BRIEF_ARENA, Lent
from tenfold.runtime.plan import ARENA, FIRST_INPUT, WEIGHTS, Label, Plan, Span, Spec
from tenfold.runtime.profile import Profile, Step, in_order
from tenfold.runtime.room import machine_memory, too_large
from tenfold.runtime.state import State
from tenfold.runtime.walk import Walk

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine

Array = NDArray[Any]
MOST_STEPS = 1 << 16


class Context(Bindings):
    """One running instance of an engine: its frame, arena and bindings.

    Calls on one context run one after the other; several contexts of one engine run at once.
    """

    def __init__(self, engine: Engine, threads: int | None = None) -> None:
        if not isinstance(getattr(engine, "plan", None), Plan):
            raise TypeError(
                f"a context runs an engine, and this is a {type(engine).__name__}: make one with "
                "tenfold.load(path).context() or tenfold.build(model).context()"
            )
        super().__init__(engine)
        self._plan = plan = engine.plan
        self._frames: Frames = engine.frames(threads)
        self._state = State(plan, Arena())
        self._open()
        self._frame: Frame | None = None
        self._replay: Replay | None = None
        self._quick: Callable[..., Any] | None = None
        self.in_order: Callable[..., Any] | None = None
        """What a repeated call is as one built-in function of its arrays, for whoever runs the context alone."""
        self._replayed: Frame | None = None
        self._advance: Advance | None = None
        self._names = tuple(spec.name for spec in plan.outputs)
        self._places = tuple(number for number in range(len(plan.inputs)) if number not in plan.hidden)
        self._tensors: tuple[list[Array], list[Any]] = [], []
        self._host_steps: list[Step] | None = None
        self._closed = False
        self.native_calls = 0
        """How many native calls the last call made: one for each native span."""
        self.reentries = 0
        """How often they went on after a look at signals, which they take every 50 ms."""

    def _open(self) -> None:
        """Take what the machine gives a running instance."""
        self._invocation = Invocation(
            self.engine.program, threads=self._frames.threads, team=self.engine.team, cancel=self._cancel
        )
        self._arena = Arena(self.engine.arena_limit)
        self._bases = self._invocation.bases
        self._bases[WEIGHTS] = self.engine.weights.ctypes.data
        self._state = State(self._plan, self._arena)

    def _give_back(self) -> None:
        """Give back what `_open` took."""
        self._invocation.close()
        self._arena.close()

    # running

    def run(self, inputs: Inputs = ()) -> dict[str, Any]:
        """The model's outputs by name, in the model's order, for these inputs (by name, or in order).

        Bound inputs may be left out; bound outputs are written in place. Results are arrays of the kind of the first
        input. Raises InputError for an array that does not fit, Cancelled, ExecutionError.
        """
        epoch = self._epoch
        with self._lock:
            if self._quick is not None and self._epoch == epoch:
                found: dict[str, Any] | None = self._quick(inputs)
                if found is not None:
                    self.native_calls, self.reentries = 1, 0
                    return found
            return self._named(inputs, epoch)

    def call(self, inputs: Inputs = ()) -> Sequence[Any]:
        """As `run`: the outputs in the model's order."""
        epoch = self._epoch
        with self._lock:
            return self._call(inputs, epoch)

    def _named(self, inputs: Inputs, epoch: int) -> dict[str, Any]:
        return dict(zip(self._outputs, self._call(inputs, epoch), strict=True))

    def _call(self, inputs: Inputs, epoch: int) -> Sequence[Any]:
        """A call that `cancel` ends if it comes after `epoch` was read."""
        self._cancel[0] = 0
        if self._epoch != epoch:
            raise Cancelled("the call was cancelled before it began")
        if self._replay is not None:
            given = self._in_order(inputs)
            results = None if self._written.over_any(given) else self._replay.run(given)
            if results is not None:
                self.native_calls, self.reentries = 1, self._invocation.entries - 1
                if self.reentries:
                    self._quick = self.in_order = None
                if self._replay.status:
                    self._finish(self._replay.status)
                return self._ended(results) if self._state.carried else results
        elif self._advance is not None:
            given = self._given_in_order(inputs)
            results = None if self._written.over_any(given) else self._advance.prepare(given)
            if results is not None:
                self.native_calls = self.reentries = 0
                self._native(self._plan.spans[0], self._arena.size < BRIEF_ARENA)
                self._advance.commit()
                return results
        return self._run(inputs)

    def _in_order(self, inputs: Inputs) -> Sequence[Any]:
        """The arrays of a call as they were given, in the model's order, then the state; nothing if they do not name
        each once.
        """
        found = self._given_in_order(inputs)
        if not self._state.carried:
            return found
        return [*found, *(self._state.arrays.get(one.input) for one in self._state)]

    def _given_in_order(self, inputs: Inputs) -> Sequence[Any]:
        if self._bound_inputs:
            if not inputs:
                return self._standing
            inputs = self._by_name(inputs)
            if not inputs.keys() <= self._inputs.keys():
                return ()
            inputs = self._bound_inputs | inputs
        elif type(inputs) is list or type(inputs) is tuple:
            return inputs
        elif type(inputs) is not dict:
            inputs = self._by_name(inputs)
        return [inputs.get(name) for name in self._inputs] if len(inputs) == len(self._inputs) else ()

    def _by_name(self, inputs: Inputs) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        if not isinstance(inputs, Sequence):
            raise InputError(
                f"the inputs are a {type(inputs).__name__}",
                argument="inputs",
                remedy="give a dict of arrays by name, or a list of arrays",
            )
        if len(inputs) > len(self._inputs):
            raise InputError(
                f"{len(inputs)} arrays given; the model takes {len(self._inputs)}",
                argument="inputs",
                remedy=self._takes(),
            )
        return dict(zip(self._inputs, inputs, strict=False))

    def _run(self, inputs: Inputs) -> Sequence[Any]:
        self._require_open()
        given = self._by_name(inputs)
        arrays = self._gather(given)
        frame = self._frames.find(arrays)
        while self._state.make_room(frame.slots):
            arrays = self._gather(given)
            frame = self._frames.find(arrays)
        if frame.needed > machine_memory():
            raise too_large(self._plan, frame.slots.tolist(), frame.results, machine_memory())
        outputs = enumerate(frame.outputs)
        results: list[Any] = [None if shape is None else self._result(number, shape) for number, shape in outputs]
        self._bases[ARENA] = self._arena.reserve(frame.arena)
        for number, array in enumerate((*arrays, *results), FIRST_INPUT):
            self._bases[number] = 0 if array is None else array.ctypes.data
        self._remember(frame, arrays, results)
        self._tensors = arrays, results
        try:
            self._walk(frame)
        finally:
            self._tensors = [], []
        return self._handed_out(self._ended(results), given)

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError("the context is closed", remedy="make another with engine.context()")

    def _ended(self, results: Sequence[Any]) -> Sequence[Any]:
        """The results that are the caller's; the others are the state of the next call."""
        if not self._state:
            return results
        self._state.commit(self._invocation.frame, results)
        return [array for number, array in enumerate(results) if number not in self._state.carried]

    def _handed_out(self, results: Sequence[Any], given: Mapping[str, Any]) -> Sequence[Any]:
        returned = returning(given.values())
        if self.engine.is_one_span:
            return [*map(returned, results)] if returned else results
        return [as_result(spec, array, returned) for spec, array in zip(self.engine.outputs, results, strict=True)]

    def _walk(self, frame: Frame) -> None:
        self._invocation.frame[:] = frame.slots
        self.native_calls = self.reentries = 0
        if self.engine.is_one_span:
            self._native(self._plan.spans[0], frame.arena < BRIEF_ARENA)
        else:
            inputs, results = self._tensors
            walk = Walk(self._plan, self._frames, self._invocation, Lent(self), inputs, results)
            walk.run(self.engine.spans)
            walk.shaped_results()

    def _begin(self, span: Span) -> None:
        """Hear that Python is about to work on a span."""

    def _end(self, span: Span) -> None:
        """Hear that it has done so."""

    def _native(self, span: Span, brief: bool) -> None:
        self._finish(self._invocation.run(brief=brief, start=span.begin))
        self.native_calls += 1
        self.reentries += self._invocation.entries - 1

    def _remember(self, frame: Frame, arrays: Sequence[Array], results: Sequence[Array]) -> None:
        """Let the next call be quick, if it is one native call: an advance where rows are appended; else a replay, from
        the second call of one kind in a row on.
        """
        native = self.engine.native_sizes
        if self._state.grows and self.engine.is_one_span and native and all(one.grows for one in self._state):
            self._advance = Advance(
                self._plan, native, self._invocation, self._state, self._arena, frame, arrays, self._result
            )
            return
        again, self._frame = self._frame is frame, frame
        if again and self._replayed is not frame and self.engine.is_one_span and not self._state.grows:
            watched = {symbol.input for symbol in self._plan.symbols if symbol.entry >= 0}
            kept = {index: self._keeper(index, array) for index, array in enumerate(results) if self._keeps(index)}
            brief, call = frame.arena < BRIEF_ARENA, (self._invocation, frame.slots, arrays, results)
            self._replayed, self._quick, self.in_order = frame, None, None
            self._replay = Replay(*call, first=FIRST_INPUT, watched=watched, kept=kept, brief=brief)
            if brief and not (self._bound_inputs or self._bound_outputs or self._state):
                names = tuple(self._inputs), tuple(self._outputs)
                self._quick, self.in_order = quick_calls(*call, first=FIRST_INPUT, watched=watched, names=names)

    def _keeps(self, number: int) -> bool:
        return number in self._state.carried or self._names[number] in self._bound_outputs

    def _keeper(self, number: int, array: Array) -> Callable[[], Any]:
        """What gives the array that a replayed call writes an output into; None from it before a first call."""
        if number in self._state.carried:
            if (one := self._state.carried[number]).in_place:
                return partial(self._state.arrays.get, one.input)
            return partial(self._state.result, number, array.shape)
        return lambda: array

    def _address(self, base: int, offset: int) -> int:
        return int(self._bases[base] + self._invocation.frame[offset])

    def _finish(self, status: int) -> None:
        if status == Status.CANCELLED:
            raise Cancelled("the call was cancelled")
        if status >= KERNEL_ERROR:
            raise outside(self._plan.labels[self._invocation.error_step])

    def _gather(self, given: Mapping[str, Any]) -> list[Array]:
        for name in given:
            self._require(name, self._inputs, "input")
        arrays = [self._written.apart(self._input(spec, given)) for spec in self.engine.inputs]
        return self._state.complete(dict(zip(self._places, arrays, strict=True))) if self._state else arrays

    def _input(self, spec: Spec, given: Mapping[str, Any]) -> Array:
        array = given.get(spec.name)
        if array is None:
            array = self._bound_inputs.get(spec.name)
        if array is None and not (spec.dtype.kind is Kind.OPTIONAL and spec.name in given):
            raise InputError(f"input {spec.name!r} is missing", argument=spec.name, remedy=self._takes())
        return as_input(spec, array)

    def _result(self, number: int, shape: tuple[int, ...]) -> Array:
        if number in self._state.carried:
            kept: Array = self._state.result(number, shape)
            return kept
        spec = self._plan.outputs[number]
        bound: Array | None = self._bound_outputs.get(spec.name)
        if bound is None:
            return fresh_array(shape, spec.dtype.numpy)
        size = int(np.prod(shape, dtype=np.int64))
        if bound.size < size:
            raise too_small(spec, shape, bound.shape)
        return bound.reshape(-1)[:size].reshape(shape)

    def _forget(self) -> None:
        super()._forget()
        self._frame = self._replay = self._replayed = self._advance = self._quick = self.in_order = None

    # state

    @property
    def state(self) -> dict[str, Array]:
        """A copy of what is kept from call to call, by name; empty before the first call."""
        with self._lock:
            self._require_open()
            return {name: array.copy() for name, array in self._state.read().items()}

    @property
    def rows(self) -> int:
        """How many rows the state has, where calls append to it: the tokens seen so far."""
        return self._state.rows

    def reset(self) -> None:
        """Forget the state: the next call begins anew."""
        with self._lock:
            self._require_open()
            self._state.reset()

    def rewind(self, rows: int) -> None:
        """Keep only the first `rows` rows of the state; InputError if it has fewer, or no rows to count."""
        with self._lock:
            self._require_open()
            self._state.rewind(rows)

    def seed(self, state: Mapping[str, Any]) -> None:
        """Make copies of these arrays, by name, the state; InputError for one that is unknown or does not fit."""
        with self._lock:
            self._require_open()
            self._state.seed(by_name("state", state))

    def fork(self) -> Context:
        """Another context of the engine, with a copy of the state: to go on from here in two ways."""
        made = self.engine.context(threads=self._frames.threads)
        with self._lock:
            self._require_open()
            made._state.adopt(self._state)
        return made

    # looking inside

    def profile(self, inputs: Inputs = ()) -> Profile:
        """Run once and tell how long each step took, by the operators of the user's model."""
        epoch = self._epoch
        with self._lock:
            self._require_open()
            self._cancel[0] = 0
            if self._epoch != epoch:
                raise Cancelled("the call was cancelled before it began")
            self._invocation.start_profile(MOST_STEPS)
            host_steps: list[Step] = []
            self._host_steps = host_steps
            origin = time.perf_counter()
            try:
                outputs = dict(zip(self._outputs, self._run(inputs), strict=True))
            finally:
                timings, lost = self._invocation.stop_profile()
                self._host_steps = None
        labels = dict(enumerate(self._plan.labels))
        steps = [Step(labels.get(t.step, Label((), "", "")), t.step, t.parts, t.start, t.seconds) for t in timings]
        steps += [Step(s.label, s.number, s.parts, s.start - origin, s.seconds) for s in host_steps]
        return Profile(in_order(steps), outputs, lost)

    def close(self) -> None:
        """Give memory and threads back. Waits for the running call; queued ones end with EngineError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._forget()
                self._give_back()
        self._end_queue()

    def __reduce__(self) -> NoReturn:
        """EngineError: a context is neither copied nor pickled."""
        raise EngineError("a context is not copied", remedy="make another with engine.context(), or context.fork()")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close; where Ctrl-C or the program's end leaves the block, no call is waited for."""
        if kind is not None and not issubclass(kind, Exception):
            self.cancel()
        self.close()

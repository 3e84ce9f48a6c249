"""A context: one running instance of an engine. Mutable, used by one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import Cancelled, EngineError, ExecutionError, InputError
from tenfold.ir.dtype import DType
from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.cpu.block import KERNEL_ERROR, Status
from tenfold.runtime.cpu.invoke import Invocation, Timing
from tenfold.runtime.cpu.shortcut import Replay
from tenfold.runtime.frame import Frame, Frames
from tenfold.runtime.plan import ARENA, FIRST_INPUT, WEIGHTS, Spec

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine

Array = NDArray[Any]
BRIEF_ARENA = 64 << 10


class Context:
    """One running instance of an engine: its frame, arena and bindings.

    Calls on one context run one after the other; several contexts of one engine run at once.
    """

    def __init__(self, engine: Engine, threads: int | None = None) -> None:
        self.engine = engine
        self._plan = plan = engine.plan
        self._frames: Frames = engine.frames(threads)
        self._cancel = np.zeros(1, np.int64)
        self._invocation = Invocation(
            engine.program, threads=self._frames.threads, team=engine.team, cancel=self._cancel
        )
        self._arena = Arena(engine.memory_limit)
        self._bases = self._invocation.bases
        self._bases[WEIGHTS] = engine.weights.ctypes.data
        self._frame: Frame | None = None
        self._replay: Replay | None = None
        self._replayed: Frame | None = None
        self._names = tuple(spec.name for spec in plan.outputs)
        self._bound: dict[str, Array] = {}
        self._first_output = FIRST_INPUT + len(plan.inputs)
        self._lock = Lock()
        self._queue: ThreadPoolExecutor | None = None
        self._closed = False
        self.native_calls = 0
        """How often the last call entered native code: once a native span, and once more for each yield."""

    # running

    def run(self, inputs: Mapping[str, Any] | Sequence[Any] = ()) -> dict[str, Array]:
        """The model's outputs by name, in the model's order, for these inputs (by name, or in order).

        Bound inputs may be left out; bound outputs are written in place. Raises InputError for an array that does not
        fit, Cancelled, ExecutionError.
        """
        with self._lock:
            self._cancel[0] = 0
            if self._replay is not None and not self._bound:
                results = self._replay.run(self._in_order(inputs))
                if results is not None:
                    self.native_calls = self._invocation.entries
                    if self._replay.status:
                        self._finish(self._replay.status)
                    return dict(zip(self._names, results, strict=True))
            return self._run(inputs)

    def _in_order(self, inputs: Mapping[str, Any] | Sequence[Any]) -> Sequence[Any]:
        """The arrays of a call as they were given, in the model's order; nothing if the call does not name each once."""
        if not isinstance(inputs, Mapping):
            return inputs
        return [inputs.get(spec.name) for spec in self._plan.inputs] if len(inputs) == len(self._plan.inputs) else ()

    def _run(self, inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Array]:
        if self._closed:
            raise EngineError("the context is closed", remedy="make another with engine.context()")
        arrays = self._gather(inputs)
        frame = self._frames.find(arrays)
        results = [self._result(spec, shape) for spec, shape in zip(self._plan.outputs, frame.outputs, strict=True)]
        self._bases[ARENA] = self._arena.reserve(frame.arena)
        for number, array in enumerate((*arrays, *results), FIRST_INPUT):
            self._bases[number] = array.ctypes.data
        self._remember(frame, arrays, results)
        self._invocation.frame[:] = frame.slots
        self.native_calls = 0
        for span, step in self.engine.spans:
            if step is None:
                self._finish(self._invocation.run(brief=frame.arena < BRIEF_ARENA, start=span.begin))
                self.native_calls += self._invocation.entries
            else:
                step.run(frame.slots, self._address, self._frames.sizes(frame))
        return {spec.name: array for spec, array in zip(self._plan.outputs, results, strict=True)}

    def _remember(self, frame: Frame, arrays: Sequence[Array], results: Sequence[Array]) -> None:
        """From the second call of one kind in a row on, let the next one be a replay, if it is one native call."""
        again, self._frame = self._frame is frame, frame
        if again and self._replayed is not frame and self.engine.is_one_span and not self._bound:
            watched = {symbol.input for symbol in self._plan.symbols if symbol.entry >= 0}
            self._replayed = frame
            self._replay = Replay(
                self._invocation,
                frame.slots,
                arrays,
                results,
                first=FIRST_INPUT,
                watched=watched,
                brief=frame.arena < BRIEF_ARENA,
            )

    def _address(self, base: int, offset: int) -> int:
        return int(self._bases[base] + self._invocation.frame[offset])

    def _finish(self, status: int) -> None:
        if status == Status.CANCELLED:
            raise Cancelled("the call was cancelled")
        if status >= KERNEL_ERROR:
            label = self._plan.labels[self._invocation.error_step]
            raise ExecutionError(
                f"the kernel of {label.kind} failed with status {status}", operator=", ".join(label.source) or None
            )

    def _gather(self, inputs: Mapping[str, Any] | Sequence[Any]) -> list[Array]:
        specs = self._plan.inputs
        if not isinstance(inputs, Mapping):
            if len(inputs) > len(specs):
                raise InputError(f"{len(inputs)} arrays given; the model takes {len(specs)}", remedy=self._takes())
            inputs = {spec.name: array for spec, array in zip(specs, inputs, strict=False)}
        known = {spec.name for spec in specs}
        for name in inputs:
            if name not in known:
                raise InputError(f"the model has no input {name!r}", argument=name, remedy=self._takes())
        return [self._input(spec, inputs) for spec in specs]

    def _takes(self) -> str:
        return "give " + "; ".join(map(str, self._plan.inputs))

    def _input(self, spec: Spec, inputs: Mapping[str, Any]) -> Array:
        given = inputs.get(spec.name)
        if given is None:
            given = self._bound.get(spec.name)
        if given is None:
            raise InputError(f"input {spec.name!r} is missing", argument=spec.name, remedy=self._takes())
        return as_input(spec, given)

    def _result(self, spec: Spec, shape: tuple[int, ...]) -> Array:
        bound = self._bound.get(spec.name)
        if bound is None:
            return np.empty(shape, spec.dtype.numpy)
        if bound.dtype != spec.dtype.numpy or not bound.flags.c_contiguous or not bound.flags.writeable:
            raise InputError(
                f"output {spec.name!r} is bound to {bound.dtype}{bound.shape}", argument=spec.name, remedy="bind "
                f"a writeable row-major {spec.dtype} array"
            )
        size = int(np.prod(shape, dtype=np.int64))
        if bound.size < size:
            raise InputError(
                f"output {spec.name!r} needs {shape}, and the bound array has {bound.shape}",
                argument=spec.name,
                remedy="bind a larger array",
            )
        return bound.reshape(-1)[:size].reshape(shape)

    # binding

    def bind(self, inputs: Mapping[str, Array] | None = None, outputs: Mapping[str, Array] | None = None) -> None:
        """Use these arrays in each call until unbound: inputs that a call leaves out, outputs written in place."""
        names = {spec.name for spec in self._plan.inputs}
        for name in inputs or {}:
            if name not in names:
                raise InputError(f"the model has no input {name!r}", argument=name, remedy=self._takes())
        results = {spec.name for spec in self._plan.outputs}
        for name in outputs or {}:
            if name not in results:
                raise InputError(f"the model has no output {name!r}", argument=name, remedy=f"it has {sorted(results)}")
        self._bound.update(inputs or {}, **(outputs or {}))

    def unbind(self, *names: str) -> None:
        """Forget these bindings, or all."""
        for name in names or tuple(self._bound):
            self._bound.pop(name, None)

    # asynchronous

    def submit(self, inputs: Mapping[str, Any] | Sequence[Any] = ()) -> Future[dict[str, Array]]:
        """Queue a call; calls of one context run in order."""
        if self._queue is None:
            self._queue = ThreadPoolExecutor(1, thread_name_prefix="tenfold")
        return self._queue.submit(self.run, inputs)

    async def run_async(self, inputs: Mapping[str, Any] | Sequence[Any] = ()) -> dict[str, Array]:
        """`run`, awaited."""
        return await _wrap(self.submit(inputs))

    def cancel(self) -> None:
        """End the running call and the queued ones with Cancelled."""
        self._cancel[0] = 1
        if self._queue is not None:
            self._queue.shutdown(wait=False, cancel_futures=True)
            self._queue = None

    # looking inside

    def profile(self, inputs: Mapping[str, Any] | Sequence[Any] = ()) -> list[Timing]:
        """Run once and tell how long each executed step took; `engine.plan.labels` says what a step is."""
        with self._lock:
            self._cancel[0] = 0
            self._invocation.start_profile(1 << 16)
            try:
                self._run(inputs)
            finally:
                timings, _ = self._invocation.stop_profile()
        return timings

    def close(self) -> None:
        """Give memory and threads back. Waits for a running call."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._invocation.close()
                self._arena.close()
        if self._queue is not None:
            self._queue.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


async def _wrap(future: Future[dict[str, Array]]) -> dict[str, Array]:
    return await asyncio.wrap_future(future)


def as_input(spec: Spec, given: Any) -> Array:
    """The given array, row-major and native; Python numbers and lists take the declared dtype where that is exact."""
    dtype: DType = spec.dtype
    if not isinstance(given, np.ndarray):
        given = from_python(spec, given)
    if given.dtype != dtype.numpy:
        raise InputError(
            f"input {spec.name!r} is {given.dtype}, and the model takes {spec}",
            argument=spec.name,
            remedy=f"convert it with .astype({dtype.numpy.name!r})",
        )
    if not given.flags.c_contiguous or not given.flags.aligned:
        given = np.ascontiguousarray(given)
    return given


def from_python(spec: Spec, given: Any) -> Array:
    """A Python number or nested list, or anything with DLPack, as an array of the declared dtype."""
    if hasattr(given, "__dlpack__"):
        return np.from_dlpack(given)
    made = np.asarray(given)
    typed = made.astype(spec.dtype.numpy)
    if not np.array_equal(typed.astype(made.dtype), made, equal_nan=made.dtype.kind == "f"):
        raise InputError(
            f"input {spec.name!r}: the given numbers are not exact in {spec.dtype}",
            argument=spec.name,
            remedy=f"give a NumPy array of dtype {spec.dtype.numpy.name}",
        )
    return typed

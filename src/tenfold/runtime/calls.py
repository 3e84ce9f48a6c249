"""The calls of a context, one after the other: who runs, who waits in the queue, and how they are ended."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, get_ident
from typing import Any, TypeVar

import numpy as np

from tenfold.errors import ExecutionError
from tenfold.runtime.forks import enlist

Inputs = Mapping[str, Any] | Sequence[Any]
Found = TypeVar("Found")


class Calls(ABC):
    """Calls that a thread of their own takes from a queue, in order.

    Whoever runs a call holds `_lock`. `cancel` begins a new epoch: a call that was asked for in an earlier one does not
    begin. A fork's child has an empty queue: the parent's calls stay the parent's, and their futures fail in the child.
    """

    def __init__(self) -> None:
        self._cancel = np.zeros(1, np.int64)
        self._epoch = 0
        self._pending: set[Future[Any]] = set()
        self._anew()
        enlist(self, Calls._in_child)

    def _anew(self) -> None:
        """Nothing is queued, and nobody runs."""
        self._lock, self._turn = Lock(), Lock()
        self._current: object = None
        self._queue: ThreadPoolExecutor | None = None
        self._thread = 0

    def _in_child(self) -> None:
        """In a fork's child: nobody there ends what the parent queued."""
        for future in self._pending:
            Future.__init__(future)  # its lock may be held by a thread that stayed with the parent
            future.set_exception(
                ExecutionError("the call runs in the process that this one was forked from", remedy="submit it here")
            )
        self._pending = set()
        self._anew()

    @abstractmethod
    def _require_open(self) -> None:
        """EngineError if closed."""

    @abstractmethod
    def _named(self, inputs: Inputs, epoch: int) -> dict[str, Any]:
        """Run a call, which ends with Cancelled if the epoch has ended; its results by name. The lock is held."""

    def submit(self, inputs: Inputs = ()) -> Future[dict[str, Any]]:
        """Queue a call; calls of one context run in order, each after the one before has ended."""
        return self._submit(inputs, None)

    async def run_async(self, inputs: Inputs = ()) -> dict[str, Any]:
        """`run`, awaited. Cancelling the awaiting task ends the call."""
        token = object()
        future = self._submit(inputs, token)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._stop(token)
            raise

    def cancel(self) -> None:
        """End the running call and the queued ones with Cancelled."""
        self._epoch += 1
        self._cancel[0] = 1

    def _submit(self, inputs: Inputs, token: object) -> Future[dict[str, Any]]:
        self._require_open()
        return self._enqueue(self._queued, inputs, self._epoch, token)

    def _enqueue(self, work: Callable[..., Found], *given: Any) -> Future[Found]:
        """Have the queue's thread do some work after what it has."""
        with self._turn:
            if self._queue is None:
                self._queue = ThreadPoolExecutor(1, thread_name_prefix="tenfold", initializer=self._begun)
            future = self._queue.submit(work, *given)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def _begun(self) -> None:
        self._thread = get_ident()

    def _queued(self, inputs: Inputs, epoch: int, token: object) -> dict[str, Any]:
        with self._lock:
            self._take_turn(token)
            try:
                return self._named(inputs, epoch)
            finally:
                self._take_turn(None)

    def _take_turn(self, token: object) -> None:
        with self._turn:
            self._current = token

    def _stop(self, token: object) -> None:
        """End the running call if it is that one."""
        with self._turn:
            if self._current is token:
                self._cancel[0] = 1

    def _end_queue(self) -> None:
        """Wait until the queue is empty, and end its thread; a future's callback, which that thread runs, does not wait
        for itself.
        """
        if self._queue is not None:
            self._queue.shutdown(wait=get_ident() != self._thread)

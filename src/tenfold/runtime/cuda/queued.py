"""Calls that are queued on one context: while one computes, the next one's inputs come and the last one's results go.

Streams in order of events: copies to the GPU (`inward`), launches, copies to pinned memory (`outward`), copies to any
other memory of the host (`aside`), which the thread makes that waits for results. Two calls at most are on their way,
each with memory of its own for inputs and graphs that read there; the arena is shared, for launches follow one another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tenfold.runtime.cuda.alarms import Alarms
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches
from tenfold.runtime.cuda.memory import Staging

REMEMBERED = 64
"""Shapes whose graphs are kept."""
LANES = 2


class Lane:
    """What a call on its way has to itself."""

    def __init__(self, driver: Driver, alarms: Callable[[], Alarms]) -> None:
        self._driver = driver
        self.staging, self.alarms = Staging(driver), alarms()
        self._graphs: OrderedDict[Hashable, list[Launches]] = OrderedDict()
        self._ended: Future[None] | None = None

    def parts(self, key: Hashable, make: Callable[[], list[Launches]]) -> list[Launches]:
        """The launches of a frame, or of frames that are alike, remembered."""
        found = self._graphs.get(key)
        if found is None:
            found = self._graphs[key] = make()
            if len(self._graphs) > REMEMBERED:
                self._close(self._graphs.popitem(last=False)[1])
        self._graphs.move_to_end(key)
        return found

    def occupy(self, ended: Future[None]) -> None:
        """Let others wait for this."""
        self._ended = ended

    def free(self) -> None:
        """Wait until the call that has this lane is over."""
        if self._ended is not None:
            self._ended.exception()
            self._ended = None

    def _close(self, parts: Sequence[Launches]) -> None:
        for part in parts:
            part.close()

    def close(self, stream: Any) -> None:
        """Give everything back; nothing may be under way."""
        for parts in self._graphs.values():
            self._close(parts)
        self._graphs.clear()
        self.staging.close(stream)
        self.alarms.close()


class Queue:
    """The streams beside the one for launches, the lanes in turn, and the thread that waits for results."""

    def __init__(self, driver: Driver, alarms: Callable[[], Alarms]) -> None:
        self._driver = driver
        self.inward, self.outward, self.aside = (driver.open_stream() for _ in range(3))
        self._lanes = [Lane(driver, alarms) for _ in range(LANES)]
        self._turn = 0
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="tenfold-results")

    def lane(self) -> Lane:
        """The next lane, once its last call is over."""
        self._turn = (self._turn + 1) % LANES
        found = self._lanes[self._turn]
        found.free()
        return found

    def wait(self) -> None:
        """Wait until the calls on their way are over."""
        for lane in self._lanes:
            lane.free()

    def finish(self, lane: Lane, promised: Future[Any], results: Callable[[], Any]) -> None:
        """Keep a promise as soon as `results`, which waits for the GPU, has them."""
        lane.occupy(self._waiter.submit(self._finished, promised, results))

    def _finished(self, promised: Future[Any], results: Callable[[], Any]) -> None:
        try:
            self._driver.enter()
            promised.set_result(results())
        except Exception as error:
            promised.set_exception(error)

    def close(self, stream: Any) -> None:
        """Wait for the calls on their way, and give everything back."""
        self.wait()
        self._waiter.shutdown()
        for lane in self._lanes:
            lane.close(stream)
        for one in (self.inward, self.outward, self.aside):
            self._driver.synchronize(one)
            self._driver.close_stream(one)

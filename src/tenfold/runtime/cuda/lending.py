"""What callers lend to calls: their arrays until the GPU has read them, and the order of their streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from tenfold.runtime.cuda.arrays import DeviceArray
from tenfold.runtime.cuda.driver import Driver

_CALLS = 2
"""Calls whose capsules are held."""


class Lending:
    """The stream of the last call, which at first is `home`, and what calls were lent. Every call waits for the one
    before it.
    """

    def __init__(self, driver: Driver, home: Any) -> None:
        self._driver, self._home = driver, home
        self._held: deque[tuple[Any, list[Any]]] = deque()
        self.last, self.number = home, int(home)

    def stream_of(self, sources: Sequence[Any]) -> Any:
        """The stream of the first array on the GPU that names one, else home; it waits for the call before, and for the
        streams of the others.
        """
        named = streams_of(sources)
        stream = self.next(self._driver.foreign_stream(named[0]) if named else self._home)
        for other in named[1:]:
            self._driver.follow(stream, self._driver.foreign_stream(other))
        return stream

    def next(self, stream: Any) -> Any:
        """The stream, which now waits for the call before."""
        if int(stream) != self.number:
            self._driver.follow(stream, self.last)
            self.last, self.number = stream, int(stream)
        return stream

    def hold(self, sources: Sequence[Any], stream: Any) -> None:
        """Keep capsules until the GPU has read them, those of two calls at most; let other inputs' streams wait."""
        for other in streams_of(sources):
            if other != int(stream):
                self._driver.follow(self._driver.foreign_stream(other), stream)
        capsules = [one.owner for one in sources if isinstance(one, DeviceArray) and one.held]
        if capsules:
            self._held.append((self._mark(stream), capsules))
        self._let_go(_CALLS)

    def marks(self, sources: Sequence[Any]) -> list[Any]:
        """Where the streams of these are now; whoever waits for the marks closes them."""
        return [self._mark(self._driver.foreign_stream(stream)) for stream in streams_of(sources)]

    def _mark(self, stream: Any) -> Any:
        mark = self._driver.open_event()
        self._driver.record(mark, stream)
        return mark

    def _let_go(self, most: int) -> None:
        while len(self._held) > most:
            mark, _ = self._held[0]
            self._driver.reached(mark)
            self._driver.close_event(mark)
            self._held.popleft()

    def wait(self) -> None:
        """Return when the last call has ended."""
        self._driver.synchronize(self.last)

    def close(self) -> None:
        """Wait for the last call, and let go of all."""
        self.wait()
        self._let_go(0)


def streams_of(sources: Sequence[Any]) -> list[int]:
    """The streams that arrays on the GPU name, each once."""
    named = (one.stream for one in sources if isinstance(one, DeviceArray))
    return list(dict.fromkeys(stream for stream in named if stream is not None))

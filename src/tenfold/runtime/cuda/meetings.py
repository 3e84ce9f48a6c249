"""Launches whose blocks all wait for each other, of several contexts: one after the other, whatever their streams.

Were two under way at once, each might hold a part of the GPU and wait for the rest. The GPU starts one kernel's blocks
before the next one's, so that this was never seen; but none but cooperative launches are promised it, and those take
16 of 893 µs more (Llama decode on an H200). An order is free as long as there is one such context in the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any


class Meetings:
    """The contexts that have such launches, and the end of the last of them."""

    def __init__(self, driver: Any) -> None:
        self._driver, self._lock = driver, Lock()
        self._contexts, self._ended = 0, None
        self.several = False
        """Whether launches have to go through `turn`."""

    def join(self) -> None:
        """There is one more such context. What another one has under way ends first: it has left no mark."""
        with self._lock:
            self._contexts += 1
            self.several = self._contexts > 1
            if self._contexts == 2:
                self._driver.synchronize_all()

    def leave(self) -> None:
        """There is one less, which has nothing under way."""
        with self._lock:
            self._contexts -= 1
            self.several = self._contexts > 1

    @contextmanager
    def turn(self, stream: Any) -> Iterator[None]:
        """What is launched on the stream meanwhile comes behind all that was launched so before. A stream that is
        captured into a caller's graph is left alone: when that is replayed is the caller's to order.
        """
        if not self.several or self._driver.is_capturing(stream):
            yield
            return
        with self._lock:
            if self._ended is None:
                self._ended = self._driver.open_event()
            else:
                self._driver.wait(stream, self._ended)
            yield
            self._driver.record(self._ended, stream)

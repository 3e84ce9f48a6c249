"""Buffers that the GPU and the host share: where each is as it should be, and how it gets where it is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.memory import Block, Staging, host_view
from tenfold.runtime.plan import ARENA, Label, Window
from tenfold.runtime.profile import Step

HOST, GPU = 1, 2
_NAMES = {HOST: "to the CPU", GPU: "to the GPU"}


class Mirror:
    """Both sides have an arena laid out alike; every other base has a block on the GPU. `host` and `gpu` are the
    addresses of the bases, `slots` the call's numbers, `same` the bases that lie where another one does.

    Copies to the host are complete when they return; what is copied from it has been read when `ready` returns that
    brings anything there, so that the CPU may write again.
    """

    def __init__(
        self,
        driver: Driver,
        host: NDArray[np.int64],
        slots: NDArray[np.int64],
        limit: int | None,
        same: Mapping[int, int],
    ) -> None:
        self._driver, self._host, self._slots, self._same = driver, host, slots, same
        self.gpu = np.zeros_like(host)
        self.stream = driver.open_stream()
        self._arena = Block(driver, limit)
        self._others = Staging(driver)
        self._sent: set[int] = set()
        self._read, self._reading = driver.open_event(), False
        self._at: dict[tuple[int, int], int] = {}
        self._given: dict[int, int] = {}
        self.told: Callable[[Step], None] | None = None

    def begin(self, arena: int, given: Iterable[tuple[int, int, int]]) -> None:
        """The start of a call with so large an arena; `given` are the inputs: base, its address on the GPU (0 for
        none), and that it lies there.
        """
        self._await_reading()
        self._at.clear()
        self._given.clear()
        self._sent.clear()
        self.gpu[ARENA] = self._arena.reserve(arena, self.stream)
        for base, address, side in given:
            self._at[base, 0] = side
            if side == GPU:
                self._given[base] = self.gpu[base] = address

    def ready(self, windows: Iterable[Window], side: int) -> None:
        """Bring buffers to one side, those that hold anything."""
        if side == HOST:
            self._await_reading()
        for window in windows:
            key = self._key(window)
            at = self._at.get(key, 0)
            if side == GPU:
                self._place(window)
            if at and not at & side:
                self._move(window, side)
                self._at[key] = at | side

    def _await_reading(self) -> None:
        """Wait until what is copied from the host has been read."""
        if self._reading:
            self._driver.reached(self._read)
            self._reading = False

    def made(self, windows: Iterable[Window], side: int) -> None:
        """Note that buffers were written on one side."""
        for window in windows:
            self._at[self._key(window)] = side

    def room(self, windows: Iterable[Window]) -> None:
        """Make room on the GPU for what is written there."""
        for window in windows:
            self._place(window)

    def _place(self, window: Window) -> None:
        base = window.base
        if base != ARENA and base not in self._given:
            home = self._same.get(base, base)
            address = self._others.room(home, self._bytes(window), self.stream)
            for one in (base, home, *(other for other, its in self._same.items() if its == home)):
                self.gpu[one] = address

    def _key(self, window: Window) -> tuple[int, int]:
        base = window.base
        return self._same.get(base, base), window.offset if base == ARENA else 0

    def _bytes(self, window: Window) -> int:
        return int(self._slots[window.shape[0]]) * window.dtype.itemsize

    def _move(self, window: Window, side: int) -> None:
        start, size = time.perf_counter(), self._bytes(window)
        offset = int(self._slots[window.offset])
        host, gpu = int(self._host[window.base]) + offset, int(self.gpu[window.base]) + offset
        if side == GPU:
            if window.base != ARENA and size:
                self._send(window.base, host, size)
            else:
                self._driver.upload(gpu, host, size, self.stream)
            self._driver.record(self._read, self.stream)
            self._reading = True
        else:
            self._driver.download(host, gpu, size, self.stream)
            self._driver.synchronize(self.stream)
        if self.told:
            label = Label((), f"{size} bytes of {window.name or 'a value'} {_NAMES[side]}", "transfer")
            self.told(Step(label, -1, 1, start, time.perf_counter() - start))

    def _send(self, base: int, host: int, size: int) -> None:
        """Copy what an array of the host's ordinary memory holds, by way of pinned memory."""
        if base in self._sent:
            self._driver.synchronize(self.stream)
        self._sent.add(base)
        self._others.uploaded(base, host_view(host, size), self.stream)

    def moved(self, base: int, source: int, size: int) -> int:
        """The address of a copy of what lies elsewhere on the GPU."""
        return self._others.moved(base, source, size, self.stream)

    def fetch(self, base: int, to: int, size: int) -> None:
        """Copy what lies at a base of the GPU to the host's memory."""
        self._driver.download(to, int(self.gpu[base]), size, self.stream)
        self._driver.synchronize(self.stream)

    def holds(self, base: int) -> int:
        """Where an input or output is as it should be."""
        return self._at.get((self._same.get(base, base), 0), 0)

    def close(self) -> None:
        """Give everything back."""
        self._driver.synchronize(self.stream)
        for one in (self._arena, self._others):
            one.close(self.stream)
        self._driver.synchronize(self.stream)
        self._driver.close_event(self._read)
        self._driver.close_stream(self.stream)

"""A host step inside an engine for a GPU: what it reads comes down, what it writes goes up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.host import HostStep
from tenfold.runtime.plan import WEIGHTS, Span, Window

Slots = NDArray[np.int64]
Address = Callable[[int, int], int]


class Hosted:
    """One host step; every window it looks through gets a mirror on the host."""

    def __init__(self, driver: Driver, span: Span, step: HostStep, weights: NDArray[np.uint8]) -> None:
        self._driver, self._span, self._step, self._weights = driver, span, step, weights

    def run(
        self, slots: Slots, address: Address, sizes: Mapping[str, int], cancel: NDArray[np.int64], stream: Any
    ) -> None:
        """Copy down, run, copy up; `address(base, slot)` finds the GPU's memory."""
        span = self._span
        ranges = {(one.base, one.offset): (0, 0) for one in (*span.reads, *span.written)}
        for window in (*span.reads, *span.written):
            low, high = extent(window, slots)
            before = ranges[window.base, window.offset]
            ranges[window.base, window.offset] = (min(low, before[0]), max(high, before[1]))
        mirrors = {key: np.empty(high - low, np.uint8) for key, (low, high) in ranges.items()}
        for key, mirror in mirrors.items():
            self._driver.download(mirror.ctypes.data, address(*key) + ranges[key][0], mirror.nbytes, stream)
        self._driver.synchronize(stream)

        def mirrored(base: int, offset: int) -> int:
            if base == WEIGHTS and (base, offset) not in mirrors:
                return int(self._weights.ctypes.data + slots[offset])
            return int(mirrors[base, offset].ctypes.data - ranges[base, offset][0])

        self._step.run(slots, mirrored, sizes, cancel)
        for key in _keys(span.written):
            mirror = mirrors[key]
            self._driver.upload(address(*key) + ranges[key][0], mirror.ctypes.data, mirror.nbytes, stream)
        self._driver.synchronize(stream)

    def close(self) -> None:
        """Nothing is held."""


def _keys(windows: Iterable[Window]) -> dict[tuple[int, int], None]:
    return dict.fromkeys((one.base, one.offset) for one in windows)


def extent(window: Window, slots: Slots) -> tuple[int, int]:
    """The bytes that a window reaches, from its first element on: from below 0, if strides are negative."""
    item = window.dtype.itemsize
    low = high = 0
    for size_slot, stride_slot in zip(window.shape, window.strides, strict=True):
        size, step = int(slots[size_slot]), int(slots[stride_slot]) * item
        if size == 0:
            return 0, 0
        low, high = low + min(0, (size - 1) * step), high + max(0, (size - 1) * step)
    return low, high + item

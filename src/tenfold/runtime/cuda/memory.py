"""Memory of a context on a GPU: blocks that grow, and the way from the host's arrays to the GPU."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LimitError
from tenfold.runtime.cuda.driver import Driver

_STEP = 512


class Block:
    """One growing block on the GPU; its contents are lost when it grows. `zeroed`: zeros when new."""

    def __init__(self, driver: Driver, limit: int | None, zeroed: bool = False) -> None:
        self._driver, self._limit, self._zeroed = driver, limit, zeroed
        self.address = self.size = 0

    def reserve(self, size: int, stream: Any) -> int:
        """The address of at least `size` bytes; LimitError past the limit, OutOfMemory."""
        if size > self.size:
            if self._limit is not None and size > self._limit:
                raise LimitError(
                    f"a call needs {size} bytes of memory, and the limit is {self._limit}",
                    argument="memory_limit",
                    remedy="raise memory_limit or use smaller inputs",
                )
            self.close(stream)
            size += -size % _STEP
            self.address, self.size = self._driver.allocate(size, stream), size
            if self._zeroed:
                self._driver.clear(self.address, size, stream)
        return self.address

    def close(self, stream: Any) -> None:
        """Give the memory back."""
        if self.size:
            self._driver.free(self.address, stream)
        self.address = self.size = 0


class Staging:
    """For each input a block on the GPU, with pinned memory of the host in front of it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._blocks: dict[int, Block] = {}
        self._pinned: dict[int, tuple[int, int]] = {}

    def _block(self, number: int) -> Block:
        return self._blocks.setdefault(number, Block(self._driver, None))

    def moved(self, number: int, source: int, size: int, stream: Any) -> int:
        """The address of a copy of what lies elsewhere on the GPU."""
        address = self._block(number).reserve(size, stream)
        self._driver.copy(address, source, size, stream)
        return address

    def uploaded(self, number: int, array: NDArray[Any], stream: Any) -> int:
        """The address of a copy of the host's array, which may be changed as soon as this returns."""
        address = self._block(number).reserve(array.nbytes, stream)
        pinned = self._pin(number, array.nbytes, stream)
        if array.nbytes:
            ctypes.memmove(pinned, array.ctypes.data, array.nbytes)
        self._driver.upload(address, pinned, array.nbytes, stream)
        return address

    def _pin(self, number: int, size: int, stream: Any) -> int:
        address, room = self._pinned.get(number, (0, 0))
        if room:
            self._driver.synchronize(stream)
        if size > room:
            if room:
                self._driver.free_pinned(address)
            address, room = self._driver.allocate_pinned(size), size
            self._pinned[number] = (address, room)
        return address

    def close(self, stream: Any) -> None:
        """Give everything back."""
        for block in self._blocks.values():
            block.close(stream)
        for address, room in self._pinned.values():
            if room:
                self._driver.free_pinned(address)
        self._blocks.clear()
        self._pinned.clear()


def host_view(address: int, size: int) -> NDArray[np.uint8]:
    """Bytes of the host's memory as an array."""
    return np.frombuffer(memoryview((ctypes.c_ubyte * size).from_address(address)), np.uint8)

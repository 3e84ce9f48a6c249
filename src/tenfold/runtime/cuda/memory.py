"""Memory of a context on a GPU: blocks that grow, and the way from the host's arrays to the GPU."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cpu.arena import UNUSED, Arena, references, system, within
from tenfold.runtime.cpu.shortcut import address_reader
from tenfold.runtime.cuda.driver import Driver

_STEP = 512
_PIECE = 2 << 20
"""Bytes that are on their way to the GPU while the next ones are copied to pinned memory."""
_COPIERS = 4
"""Threads that copy to pinned memory; one alone reaches a tenth of what the way to the GPU takes."""
LARGE = 1 << 20
"""Bytes from which on it pays to look whether memory is pinned."""
_MOST = 256 << 20
"""Bytes of pinned memory that a context's results may take."""


class Block:
    """One growing block on the GPU; its contents are lost when it grows. `zeroed`: zeros when new."""

    def __init__(self, driver: Driver, limit: int | None, zeroed: bool = False) -> None:
        self._driver, self.limit, self._zeroed = driver, limit, zeroed
        self.address = self.size = 0

    def reserve(self, size: int, stream: Any) -> int:
        """The address of at least `size` bytes; LimitError past the limit, OutOfMemory."""
        if size > self.size:
            within(self.limit, size)
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


class PinnedArena(Arena):
    """A block of the host's memory that grows, which the GPU copies to and from at full speed."""

    def __init__(self, driver: Driver, limit: int | None) -> None:
        super().__init__(limit)
        self._driver = driver

    def grow(self, size: int) -> int:
        """As an arena; no copy may be on its way."""
        if size > self.size:
            self._driver.unpin(self.address)
        return super().grow(size)

    def _own(self, address: int, size: int) -> None:
        super()._own(address, size)
        if size >= LARGE:
            self._driver.pin(address, size)

    @property
    def _unmap(self) -> Callable[[int, int], Any]:
        return functools.partial(_unpinned, self._driver)


def _unpinned(driver: Driver, address: int, size: int) -> None:
    driver.unpin(address)
    system.munmap(address, size)


class Staging:
    """For each input a block on the GPU, with pinned memory of the host in front of it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._blocks: dict[int, Block] = {}
        self._pinned: dict[int, tuple[int, int]] = {}

    def room(self, number: int, size: int, stream: Any) -> int:
        """The address of the block of a number, made that large; its contents are lost when it grows."""
        if number not in self._blocks:
            self._blocks[number] = Block(self._driver, None)
        return self._blocks[number].reserve(size, stream)

    def moved(self, number: int, source: int, size: int, stream: Any) -> int:
        """The address of a copy of what lies elsewhere on the GPU."""
        address = self.room(number, size, stream)
        self._driver.copy(address, source, size, stream)
        return address

    def uploaded(self, number: int, array: NDArray[Any], stream: Any) -> int:
        """The address of a copy of the host's array, which may be changed as soon as the stream has come to this point;
        one that is not pinned, as soon as this returns. No earlier copy of that number is on its way any more.
        """
        address, source = self.room(number, array.nbytes, stream), address_reader()(array)
        if array.nbytes < LARGE or not self._driver.is_pinned(source):
            pinned = self._pin(number, array.nbytes)
            for start, size in copied(pinned, source, array.nbytes):
                self._driver.upload(address + start, pinned + start, size, stream)
        else:
            self._driver.upload(address, source, array.nbytes, stream)
        return address

    def _pin(self, number: int, size: int) -> int:
        address, room = self._pinned.get(number, (0, 0))
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


def copied(to: int, source: int, size: int) -> Iterator[tuple[int, int]]:
    """Copy memory of the host piece by piece, by several threads; each piece, as (start, size), when it is there."""
    pieces = [(start, min(_PIECE, size - start)) for start in range(0, size, _PIECE)]
    if len(pieces) < 2:
        ctypes.memmove(to, source, size)
        yield from pieces
        return
    under_way = [_copiers().submit(ctypes.memmove, to + start, source + start, part) for start, part in pieces]
    for piece, one in zip(pieces, under_way, strict=True):
        one.result()
        yield piece


@functools.cache
def _copiers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_COPIERS, len(os.sched_getaffinity(0))), thread_name_prefix="tenfold-copies")


class Results:
    """Large results of the host in pinned memory, which is given out again once nobody refers to it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._all: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """An uninitialised array; None for one that is small, or where enough memory is pinned already."""
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE:
            return None
        unused = [number for number, count in enumerate(references(self._all)) if count <= UNUSED]
        place = next((number for number in unused if size <= self._all[number].nbytes <= 2 * size), None)
        if place is None:
            for number in reversed(unused if size + sum(one.nbytes for one in self._all) > _MOST else []):
                del self._all[number]
            if size + sum(one.nbytes for one in self._all) > _MOST:
                return None
            place = len(self._all)
            self._all.append(self._pinned(size))
        return self._all[place][:size].view(dtype).reshape(shape)

    def _pinned(self, size: int) -> NDArray[np.uint8]:
        address = self._driver.allocate_pinned(size)
        made = host_view(address, size)
        weakref.finalize(made, self._free, address).atexit = False
        return made

    def _free(self, address: int) -> None:
        self._driver.enter()
        self._driver.free_pinned(address)

    def close(self) -> None:
        """Give back what nobody refers to now, the rest as soon as that is so."""
        self._all.clear()


def host_view(address: int, size: int) -> NDArray[np.uint8]:
    """Bytes of the host's memory as an array."""
    return np.frombuffer(memoryview((ctypes.c_ubyte * size).from_address(address)), np.uint8)

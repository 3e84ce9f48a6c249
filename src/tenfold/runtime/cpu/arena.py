"""Memory straight from the system: pages that are zero until touched, at addresses that stay."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LimitError, OutOfMemory

PAGE = mmap.PAGESIZE
_NORESERVE = 0x4000
_MAY_MOVE = 1
_FAILED = ctypes.c_void_p(-1).value
_HUGE_PAGE = 1 << 21

system = ctypes.CDLL(None, use_errno=True)
system.mmap.restype = ctypes.c_void_p
system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
system.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
system.mremap.restype = ctypes.c_void_p
system.mremap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2, ctypes.c_int]
system.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
system.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def map_pages(size: int, protection: int, flags: int, file: int = -1, offset: int = 0) -> int:
    """The address of a new mapping of at least `size` bytes, as the system's mmap makes it; OSError if it refuses."""
    address = system.mmap(None, size, protection, flags, file, offset)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(address)


def fresh_pages(size: int, flags: int = _NORESERVE) -> int:
    """The address of `size` zero bytes, resident only where touched: page-aligned, and in huge pages where they fill
    one: memory that is read from end to end in each call is found sooner there. OutOfMemory if there are none.
    """
    whole = max(size + -size % PAGE, PAGE)
    page = _HUGE_PAGE if whole >= _HUGE_PAGE else PAGE
    spare = page - PAGE
    flags |= mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        address = map_pages(whole + spare, mmap.PROT_READ | mmap.PROT_WRITE, flags)
    except OSError as error:
        raise OutOfMemory(f"the system gave no {size} bytes: {error}", remedy="use smaller inputs") from error
    before = -address % page
    for start, length in ((address, before), (address + before + whole, spare - before)):
        if length:
            system.munmap(start, length)
    if page == _HUGE_PAGE:
        system.madvise(address + before, whole, mmap.MADV_HUGEPAGE)
    return address + before


def zeroed(size: int) -> NDArray[np.uint8]:
    """Fresh pages that the system promises to have when they are touched, given back with the array's last view."""
    address = fresh_pages(size, flags=0)
    block = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(block, system.munmap, address, max(size, PAGE)).atexit = False
    return np.frombuffer(memoryview(block), np.uint8)


def within(limit: int | None, size: int) -> None:
    """LimitError if a call needs more bytes of memory than it may take; None is no limit."""
    if limit is not None and size > limit:
        raise LimitError(
            f"a call needs {size} bytes of memory, and the limit is {limit}",
            argument="memory_limit",
            remedy="raise memory_limit or use smaller inputs",
        )


class Arena:
    """One growing block of memory. Its address changes only when it grows; `reserve` then loses its contents.

    `limit` is the most bytes it may take; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.address = 0
        self.size = 0
        self.limit = limit
        self._free: weakref.finalize[[int, int], Arena] | None = None

    def reserve(self, size: int) -> int:
        """The block's address, after making it at least `size` bytes; LimitError past the limit, or OutOfMemory."""
        if size > self.size:
            within(self.limit, size)
            self.close()
            size = self._whole_pages(size)
            self._own(fresh_pages(size), size)
        return self.address

    def grow(self, size: int) -> int:
        """As `reserve`, but what the block holds stays. It grows by half at least, as far as the limit allows."""
        if size <= self.size:
            return self.address
        within(self.limit, size)
        if not self.size:
            return self.reserve(size)
        size = max(size, min(self.size * 3 // 2, self.limit or sys.maxsize))
        size += -size % PAGE
        moved = system.mremap(self.address, self.size, size, _MAY_MOVE)
        if moved == _FAILED:
            raise OutOfMemory(f"the system gave no {size} bytes", remedy="use smaller inputs")
        if self._free:
            self._free.detach()
        self._own(int(moved), size)
        return self.address

    def _whole_pages(self, size: int) -> int:
        """The size in whole pages: huge ones where it nearly fills some and they keep the limit."""
        huge = size + -size % _HUGE_PAGE
        fits = 2 * size > _HUGE_PAGE and (self.limit is None or huge <= self.limit)
        return huge if fits else size + -size % PAGE

    def _own(self, address: int, size: int) -> None:
        if size >= _HUGE_PAGE:
            system.madvise(address, size, mmap.MADV_HUGEPAGE)
        self.address, self.size = address, size
        self._free = weakref.finalize(self, self._unmap, address, size)
        self._free.atexit = False

    @property
    def _unmap(self) -> Callable[[int, int], Any]:
        """What gives a mapping back."""
        return system.munmap

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """`size` bytes at `offset` as an array that lives no longer than the block."""
        if not 0 <= offset <= offset + size <= self.size:
            raise LimitError(f"bytes {offset} to {offset + size} lie outside the {self.size} of the block")
        return np.frombuffer(memoryview((ctypes.c_ubyte * size).from_address(self.address + offset)), np.uint8)

    def close(self) -> None:
        """Give the memory back."""
        if self._free:
            self._free()
        self.address = self.size = 0


class _Recycled:
    """Large result buffers that nobody refers to any more, to be given out again: their pages are already there."""

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """A buffer of at least `size` bytes that only this list and the caller refer to."""
        with self._lock:
            counts = references(self._buffers)
            free = [index for index, count in enumerate(counts) if count <= UNUSED]
            for index in free:
                if size <= self._buffers[index].nbytes <= 2 * size:
                    return self._buffers[index]
            for index in reversed(free[_SPARE:]):
                del self._buffers[index]
            try:
                self._buffers.append(np.empty(size, np.uint8))
            except MemoryError as error:
                raise OutOfMemory(f"the system gave no {size} bytes", remedy="use smaller inputs") from error
            return self._buffers[-1]


def references(buffers: list[NDArray[np.uint8]]) -> list[int]:
    """How many refer to each buffer of a list: `UNUSED` of one that only the list does."""
    return [sys.getrefcount(buffer) for buffer in buffers]


UNUSED = references([np.empty(0, np.uint8)])[0]
_SPARE = 4
LARGE = 1 << 20
"""Bytes from which on results lie in buffers that are used again."""
_recycled = _Recycled()


def array_maker(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], NDArray[Any]]:
    """A function that makes uninitialised row-major arrays, none of which shares memory with one in use."""
    size = dtype.itemsize * math.prod(shape)
    if size < LARGE:
        return functools.partial(np.empty, shape, dtype)
    return lambda: _recycled.take(size)[:size].view(dtype).reshape(shape)


def fresh_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised row-major array that shares no memory with one in use."""
    return array_maker(shape, dtype)()

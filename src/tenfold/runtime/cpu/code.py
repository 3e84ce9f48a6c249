"""Machine code in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
import weakref
from collections.abc import Callable

from tenfold.errors import EngineError
from tenfold.runtime.cpu.arena import PAGE, map_pages, system

_TICKS = ctypes.PYFUNCTYPE(ctypes.c_int64)
_rate: list[float] = []


class Code:
    """A blob, mapped executable at `address`; unmapped when the last reference to it is gone."""

    def __init__(self, address: int, size: int, mapped: int) -> None:
        self.address, self.size = address, size
        weakref.finalize(self, system.munmap, address, mapped).atexit = False

    @staticmethod
    def from_bytes(blob: bytes) -> Code:
        """A copy of the blob in memory of its own."""
        mapped = len(blob) + -len(blob) % PAGE or PAGE
        return Code(_copy(blob, mapped), len(blob), mapped)

    @staticmethod
    def from_file(file: int, offset: int, size: int) -> Code:
        """A part of an open file, shared with other processes that map it; `offset` is a multiple of the page size.

        Where the system refuses to map files as code, a copy.
        """
        if offset % PAGE or os.fstat(file).st_size < offset + size:
            raise EngineError(f"the code at {offset} to {offset + size} is not page-aligned, or not all in the file")
        try:
            address = map_pages(size, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, offset)
        except PermissionError:
            return Code.from_bytes(os.pread(file, size, offset))
        return Code(address, size, size)

    def tick_rate(self, ticks: int) -> float:
        """Ticks a second of the clock that the entry at offset `ticks` reads."""
        return _tick_rate(_TICKS(self.address + ticks))


def _copy(blob: bytes, mapped: int) -> int:
    address = map_pages(mapped, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ctypes.memmove(address, blob, len(blob))
    if system.mprotect(address, mapped, mmap.PROT_READ | mmap.PROT_EXEC):
        number = ctypes.get_errno()
        raise EngineError(
            f"the system refuses to run generated code: {os.strerror(number)}",
            remedy="allow executable memory for this process (SELinux: execmem)",
        )
    return address


def _tick_rate(ticks: Callable[[], int]) -> float:
    if not _rate:
        ticks()
        first, start = ticks(), time.perf_counter_ns()
        while time.perf_counter_ns() - start < 1_000_000:
            pass
        last, stop = ticks(), time.perf_counter_ns()
        _rate.append((last - first) * 1e9 / (stop - start))
    return _rate[0]

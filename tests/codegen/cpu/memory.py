"""Buffers with guard pages at both ends: a kernel that strays by a byte dies."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Guarded:
    """`size` bytes whose end (or start, if `low`) touches a page that nothing may touch; filled with `poison`."""

    def __init__(self, size: int, low: bool = False, poison: int = 0xFF) -> None:
        self.size = size
        body = max(-(-size // _PAGE), 1) * _PAGE
        self._total = body + 2 * _PAGE
        self._base = _libc.mmap(None, self._total, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert _libc.mprotect(self._base + _PAGE, body, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        self.address = self._base + _PAGE + (0 if low else body - size)
        ctypes.memset(self._base + _PAGE, poison, body)
        self._body = body

    def bytes(self) -> np.ndarray:
        """The bytes, as an array on the memory itself."""
        if not self.size:
            return np.empty(0, np.uint8)
        return np.frombuffer((ctypes.c_uint8 * self.size).from_address(self.address), np.uint8)

    def close(self) -> None:
        """Give the memory back."""
        _libc.munmap(self._base, self._total)

"""Tensors in an engine's memory as NumPy's arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.plan import Window

Array = NDArray[Any]
Buffer = memoryview | NDArray[np.uint8]


def in_place(address: int, size: int) -> Buffer:
    """Bytes of this process's memory."""
    return memoryview((ctypes.c_char * size).from_address(address))


def view(
    window: Window,
    slots: NDArray[np.int64],
    address: Callable[[int, int], int],
    memory: Callable[[int, int], Buffer] = in_place,
) -> Array:
    """The tensor that a window shows: in place, or in what `memory` gives for an address and a number of bytes."""
    shape = tuple(int(slots[slot]) for slot in window.shape)
    item = window.dtype.itemsize
    strides = tuple(int(slots[slot]) * item for slot in window.strides)
    start = address(window.base, window.offset)
    low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0 and n)
    high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0 and n) + item
    if 0 in shape:
        return np.empty(shape, window.dtype.numpy)
    return np.ndarray(shape, window.dtype.numpy, memory(start + low, high - low), -low, strides)

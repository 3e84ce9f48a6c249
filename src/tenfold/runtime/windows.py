"""Tensors in an engine's memory as NumPy's arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.plan import Window

Array = NDArray[Any]


def view(window: Window, slots: NDArray[np.int64], address: Callable[[int, int], int]) -> Array:
    """The tensor that a window shows, in place."""
    shape = tuple(int(slots[slot]) for slot in window.shape)
    item = window.dtype.itemsize
    strides = tuple(int(slots[slot]) * item for slot in window.strides)
    start = address(window.base, window.offset)
    low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0 and n)
    high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0 and n) + item
    if 0 in shape:
        return np.empty(shape, window.dtype.numpy)
    memory = memoryview((ctypes.c_char * (high - low)).from_address(start + low))
    return np.ndarray(shape, window.dtype.numpy, memory, -low, strides)

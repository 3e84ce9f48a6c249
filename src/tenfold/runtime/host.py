"""Host steps: what no kernel computes, run by the interpreter on views of the engine's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import ops
from tenfold.ir.interpret import Interpreter
from tenfold.ir.text import parse
from tenfold.runtime.plan import Span, Window

Array = NDArray[Any]


class HostStep:
    """A parsed host span."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.graph = parse(span.host, ops.ALL)

    def run(self, slots: NDArray[np.int64], address: Callable[[int, int], int], sizes: Mapping[str, int]) -> None:
        """Read the windows, run the graph, write its results. `address(base, offset slot)` finds memory."""
        arrays = [view(window, slots, address) for window in self.span.reads]
        interpreter = Interpreter(sizes)
        results = interpreter.call(self.graph, arrays)
        for window, result in zip(self.span.writes, results, strict=True):
            view(window, slots, address)[...] = result


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
    memory = (ctypes.c_char * (high - low)).from_address(start + low)
    return np.ndarray(shape, window.dtype.numpy, memory, -low, strides)

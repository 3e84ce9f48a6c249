"""Host steps: what no kernel computes, run by the interpreter on views of the engine's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import ops
from tenfold.errors import Cancelled
from tenfold.ir.graph import Graph, Node
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.runtime.plan import Span, Window

Array = NDArray[Any]


class HostStep:
    """A host span; its graph is parsed when it first runs, over the tensors in memory that it refers to."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._graph: Graph | None = None

    def run(
        self,
        slots: NDArray[np.int64],
        address: Callable[[int, int], int],
        sizes: Mapping[str, int],
        cancel: NDArray[np.int64],
    ) -> None:
        """Read the windows, run the graph, write its results. `address(base, offset slot)` finds memory.

        Cancelled as soon as `cancel[0]` is not 0.
        """
        if self._graph is None:
            tensors = {window.name: Tensor(view(window, slots, address)) for window in self.span.tensors}
            self._graph = parse(self.span.host, ops.ALL, tensors)
        arrays = [view(window, slots, address) for window in self.span.reads]
        results = Cancellable(sizes, cancel).call(self._graph, arrays)
        apart = [one.copy() if any(np.may_share_memory(one, array) for array in arrays) else one for one in results]
        for window, result in zip(self.span.writes, apart, strict=True):
            view(window, slots, address)[...] = result


class Cancellable(Interpreter):
    """An interpreter that looks at a flag before each node."""

    def __init__(self, sizes: Mapping[str, int], cancel: NDArray[np.int64]) -> None:
        super().__init__(sizes)
        self._cancel = cancel

    def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs of one node; Cancelled if the flag is set."""
        if self._cancel[0]:
            raise Cancelled("the call was cancelled")
        return super().node(node, inputs)


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

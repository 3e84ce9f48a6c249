"""Host steps: what no kernel computes, run by the interpreter on views of the engine's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import ops
from tenfold.errors import Cancelled
from tenfold.ir.graph import Graph, Node
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.runtime.plan import Kept, Span, Window
from tenfold.runtime.walk import Walk, apart
from tenfold.runtime.windows import view

Array = NDArray[Any]
Address = Callable[[int, int], int]

__all__ = ["Cancellable", "HostStep", "view"]

_OWN = frozenset(ops.ALL)


class HostStep:
    """A host span; its graph is parsed when it first runs, over the tensors in memory that it refers to."""

    def __init__(self, span: Span, catalogue: Callable[[], Iterable[type[Op]]] = lambda: ops.ALL) -> None:
        self.span = span
        self._catalogue = catalogue
        self._graph: Graph | None = None

    def run(
        self, slots: NDArray[np.int64], address: Address, sizes: Mapping[str, int], cancel: NDArray[np.int64]
    ) -> None:
        """Read the windows, run the graph, write its results. `address(base, offset slot)` finds memory.

        Cancelled as soon as `cancel[0]` is not 0.
        """
        arrays = [view(window, slots, address) for window in self.span.reads]
        found = Cancellable(sizes, cancel).call(self._parsed(slots, address), arrays)
        for window, result in zip(self.span.writes, apart(found, arrays), strict=True):
            assert not isinstance(window, Kept), "only a CPU's context keeps values"
            view(window, slots, address)[...] = result

    def walk(self, walk: Walk) -> None:
        """The same in a call where it may decide sizes, and results may be kept."""
        arrays = [self._read(walk, window) for window in self.span.reads]
        interpreter = Learning(walk.sizes(but=self.span.learns), walk.cancel)
        found = apart(interpreter.call(self._parsed(walk.slots, walk.address), arrays), arrays)
        places = list(zip(self.span.writes, found, strict=True))
        for place, result in places:
            if isinstance(place, Kept):
                walk.keep(place, result)
        walk.learn({name: interpreter.learnt[name] for name in self.span.learns}, self.span.section)
        for place, result in places:
            if isinstance(place, Kept):
                walk.require(place)
            else:
                walk.write(place, result)

    def _read(self, walk: Walk, window: Window) -> Array:
        """What a window shows; a copy where a result may hold it on."""
        array = walk.read(window)
        holding = any(place.dtype.element is not None for place in self.span.writes)
        return array.copy() if holding and not window.dtype.is_object else array

    def _parsed(self, slots: NDArray[np.int64], address: Address) -> Graph:
        if self._graph is None:
            tensors = {window.name: Tensor(view(window, slots, address)) for window in self.span.tensors}
            self._graph = parse(self.span.host, self._catalogue(), tensors)
        return self._graph


class Cancellable(Interpreter):
    """An interpreter that looks at a flag before each node, and before each turn of a loop."""

    def __init__(self, sizes: Mapping[str, int], cancel: NDArray[np.int64]) -> None:
        super().__init__(sizes)
        self._cancel = cancel

    def call(self, graph: Graph, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """The outputs of a graph; Cancelled if the flag is set."""
        self._look()
        return super().call(graph, arrays)

    def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs of one node; Cancelled if the flag is set. A plugin's operation cannot write into its inputs."""
        self._look()
        if type(node.op) in _OWN:
            return super().node(node, inputs)
        found = super().node(node, tuple(map(_shown, inputs)))
        return tuple(array if array.flags.writeable else array.copy() for array in found)

    def _look(self) -> None:
        if self._cancel[0]:
            raise Cancelled("the call was cancelled")


def _shown(array: Array) -> Array:
    shown = array.view()
    shown.flags.writeable = False
    return shown


class Learning(Cancellable):
    """Keeps what its last call found out about sizes, in `learnt`."""

    learnt: dict[str, int]

    def forget(self, outer: dict[str, int]) -> None:
        """The end of a call, whose sizes are remembered."""
        self.learnt = self.bindings
        super().forget(outer)

"""Steps of a GPU: launches, with their arguments as slots of the frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tenfold.codegen.cuda.launch import Counters, CudaKernel, Descriptor, GpuArgument, Launch
from tenfold.compiler import memory
from tenfold.compiler.cost import cost_of
from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Item, Piece, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.schedule import Entries, Scheduler, if_run
from tenfold.compiler.weights import WeightStore
from tenfold.errors import UnsupportedError
from tenfold.ir.graph import Graph
from tenfold.runtime import steps
from tenfold.runtime.plan import counters_base


class DeviceScheduler(Scheduler):
    """A CALL step is a launch: its entry is the number of a function, its parts the blocks of its grid. A descriptor
    among the arguments is an address, then sizes, then strides.
    """

    def __init__(self, graph: Graph, layout: Layout, items: Sequence[Item], weights: WeightStore) -> None:
        super().__init__(graph, layout, items, weights)
        if self.sections.count or self.kept:
            raise UnsupportedError(
                "sizes that only data decide, strings and sequences do not run on GPUs", remedy="build it for the CPU"
            )
        self._counters_base = counters_base(len(graph.inputs), len(layout.outputs))
        self._counters: dict[Piece, Slot] = {}
        self._counted = self.frame.size(0)

    def run(self, entries: Entries) -> None:
        """Lifetimes, offsets, then the launches; `entries` are the numbers of functions by program."""
        for piece in kernels(self.items):
            assert isinstance(piece.kernel, CudaKernel)
            if piece.kernel.zeroed != 0:
                self._counters[piece] = self._counted
                size = self.frame.size(memory.aligned(piece.kernel.zeroed))
                self._counted = self.frame.add(self._counted, size)
        super().run(entries)

    def notes(self) -> dict[str, Any]:
        """The slot of the bytes of all counters."""
        return {"counters": self.numbers[self._counted]}

    def _emit_kernel(self, piece: Piece, entries: Entries) -> None:
        assert isinstance(piece.kernel, CudaKernel)
        cost = cost_of(piece.region, *operands(piece.region))
        self.costs[len(self.rows)] = (self._size(cost.flops), self._size(cost.bytes))
        for one in piece.kernel.launches:
            self._emit_launch(piece, one, entries[one.program])

    def _emit_launch(self, piece: Piece, one: Launch, function: int) -> None:
        start = len(self.arguments)
        for argument in one.arguments:
            self.arguments += self._words(piece, argument)
        self._label(piece.label)
        count = len(self.arguments) - start
        self._step(steps.Opcode.CALL, function, start, count, self._size(if_run(self.guards, one.grid)))

    def _words(self, piece: Piece, argument: GpuArgument) -> Iterator[Slot]:
        match argument:
            case Counters():
                yield self.frame.address(self._counters_base, self._counters[piece])
            case Descriptor(address, _, shape, strides):
                yield self._argument(piece, address)
                yield from map(self._size, (*shape, *strides))
            case _:
                yield self._argument(piece, argument)

"""Steps of a GPU and of the CPU beside it: spans of launches, spans of native code, and what moves between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tenfold.codegen.cuda.launch import Alarm, Counters, CudaKernel, Descriptor, GpuArgument, Launch
from tenfold.codegen.strategy import Address, Packed
from tenfold.compiler import memory
from tenfold.compiler.cost import cost_of
from tenfold.compiler.device.shared import WALKED, Shared, Touched, place_of, touched_by
from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Item, Piece, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.lifetimes import if_run
from tenfold.compiler.schedule import Entries, Scheduler
from tenfold.compiler.weights import WeightStore
from tenfold.ir import dim
from tenfold.ir.graph import Graph, Value
from tenfold.ops.constant import Constant
from tenfold.runtime import steps
from tenfold.runtime.failures import ALARM
from tenfold.runtime.plan import Window, alarms_base, counters_base


class DeviceScheduler(Scheduler):
    """In a span of the GPU a CALL step is a launch: its entry is the number of a function, its parts the blocks of its
    grid. A descriptor among the arguments is an address, then sizes, then strides.
    """

    resting = False

    def __init__(self, graph: Graph, layout: Layout, items: Sequence[Item], weights: WeightStore) -> None:
        super().__init__(graph, layout, items, weights)
        self._counters_base = counters_base(len(graph.inputs), len(layout.outputs))
        self._alarms_base = alarms_base(len(graph.inputs), len(layout.outputs))
        self._alarms: dict[Piece, int] = {}
        self._alarmed: list[int] = []
        self._counters: dict[Piece, Slot] = {}
        self._counted = self.frame.size(0)
        self._at, self._nested = "cpu", False
        self._touched = Touched()
        self._shared = Shared()
        self._constants: set[int] = set()

    def run(self, entries: Entries) -> None:
        """Lifetimes, offsets, then the steps; `entries` are the numbers of functions by program, and the offsets of
        compiled stages by source.
        """
        for piece in kernels(self.items):
            if isinstance(piece.kernel, CudaKernel) and piece.kernel.zeroed != 0:
                self._counters[piece] = self._counted
                size = self.frame.size(memory.aligned(piece.kernel.zeroed))
                self._counted = self.frame.add(self._counted, size)
        super().run(entries)
        self._show_shared()

    def notes(self) -> dict[str, Any]:
        """The slot of the bytes of all counters; the step of each alarm; where the weights lie that the GPU reads, as
        (begin, end).
        """
        stored = (one for one in self.weights.weights.values() if one.offset in self._constants)
        ranges = sorted((one.offset, one.offset + max(one.nbytes, 1)) for one in stored)
        return {"counters": self.numbers[self._counted], "alarms": self._alarmed, "uploaded": memory.joined(ranges)}

    def remarks(self) -> dict[str, Any]:
        """What moves between the GPU and the CPU in a call whose inputs and outputs are the host's."""
        inputs = [value for value in self.graph.inputs if not value.type.dtype.is_object]
        return {"transfers": self._shared.transfers(inputs, self._outputs_of_the_model(), self.lifetimes.home)}

    def _outputs_of_the_model(self) -> list[Value]:
        return [value for value in self.outputs if not value.type.dtype.is_object]

    # spans

    def _emit(self, items: Sequence[Item], entries: Entries) -> None:
        for item in items:
            if self._nested:
                super()._emit([item], entries)
                continue
            place = place_of(item)
            if place != self._at:
                self._end_span()
            self._at, self._nested = place, True
            super()._emit([item], entries)
            self._nested = False
            found = touched_by(item, self.layout)
            if isinstance(item, WALKED):
                self._shared.add(place, item.label.kind, found)
            else:
                self._touched.follow(found)

    def _end_span(self) -> None:
        count = len(self.writer.spans)
        super()._end_span()
        if self._outermost and len(self.writer.spans) > count:
            self.writer.spans[-1] = replace(self.writer.spans[-1], place=self._at)
            self._shared.add(self._at, "kernels", self._touched)
            self._touched = Touched()

    def _show_shared(self) -> None:
        """Say of each span which of the buffers it touches that the GPU touches too."""
        assert len(self._shared.spans) == len(self.writer.spans)
        wanted = self._shared.by_both(self.lifetimes.home)
        for number, (_, _, found) in enumerate(self._shared.spans):
            sees, makes = (
                tuple(self._whole(root) for root in roots if self.lifetimes.home(root) in wanted)
                for roots in (found.reads, found.writes)
            )
            self.writer.spans[number] = replace(self.writer.spans[number], sees=sees, makes=makes)

    def _whole(self, root: Value) -> Window:
        """A buffer as a row of elements."""
        home = self.lifetimes.home(root)
        life = self.lifetimes.of(home)
        size = if_run(life.guards if life else (), dim.maximum(root.type.size, 0))
        base, offset = self.base(root)
        place: Any = offset
        count: Any = self.frame.size(size)
        one: Any = self.frame.size(1)
        return Window(root.name, root.type.dtype, base, place, (count,), (one,))

    # steps

    def _emit_kernel(self, piece: Piece, entries: Entries) -> None:
        if not isinstance(piece.kernel, CudaKernel):
            super()._emit_kernel(piece, entries)
            return
        if piece.kernel.may_fail and piece not in self._alarms:
            self._alarms[piece] = len(self._alarms)
            self._alarmed.append(len(self.rows))
        cost = cost_of(piece.region, *operands(piece.region))
        self.costs[len(self.rows)] = (self.size(cost.flops), self.size(cost.bytes))
        for one in piece.kernel.launches:
            self._emit_launch(piece, one, entries[one.program])

    def _emit_launch(self, piece: Piece, one: Launch, function: int) -> None:
        start = len(self.arguments)
        for argument in one.arguments:
            self.arguments += self._words(piece, argument)
        self._label(piece.label)
        count = len(self.arguments) - start
        self._step(steps.Opcode.CALL, function, start, count, self.size(one.grid))

    def _words(self, piece: Piece, argument: GpuArgument) -> Iterator[Slot]:
        match argument:
            case Counters():
                yield self.frame.address(self._counters_base, self._counters[piece])
            case Alarm():
                yield self.frame.address(self._alarms_base, self.frame.size(ALARM * self._alarms[piece]))
            case Descriptor(address, _, shape, strides):
                yield from self._words(piece, address)
                yield from map(self.size, (*shape, *strides))
            case Packed(value, recipe):
                self._constants.add(self.weights.packed(value, recipe))
                yield self._argument(piece, argument)
            case Address(value, _):
                if isinstance(value.op, Constant):
                    self._constants.add(self.weights.plain(value))
                yield self._argument(piece, argument)
            case _:
                yield self._argument(piece, argument)

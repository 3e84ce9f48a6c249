"""Where everything lies while a plan is written: sizes, bases and offsets as slots of the frame."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.compiler import memory
from tenfold.compiler.frame import FrameBuilder, Slot
from tenfold.compiler.items import Item, Piece
from tenfold.compiler.layout import Layout
from tenfold.compiler.lifetimes import Guarded, Life, Lifetimes, if_run
from tenfold.compiler.memory import Buffer
from tenfold.compiler.sections import kept_values, sections_of
from tenfold.compiler.weights import WeightStore
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Value
from tenfold.ops.constant import Constant
from tenfold.runtime.plan import ARENA, FIRST_INPUT, WEIGHTS, first_kept


class Places(Guarded):
    """The places of a schedule's values: inputs, outputs, weights, what Python keeps, and buffers in the arena."""

    resting = True

    def __init__(self, graph: Graph, layout: Layout, items: Sequence[Item], weights: WeightStore) -> None:
        super().__init__()
        self.graph, self.layout, self.items, self.weights = graph, layout, items, weights
        self.frame = FrameBuilder()
        self.inputs = {value: FIRST_INPUT + index for index, value in enumerate(graph.inputs)}
        first_output = FIRST_INPUT + len(graph.inputs)
        self.outputs = {value: first_output + index for value, index in layout.outputs.items()}
        first = first_kept(len(graph.inputs), len(graph.outputs))
        self.kept = {value: first + index for index, value in enumerate(kept_values(items, layout))}
        self.sections = sections_of(items)
        self.lifetimes = Lifetimes(layout, items, self.inputs.keys() | self.kept.keys(), self.outputs)
        self.cells: dict[tuple[Value, Slot], Slot] = {}
        self.offsets: dict[Value | Piece, Slot] = {}
        self.buffers: list[Buffer] = []

    def size(self, size: Size) -> Slot:
        """The slot of a size that matters only where what is being emitted runs."""
        return self.frame.size(if_run(self.guards, size))

    def place(self) -> None:
        """Give every buffer of the arena its offset."""
        lives: list[tuple[Value | Piece, Life]] = [*self.lifetimes.lives.items(), *self.lifetimes.workspaces.items()]
        self.keys = [key for key, _ in lives]
        self.buffers = [
            Buffer(_name_of(key), life.size, life.first, life.last, self.sections.latest(life.size))
            for key, life in lives
        ]
        direct = memory.order(memory.rested(self.buffers) if self.resting else self.buffers)
        ends: dict[int, Slot] = {}
        for one in memory.stacking(direct):
            start = self.frame.maximum(ends[other] for other in direct[one])
            self.offsets[self.keys[one]] = start
            ends[one] = self.frame.add(start, self.frame.size(memory.aligned(self.buffers[one].size)))
        self.arenas = [
            self.frame.maximum(end for one, end in ends.items() if self.buffers[one].section <= section)
            for section in range(self.sections.count + 1)
        ]

    def is_given(self, symbol: Dim) -> bool:
        """True if inputs or a span decide a symbol."""
        given = (size for value in self.graph.inputs for size in (*value.type.shape, *(value.type.entries or ())))
        return symbol in given or not dim.symbols(symbol).isdisjoint(self.sections.of)

    def base(self, value: Value) -> tuple[int, Slot]:
        """The base and the byte offset at which a buffer lies."""
        root = self.lifetimes.home(value)
        if root in self.inputs:
            return self.inputs[root], self.frame.size(0)
        if root in self.outputs:
            return self.outputs[root], self.frame.size(0)
        if root in self.kept:
            return self.kept[root], self.frame.size(0)
        if isinstance(root.op, Constant):
            return WEIGHTS, self.frame.size(self.weights.plain(root))
        return ARENA, self.offsets[root]

    def address(self, value: Value, extra: Slot) -> Slot:
        """The slot of the address that lies `extra` bytes after the start of a buffer, or of a turn's element."""
        if value in self.layout.elements:
            if (value, extra) not in self.cells:
                self.cells[value, extra] = self.frame.cell()
            return self.cells[value, extra]
        base, offset = self.base(value)
        return self.frame.address(base, self.frame.add(offset, extra))

    def start(self, value: Value, extra: Slot | None = None) -> Slot:
        """The slot of the address of a value's first element, or of what lies `extra` bytes after it."""
        view = self.layout.view(value)
        start = self.size(view.offset * value.type.dtype.itemsize)
        return self.address(view.root, start if extra is None else self.frame.add(start, extra))


def _name_of(key: Value | Piece) -> str:
    return key.name or "value" if isinstance(key, Value) else "workspace"

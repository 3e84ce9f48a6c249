"""From kernels in order to a plan: the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.codegen.strategy import Address, Argument, Packed, Stage, Workspace
from tenfold.compiler.cost import cost_of
from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.lifetimes import bytes_of
from tenfold.compiler.loops import guard_of
from tenfold.compiler.places import Places
from tenfold.compiler.spans import SpanWriter, numbered
from tenfold.compiler.weights import WeightStore
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.runtime import steps
from tenfold.runtime.plan import ARENA, WEIGHTS, Label, Span

Entries = Mapping[Any, int]
"""Where the code of each stage begins; the keys are those of the target's machine code."""


class Scheduler(Places):
    """Gives each buffer a place, then walks the items once for steps."""

    def __init__(self, graph: Graph, layout: Layout, items: Sequence[Item], weights: WeightStore) -> None:
        super().__init__(graph, layout, items, weights)
        self.rows: list[tuple[object, ...]] = []
        self.labels: list[Label] = []
        self.arguments: list[Slot] = []
        self.writer = SpanWriter(self)
        self.costs: dict[int, tuple[Slot, Slot]] = {}
        self.written: dict[Value, list[int]] = {}
        """The steps after which each buffer, or a part of it, is complete; -1 - n for the n-th span, a host step."""
        self.begin = 0
        self.numbers: dict[Slot, int] = {}
        self._outermost = True

    def run(self, entries: Entries) -> None:
        """Offsets, then the steps; `entries` are the offsets of compiled stages by source."""
        self.place()
        self._emit(self.items, entries)
        self._end_span()
        if not self.rows:
            self._step(*steps.end())

    def _step(self, *row: object) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def _emit(self, items: Sequence[Item], entries: Entries) -> None:
        for item in items:
            if isinstance(item, Branch):
                self._emit_branch(item, entries)
            elif isinstance(item, Repeat):
                self._emit_repeat(item, entries)
            elif isinstance(item, HostPiece | Choice | Cycle | Reveal):
                self._end_span()
                self._emit_walked(item, entries)
            else:
                self._emit_kernel(item, entries)
                self._complete(operand.value for operand in operands(item.region)[1])

    def _emit_branch(self, item: Branch, entries: Entries) -> None:
        pointer = self.start(item.condition)
        skip = self._step(steps.Opcode.JUMP_IF, pointer, 0, 0)
        with self.guarded(item.condition, True):
            self._emit(item.then, entries)
        done = self._step(steps.Opcode.JUMP, 0)
        self.rows[skip] = (steps.Opcode.JUMP_IF, pointer, len(self.rows), 0)
        with self.guarded(item.condition, False):
            self._emit(item.otherwise, entries)
        self.rows[done] = (steps.Opcode.JUMP, len(self.rows))

    def _emit_repeat(self, item: Repeat, entries: Entries) -> None:
        """The body first; behind it what prepares the first turn, then the test that every turn goes through."""
        turns, counter = item.turns, self.frame.cell()
        enter = self._step(steps.Opcode.JUMP, 0)
        if turns.number is not None:
            self._step(steps.Opcode.STORE, self.start(turns.number), counter)
        with self.within(turns.guard):
            self._emit(item.body, entries)
            self._emit_moves(item)
            for state, result in turns.moves:
                self.written.setdefault(state, []).extend(self.written.get(result, []))
            cells = [(cell, *key) for key, cell in self.cells.items() if key[0] in turns.elements]
            for cell, element, _ in cells:
                whole = turns.elements[element]
                stride = self.layout.view(whole).strides[0] * whole.type.dtype.itemsize
                self._step(steps.Opcode.ADD, cell, self.size(stride))
        follow = self._step(steps.Opcode.JUMP, 0)
        self.rows[enter] = (steps.Opcode.JUMP, len(self.rows))
        for cell, element, extra in cells:
            self._step(steps.Opcode.MOVE, cell, self.start(turns.elements[element], extra))
        self._step(steps.Opcode.MOVE, counter, self.frame.size(-1))
        limit = self._limit(turns.limit)
        self.rows[follow] = (steps.Opcode.JUMP, len(self.rows))
        if turns.condition is not None:
            self._step(steps.Opcode.JUMP_IF, self.start(turns.condition), len(self.rows) + 2, 0)
        self._step(steps.Opcode.LOOP, counter, limit, enter + 1)

    def _limit(self, limit: Size | Value) -> Slot:
        if not isinstance(limit, Value):
            return self.size(limit)
        cell = self.frame.cell()
        self._step(steps.Opcode.LOAD, cell, self.start(limit), limit.type.dtype.itemsize)
        return cell

    def _emit_moves(self, item: Repeat) -> None:
        """New states that did not take over the old ones' buffers are copied there."""
        for state, result in item.turns.moves:
            if self.lifetimes.home(result) is not self.lifetimes.home(state):
                self._label(item.label)
                places = (self.address(one, self.frame.size(0)) for one in (state, result))
                self._step(steps.Opcode.COPY, *places, self.size(bytes_of(state)))
                self._complete([state])

    def _complete(self, roots: Iterable[Value], step: int | None = None) -> None:
        """Note that these buffers are complete after the last step, or after `step`."""
        for root in roots:
            self.written.setdefault(root, []).append(len(self.rows) - 1 if step is None else step)

    def _label(self, label: Label) -> None:
        """Say what the next step stands for."""
        self.labels += [Label((), "", "")] * (len(self.rows) - len(self.labels))
        self.labels.append(label)

    def _emit_walked(self, item: HostPiece | Choice | Cycle | Reveal, entries: Entries) -> None:
        """What is done between native calls."""
        match item:
            case Reveal():
                self.writer.reveal(item)
            case HostPiece():
                if self._outermost:
                    self._complete((self.layout.view(value).root for value in item.writes), -1 - len(self.writer.spans))
                self.writer.host(item)
            case Choice(node):
                branches = []
                for sense, inner in ((True, item.then), (False, item.otherwise)):
                    with self.guarded(node.inputs[0], sense):
                        branches.append(self._inner_spans(inner, entries))
                self.writer.choice(item, *branches)
            case Cycle(node):
                with self.within(guard_of(node)):
                    body = self._inner_spans(item.body, entries)
                self.writer.cycle(item, body)

    def _inner_spans(self, items: Sequence[Item], entries: Entries) -> list[Span]:
        outer, self.writer.spans = self.writer.spans, []
        outermost, self._outermost = self._outermost, False
        self._emit(items, entries)
        self._end_span()
        self._outermost = outermost
        inner, self.writer.spans = self.writer.spans, outer
        return inner

    def _end_span(self) -> None:
        if len(self.rows) > self.begin:
            self._step(*steps.end())
            self.writer.native(self.begin, len(self.rows))
        self.begin = len(self.rows)

    def _emit_kernel(self, piece: Piece, entries: Entries) -> None:
        for stage in piece.kernel.stages:
            self._emit_stage(piece, stage, entries[stage.source, stage.optimise])

    def _emit_stage(self, piece: Piece, stage: Stage, entry: int) -> None:
        start = len(self.arguments)
        self.arguments += [self._argument(piece, argument) for argument in stage.arguments]
        if stage is piece.kernel.stages[0]:
            cost = cost_of(piece.region, *operands(piece.region))
            self.costs[len(self.rows)] = (self.size(cost.flops), self.size(cost.bytes))
        self._label(piece.label)
        parts = steps.NO_SLOT if stage.parts == 1 else self.size(stage.parts)
        self._step(steps.Opcode.CALL, entry, start, len(stage.arguments), parts)

    def _argument(self, piece: Piece, argument: Argument) -> Slot:
        match argument:
            case Address(value, extra):
                return self.address(value, self.size(extra))
            case Packed(value, recipe):
                return self.frame.address(WEIGHTS, self.frame.size(self.weights.packed(value, recipe)))
            case Workspace(extra):
                return self.frame.address(ARENA, self.frame.add(self.offsets[piece], self.size(extra)))
        return self.size(argument)

    def notes(self) -> dict[str, Any]:
        """What the manifest says of the steps besides the plan, once slots have numbers."""
        return {}

    def remarks(self) -> dict[str, Any]:
        """What the report says besides."""
        return {}

    def spans(self, numbers: dict[Slot, int]) -> tuple[Span, ...]:
        """Native ranges of the step table, and what is done between them."""
        found: tuple[Span, ...] = numbered(tuple(self.writer.spans), numbers)
        return found

    def numbered(self, numbers: dict[Slot, int]) -> tuple[np.ndarray, np.ndarray]:
        """The step table and the argument map with slots as numbers."""
        rows = [tuple(numbers[x] if isinstance(x, Slot) else int(x) for x in row) for row in self.rows]  # type: ignore[call-overload]
        return steps.table(rows), np.array([numbers[slot] for slot in self.arguments], np.int32)

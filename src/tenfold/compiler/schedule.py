"""From kernels in order to a plan: steps, lifetimes, addresses.

Buffers live from the first step that writes them to the last that reads them; branches overlay each other because
their steps do not overlap; what a loop uses and does not make itself lives throughout the loop. A kernel's output takes
over the buffer of an input that it reads for the last time, element for element.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Argument, Packed, Stage, Workspace
from tenfold.compiler import memory
from tenfold.compiler.cost import cost_of
from tenfold.compiler.frame import FrameBuilder, Slot
from tenfold.compiler.inplace import same_walk, walked_alike, whole
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.loops import body_of, guard_of
from tenfold.compiler.memory import Buffer
from tenfold.compiler.spans import SpanWriter, kept_values, numbered, sections_of
from tenfold.compiler.weights import WeightStore
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Value
from tenfold.ops.constant import Constant
from tenfold.runtime import steps
from tenfold.runtime.plan import ARENA, FIRST_INPUT, WEIGHTS, Label, Span, first_kept

Entries = Mapping[Any, int]
"""Where the code of each stage begins; the keys are those of the target's machine code."""

Guards = tuple[Size, ...]
"""Conditions known before the call, outermost first, that must all hold for something to run."""


@dataclass(eq=False)
class Life:
    """The bytes of one buffer, the steps of its life, and the conditions that all who touch it share."""

    needed: Size
    first: int
    last: int
    guards: Guards

    @property
    def size(self) -> Size:
        """The bytes; 0 where nothing touches it."""
        return if_run(self.guards, self.needed)


class Scheduler:
    """Walks the items once for lifetimes and once for steps."""

    resting = True

    def __init__(self, graph: Graph, layout: Layout, items: Sequence[Item], weights: WeightStore) -> None:
        self.graph, self.layout, self.items, self.weights = graph, layout, items, weights
        self.frame = FrameBuilder()
        self.inputs = {value: FIRST_INPUT + index for index, value in enumerate(graph.inputs)}
        first_output = FIRST_INPUT + len(graph.inputs)
        self.outputs = {value: first_output + index for value, index in layout.outputs.items()}
        first = first_kept(len(graph.inputs), len(graph.outputs))
        self.kept = {value: first + index for index, value in enumerate(kept_values(items, layout))}
        self.sections = sections_of(items)
        self.lives: dict[Value, Life] = {}
        self.results: dict[Value, Life] = {}
        self.cells: dict[tuple[Value, Slot], Slot] = {}
        self.workspaces: dict[Piece, Buffer] = {}
        self.same: dict[Value, Value] = {}
        self.offsets: dict[Value | Piece, Slot] = {}
        self.rows: list[tuple[object, ...]] = []
        self.labels: list[Label] = []
        self.arguments: list[Slot] = []
        self.writer = SpanWriter(self)
        self.guards: Guards = ()
        self.costs: dict[int, tuple[Slot, Slot]] = {}
        self.written: dict[Value, list[int]] = {}
        """The steps after which each buffer, or a part of it, is complete; -1 - n for the n-th span, a host step."""
        self.begin = 0
        self.buffers: list[Buffer] = []
        self.numbers: dict[Slot, int] = {}
        self._outermost = True

    def run(self, entries: Entries) -> None:
        """Lifetimes, offsets, then the steps; `entries` are the offsets of compiled stages by source."""
        self._live(self.items, 0)
        self._share(self.items)
        self._place()
        self._emit(self.items, entries)
        self._end_span()
        if not self.rows:
            self._step(*steps.end())

    # lifetimes

    def _live(self, items: Sequence[Item], clock: int) -> int:
        for item in items:
            if isinstance(item, Branch):
                self._touch(self.layout.view(item.condition).root, clock)
                with self.guarded(item.condition, True):
                    clock = self._live(item.then, clock + 1)
                with self.guarded(item.condition, False):
                    clock = self._live(item.otherwise, clock + 1)
            elif isinstance(item, Repeat):
                clock = self._live_repeat(item, clock)
            elif isinstance(item, Choice):
                clock = self._live_choice(item, clock)
            elif isinstance(item, Cycle):
                clock = self._live_cycle(item, clock)
            elif isinstance(item, HostPiece):
                self._touch_views((*item.writes, *item.reads), clock)
            elif isinstance(item, Reveal):
                self._touch_views([item.value], clock)
            else:
                self._live_kernel(item, clock)
            clock += 1
        return clock

    def _live_kernel(self, item: Piece, clock: int) -> None:
        reads, writes = operands(item.region)
        for operand in (*writes, *reads):
            self._touch(operand.value, clock)
        if item.kernel.takes_workspace:
            size = if_run(self.guards, item.kernel.workspace)
            self.workspaces[item] = Buffer("workspace", size, clock, clock, self.sections.latest(size))

    def _live_choice(self, item: Choice, clock: int) -> int:
        """Results are copied out of a branch at its end."""
        op, condition = item.node.op, item.node.inputs[0]
        self._touch_views([condition], clock)
        for sense, inner, body in zip((True, False), (item.then, item.otherwise), op.graphs, strict=True):
            with self.guarded(condition, sense):
                clock = self._live(inner, clock + 1)
                self._touch_views(body.outputs, clock)
        self._touch_views(item.node.outputs, clock)
        return clock

    def _live_cycle(self, item: Cycle, begin: int) -> int:
        """What stands before a loop and is used in it lives to its end; the rest from turn to turn anew."""
        node = item.node
        self._touch_views(node.inputs, begin)
        with self.within(guard_of(node)):
            end = self._live(item.body, begin + 1)
            self._touch_views(body_of(node.op).outputs, end)
        self._touch_views((*node.inputs, *node.outputs), end)
        self._lengthen(begin, end)
        return end

    def _lengthen(self, begin: int, end: int) -> None:
        for life in (*self.lives.values(), *self.results.values()):
            if life.first <= begin < life.last:
                life.last = end

    def _touch_views(self, values: Iterable[Value], clock: int) -> None:
        for value in values:
            self._touch(self.layout.view(value).root, clock)

    def _live_repeat(self, item: Repeat, begin: int) -> int:
        """What stands before a loop and is used in it lives to its end; a new state takes over its own old buffer
        where nothing reads that any more.
        """
        turns = item.turns
        read = [value for value in (turns.limit, turns.condition, turns.number) if isinstance(value, Value)]
        for value in (*read, *turns.lasting):
            self._touch(self.layout.view(value).root, begin)
        with self.within(turns.guard):
            end = self._live(item.body, begin + 1)
        for state, result in turns.moves:
            if not self._takes_over(item, state, result):
                self._touch(result, end)
            self._touch(state, end)
        self._lengthen(begin, end)
        return end

    def _takes_over(self, item: Repeat, state: Value, result: Value) -> bool:
        old, new = self._life(state), self.lives[result]
        if old.last > new.first:
            return False
        if old.last == new.first:
            writers = [p for p in kernels(item.body) if any(o.value is result for o in p.region.outputs)]
            if len(writers) != 1 or not self._steps_alike(writers[0], state, result):
                return False
        self.same[result] = state
        del self.lives[result]
        return True

    def _steps_alike(self, piece: Piece, state: Value, result: Value) -> bool:
        """True if a piece reads each element of `state` just before it writes the same one of `result`."""
        written = next(o for o in piece.region.outputs if o.value is result)
        read = [o for o in walked_alike(piece.region) if o.value is state]
        alike = len(read) == 1 and same_walk(read[0], written) and self._only_reader(piece, state)
        return alike and whole(written)

    def _life(self, root: Value) -> Life:
        return self.lives[root] if root in self.lives else self.results[root]

    @contextmanager
    def guarded(self, condition: Value, sense: bool) -> Iterator[None]:
        """Within it, sizes matter only where the condition, if it is known before the call, has this sense."""
        known = condition.type.entries
        holds = (known[0] if sense else dim.logical_not(known[0])) if known else 1
        with self.within(holds):
            yield

    @contextmanager
    def within(self, guard: Size) -> Iterator[None]:
        """Within it, sizes matter only where `guard` is not 0."""
        outer = self.guards
        self.guards = outer if guard == 1 else (*outer, guard)
        yield
        self.guards = outer

    def size(self, size: Size) -> Slot:
        """The slot of a size that matters only where what is being emitted runs."""
        return self.frame.size(if_run(self.guards, size))

    _size = size

    def _touch(self, root: Value, clock: int) -> None:
        if root in self.layout.elements:
            self._touch(self.layout.view(self.layout.elements[root]).root, clock)
            return
        if root in self.inputs or root in self.kept or isinstance(root.op, Constant):
            return
        lives = self.results if root in self.outputs else self.lives
        life = lives.setdefault(root, Life(bytes_of(root), clock, clock, self.guards))
        life.last = max(life.last, clock)
        both = takewhile(lambda pair: pair[0] is pair[1], zip(life.guards, self.guards, strict=False))
        life.guards = tuple(guard for guard, _ in both)

    def _share(self, items: Sequence[Item]) -> None:
        """In-place results: the output of a piece takes over the buffer of a dying input walked alike."""
        clock = {piece: self._clock(piece) for piece in kernels(items)}
        for piece in kernels(items):
            for written in piece.region.outputs:
                taken = self._dying(piece, written, clock[piece])
                if taken is not None:
                    self.same[written.value] = taken
                    self.lives[taken].last = self.lives.pop(written.value).last

    def _clock(self, piece: Piece) -> int:
        return max((self.lives[o.value].first for o in piece.region.outputs if o.value in self.lives), default=-1)

    def _dying(self, piece: Piece, written: Operand, clock: int) -> Value | None:
        life = self.lives.get(written.value)
        if life is None or life.first != clock or not whole(written):
            return None
        for read in walked_alike(piece.region):
            root = self.same.get(read.value, read.value)
            other = self.lives.get(root)
            if other is None or other is life or other.last != clock or not same_walk(read, written):
                continue
            if dim.known_equal(other.size, life.size) and self._only_reader(piece, read.value):
                return root
        return None

    def _only_reader(self, piece: Piece, value: Value) -> bool:
        reads, writes = operands(piece.region)
        others = sum(self.same.get(o.value, o.value) is self.same.get(value, value) for o in (*reads, *writes))
        return others == 1

    # offsets

    def _place(self) -> None:
        self.keys: list[Value | Piece] = [*self.lives, *self.workspaces]
        self.buffers = [
            Buffer(v.name or "value", life.size, life.first, life.last, self.sections.latest(life.size))
            for v, life in self.lives.items()
        ]
        self.buffers += self.workspaces.values()
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
        root = self._home(value)
        if root in self.inputs:
            return self.inputs[root], self.frame.size(0)
        if root in self.outputs:
            return self.outputs[root], self.frame.size(0)
        if root in self.kept:
            return self.kept[root], self.frame.size(0)
        if isinstance(root.op, Constant):
            return WEIGHTS, self.frame.size(self.weights.plain(root))
        return ARENA, self.offsets[root]

    def _home(self, root: Value) -> Value:
        while root in self.same:
            root = self.same[root]
        return root

    def _address(self, value: Value, extra: Slot) -> Slot:
        """The slot of the address that lies `extra` bytes after the start of a buffer, or of a turn's element."""
        if value in self.layout.elements:
            if (value, extra) not in self.cells:
                self.cells[value, extra] = self.frame.cell()
            return self.cells[value, extra]
        base, offset = self.base(value)
        return self.frame.address(base, self.frame.add(offset, extra))

    def _start(self, value: Value, extra: Slot | None = None) -> Slot:
        """The slot of the address of a value's first element, or of what lies `extra` bytes after it."""
        view = self.layout.view(value)
        start = self._size(view.offset * value.type.dtype.itemsize)
        return self._address(view.root, start if extra is None else self.frame.add(start, extra))

    # steps

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
        pointer = self._start(item.condition)
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
            self._step(steps.Opcode.STORE, self._start(turns.number), counter)
        with self.within(turns.guard):
            self._emit(item.body, entries)
            self._emit_moves(item)
            for state, result in turns.moves:
                self.written.setdefault(state, []).extend(self.written.get(result, []))
            cells = [(cell, *key) for key, cell in self.cells.items() if key[0] in turns.elements]
            for cell, element, _ in cells:
                whole = turns.elements[element]
                stride = self.layout.view(whole).strides[0] * whole.type.dtype.itemsize
                self._step(steps.Opcode.ADD, cell, self._size(stride))
        follow = self._step(steps.Opcode.JUMP, 0)
        self.rows[enter] = (steps.Opcode.JUMP, len(self.rows))
        for cell, element, extra in cells:
            self._step(steps.Opcode.MOVE, cell, self._start(turns.elements[element], extra))
        self._step(steps.Opcode.MOVE, counter, self.frame.size(-1))
        limit = self._limit(turns.limit)
        self.rows[follow] = (steps.Opcode.JUMP, len(self.rows))
        if turns.condition is not None:
            self._step(steps.Opcode.JUMP_IF, self._start(turns.condition), len(self.rows) + 2, 0)
        self._step(steps.Opcode.LOOP, counter, limit, enter + 1)

    def _limit(self, limit: Size | Value) -> Slot:
        if not isinstance(limit, Value):
            return self._size(limit)
        cell = self.frame.cell()
        self._step(steps.Opcode.LOAD, cell, self._start(limit), limit.type.dtype.itemsize)
        return cell

    def _emit_moves(self, item: Repeat) -> None:
        """New states that did not take over the old ones' buffers are copied there."""
        for state, result in item.turns.moves:
            if self._home(result) is not self._home(state):
                self._label(item.label)
                places = (self._address(one, self.frame.size(0)) for one in (state, result))
                self._step(steps.Opcode.COPY, *places, self._size(bytes_of(state)))
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
            self.costs[len(self.rows)] = (self._size(cost.flops), self._size(cost.bytes))
        self._label(piece.label)
        parts = steps.NO_SLOT if stage.parts == 1 else self._size(stage.parts)
        self._step(steps.Opcode.CALL, entry, start, len(stage.arguments), parts)

    def _argument(self, piece: Piece, argument: Argument) -> Slot:
        match argument:
            case Address(value, extra):
                return self._address(value, self._size(extra))
            case Packed(value, recipe):
                return self.frame.address(WEIGHTS, self.frame.size(self.weights.packed(value, recipe)))
            case Workspace(extra):
                return self.frame.address(ARENA, self.frame.add(self.offsets[piece], self._size(extra)))
        return self._size(argument)

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


def if_run(guards: Guards, size: Size) -> Size:
    """A size that matters only where the conditions hold; 0 elsewhere."""
    guard: Size = 1
    for one in guards:
        guard = dim.logical_and(guard, one)
    return size if isinstance(size, int) or guard == 1 else dim.select(guard, size, 0)


def bytes_of(root: Value) -> Size:
    """The bytes of a dense buffer for a value."""
    return dim.maximum(root.type.size, 0) * root.type.dtype.itemsize

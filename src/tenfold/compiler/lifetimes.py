"""Lifetimes of buffers: from the first step that writes each to the last that reads it.

Branches overlay each other because their steps do not overlap; what a loop uses and does not make itself lives
throughout the loop. A kernel's output takes over the buffer of an input that it reads for the last time, element for
element.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

from tenfold.codegen.region import Operand
from tenfold.compiler.inplace import same_walk, walked_alike, whole
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.loops import body_of, guard_of
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant

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


class Guarded:
    """Whoever walks the items of a schedule, and knows under which conditions what it sees is run."""

    def __init__(self) -> None:
        self.guards: Guards = ()

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


class Lifetimes(Guarded):
    """The lives of all buffers of a schedule, by root (`lives`) or piece (`workspaces`), and which share one (`same`).

    Buffers in `outside` are the caller's; so are those in `outputs`, whose lives are in `results`.
    """

    def __init__(
        self, layout: Layout, items: Sequence[Item], outside: Container[Value], outputs: Container[Value]
    ) -> None:
        super().__init__()
        self.layout, self.outside, self.outputs = layout, outside, outputs
        self.lives: dict[Value, Life] = {}
        self.results: dict[Value, Life] = {}
        self.workspaces: dict[Piece, Life] = {}
        self.same: dict[Value, Value] = {}
        self._walk(items, 0)
        self._share(items)

    def of(self, root: Value) -> Life | None:
        """The life of the buffer at home in `root`; None where it is the caller's."""
        return self.lives.get(root) or self.results.get(root)

    def home(self, root: Value) -> Value:
        """The root whose buffer holds this one too."""
        while root in self.same:
            root = self.same[root]
        return root

    def _walk(self, items: Sequence[Item], clock: int) -> int:
        for item in items:
            if isinstance(item, Branch):
                self._touch(self.layout.view(item.condition).root, clock)
                with self.guarded(item.condition, True):
                    clock = self._walk(item.then, clock + 1)
                with self.guarded(item.condition, False):
                    clock = self._walk(item.otherwise, clock + 1)
            elif isinstance(item, Repeat):
                clock = self._walk_repeat(item, clock)
            elif isinstance(item, Choice):
                clock = self._walk_choice(item, clock)
            elif isinstance(item, Cycle):
                clock = self._walk_cycle(item, clock)
            elif isinstance(item, HostPiece):
                self._touch_views((*item.writes, *item.reads), clock)
            elif isinstance(item, Reveal):
                self._touch_views([item.value], clock)
            else:
                self._walk_kernel(item, clock)
            clock += 1
        return clock

    def _walk_kernel(self, item: Piece, clock: int) -> None:
        reads, writes = operands(item.region)
        for operand in (*writes, *reads):
            self._touch(operand.value, clock)
        if item.kernel.takes_workspace:
            self.workspaces[item] = Life(item.kernel.workspace, clock, clock, self.guards)

    def _walk_choice(self, item: Choice, clock: int) -> int:
        """Results are copied out of a branch at its end."""
        op, condition = item.node.op, item.node.inputs[0]
        self._touch_views([condition], clock)
        for sense, inner, body in zip((True, False), (item.then, item.otherwise), op.graphs, strict=True):
            with self.guarded(condition, sense):
                clock = self._walk(inner, clock + 1)
                self._touch_views(body.outputs, clock)
        self._touch_views(item.node.outputs, clock)
        return clock

    def _walk_cycle(self, item: Cycle, begin: int) -> int:
        """What stands before a loop and is used in it lives to its end; the rest from turn to turn anew."""
        node = item.node
        self._touch_views(node.inputs, begin)
        with self.within(guard_of(node)):
            end = self._walk(item.body, begin + 1)
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

    def _walk_repeat(self, item: Repeat, begin: int) -> int:
        """What stands before a loop and is used in it lives to its end; a new state takes over its own old buffer
        where nothing reads that any more.
        """
        turns = item.turns
        read = [value for value in (turns.limit, turns.condition, turns.number) if isinstance(value, Value)]
        for value in (*read, *turns.lasting):
            self._touch(self.layout.view(value).root, begin)
        with self.within(turns.guard):
            end = self._walk(item.body, begin + 1)
        for state, result in turns.moves:
            if not self._takes_over(item, state, result):
                self._touch(result, end)
            self._touch(state, end)
        self._lengthen(begin, end)
        return end

    def _takes_over(self, item: Repeat, state: Value, result: Value) -> bool:
        old, new = self.lives.get(state) or self.results[state], self.lives[result]
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

    def _touch(self, root: Value, clock: int) -> None:
        if root in self.layout.elements:
            self._touch(self.layout.view(self.layout.elements[root]).root, clock)
            return
        if root in self.outside or isinstance(root.op, Constant):
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


def if_run(guards: Guards, size: Size) -> Size:
    """A size that matters only where the conditions hold; 0 elsewhere."""
    guard: Size = 1
    for one in guards:
        guard = dim.logical_and(guard, one)
    return size if isinstance(size, int) or guard == 1 else dim.select(guard, size, 0)


def bytes_of(root: Value) -> Size:
    """The bytes of a dense buffer for a value."""
    return dim.maximum(root.type.size, 0) * root.type.dtype.itemsize

"""Loops of TorchScript whose number of turns only a call decides: their bodies followed on trial, and cut out.

What a turn hands on is found by following: the tensors that the program itself hands on, numbers that a turn changes,
and tensors of outside that it writes into. A list that only grows by tensors of one shape is stacked by the loop, and
stands in the program as what `Rows` holds; stacking and joining such lists is all that can be done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, cast, reshaped, transposed
from tenfold.importers.torch.aliases import Cell, Ref
from tenfold.importers.torch.promote import as_value
from tenfold.importers.torch.subgraph import NUMBERS, Contents, Memory, captured, copied
from tenfold.importers.torch.tensor import unsqueeze
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.arithmetic import Add
from tenfold.ops.control import Loop
from tenfold.ops.movement import Concat

MOST_ATTEMPTS = 12

Turn = Callable[[Any, Sequence[Any]], tuple[Any, Sequence[Any]]]
"""Follows the body: from the turn's number and the state to the condition and the state after it."""


@dataclass(frozen=True)
class Rows:
    """Elements of a list whose number only a call decides: one for each place of the first axis."""

    value: Value


@dataclass
class Trial:
    """What following a turn gave: formal values of the turn's number and of what is carried, and the results."""

    counter: Value
    formal: list[Value]
    again: Value
    ends: list[Value]
    rows: list[tuple[int, list[Value]]]
    after: Sequence[Any]


@dataclass
class Repeated:
    """A loop on its way to a Loop operation. `state` is what the program hands on."""

    memory: Memory
    outside: set[Node]
    turn: Turn
    state: Sequence[Any]
    first: int = 0
    """How many turns have been taken before."""
    kinds: dict[int, DType] = field(default_factory=dict)
    """Numbers among the state that turns change, by place."""
    written: list[int] = field(default_factory=list)
    """Tensors of outside that turns write into, by place in memory."""
    opened: dict[tuple[int, int], Dim] = field(default_factory=dict)
    """Sizes that turns change, by place among what is carried, and axis."""

    def run(self, trips: Any, condition: Any) -> list[Any]:
        """The state after the last turn; memory then holds what that has left."""
        for _ in range(MOST_ATTEMPTS):
            start = self._start()
            trial = self._trial(list(start.values()))
            if self._settled(start, trial):
                return self._looped(trips, condition, start, trial)
        raise UnsupportedError("what a loop hands from turn to turn does not settle")

    def _start(self) -> dict[int, Value]:
        """What is carried before the first turn, by place in the state; then from -1 down what is written into."""
        found = {}
        for at, one in enumerate(self.state):
            if at in self.kinds or isinstance(one, Ref):
                found[at] = one.value if isinstance(one, Ref) else as_value(one, self.kinds[at])
        return found | {-1 - at: self.memory.cells[place].value for at, place in enumerate(self.written)}

    def _trial(self, before: Sequence[Value]) -> Trial:
        formal = [Value(self._formal(at, one.type), name=f"x{at}") for at, one in enumerate(before)]
        counter = Value(Type(dt.i64, ()), name="turn")
        carried = [at for at, one in enumerate(self.state) if at in self.kinds or isinstance(one, Ref)]
        given = list(self.state)
        for at, value in zip(carried, formal, strict=False):
            given[at] = Ref(Cell(value))

        def follow() -> Trial:
            for place, value in zip(self.written, formal[len(carried) :], strict=True):
                self.memory.cells[place].write(value)
            start = self.memory.contents()
            again, after = self.turn(Ref(Cell(apply(Add(), counter, self.first) if self.first else counter)), given)
            ends = [_handed_on(after[at], value.type.dtype) for at, value in zip(carried, formal, strict=False)]
            ends += [self.memory.cells[place].value for place in self.written]
            rows = self._grown(start)
            now = enumerate(zip(start.values, self.memory.cells, strict=True))
            self.written += [at for at, (was, cell) in now if cell.value is not was and at not in self.written]
            condition = reshaped(as_value(_plain(again), dt.boolean), ())
            return Trial(counter, formal, condition, ends, rows, after)

        found: Trial = self.memory.trial(follow)[0]
        return found

    def _grown(self, start: Contents) -> list[tuple[int, list[Value]]]:
        if self.memory.attributes != start.attributes:
            raise UnsupportedError("a loop that only a call ends sets an attribute of the module")
        found = []
        for at, (was, items) in enumerate(zip(start.items, self.memory.lists, strict=True)):
            new = items[len(was) :]
            if items[: len(was)] != was or not all(isinstance(one, Ref) for one in new):
                raise UnsupportedError("a loop that only a call ends changes a list otherwise than by appending")
            if new:
                found.append((at, [one.value for one in new]))
        return found

    def _formal(self, at: int, first: Type) -> Type:
        sizes = enumerate(first.shape)
        return Type(first.dtype, tuple(self.opened.get((at, axis), size) for axis, size in sizes))

    def _settled(self, start: Mapping[int, Value], trial: Trial) -> bool:
        """False where the next attempt must carry more, or with more sizes open; what that is, is noted."""
        pairs = enumerate(zip(self.state, trial.after, strict=True))
        changed = {at: _kind(one, new) for at, (one, new) in pairs if at not in start and not _same(one, new)}
        self.kinds.update(changed)
        widened = len(self.opened)
        for place, (formal, end) in enumerate(zip(trial.formal, trial.ends, strict=True)):
            if formal.type.rank != end.type.rank:
                raise UnsupportedError(f"a loop's state is {formal.type} before a turn and {end.type} after it")
            for axis, (a, b) in enumerate(zip(formal.type.shape, end.type.shape, strict=True)):
                if not dim.known_equal(a, b) and (place, axis) not in self.opened:
                    self.opened[place, axis] = unknown_size()
        return not changed and len(self.opened) == widened and len(start) == len(trial.formal) == len(self._start())

    def _looped(self, trips: Any, condition: Any, start: Mapping[int, Value], trial: Trial) -> list[Any]:
        inputs = [trial.counter, Value(Type(dt.boolean, ()), name="condition"), *trial.formal]
        results = [trial.again, *trial.ends, *(row for _, rows in trial.rows for row in rows)]
        needed = [one for one in captured(results, self.outside) if one not in inputs]
        graph = Graph()
        known = {one: graph.input(one.name or f"c{at}", one.type) for at, one in enumerate((*inputs, *needed))}
        graph.set_outputs([copied(one, known) for one in results], [f"y{at}" for at in range(len(results))])
        left = trips - self.first if isinstance(trips, int | Dim) else trips
        most, first = (
            reshaped(as_value(_plain(one), kind), ()) for one, kind in ((left, dt.i64), (condition, dt.boolean))
        )
        found = Loop(graph, len(start))(most, first, *start.values(), *needed)
        made = list(found) if isinstance(found, tuple) else [found]
        ends, scans = dict(zip(start, made, strict=False)), iter(made[len(start) :])
        for at, place in enumerate(self.written):
            self.memory.cells[place].write(ends[-1 - at])
        for at, rows in trial.rows:
            self.memory.lists[at].append(Rows(_interleaved([next(scans) for _ in rows])))
        return [Ref(Cell(ends[at])) if at in ends else one for at, one in enumerate(self.state)]


def _plain(one: Any) -> Any:
    return one.value if isinstance(one, Ref) else one


def _handed_on(one: Any, dtype: DType) -> Value:
    value = _plain(one)
    if not isinstance(value, Value | bool | int | float | Dim):
        raise UnsupportedError(f"a loop that only a call ends hands on {value!r}")
    made = as_value(value, dtype)
    return cast(made, dtype)


def _kind(before: Any, after: Any) -> DType:
    kind = NUMBERS.get(type(before))
    if kind is None:
        raise UnsupportedError(f"a loop that only a call ends changes {before!r} to {after!r}")
    return kind


def _same(a: Any, b: Any) -> bool:
    return a is b or (not isinstance(a, Ref) and not isinstance(b, Ref) and type(a) is type(b) and bool(a == b))


def _interleaved(rows: Sequence[Value]) -> Value:
    """The rows of several stacks, turn by turn."""
    if len(rows) == 1:
        return rows[0]
    sizes = rows[0].type.shape
    wide = apply(Concat(1), *(reshaped(one, (sizes[0], 1, *sizes[1:])) for one in rows))
    return reshaped(wide, (sizes[0] * len(rows), *sizes[1:]))


def joined(name: str, items: Sequence[Any], axis: int = 0) -> Value:
    """stack or cat of tensors of which some stand as Rows."""
    if name == "stack":
        pieces = [_along(one.value, axis) if isinstance(one, Rows) else unsqueeze(one, axis) for one in items]
    else:
        pieces = [_merged(one.value, axis) if isinstance(one, Rows) else one for one in items]
    at = axis % pieces[0].type.rank
    return pieces[0] if len(pieces) == 1 else apply(Concat(at), *pieces)


def _along(rows: Value, axis: int) -> Value:
    """[turns, …] with the turns along another axis."""
    order = list(range(1, rows.type.rank))
    order.insert(axis % rows.type.rank, 0)
    return transposed(rows, order)


def _merged(rows: Value, axis: int) -> Value:
    """[turns, …] with the turns merged into an axis of the rest."""
    at = axis % (rows.type.rank - 1)
    shape = (moved := _along(rows, at)).type.shape
    return reshaped(moved, (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :]))

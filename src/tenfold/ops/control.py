"""Branches and loops. Subgraphs are attributes; each takes what it captures as its last inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph
from tenfold.ir.op import Array, Op
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.sequence import joined_dtype

if TYPE_CHECKING:
    from tenfold.ir.interpret import Interpreter


class If(Op):
    """Inputs: a bool of one element, then the captures. Both branches take all captures, in order."""

    then_branch: Graph
    else_branch: Graph

    def infer(self, condition: Type, *captures: Type) -> tuple[Type, ...]:
        """The branches' output types, joined: a size that differs follows the condition if that is known."""
        _check_condition(condition, "If")
        _check_arity(self.then_branch, len(captures), "a branch of If")
        _check_arity(self.else_branch, len(captures), "a branch of If")
        if len(self.then_branch.outputs) != len(self.else_branch.outputs):
            raise ValueError("the branches of If return different numbers of values")
        known = condition.entries[0] if condition.entries else None
        pairs = zip(self.then_branch.outputs, self.else_branch.outputs, strict=True)
        return tuple(_joined(known, a.type, b.type) for a, b in pairs)

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run the chosen branch."""
        branch = self.then_branch if inputs[0].item() else self.else_branch
        return interpreter.call(branch, inputs[1:])


class Loop(Op):
    """Inputs: most turns i64, a bool that must hold to begin, `carried` state values, captures.

    The body takes (turn i64, condition, state, captures) and returns (condition, state, scans): it runs while
    the condition holds. Outputs: the last state, then each scan's values of all turns along a new first axis.
    """

    body: Graph
    carried: int

    def infer(self, trips: Type, condition: Type, *rest: Type) -> tuple[Type, ...]:
        """State types as the body takes them; scans as the body gives them, along the number of turns."""
        _check_condition(condition, "Loop")
        _check_arity(self.body, 2 + len(rest), "the body of Loop")
        if len(self.body.outputs) <= self.carried:
            raise ValueError(f"the body of Loop returns a condition and {self.carried} state values at least")
        _check_condition(self.body.outputs[0].type, "Loop's body")
        formal = [value.type for value in self.body.inputs[2 : 2 + self.carried]]
        state = tuple(settled(inner, outer) for inner, outer in zip(formal, rest[: self.carried], strict=True))
        turns = self._turns(trips, condition)
        outer = visible_symbols(trips, condition, *rest)
        scans = (value.type for value in self.body.outputs[1 + self.carried :])
        return (*state, *(Type(t.dtype, (turns, *escaped(t.shape, outer))) for t in scans))

    @property
    def keeps_condition(self) -> bool:
        """True if the body never ends the loop: its condition is the one it was given, or always true."""
        end = self.body.outputs[0]
        return end is self.body.inputs[1] or end.type.entries == (1,)

    def _turns(self, trips: Type, condition: Type) -> Size:
        endless = trips.entries is None or trips.entries[0] == dt.i64.limits[1]
        if endless or not trips.entries or not condition.entries or not self.keeps_condition:
            return unknown_size()
        return dim.select(condition.entries[0], dim.maximum(trips.entries[0], 0), 0)

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Turn after turn."""
        trips, condition = int(inputs[0].item()), np.asarray(inputs[1])
        state, captures = inputs[2 : 2 + self.carried], inputs[2 + self.carried :]
        scans: list[list[Array]] = [[] for _ in self.body.outputs[1 + self.carried :]]
        turn = 0
        while turn < trips and condition.item():
            found = interpreter.call(self.body, (np.array(turn, np.int64), condition, *state, *captures))
            condition, state = found[0], found[1 : 1 + self.carried]
            for rows, row in zip(scans, found[1 + self.carried :], strict=True):
                rows.append(row)
            turn += 1
        ends = zip(scans, self.body.outputs[1 + self.carried :], strict=True)
        return (*state, *(_stacked(rows, value.type, interpreter) for rows, value in ends))


class Scan(Op):
    """Inputs: `carried` state values, `scanned` sequences along their first axis, captures.

    The body takes (state, one element of each sequence, captures) and returns (state, scans). Outputs: the last
    state, then each scan's values of all turns along a new first axis.
    """

    body: Graph
    carried: int
    scanned: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """State types as the body takes them; scans along the sequences' length."""
        _check_arity(self.body, len(inputs), "the body of Scan")
        sequences = inputs[self.carried : self.carried + self.scanned]
        if not sequences or any(t.rank == 0 for t in sequences):
            raise ValueError("Scan needs a sequence, and each sequence needs an axis")
        formal = [value.type for value in self.body.inputs[: self.carried]]
        state = tuple(settled(inner, outer) for inner, outer in zip(formal, inputs[: self.carried], strict=True))
        outer = visible_symbols(*inputs)
        scans = (value.type for value in self.body.outputs[self.carried :])
        return (*state, *(Type(t.dtype, (sequences[0].shape[0], *escaped(t.shape, outer))) for t in scans))

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Element after element."""
        state = inputs[: self.carried]
        sequences = inputs[self.carried : self.carried + self.scanned]
        captures = inputs[self.carried + self.scanned :]
        scans: list[list[Array]] = [[] for _ in self.body.outputs[self.carried :]]
        for elements in zip(*sequences, strict=True):
            found = interpreter.call(self.body, (*state, *map(np.asarray, elements), *captures))
            state = found[: self.carried]
            for rows, row in zip(scans, found[self.carried :], strict=True):
                rows.append(row)
        ends = zip(scans, self.body.outputs[self.carried :], strict=True)
        return (*state, *(_stacked(rows, value.type, interpreter) for rows, value in ends))


class Require(Op):
    """x, where every element of a bool tensor holds; an error that says `message` where one does not."""

    message: str

    def infer(self, x: Type, condition: Type) -> Type:
        """The input's type."""
        if condition.dtype is not dt.boolean:
            raise ValueError(f"Require takes a bool condition, not {condition}")
        return x

    def evaluate(self, x: Array, condition: Array) -> Array:
        """The input itself."""
        if not condition.all():
            raise ValueError(self.message)
        return x


def settled(inner: Type, outer: Type) -> Type:
    """The type of a loop's state after the loop: sizes that every turn keeps stay, the others only the data decide."""
    if inner.dtype.element is not None and outer.dtype.element is not None:
        outer = Type(joined_dtype(inner.dtype, outer.dtype), ())
    if inner.dtype != outer.dtype or inner.rank != outer.rank:
        raise ValueError(f"a loop's state begins as {outer}, and its body takes {inner}")
    pairs = zip(inner.shape, outer.shape, strict=True)
    return Type(inner.dtype, tuple(a if a == b else unknown_size() for a, b in pairs))


def visible_symbols(*types: Type) -> set[str]:
    """The names of all symbols in sizes of these types."""
    return {symbol for t in types for size in t.shape for symbol in dim.symbols(size)}


def escaped(shape: tuple[Size, ...], outer: set[str]) -> tuple[Size, ...]:
    """The sizes as seen from outside a body: one that depends on the body's own symbols is decided by the data."""
    return tuple(size if dim.symbols(size) <= outer else unknown_size() for size in shape)


def _joined(condition: Size | None, a: Type, b: Type) -> Type:
    if a.dtype.element is not None and b.dtype.element is not None:
        return Type(joined_dtype(a.dtype, b.dtype), ())
    if a.dtype != b.dtype or a.rank != b.rank:
        raise ValueError(f"the branches of If return {a} and {b}, which must agree in element type and rank")
    shape = tuple(_either(condition, x, y) for x, y in zip(a.shape, b.shape, strict=True))
    result = Type(a.dtype, shape)
    if condition is None or a.entries is None or b.entries is None or len(a.entries) != len(b.entries):
        return result
    return result.with_entries(tuple(_either(condition, x, y) for x, y in zip(a.entries, b.entries, strict=True)))


def _either(condition: Size | None, x: Size, y: Size) -> Size:
    if x == y:
        return x
    return unknown_size() if condition is None else dim.select(condition, x, y)


def _check_condition(condition: Type, name: str) -> None:
    if condition.dtype is not dt.boolean or condition.size != 1:
        raise ValueError(f"the condition of {name} must be one bool, not {condition}")


def _check_arity(graph: Graph, count: int, what: str) -> None:
    if len(graph.inputs) != count:
        raise ValueError(f"{what} takes {len(graph.inputs)} inputs, and {count} are given")


def _stacked(rows: list[Array], row: Type, interpreter: Interpreter) -> Array:
    if rows:
        return np.stack(rows)
    known = (substitute(size, interpreter.bindings) for size in row.shape)
    return np.zeros((0, *(size if isinstance(size, int) else 0 for size in known)), row.dtype.numpy)

"""The arithmetic of recurrent cells: what becomes of the sums of each gate, one vector of units at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenfold.codegen.cpu.emit import emit_body
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Body, Instruction
from tenfold.ir.dtype import DType
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent


@dataclass(frozen=True)
class Point:
    """Some units of one sequence at one step: their sums of x w' and of state r' by gate, their share of a bias by
    name and gate, and their states by name. `settle` stores a state unless the sequence has ended.
    """

    x: Callable[[int], Vector]
    r: Callable[[int], Vector]
    bias: Callable[[str, int], Vector]
    load: Callable[[str], Vector]
    store: Callable[[str, Vector], None]
    settle: Callable[[str, Vector], None]


@dataclass(frozen=True)
class Sweep:
    """A product of all units of a state with the columns of R of some `gates`, and what is done with the sums."""

    reads: str
    gates: tuple[int, ...]
    finish: Callable[[Any, DType, Point], None]


@dataclass(frozen=True)
class Cell:
    """The sweeps of one step in order, the biases by name with the gates they have, the states that outlive a step
    (h first), and those that do not.
    """

    sweeps: tuple[Sweep, ...]
    biases: dict[str, int]
    states: tuple[str, ...] = ("h",)
    passing: tuple[str, ...] = ()


def cell_of(op: Recurrent) -> Cell:
    """What an operation's cell consists of."""
    match op:
        case LSTM():
            biases = {"b": 4, "p": 3} if op.peepholes else {"b": 4}
            return Cell((Sweep("h", (0, 1, 2, 3), _long_short),), biases, ("h", "c"))
        case GRU(linear_before_reset=True):
            return Cell((Sweep("h", (0, 1, 2), _gated),), {"wb": 3, "rb": 3})
        case GRU():
            sweeps = (Sweep("h", (0, 1), _gates), Sweep("rh", (2,), _candidate))
            return Cell(sweeps, {"wb": 3, "rb": 3}, passing=("z", "rh"))
        case RNN():
            return Cell((Sweep("h", (0,), _simple),), {"b": 1})
    raise AssertionError(f"no cell of {op.name}")


def activated(function: Elementwise, dtype: DType, x: Vector) -> Vector:
    """An activation on a vector of that type."""
    (result,) = emit_body(x.code, activation_body(function, dtype), [x])
    return result


def activation_body(function: Elementwise, dtype: DType) -> Body:
    """An activation as a body."""
    return Body((dtype,), (Instruction(function, (0,), dtype),), (1,))


def _bounded(op: Recurrent, x: Vector) -> Vector:
    return x.at_least(-op.clip).at_most(op.clip) if op.clip > 0 else x


def _simple(op: RNN, dtype: DType, at: Point) -> None:
    (f,) = op.functions()
    at.settle("h", activated(f, dtype, _bounded(op, at.x(0) + at.r(0) + at.bias("b", 0))))


def _long_short(op: LSTM, dtype: DType, at: Point) -> None:
    f, g, out = op.functions()
    c = at.load("c")
    enter, leave, forget, new = (at.x(k) + at.r(k) + at.bias("b", k) for k in range(4))
    if op.peepholes:
        enter, forget = enter + at.bias("p", 0) * c, forget + at.bias("p", 2) * c
    enter = activated(f, dtype, _bounded(op, enter))
    keep = 1.0 - enter if op.input_forget else activated(f, dtype, _bounded(op, forget))
    c = keep * c + enter * activated(g, dtype, _bounded(op, new))
    if op.peepholes:
        leave = leave + at.bias("p", 1) * c
    at.settle("c", c)
    at.settle("h", activated(f, dtype, _bounded(op, leave)) * activated(out, dtype, c))


def _update_and_reset(op: GRU, dtype: DType, at: Point) -> tuple[Vector, Vector]:
    f, _ = op.functions()
    sums = (at.x(k) + at.bias("wb", k) + at.r(k) + at.bias("rb", k) for k in (0, 1))
    update, reset = (activated(f, dtype, _bounded(op, one)) for one in sums)
    return update, reset


def _mixed(op: GRU, dtype: DType, at: Point, update: Vector, recurrent: Vector) -> None:
    _, g = op.functions()
    candidate = activated(g, dtype, _bounded(op, at.x(2) + at.bias("wb", 2) + recurrent))
    at.settle("h", (1.0 - update) * candidate + update * at.load("h"))


def _gated(op: GRU, dtype: DType, at: Point) -> None:
    update, reset = _update_and_reset(op, dtype, at)
    _mixed(op, dtype, at, update, reset * (at.r(2) + at.bias("rb", 2)))


def _gates(op: GRU, dtype: DType, at: Point) -> None:
    update, reset = _update_and_reset(op, dtype, at)
    at.store("z", update)
    at.store("rh", reset * at.load("h"))


def _candidate(op: GRU, dtype: DType, at: Point) -> None:
    _mixed(op, dtype, at, at.load("z"), at.r(2) + at.bias("rb", 2))

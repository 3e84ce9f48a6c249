"""The arithmetic of recurrent cells as bodies: what becomes of the sums of each gate, of biases and of states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Maximum, Minimum, Mul, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent


@dataclass(frozen=True)
class Sweep:
    """A product of all units of `reads` with some `gates` of R, and the body that follows. Its inputs: of each gate
    the sum over x, then that over `reads`, then `biases` (name, gate), then `given` states; it gives `makes`.
    """

    reads: str
    gates: tuple[int, ...]
    biases: tuple[tuple[str, int], ...]
    given: tuple[str, ...]
    makes: tuple[str, ...]
    body: Body


class Writer:
    """A body being written in f32 on named inputs."""

    def __init__(self, names: Sequence[str]) -> None:
        self._at = {name: place for place, name in enumerate(names)}
        self._code: list[Instruction] = []

    def __getitem__(self, name: str) -> int:
        return self._at[name]

    def do(self, op: Op, *args: int) -> int:
        """The register of an operation's result."""
        self._code.append(Instruction(op, args, dt.f32))
        return len(self._at) + len(self._code) - 1

    def sum(self, first: int, *rest: int) -> int:
        """All added, from left to right."""
        for one in rest:
            first = self.do(Add(), first, one)
        return first

    def number(self, value: float) -> int:
        """A constant."""
        return self.do(Constant(Tensor(np.array(value, np.float32))))

    def bounded(self, op: Recurrent, x: int) -> int:
        """x within the clip."""
        if op.clip <= 0:
            return x
        return self.do(Minimum(), self.do(Maximum(), x, self.number(-op.clip)), self.number(op.clip))

    def body(self, *outputs: int) -> Body:
        """The whole."""
        return Body((dt.f32,) * len(self._at), tuple(self._code), outputs)


def sweeps_of(op: Recurrent) -> tuple[Sweep, ...]:
    """What one step of a cell consists of, in order."""
    match op:
        case LSTM():
            peep = (("p", 0), ("p", 1), ("p", 2)) if op.peepholes else ()
            biases = (*(("b", gate) for gate in range(4)), *peep)
            return (_sweep("h", (0, 1, 2, 3), biases, ("h", "c"), ("h", "c"), lambda w: _long_short(op, w)),)
        case GRU(linear_before_reset=True):
            return (_sweep("h", (0, 1, 2), _both(0, 1, 2), ("h",), ("h",), lambda w: _gated(op, w)),)
        case GRU():
            first = _sweep("h", (0, 1), _both(0, 1), ("h",), ("z", "rh"), lambda w: _gates(op, w))
            second = _sweep("rh", (2,), _both(2), ("h", "z"), ("h",), lambda w: _candidate(op, w))
            return (first, second)
        case RNN():
            return (_sweep("h", (0,), (("b", 0),), ("h",), ("h",), lambda w: _simple(op, w)),)
    raise AssertionError(f"no cell of {op.name}")


def _both(*gates: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, gate) for name in ("wb", "rb") for gate in gates)


def _sweep(
    reads: str, gates: tuple[int, ...], biases: tuple[tuple[str, int], ...], given: tuple[str, ...],
    makes: tuple[str, ...], write: Callable[[Writer], Any],
) -> Sweep:  # fmt: skip
    names = [f"{side}{gate}" for side in "xr" for gate in gates]
    writer = Writer([*names, *(f"{name}{gate}" for name, gate in biases), *given])
    return Sweep(reads, gates, biases, given, makes, writer.body(*write(writer)))


def _simple(op: RNN, w: Writer) -> tuple[int, ...]:
    (f,) = op.functions()
    return (w.do(f, w.bounded(op, w.sum(w["x0"], w["r0"], w["b0"]))),)


def _long_short(op: LSTM, w: Writer) -> tuple[int, ...]:
    f, g, out = op.functions()
    c = w["c"]
    enter, leave, forget, new = (w.sum(w[f"x{k}"], w[f"r{k}"], w[f"b{k}"]) for k in range(4))
    if op.peepholes:
        enter, forget = (w.sum(x, w.do(Mul(), w[name], c)) for x, name in ((enter, "p0"), (forget, "p2")))
    enter = w.do(f, w.bounded(op, enter))
    keep = w.do(Sub(), w.number(1), enter) if op.input_forget else w.do(f, w.bounded(op, forget))
    c = w.sum(w.do(Mul(), keep, c), w.do(Mul(), enter, w.do(g, w.bounded(op, new))))
    if op.peepholes:
        leave = w.sum(leave, w.do(Mul(), w["p1"], c))
    return w.do(Mul(), w.do(f, w.bounded(op, leave)), w.do(out, c)), c


def _update_and_reset(op: GRU, w: Writer) -> tuple[int, int]:
    f, _ = op.functions()
    update, reset = (w.do(f, w.bounded(op, w.sum(w[f"x{k}"], w[f"wb{k}"], w[f"r{k}"], w[f"rb{k}"]))) for k in (0, 1))
    return update, reset


def _mixed(op: GRU, w: Writer, update: int, recurrent: int) -> tuple[int, ...]:
    _, g = op.functions()
    candidate = w.do(g, w.bounded(op, w.sum(w["x2"], w["wb2"], recurrent)))
    rest = w.do(Mul(), w.do(Sub(), w.number(1), update), candidate)
    return (w.sum(rest, w.do(Mul(), update, w["h"])),)


def _gated(op: GRU, w: Writer) -> tuple[int, ...]:
    update, reset = _update_and_reset(op, w)
    return _mixed(op, w, update, w.do(Mul(), reset, w.sum(w["r2"], w["rb2"])))


def _gates(op: GRU, w: Writer) -> tuple[int, ...]:
    update, reset = _update_and_reset(op, w)
    return update, w.do(Mul(), reset, w["h"])


def _candidate(op: GRU, w: Writer) -> tuple[int, ...]:
    return _mixed(op, w, w["z"], w.sum(w["r2"], w["rb2"]))

"""aten's LSTM, GRU and RNN: a cell a layer and direction, its rows in our order of gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, cast, filled, number, part, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Iota
from tenfold.ops.index import Compress
from tenfold.ops.logic import Less, Where
from tenfold.ops.movement import Concat, Pad
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent
from tenfold.ops.reduce import Reduce

ORDERS: Mapping[type[Recurrent], tuple[int, ...]] = {LSTM: (0, 3, 1, 2), GRU: (1, 0, 2), RNN: (0,)}
"""For each of our gates, which of PyTorch's it is."""


@dataclass(frozen=True)
class Packed:
    """Sequences of unlike lengths: rows [T, N, …], of which those behind the end of a sequence mean nothing, and the
    lengths i64 [N], none of them 0.
    """

    rows: Value
    lengths: Value

    @property
    def batch(self) -> Size:
        """How many sequences there are."""
        return self.rows.type.shape[1]

    def longest(self) -> Value:
        """The length of the longest."""
        return apply(Reduce("max", (0,), False), self.lengths)


def pack(x: Value, lengths: Value, batch_first: bool) -> tuple[Packed, Packed]:
    """Padded sequences as packed ones; they stand for how many of them go on at each step, too."""
    packed = Packed(transposed(x, (1, 0, 2)) if batch_first else x, cast(lengths, dt.i64))
    return packed, packed


def pad(
    packed: Packed, _: Packed, batch_first: bool, padding: float = 0.0, total: int | Value = -1
) -> tuple[Value, Value]:
    """Packed sequences as padded ones, as long as stated, or (-1, or what only a call decides) as the longest of them;
    and their lengths.
    """
    y = packed.rows
    steps, batch, *rest = y.type.shape
    places = reshaped(Iota(0, 1, steps)(), (steps, 1))
    held = apply(Less(), places, reshaped(packed.lengths, (1, batch)))
    y = Where()(reshaped(held, (steps, batch, *(1,) * len(rest))), y, number(padding, y))
    if isinstance(total, Value) or total <= 0:
        y = apply(Compress(0), y, apply(Reduce("any", (1,), False), held))
    elif not dim.known_equal(steps, total):
        zeros = (0,) * (y.type.rank - 1)
        y = part(apply(Pad((0, *zeros), (total, *zeros), "constant", float(padding)), y), 0, 0, total)
    return transposed(y, (1, 0, *range(2, y.type.rank))) if batch_first else y, packed.lengths


def of_packed(kind: type[Recurrent], activation: str = "Tanh") -> Callable[..., tuple[Any, ...]]:
    """All layers of a recurrent network on packed sequences."""
    layered = recurrent(kind, activation)

    def convert(packed: Packed, _: Packed, *more: Any) -> tuple[Any, ...]:
        y, *ends = layered(packed.rows, *more, False, lengths=cast(packed.lengths, dt.i32))
        return Packed(y, packed.lengths), *ends

    return convert


def _cell(kind: type[Recurrent], hidden: int, reverse: bool, activation: str, lengths: bool) -> Recurrent:
    if kind is GRU:
        return GRU(hidden, reverse, linear_before_reset=True, lengths=lengths)
    if kind is LSTM:
        return LSTM(hidden, reverse, lengths=lengths)
    return RNN(hidden, reverse, (activation,), lengths=lengths)


def recurrent(kind: type[Recurrent], activation: str = "Tanh") -> Callable[..., tuple[Value, ...]]:
    """All layers of a recurrent network: the last layer's sequence, then the last states of all."""

    def convert(
        x: Value,
        hx: Value | Sequence[Value],
        params: Sequence[Value],
        biases: bool,
        layers: int,
        dropout: float,
        train: bool,
        both: bool,
        batch_first: bool,
        *,
        lengths: Value | None = None,
    ) -> tuple[Value, ...]:
        if train and dropout:
            raise UnsupportedError("dropout in training mode", remedy="call module.eval() first")
        states = [hx] if isinstance(hx, Value) else list(hx)
        y = transposed(x, (1, 0, 2)) if batch_first else x
        ways = (False, True) if both else (False,)
        per = len(params) // (layers * len(ways))
        if per != (4 if biases else 2):
            raise UnsupportedError("an LSTM with a projection (proj_size)", remedy="leave proj_size at 0")
        last: list[list[Value]] = []
        for layer in range(layers):
            found = []
            for way, reverse in enumerate(ways):
                at = layer * len(ways) + way
                given = [reshaped(part(one, 0, at, 1), one.type.shape[1:]) for one in states]
                found.append(_run(kind, activation, reverse, y, params[at * per : (at + 1) * per], given, lengths))
            y = found[0][0] if len(ways) == 1 else apply(Concat(2), *(one[0] for one in found))
            last.extend(list(one[1:]) for one in found)
        ends = [_stacked(list(column)) for column in zip(*last, strict=True)]
        return (transposed(y, (1, 0, 2)) if batch_first else y, *ends)

    return convert


def _run(
    kind: type[Recurrent],
    activation: str,
    reverse: bool,
    x: Value,
    params: Sequence[Value],
    states: Sequence[Value],
    lengths: Value | None = None,
) -> tuple[Value, ...]:
    w, r, *biases = params
    hidden = r.type.shape[1]
    if not isinstance(hidden, int):
        raise UnsupportedError("the hidden size must be known when the engine is built")
    if not biases:
        biases = [filled(0, (kind.gates * hidden,), x.type.dtype)] * 2
    rows = [_ordered(kind, hidden, one) for one in (w, r, *biases)]
    if kind.biases == 1:
        rows[2:] = [apply(Add(), rows[2], rows[3])]
    cell = _cell(kind, hidden, reverse, activation, lengths is not None)
    found: tuple[Value, ...] = cell(x, *rows, *states, *(() if lengths is None else (lengths,)))
    return found


def _ordered(kind: type[Recurrent], hidden: int, rows: Value) -> Value:
    order = ORDERS[kind]
    if all(b == a + 1 for a, b in pairwise(order)):
        return rows
    return apply(Concat(0), *(part(rows, 0, gate * hidden, hidden) for gate in order))


def _stacked(values: list[Value]) -> Value:
    slabs = [reshaped(value, (1, *value.type.shape)) for value in values]
    return slabs[0] if len(slabs) == 1 else apply(Concat(0), *slabs)


def single(kind: type[Recurrent], activation: str = "Tanh") -> Callable[..., Any]:
    """One step of a cell."""

    def convert(
        x: Value, hx: Value | Sequence[Value], w: Value, r: Value, b: Value | None = None, c: Value | None = None
    ) -> Any:
        states = [hx] if isinstance(hx, Value) else list(hx)
        biases = [] if b is None or c is None else [b, c]
        _, *ends = _run(kind, activation, False, reshaped(x, (1, *x.type.shape)), [w, r, *biases], states)
        return tuple(ends) if kind is LSTM else ends[0]

    return convert


TABLE: Mapping[str, Callable[..., Any]] = {
    "lstm.input": recurrent(LSTM),
    "gru.input": recurrent(GRU),
    "rnn_tanh.input": recurrent(RNN),
    "rnn_relu.input": recurrent(RNN, "Relu"),
    "lstm.data": of_packed(LSTM),
    "gru.data": of_packed(GRU),
    "rnn_tanh.data": of_packed(RNN),
    "rnn_relu.data": of_packed(RNN, "Relu"),
    "_pack_padded_sequence": pack,
    "_pad_packed_sequence": pad,
    "lstm_cell": single(LSTM),
    "gru_cell": single(GRU),
    "rnn_tanh_cell": single(RNN),
    "rnn_relu_cell": single(RNN, "Relu"),
}

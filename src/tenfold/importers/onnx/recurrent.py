"""LSTM, GRU and RNN: one cell a direction, over slices of the model's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.shorthand import apply, filled, part, reshaped, transposed
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add
from tenfold.ops.movement import Concat
from tenfold.ops.recurrent import FUNCTIONS, GRU, LSTM, RNN, Recurrent

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_BY_LOWER_NAME = {name.lower(): name for name in FUNCTIONS}


def recurrent(kind: type[Recurrent]) -> Converter:
    """The operator as one cell a direction; y and the last states are stacked along the direction's axis."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        batch_first = node.flag("layout", False)
        x = transposed(x, (1, 0, 2)) if batch_first else x
        hidden = node.attributes.get("hidden_size", node.input(2).type.shape[-1])
        if not isinstance(hidden, int):
            raise node.unsupported("the hidden size must be known when the engine is built")
        ways = DIRECTIONS[node.text("direction", "forward", DIRECTIONS)]
        cells = cells_of(node, kind, hidden, ways)
        found = []
        for direction, cell in enumerate(cells):
            values = [x, *_weights(node, cell, direction, batch_first)]
            values += [node.input(4)] if cell.lengths else []
            found.append(cell(*values))
        results = [
            _stacked(list(rows), 1 if number == 0 else 0) for number, rows in enumerate(zip(*found, strict=True))
        ]
        if batch_first:
            results = [transposed(results[0], (2, 0, 1, 3)), *(transposed(one, (1, 0, 2)) for one in results[1:])]
        return results[: max(1, len(node.outputs))]

    return convert


def cells_of(node: Operator, kind: type[Recurrent], hidden: int, ways: tuple[bool, ...]) -> list[Recurrent]:
    """One cell for each direction, with its share of the activations."""
    names = node.texts("activations", ()) or kind.activations * len(ways)
    if len(names) != len(kind.activations) * len(ways):
        raise node.invalid(f"{len(names)} activations for {len(ways)} direction(s) of {len(kind.activations)}")
    alphas, betas = iter(node.numbers("activation_alpha", ())), iter(node.numbers("activation_beta", ()))
    given = [(_name(node, name), _arguments(_name(node, name), alphas, betas)) for name in names]
    settings: dict[str, object] = {"clip": node.number("clip", 0.0), "lengths": node.optional(4) is not None}
    if kind is LSTM:
        settings |= {"input_forget": node.flag("input_forget", False), "peepholes": node.optional(7) is not None}
    if kind is GRU:
        settings["linear_before_reset"] = node.flag("linear_before_reset", False)
    cells = []
    for number, reverse in enumerate(ways):
        chosen = given[number * len(kind.activations) : (number + 1) * len(kind.activations)]
        functions, parameters = (tuple(column) for column in zip(*chosen, strict=True))
        cells.append(kind(hidden, reverse, functions, parameters, **settings))  # type: ignore[arg-type]
    return cells


def _name(node: Operator, name: str) -> str:
    if name.lower() not in _BY_LOWER_NAME:
        raise node.invalid(f"activation {name!r} is not one of {', '.join(FUNCTIONS)}")
    return _BY_LOWER_NAME[name.lower()]


def _arguments(name: str, alphas: Iterator[float], betas: Iterator[float]) -> tuple[float, ...]:
    found = []
    for field in dataclasses.fields(FUNCTIONS[name]):
        source = alphas if field.name == "alpha" else betas
        default: float = field.default  # type: ignore[assignment]
        found.append(next(source, default))
    return tuple(found)


def _weights(node: Operator, cell: Recurrent, direction: int, batch_first: bool) -> Iterator[Value]:
    x, rows = node.input(0), cell.gates * cell.hidden
    batch = x.type.shape[0 if batch_first else 1]
    yield _slab(node.input(1), direction)
    yield _slab(node.input(2), direction)
    bias = node.optional(3)
    halves = [filled(0, (rows,), x.type.dtype)] * 2
    if bias is not None:
        halves = [part(_slab(bias, direction), 0, start, rows) for start in (0, rows)]
    if cell.biases == 2:
        yield from halves
    else:
        yield halves[0] if bias is None else apply(Add(), *halves)
    for number in range(cell.states):
        state = node.optional(5 + number)
        if state is None:
            yield filled(0, (batch, cell.hidden), x.type.dtype)
        elif batch_first:
            yield reshaped(part(state, 1, direction, 1), (batch, cell.hidden))
        else:
            yield _slab(state, direction)
    if cell.extra():
        yield _slab(node.input(7), direction)


def _slab(x: Value, index: int) -> Value:
    return reshaped(part(x, 0, index, 1), x.type.shape[1:])


def _stacked(values: list[Value], axis: int) -> Value:
    shape = values[0].type.shape
    slabs = [reshaped(value, (*shape[:axis], 1, *shape[axis:])) for value in values]
    result: Value = slabs[0] if len(slabs) == 1 else Concat(axis)(*slabs)
    return result


TABLE: Table = {
    ("", "LSTM"): ((1, recurrent(LSTM)),),
    ("", "GRU"): ((1, recurrent(GRU)),),
    ("", "RNN"): ((1, recurrent(RNN)),),
}

"""Layers that run a cell over time: x [N, T, …] to the last output, or to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.importers.keras.activation import where
from tenfold.importers.keras.cells import kind_of_cell
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, cast, filled, part, reshaped, transposed
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.control import Scan
from tenfold.ops.movement import Concat, Slice


@dataclass(frozen=True)
class Ran:
    """What a sequence gave: every output in the order of time [N, T, …], the last one, and the last states."""

    outputs: Value
    last: Value
    states: list[Value]


def ran(layer: Layer, x: Value, initial: Sequence[Value], mask: Value | None, reverse: bool) -> Ran:
    """A recurrent layer run over x, from the last step to the first if `reverse`."""
    cell = cell_of(layer)
    kind = kind_of_cell(cell)
    steps = transposed(x, (1, 0, *range(2, x.type.rank)))
    shapes = kind.shapes(cell, steps.type.shape[1:])
    given = list(initial) or (_kept(layer, shapes, x.type.dtype) if layer.flag("stateful", False) else [])
    states = [cast(one, x.type.dtype) for one in given] or [filled(0, shape, x.type.dtype) for shape in shapes]
    if len(states) != len(shapes):
        raise layer.invalid(f"{len(states)} initial states, and it has {len(shapes)}")
    whole = None if mask is not None else kind.whole(cell, steps, states, reverse)
    if whole is None:
        found = _scanned(layer, cell, steps, states, mask, reverse)
    else:
        found = Ran(_batch_first(whole[0]), _end(whole[0], reverse), list(whole[1:]))
    if layer.flag("stateful", False):
        layer.context.kept.update(zip(_names(layer, len(states)), found.states, strict=True))
    return found


def _names(layer: Layer, count: int) -> list[str]:
    return [f"{layer.name}/state{at}" for at in range(count)]


def _kept(layer: Layer, shapes: Sequence[Sequence[Size]], dtype: DType) -> list[Value]:
    """The states that the call before has left: inputs of the model, or the results of an earlier call in this one."""
    graph, kept = layer.context.graph, layer.context.kept
    names = _names(layer, len(shapes))
    if names[0] not in kept:
        kept.update((name, graph.input(name, Type(dtype, tuple(one)))) for name, one in zip(names, shapes, strict=True))
    return [kept[name] for name in names]


def _batch_first(y: Value) -> Value:
    return transposed(y, (1, 0, *range(2, y.type.rank)))


def _end(y: Value, reverse: bool) -> Value:
    """The output of the step that came last."""
    count = y.type.shape[0]
    return reshaped(part(y, 0, 0 if reverse else count - 1, 1), y.type.shape[1:])


def flipped(x: Value, axis: int) -> Value:
    """An axis from its end to its start."""
    starts = [size - 1 if at == axis else 0 for at, size in enumerate(x.type.shape)]
    steps = tuple(-1 if at == axis else 1 for at in range(x.type.rank))
    found: Value = Slice(tuple(starts), x.type.shape, steps)(x)
    return found


def _scanned(
    layer: Layer, cell: Layer, steps: Value, states: Sequence[Value], mask: Value | None, reverse: bool
) -> Ran:
    """One step after another. A masked step leaves the states, and repeats the output before it or gives zeros."""
    sequences = [steps]
    if mask is not None:
        sequences.append(transposed(mask, (1, 0)))
    sequences = [flipped(one, 0) if reverse else one for one in sequences]
    zeros, body = layer.flag("zero_output_for_mask", False), Graph(name=layer.name)
    inner = [body.input(f"state{at}", one.type) for at, one in enumerate(states)]
    kind = kind_of_cell(cell)
    output_type = _output_type(layer, cell, steps, states)
    before = body.input("before", output_type)
    elements = [body.input(f"x{at}", Type(one.type.dtype, one.type.shape[1:])) for at, one in enumerate(sequences)]
    output, after = kind.step(cell, elements[0], inner)
    if mask is not None:
        output = where(_like(elements[1], output), output, 0.0 if zeros else before)
        after = [where(_like(elements[1], new), new, old) for new, old in zip(after, inner, strict=True)]
    body.set_outputs([*after, output, output], [f"y{at}" for at in range(len(after) + 2)])
    start = filled(0, output_type.shape, output_type.dtype)
    found = Scan(body, len(states) + 1, len(sequences))(*states, start, *sequences)
    outputs = _batch_first(found[-1])
    return Ran(flipped(outputs, 1) if reverse else outputs, found[len(states)], list(found[: len(states)]))


def _like(mask: Value, x: Value) -> Value:
    return reshaped(mask, (mask.type.shape[0], *(1,) * (x.type.rank - 1)))


def _output_type(layer: Layer, cell: Layer, steps: Value, states: Sequence[Value]) -> Type:
    """What one step gives, found by tracing one."""
    trial = Graph(name=layer.name)
    first = trial.input("x", Type(steps.type.dtype, steps.type.shape[1:]))
    inner = [trial.input(f"state{at}", one.type) for at, one in enumerate(states)]
    output, _ = kind_of_cell(cell).step(cell, first, inner)
    return Type(output.type.dtype, output.type.shape)


def cell_of(layer: Layer) -> Layer:
    """The cell within a layer, or the one that the layer is made of."""
    if layer.kind == "RNN":
        stated = layer.config.get("cell")
        if isinstance(stated, list):
            config: Mapping[str, Any] = {"name": "stacked_rnn_cells", "cells": stated}
            return layer.child("cell", {"class_name": "StackedRNNCells", "config": {"trainable": True, **config}})
        return layer.child("cell")
    rank = {f"ConvLSTM{at}D": at for at in (1, 2, 3)}.get(layer.kind)
    kind = "ConvLSTMCell" if rank else f"{layer.kind}Cell"
    own = {"trainable": True, **layer.config, "name": f"{layer.kind.lower()}_cell", **({"rank": rank} if rank else {})}
    return layer.child("cell", {"class_name": kind, "config": own})


def _arguments(x: Any, initial: Any) -> tuple[Value, list[Value]]:
    """The sequence and the states, which may come as one list."""
    if isinstance(x, list):
        return x[0], [*x[1:], *_flat(initial)]
    return x, _flat(initial)


def _flat(given: Any) -> list[Value]:
    if given is None:
        return []
    return [one for each in given for one in _flat(each)] if isinstance(given, list | tuple) else [given]


def recurrent(layer: Layer, sequences: Any, initial_state: Any = None, **_: Any) -> Any:
    """LSTM, GRU, SimpleRNN, RNN and ConvLSTM: backwards, outputs come in the order of their making."""
    x, initial = _arguments(sequences, initial_state)
    mask, reverse = layer.mask(x), layer.flag("go_backwards", False)
    found = ran(layer, x, initial, mask, reverse)
    y = found.last
    if layer.flag("return_sequences", False):
        y = layer.masked(flipped(found.outputs, 1) if reverse else found.outputs, mask)
    return [y, *found.states] if layer.flag("return_state", False) else y


MERGES: Mapping[str, Callable[[Value, Value], Value]] = {
    "concat": lambda a, b: Concat(a.type.rank - 1)(a, b),
    "sum": lambda a, b: apply(Add(), a, b),
    "ave": lambda a, b: apply(Mul(), apply(Add(), a, b), 0.5),
    "mul": lambda a, b: apply(Mul(), a, b),
}


def bidirectional(layer: Layer, sequences: Any, initial_state: Any = None, **_: Any) -> Any:
    """A layer forwards and another one backwards, their outputs joined step by step."""
    x, initial = _arguments(sequences, initial_state)
    mask = layer.mask(x)
    forward = layer.child("forward_layer", layer.config.get("layer"))
    backward = layer.child("backward_layer", layer.config.get("backward_layer") or _backwards(layer))
    half = len(initial) // 2
    ways = [
        (ran(one, x, states, mask, reverse), reverse)
        for one, states in ((forward, initial[:half]), (backward, initial[half:]))
        for reverse in (one.flag("go_backwards", False),)
    ]
    (there, back), whole = ways, forward.flag("return_sequences", False)
    first, second = there[0].last, back[0].last
    if whole:
        first = flipped(there[0].outputs, 1) if there[1] else there[0].outputs
        second = back[0].outputs if back[1] else flipped(back[0].outputs, 1)
    mode = layer.config.get("merge_mode", "concat")
    if mode is not None and mode not in MERGES:
        raise layer.invalid(f"merge_mode is {mode!r}")
    outputs = [first, second] if mode is None else [MERGES[mode](first, second)]
    if whole:
        outputs = [layer.masked(one, mask) for one in outputs]
    if forward.flag("return_state", False):
        return [*outputs, *there[0].states, *back[0].states]
    return outputs if mode is None else outputs[0]


def _backwards(layer: Layer) -> Any:
    """The layer again, the other way round, as Keras makes it where none is given."""
    stated = layer.config.get("layer")
    if not isinstance(stated, Mapping) or not isinstance(stated.get("config"), Mapping):
        raise layer.invalid("it states no layer")
    config = stated["config"]
    turned = {"name": f"backward_{config.get('name')}", "go_backwards": not config.get("go_backwards")}
    return {**stated, "config": {**config, **turned}}


def time_distributed(layer: Layer, x: Value, **_: Any) -> Any:
    """The layer within on every step, as samples of a larger batch."""
    batch, steps, *rest = x.type.shape
    mask = layer.mask(x)
    samples = reshaped(x, (batch * steps, *rest))
    if mask is not None and mask.type.rank > 2:
        layer.masked(samples, reshaped(mask, (batch * steps, *mask.type.shape[2:])))
    y: Value = layer.child("layer")(samples)
    sizes: tuple[Size, ...] = (batch, steps, *y.type.shape[1:])
    return layer.masked(reshaped(y, sizes), mask)


def one_step(layer: Layer, x: Value, states: Any, **_: Any) -> Any:
    """A cell by itself."""
    output, after = kind_of_cell(layer).step(layer, x, _flat(states))
    return [output, after]


TABLE: Table = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), recurrent),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "ConvLSTMCell"), one_step),
    "Bidirectional": bidirectional,
    "TimeDistributed": time_distributed,
}

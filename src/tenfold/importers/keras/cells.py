"""Recurrent cells: what one step makes of an input and states, and which operation runs a whole sequence of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tenfold.importers.keras.activation import activated, named_activation
from tenfold.importers.keras.conv import channels_back, channels_first, correlated, same_pads
from tenfold.importers.keras.layer import Layer
from tenfold.importers.shorthand import apply, filled, part, reshaped, transposed
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Mul, Sub
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent

Shapes = list[tuple[Size, ...]]
Step = Callable[[Layer, Value, Sequence[Value]], tuple[Value, list[Value]]]

NATIVE: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "tanh": ("Tanh", ()),
    "sigmoid": ("Sigmoid", ()),
    "relu": ("Relu", ()),
    "linear": ("Affine", (1.0, 0.0)),
    "hard_sigmoid": ("HardSigmoid", (1 / 6, 0.5)),
    "leaky_relu": ("LeakyRelu", (0.2,)),
    "elu": ("Elu", (1.0,)),
    "softsign": ("Softsign", ()),
    "softplus": ("Softplus", ()),
}
"""Keras's activations that the recurrent operations know, with their parameters."""


@dataclass(frozen=True)
class Cell:
    """A class of cells: its states' shapes for one step's input, a step, and the operation that runs a sequence."""

    shapes: Callable[[Layer, Sequence[Size]], Shapes]
    step: Step
    whole: Callable[[Layer, Value, Sequence[Value], bool], tuple[Value, ...] | None] = lambda *_: None
    """From [T, N, I] and the states to all outputs and the last states; None if no operation does it."""


def kind_of_cell(layer: Layer) -> Cell:
    """The class of a cell; UnsupportedError for one of the user's own."""
    found = CELLS.get(layer.kind)
    if found is None:
        raise layer.unsupported("it is no cell of Keras's own", "use LSTM, GRU or SimpleRNN cells")
    return found


def _units(count: int) -> Callable[[Layer, Sequence[Size]], Shapes]:
    return lambda layer, x: [(x[0], layer.integer("units"))] * count


def _weights(layer: Layer, features: Size, gates: int) -> tuple[Value, Value, Value | None]:
    """Kernel, recurrent kernel and bias; a GRU that resets after its product has two biases."""
    units = layer.integer("units")
    rows = gates * units
    kernel = layer.weight("kernel", (features, rows))
    recurrent = layer.weight("recurrent_kernel", (units, rows))
    if not layer.flag("use_bias", True):
        return kernel, recurrent, None
    two = layer.kind == "GRUCell" and layer.flag("reset_after", True)
    return kernel, recurrent, layer.weight("bias", (2, rows) if two else (rows,))


def _gates(x: Value, count: int) -> list[Value]:
    axis = x.type.rank - 1
    size = x.type.shape[axis] // count
    return [part(x, axis, at * size, size) for at in range(count)]


def _plus(x: Value, bias: Value | None) -> Value:
    return x if bias is None else apply(Add(), x, bias)


def _inner(layer: Layer, x: Value) -> Value:
    return activated(layer, x, "recurrent_activation", "sigmoid")


def _outer(layer: Layer, x: Value) -> Value:
    return activated(layer, x, "activation", "tanh")


def simple_step(layer: Layer, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
    """h = f(x w + h r + b)."""
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 1)
    h = _outer(layer, apply(Add(), _plus(apply(MatMul(), x, kernel), bias), apply(MatMul(), states[0], recurrent)))
    return h, [h]


def lstm_step(layer: Layer, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
    """Gates in the order i, f, c, o."""
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 4)
    z = _plus(apply(Add(), apply(MatMul(), x, kernel), apply(MatMul(), states[0], recurrent)), bias)
    return _carried(layer, _gates(z, 4), states[1])


def _carried(layer: Layer, gates: Sequence[Value], carry: Value) -> tuple[Value, list[Value]]:
    enter, keep = _inner(layer, gates[0]), _inner(layer, gates[1])
    c = apply(Add(), apply(Mul(), keep, carry), apply(Mul(), enter, _outer(layer, gates[2])))
    h = apply(Mul(), _inner(layer, gates[3]), _outer(layer, c))
    return h, [h, c]


def gru_step(layer: Layer, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
    """Gates in the order z, r, h."""
    (h,), units = states, layer.integer("units")
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 3)
    before, after = _two_biases(bias)
    xz, xr, xh = _gates(_plus(apply(MatMul(), x, kernel), before), 3)
    both = _plus(
        apply(MatMul(), h, part(recurrent, 1, 0, 2 * units)), None if after is None else part(after, 0, 0, 2 * units)
    )
    hz, hr = _gates(both, 2)
    z, r = _inner(layer, apply(Add(), xz, hz)), _inner(layer, apply(Add(), xr, hr))
    own = part(recurrent, 1, 2 * units, units)
    if layer.flag("reset_after", True):
        shifted = _plus(apply(MatMul(), h, own), None if after is None else part(after, 0, 2 * units, units))
        hh = apply(Mul(), r, shifted)
    else:
        hh = apply(MatMul(), apply(Mul(), r, h), own)
    candidate = _outer(layer, apply(Add(), xh, hh))
    new = apply(Add(), apply(Mul(), z, h), apply(Mul(), apply(Sub(), filled(1, (), z.type.dtype), z), candidate))
    return new, [new]


def _two_biases(bias: Value | None) -> tuple[Value | None, Value | None]:
    if bias is None or bias.type.rank == 1:
        return bias, None
    size = bias.type.shape[1]
    return reshaped(part(bias, 0, 0, 1), (size,)), reshaped(part(bias, 0, 1, 1), (size,))


def _native(layer: Layer, *attributes: str) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]] | None:
    """The activations as the recurrent operations name them; None if they lack one."""
    names = [named_activation(layer, one, "sigmoid" if "recurrent" in one else "tanh") for one in attributes]
    if not all(name in NATIVE for name in names) or ("hard_sigmoid" in names and layer.context.version < 3):
        return None
    found = [NATIVE[name] for name in names]
    return tuple(name for name, _ in found), tuple(given for _, given in found)


def _run(
    op: Recurrent,
    x: Value,
    order: Sequence[int],
    weights: Sequence[Value],
    biases: Sequence[Value],
    states: Sequence[Value],
) -> tuple[Value, ...]:
    """Weights [features, gates of Keras] and biases in the operation's order, as rows."""

    def rows(one: Value) -> Value:
        axis, size = one.type.rank - 1, op.hidden
        parts = [part(one, axis, at * size, size) for at in order]
        joined: Value = one if list(order) == sorted(order) else Concat(axis)(*parts)
        return transposed(joined, (1, 0)) if axis else joined

    found: tuple[Value, ...] = op(x, *map(rows, weights), *map(rows, biases), *states)
    return found


def whole_lstm(layer: Layer, x: Value, states: Sequence[Value], reverse: bool) -> tuple[Value, ...] | None:
    """LSTM as one operation."""
    known = _native(layer, "recurrent_activation", "activation", "activation")
    if known is None:
        return None
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 4)
    units = layer.integer("units")
    sums = filled(0, (4 * units,), x.type.dtype) if bias is None else bias
    return _run(LSTM(units, reverse, *known), x, (0, 3, 1, 2), (kernel, recurrent), (sums,), states)


def whole_gru(layer: Layer, x: Value, states: Sequence[Value], reverse: bool) -> tuple[Value, ...] | None:
    """GRU as one operation."""
    known = _native(layer, "recurrent_activation", "activation")
    if known is None:
        return None
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 3)
    units, after = layer.integer("units"), layer.flag("reset_after", True)
    none = filled(0, (3 * units,), x.type.dtype)
    biases = [none if one is None else one for one in _two_biases(bias)]
    op = GRU(units, reverse, *known, linear_before_reset=after)
    return _run(op, x, (0, 1, 2), (kernel, recurrent), biases, states)


def whole_simple(layer: Layer, x: Value, states: Sequence[Value], reverse: bool) -> tuple[Value, ...] | None:
    """SimpleRNN as one operation."""
    known = _native(layer, "activation")
    if known is None:
        return None
    kernel, recurrent, bias = _weights(layer, x.type.shape[-1], 1)
    units = layer.integer("units")
    sums = filled(0, (units,), x.type.dtype) if bias is None else bias
    return _run(RNN(units, reverse, *known), x, (0,), (kernel, recurrent), (sums,), states)


def inner_cells(layer: Layer) -> list[Layer]:
    """The cells of a stack, from the first."""
    if layer.prepared is None:
        stated = layer.config.get("cells")
        if not isinstance(stated, list) or not stated:
            raise layer.invalid("it states no cells")
        named = [(str(one.get("class_name")), str(one["config"].get("name"))) for one in stated]
        sources = layer.source.listed("cells", named)
        layer.prepared = [
            layer.context.made(layer, name, one, source)
            for (_, name), one, source in zip(named, stated, sources, strict=True)
        ]
    found: list[Layer] = layer.prepared
    return found


def stacked_shapes(layer: Layer, x: Sequence[Size]) -> Shapes:
    """Each cell's states; a cell sees the first state of the one before it."""
    found: Shapes = []
    for cell in inner_cells(layer):
        own = kind_of_cell(cell).shapes(cell, x)
        found.extend(own)
        x = own[0]
    return found


def stacked_step(layer: Layer, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
    """One cell after another."""
    rest, after = list(states), list[Value]()
    for cell in inner_cells(layer):
        kind = kind_of_cell(cell)
        count = len(kind.shapes(cell, x.type.shape))
        x, own = kind.step(cell, x, rest[:count])
        rest = rest[count:]
        after.extend(own)
    return x, after


def whole_stack(layer: Layer, x: Value, states: Sequence[Value], reverse: bool) -> tuple[Value, ...] | None:
    """Each cell through the whole sequence before the next."""
    rest, after = list(states), list[Value]()
    for cell in inner_cells(layer):
        kind = kind_of_cell(cell)
        count = len(kind.shapes(cell, x.type.shape[1:]))
        found = kind.whole(cell, x, rest[:count], reverse)
        if found is None:
            return None
        x, rest = found[0], rest[count:]
        after.extend(found[1:])
    return x, *after


def _images(layer: Layer) -> tuple[int, bool, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    rank = layer.integer("rank")
    taps, steps, gaps = (layer.each(name, rank, 1) for name in ("kernel_size", "strides", "dilation_rate"))
    return rank, layer.channels_last(), taps, steps, gaps


def conv_shapes(layer: Layer, x: Sequence[Size]) -> Shapes:
    """The sizes of the convolved image."""
    rank, last, taps, steps, gaps = _images(layer)
    places = x[1 : 1 + rank] if last else x[2:]
    padding = layer.text("padding", "valid")
    sizes = []
    for at, size in enumerate(places):
        before: Size = 0
        after: Size = 0
        if padding == "same":
            (first,), (end,) = same_pads([size], [taps[at]], [steps[at]], [gaps[at]])
            before, after = first, end
        reach = gaps[at] * (taps[at] - 1) + 1
        sizes.append((size + before + after - reach) // steps[at] + 1)
    filters = layer.integer("filters")
    return [(x[0], *sizes, filters) if last else (x[0], filters, *sizes)] * 2


def conv_step(layer: Layer, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
    """An LSTM whose products are convolutions (Shi et al. 2015)."""
    rank, last, taps, steps, gaps = _images(layer)
    filters = layer.integer("filters")
    images, (h, c) = channels_first(x, last), (channels_first(one, last) for one in states)
    kernel = layer.weight("kernel", (*taps, images.type.shape[1], 4 * filters))
    recurrent = layer.weight("recurrent_kernel", (*taps, filters, 4 * filters))
    ones = (1,) * rank
    z = apply(
        Add(),
        correlated(images, kernel, steps, gaps, layer.text("padding", "valid")),
        correlated(h, recurrent, ones, ones, "same"),
    )
    if layer.flag("use_bias", True):
        z = apply(Add(), z, reshaped(layer.weight("bias", (4 * filters,)), (1, 4 * filters, *ones)))
    gates = [part(z, 1, at * filters, filters) for at in range(4)]
    output, after = _carried(layer, gates, c)
    return channels_back(output, last), [channels_back(one, last) for one in after]


CELLS: Mapping[str, Cell] = {
    "LSTMCell": Cell(_units(2), lstm_step, whole_lstm),
    "GRUCell": Cell(_units(1), gru_step, whole_gru),
    "SimpleRNNCell": Cell(_units(1), simple_step, whole_simple),
    "StackedRNNCells": Cell(stacked_shapes, stacked_step, whole_stack),
    "ConvLSTMCell": Cell(conv_shapes, conv_step),
}

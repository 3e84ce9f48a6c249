"""Activations, by the names of keras.activations, and the layers that are one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.keras.values import CODE
from tenfold.importers.shorthand import apply, axis_of, cast, filled, number, part, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops import activation
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Maximum, Minimum, Mul, Sqrt, Sub, Tanh
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.logic import And, Greater, Less, LessOrEqual, Where
from tenfold.ops.normalize import LogSoftmax, Softmax
from tenfold.ops.reduce import Cumulative, Reduce
from tenfold.ops.sort import TopK

Function = Callable[..., Value]

SELU = (1.6732632423543772, 1.0507009873554805)


def plain(op: Elementwise) -> Function:
    """An activation that is one operation."""

    def convert(x: Value) -> Value:
        found: Value = op(x)
        return found

    return convert


def bounded(x: Value, low: float, high: float) -> Value:
    """x within bounds."""
    return apply(Minimum(), apply(Maximum(), x, low), high)


def where(condition: Value, x: Value | float, y: Value | float) -> Value:
    """x where the condition holds, else y; plain numbers take the other's element type."""
    like = x if isinstance(x, Value) else y
    assert isinstance(like, Value)
    left, right = (one if isinstance(one, Value) else number(one, like) for one in (x, y))
    found: Value = Where()(condition, left, right)
    return found


def relu(x: Value, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Value:
    """x above the threshold, a share of its distance from it below; at most max_value."""
    if threshold:
        above = apply(Greater(), x, threshold)
        y = where(above, x, apply(Mul(), apply(Sub(), x, threshold), negative_slope) if negative_slope else 0.0)
    elif negative_slope:
        y = leaky_relu(x, negative_slope)
    else:
        y = apply(activation.Relu(), x)
    return y if max_value is None else apply(Minimum(), y, max_value)


def leaky_relu(x: Value, negative_slope: float = 0.2) -> Value:
    """x, or a share of it below 0."""
    return apply(activation.LeakyRelu(float(negative_slope)), x)


def elu(x: Value, alpha: float = 1.0) -> Value:
    """x, or alpha (exp(x) - 1) below 0."""
    return apply(activation.Elu(float(alpha)), x)


def celu(x: Value, alpha: float = 1.0) -> Value:
    """x, or alpha (exp(x / alpha) - 1) below 0."""
    return apply(activation.Celu(float(alpha)), x)


def gelu(x: Value, approximate: bool = False) -> Value:
    """x times the normal distribution's share below x."""
    return apply(activation.Gelu(bool(approximate)), x)


def hard_sigmoid(x: Value) -> Value:
    """relu6(x + 3) / 6."""
    return apply(activation.HardSigmoid(1 / 6, 0.5), x)


def hard_shrink(x: Value, threshold: float = 0.5) -> Value:
    """x, but 0 within the threshold."""
    return where(apply(Greater(), apply(Abs(), x), threshold), x, 0.0)


def soft_shrink(x: Value, threshold: float = 0.5) -> Value:
    """x moved to 0 by the threshold."""
    return apply(Sub(), x, bounded(x, -threshold, threshold))


def tanh_shrink(x: Value) -> Value:
    """x - tanh(x)."""
    return apply(Sub(), x, apply(Tanh(), x))


def hard_tanh(x: Value) -> Value:
    """x within -1 and 1."""
    return bounded(x, -1.0, 1.0)


def threshold(x: Value, threshold: float = 0.0, default_value: float = 0.0) -> Value:
    """x above the threshold, else the value."""
    return where(apply(Greater(), x, threshold), x, float(default_value))


def squareplus(x: Value, b: float = 4.0) -> Value:
    """(x + sqrt(x² + b)) / 2."""
    root = apply(Sqrt(), apply(Add(), apply(Mul(), x, x), float(b)))
    return apply(Mul(), apply(Add(), x, root), 0.5)


def sparse_plus(x: Value) -> Value:
    """0 below -1, x above 1, (x + 1)² / 4 between."""
    raised = apply(Add(), x, 1.0)
    middle = apply(Mul(), apply(Mul(), raised, raised), 0.25)
    within = And()(apply(Greater(), x, -1.0), apply(Less(), x, 1.0))
    return where(apply(LessOrEqual(), x, -1.0), 0.0, where(within, middle, x))


def sparse_sigmoid(x: Value) -> Value:
    """(x + 1) / 2 within 0 and 1."""
    return bounded(apply(Mul(), apply(Add(), x, 1.0), 0.5), 0.0, 1.0)


def glu(x: Value, axis: int = -1) -> Value:
    """The first half times the sigmoid of the second."""
    at = axis_of(axis, x.type.rank)
    half = x.type.shape[at] // 2
    gate = apply(activation.Sigmoid(), part(x, at, half, half))
    return apply(Mul(), part(x, at, 0, half), gate)


def over_axes(kind: type[Softmax] | type[LogSoftmax]) -> Function:
    """Softmax over one axis, over several as one, or over all."""

    def convert(x: Value, axis: Any = -1) -> Value:
        rank = x.type.rank
        axes = tuple(range(rank)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        places = sorted(axis_of(one, rank) for one in axes)
        if len(places) == 1:
            return apply(kind(places[0]), x)
        order = [*(at for at in range(rank) if at not in places), *places]
        moved = transposed(x, order)
        shape = moved.type.shape
        flat = reshaped(moved, (*shape[: rank - len(places)], dim.product(shape[rank - len(places) :])))
        y = reshaped(apply(kind(flat.type.rank - 1), flat), shape)
        return transposed(y, [int(one) for one in np.argsort(order)])

    return convert


def sparsemax(x: Value, axis: int = -1) -> Value:
    """Keras's sparsemax: every backend of it sums the running sums of the support where Martins and Astudillo (2016)
    sum the support.
    """
    at = axis_of(axis, x.type.rank)
    size = x.type.shape[at]
    ordered, _ = TopK(size, at, True, True)(x)
    sums = apply(Cumulative("sum", at), ordered)
    shape = tuple(size if one == at else 1 for one in range(x.type.rank))
    ranks = apply(Cumulative("sum", at), filled(1.0, shape, x.type.dtype))
    inside = apply(Greater(), apply(Add(), apply(Mul(), ordered, ranks), 1.0), sums)
    count = apply(Reduce("sum", (at,)), cast(inside, x.type.dtype))
    total = apply(Reduce("sum", (at,)), where(inside, sums, 0.0))
    return apply(Maximum(), apply(Sub(), x, apply(Div(), apply(Sub(), total, 1.0), count)), 0.0)


FUNCTIONS: Mapping[str, Function] = {
    "linear": lambda x: x,
    "relu": relu,
    "relu6": lambda x: bounded(x, 0.0, 6.0),
    "elu": elu,
    "selu": plain(activation.Selu(*SELU)),
    "celu": celu,
    "softplus": plain(activation.Softplus()),
    "softsign": plain(activation.Softsign()),
    "silu": plain(activation.Silu()),
    "swish": plain(activation.Silu()),
    "gelu": gelu,
    "tanh": plain(Tanh()),
    "tanh_shrink": tanh_shrink,
    "sigmoid": plain(activation.Sigmoid()),
    "exponential": plain(Exp()),
    "exp": plain(Exp()),
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": plain(activation.HardSwish()),
    "hard_swish": plain(activation.HardSwish()),
    "hard_tanh": hard_tanh,
    "hard_shrink": hard_shrink,
    "soft_shrink": soft_shrink,
    "mish": plain(activation.Mish()),
    "leaky_relu": leaky_relu,
    "log_sigmoid": plain(activation.LogSigmoid()),
    "log_softmax": over_axes(LogSoftmax),
    "softmax": over_axes(Softmax),
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus,
    "threshold": threshold,
    "glu": glu,
    "sparsemax": sparsemax,
}


def named_activation(layer: Layer, attribute: str = "activation", default: str = "linear") -> str:
    """The name of the function that a layer's attribute states; "" if it states a layer."""
    stated = layer.config.get(attribute, default)
    if isinstance(stated, Mapping):
        inner = stated.get("config")
        if stated.get("class_name", "__lambda__") == "__lambda__":
            raise layer.unsupported(f"the {attribute} {CODE}", "use a function of keras.activations")
        if stated.get("class_name") != "function":
            return ""
        stated = inner if stated.get("module") in ("builtins", None) or isinstance(inner, str) else None
    name = "linear" if stated is None else stated
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise layer.unsupported(
            f"the {attribute} {name!r} is a function of your own", "use one of keras.activations, or a layer"
        )
    return name


def activated(layer: Layer, x: Value, attribute: str = "activation", default: str = "linear") -> Value:
    """x through the activation that a layer's attribute names, by name or as a layer."""
    name = named_activation(layer, attribute, default)
    if not name:
        found: Value = layer.child(attribute)(x)
        return found
    return older_hard_sigmoid(x) if name == "hard_sigmoid" and layer.context.version < 3 else FUNCTIONS[name](x)


def older_hard_sigmoid(x: Value) -> Value:
    """What Keras 2 calls hard_sigmoid: 0.2 x + 0.5 within 0 and 1."""
    return apply(activation.HardSigmoid(0.2, 0.5), x)


def relu_layer(layer: Layer, x: Value) -> Value:
    """ReLU."""
    most = layer.config.get("max_value")
    slope, start = layer.number("negative_slope", 0.0), layer.number("threshold", 0.0)
    return relu(x, slope, None if most is None else layer.number("max_value"), start)


def leaky_layer(layer: Layer, x: Value) -> Value:
    """LeakyReLU, whose slope Keras 2 calls alpha."""
    return leaky_relu(x, layer.number("negative_slope" if "negative_slope" in layer.config else "alpha", 0.3))


def prelu(layer: Layer, x: Value) -> Value:
    """PReLU: a slope for each element, or for all along the shared axes."""
    shared = () if layer.config.get("shared_axes") is None else layer.axes("shared_axes", x.type.rank)
    sizes = [1 if at in shared else size for at, size in enumerate(x.type.shape)]
    slope = layer.weight("alpha", sizes[1:])
    return apply(activation.PRelu(), x, slope)


def softmax(layer: Layer, x: Value, mask: Value | None = None) -> Value:
    """Softmax along one axis or several, masked places left out."""
    stated = layer.config.get("axis", -1)
    axes = stated if isinstance(stated, int) else layer.axes("axis", x.type.rank)
    kept = truth(mask or layer.mask(x))
    y = over_axes(Softmax)(x if kept is None else where(kept, x, lowest(x)), axes)
    return y if kept is None else where(kept, y, 0.0)


def truth(mask: Value | None) -> Value | None:
    """A mask as booleans."""
    return mask if mask is None or mask.type.dtype is dt.boolean else apply(Greater(), mask, 0.5)


def lowest(x: Value) -> float:
    """What Keras puts where a mask leaves nothing."""
    return -3e4 if x.type.dtype is dt.f16 else -1e9


TABLE: Table = {
    "Activation": lambda layer, x: activated(layer, x),
    "ReLU": relu_layer,
    "LeakyReLU": leaky_layer,
    "ELU": lambda layer, x: elu(x, layer.number("alpha", 1.0)),
    "ThresholdedReLU": lambda layer, x: threshold(x, layer.number("theta", 1.0)),
    "PReLU": prelu,
    "Softmax": softmax,
}

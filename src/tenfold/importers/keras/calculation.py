"""Operations of keras.ops that compute: element by element, along axes, products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tenfold.importers.einsum import einsum
from tenfold.importers.keras.activation import FUNCTIONS, where
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.operands import alike, as_value, axes_of, axis, numbers, real
from tenfold.importers.keras.weights import snake_case
from tenfold.importers.shorthand import apply, axis_of, cast, filled, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops import arithmetic, logic
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Floor, Log, Log1p, Maximum, Mod, Mul, Neg, Round, Sqrt, Sub
from tenfold.ops.matmul import MatMul
from tenfold.ops.reduce import ArgReduce, Cumulative, Reduce


def binary(op: Op, *, floating: bool = False, truth: bool = False) -> Converter:
    """An operation of two operands of a common type."""

    def convert(layer: Layer, x: Any, y: Any) -> Value:
        a, b = alike(x, y)
        if floating:
            a, b = alike(real(a), real(b))
        if truth:
            a, b = as_truth(a), as_truth(b)
        return apply(op, a, b)

    return convert


def unary(op: Op, *, floating: bool = False) -> Converter:
    """An operation of one operand."""

    def convert(layer: Layer, x: Any) -> Value:
        value = as_value(x, dt.f32) if not isinstance(x, Value) else x
        return apply(op, real(value) if floating else value)

    return convert


def of_one(function: Callable[[Value], Value]) -> Converter:
    """A function of one floating operand."""
    return lambda layer, x: function(real(x))


def as_truth(x: Value) -> Value:
    """Booleans, true for what is not 0."""
    return x if x.type.dtype is dt.boolean else apply(logic.NotEqual(), x, 0)


def floor_divide(layer: Layer, x: Any, y: Any) -> Value:
    """The quotient rounded down."""
    a, b = alike(x, y)
    if a.type.dtype.is_float:
        return apply(Floor(), apply(Div(), a, b))
    return apply(Div(), apply(Sub(), a, apply(Mod(), a, b)), b)


def divide_no_nan(layer: Layer, x: Any, y: Any) -> Value:
    """The quotient, 0 where the divisor is 0."""
    a, b = (real(one) for one in alike(x, y))
    none = apply(logic.Equal(), b, 0.0)
    return where(none, 0.0, apply(Div(), a, where(none, 1.0, b)))


def log_add_exp(layer: Layer, x: Any, y: Any) -> Value:
    """log(exp(x) + exp(y))."""
    a, b = (real(one) for one in alike(x, y))
    apart = apply(Neg(), apply(Abs(), apply(Sub(), a, b)))
    return apply(Add(), apply(Maximum(), a, b), apply(Log1p(), apply(Exp(), apart)))


def rounded(layer: Layer, x: Value) -> Value:
    """To as many decimals, halves to even."""
    places = layer.integer("decimals", 0)
    if not x.type.dtype.is_float:
        return x
    scale = 10.0**places
    return apply(Round(), x) if not places else apply(Div(), apply(Round(), apply(Mul(), x, scale)), scale)


def clip(layer: Layer, x: Value) -> Value:
    """Within bounds."""
    low, high = layer.config.get("x_min"), layer.config.get("x_max")
    value, *ends = alike(x, *(one for one in (low, high) if one is not None))
    rest = iter(ends)
    value = value if low is None else apply(arithmetic.Maximum(), value, next(rest))
    return value if high is None else apply(arithmetic.Minimum(), value, next(rest))


def selected(layer: Layer, condition: Value, x: Any = None, y: Any = None) -> Value:
    """x where the condition holds, else y."""
    if x is None or y is None:
        raise layer.unsupported("a where of a condition alone", "give it two more operands")
    a, b = alike(x, y)
    found: Value = logic.Where()(as_truth(condition), a, b)
    return found


def converted(layer: Layer, x: Any) -> Value:
    """In another element type, or as it is."""
    kind = layer.kind_of("to", x.type.dtype if isinstance(x, Value) else dt.f32)
    return as_value(x, kind)


def reduction(kind: str, *, floating: bool = False) -> Converter:
    """Along some axes or all."""

    def convert(layer: Layer, x: Value) -> Value:
        value = as_truth(x) if kind in ("any", "all") else _summable(x, kind)
        value = real(value) if floating else value
        return apply(Reduce(kind, axes_of(layer, x), layer.flag("keepdims", False)), value)  # type: ignore[arg-type]

    return convert


def _summable(x: Value, kind: str) -> Value:
    small = x.type.dtype is dt.boolean or (x.type.dtype.is_integer and x.type.dtype.bits < 32)
    return cast(x, dt.i32) if kind in ("sum", "prod") and small else x


def variance(layer: Layer, x: Value) -> Value:
    """The mean square of the distance from the mean."""
    value, axes = real(x), axes_of(layer, x)
    centred = apply(Sub(), value, apply(Reduce("mean", axes), value))
    return apply(Reduce("mean", axes, layer.flag("keepdims", False)), apply(Mul(), centred, centred))


def moments(layer: Layer, x: Value) -> list[Value]:
    """Mean and variance."""
    value, axes, kept = real(x), axes_of(layer, x, "axes"), layer.flag("keepdims", False)
    centred = apply(Sub(), value, apply(Reduce("mean", axes), value))
    return [
        apply(Reduce("mean", axes, kept), value),
        apply(Reduce("mean", axes, kept), apply(Mul(), centred, centred)),
    ]


def average(layer: Layer, x: Value, weights: Value | None = None) -> Value:
    """The mean, weighed if weights are given."""
    value, axes = real(x), axes_of(layer, x)
    if weights is None:
        return apply(Reduce("mean", axes, False), value)
    shares = real(weights)
    if shares.type.rank != value.type.rank:
        shares = reshaped(shares, [size if at in axes else 1 for at, size in enumerate(value.type.shape)])
    total = apply(Reduce("sum", axes, False), apply(Mul(), value, shares))
    return apply(Div(), total, apply(Reduce("sum", axes, False), shares))


def count_nonzero(layer: Layer, x: Value) -> Value:
    """How many are not 0."""
    return apply(Reduce("sum", axes_of(layer, x), False), cast(as_truth(x), dt.i32))


def argument(kind: str) -> Converter:
    """Where the extreme element is, as i32."""

    def convert(layer: Layer, x: Value) -> Value:
        kept, whole = layer.flag("keepdims", False), layer.config.get("axis") is None
        value = reshaped(x, (x.type.size,)) if whole else x
        place = 0 if whole else axis(layer, x)
        found: Value = ArgReduce(kind, place, kept and not whole, False)(value)  # type: ignore[arg-type]
        return cast(reshaped(found, (1,) * x.type.rank) if kept and whole else found, dt.i32)

    return convert


def cumulative(kind: str) -> Converter:
    """Of all elements up to each."""

    def convert(layer: Layer, x: Value) -> Value:
        kind_of = layer.kind_of("to", _summable(x, kind).type.dtype)
        value = cast(x, kind_of)
        if layer.config.get("axis") is None:
            value = reshaped(value, (value.type.size,))
        place = 0 if layer.config.get("axis") is None else axis(layer, x)
        found: Value = Cumulative(kind, place, False, False)(value)  # type: ignore[arg-type]
        return found

    return convert


def norm(layer: Layer, x: Value) -> Value:
    """The length of vectors: of order 1, 2 or infinite; of matrices Frobenius's."""
    order, kept, value = layer.config.get("ord"), layer.flag("keepdims", False), real(x)
    axes = axes_of(layer, x)
    if order in (None, "fro") or (order == 2 and len(axes) == 1):
        return apply(Sqrt(), apply(Reduce("sum", axes, kept), apply(Mul(), value, value)))
    kinds = {1: "sum", math.inf: "max", "inf": "max"}
    if order in kinds and len(axes) == 1:
        return apply(Reduce(kinds[order], axes, kept), apply(Abs(), value))  # type: ignore[arg-type]
    raise layer.unsupported(f"a norm of order {order!r} over {len(axes)} axes")


def normalize(layer: Layer, x: Value) -> Value:
    """x over its length along an axis."""
    order, epsilon = layer.integer("order", 2), layer.config.get("epsilon")
    least = 1e-7 if epsilon is None else layer.number("epsilon")
    place = (axis(layer, x),)
    if order != 2:
        powers = apply(arithmetic.Pow(), apply(Abs(), x), float(order))
        length = apply(arithmetic.Pow(), apply(Reduce("sum", place), powers), 1 / order)
        return apply(Div(), x, apply(Maximum(), length, least))
    power = apply(Reduce("sum", place), apply(Mul(), x, x))
    return apply(Mul(), x, apply(arithmetic.Rsqrt(), apply(Maximum(), power, least**2)))


def matmul(layer: Layer, x: Any, y: Any) -> Value:
    """The product of matrices."""
    return apply(MatMul(), *alike(x, y))


def dot(layer: Layer, x: Any, y: Any) -> Value:
    """NumPy's dot: over the last axis of x and the last but one of y."""
    a, b = alike(x, y)
    if 0 in (a.type.rank, b.type.rank):
        return apply(Mul(), a, b)
    return _contracted(a, b, [a.type.rank - 1], [max(0, b.type.rank - 2)])


def _contracted(a: Value, b: Value, left: list[int], right: list[int]) -> Value:
    rows = [at for at in range(a.type.rank) if at not in left]
    columns = [at for at in range(b.type.rank) if at not in right]
    sizes = [a.type.shape[at] for at in rows], [b.type.shape[at] for at in columns]
    inner = dim.product([a.type.shape[at] for at in left])
    flat = reshaped(transposed(a, [*rows, *left]), (dim.product(sizes[0]), inner))
    other = reshaped(transposed(b, [*right, *columns]), (inner, dim.product(sizes[1])))
    return reshaped(apply(MatMul(), flat, other), (*sizes[0], *sizes[1]))


def tensordot(layer: Layer, x: Any, y: Any) -> Value:
    """Over the last axes of x and the first of y, or over those that are listed."""
    (a, b), stated = alike(x, y), layer.config.get("axes", 2)
    if isinstance(stated, int):
        return _contracted(a, b, list(range(a.type.rank - stated, a.type.rank)), list(range(stated)))
    left, right = (numbers(one) for one in stated)
    return _contracted(a, b, [axis_of(one, a.type.rank) for one in left], [axis_of(one, b.type.rank) for one in right])


def outer(layer: Layer, x: Any, y: Any) -> Value:
    """Every product of an element of x and one of y."""
    a, b = alike(x, y)
    return apply(Mul(), reshaped(a, (a.type.size, 1)), reshaped(b, (1, b.type.size)))


def einsum_op(layer: Layer, *operands: Value, **_: Any) -> Value:
    """The sum of products that an equation states."""
    return einsum(layer.text("subscripts"), *alike(*operands))


def is_close(layer: Layer, x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Value:
    """Nearer than a share of y and a bound."""
    a, b = (real(one) for one in alike(x, y))
    room = apply(Add(), apply(Mul(), apply(Abs(), b), float(rtol)), float(atol))
    near = apply(logic.LessOrEqual(), apply(Abs(), apply(Sub(), a, b)), room)
    return apply(logic.Or(), near, apply(logic.Equal(), a, b))


def settings_of(layer: Layer) -> dict[str, Any]:
    """An operation's own settings."""
    return {name: one for name, one in layer.config.items() if name not in ("name", "dtype", "to")}


def activation(name: str) -> Converter:
    """A function of keras.activations."""
    return lambda layer, x: FUNCTIONS[name](real(x), **settings_of(layer))


def finite(x: Value) -> Value:
    """True for numbers."""
    return apply(logic.LessOrEqual(), apply(Abs(), real(x)), x.type.dtype.limits[1] if x.type.dtype.is_float else 3e38)


def log_of(base: float) -> Converter:
    """The logarithm to a base."""
    return of_one(lambda x: apply(Mul(), apply(Log(), x), 1 / math.log(base)))


def scaled(factor: float) -> Converter:
    """A multiple."""
    return of_one(lambda x: apply(Mul(), x, factor))


def like(value: float, kind: DType | None = None) -> Converter:
    """One number in x's shape."""
    return lambda layer, x, *_, **__: filled(value, x.type.shape, layer.kind_of("to", kind or x.type.dtype))


_BINARY: Mapping[str, Op] = {
    "Add": Add(), "Subtract": Sub(), "Multiply": Mul(), "Maximum": Maximum(), "Minimum": arithmetic.Minimum(),
    "Power": arithmetic.Pow(), "Equal": logic.Equal(), "NotEqual": logic.NotEqual(), "Greater": logic.Greater(),
    "GreaterEqual": logic.GreaterOrEqual(), "Less": logic.Less(), "LessEqual": logic.LessOrEqual(),
    "BitwiseAnd": logic.BitAnd(), "BitwiseOr": logic.BitOr(), "BitwiseXor": logic.BitXor(),
}  # fmt: skip

_UNARY: Mapping[str, Op] = {
    "Absolute": Abs(), "Abs": Abs(), "Negative": Neg(), "Sign": arithmetic.Sign(), "BitwiseNot": logic.BitNot(),
    "BitwiseInvert": logic.BitNot(),
}  # fmt: skip

_FLOATING: Mapping[str, Op] = {
    "Floor": Floor(), "Ceil": arithmetic.Ceil(), "Trunc": arithmetic.Trunc(), "Sqrt": Sqrt(),
    "Rsqrt": arithmetic.Rsqrt(), "Reciprocal": arithmetic.Reciprocal(), "Exp": Exp(), "Expm1": arithmetic.Expm1(),
    "Log": Log(), "Log1p": Log1p(), "Sin": arithmetic.Sin(), "Cos": arithmetic.Cos(), "Tan": arithmetic.Tan(),
    "Arcsin": arithmetic.Asin(), "Arccos": arithmetic.Acos(), "Arctan": arithmetic.Atan(), "Sinh": arithmetic.Sinh(),
    "Cosh": arithmetic.Cosh(), "Arcsinh": arithmetic.Asinh(), "Arccosh": arithmetic.Acosh(),
    "Arctanh": arithmetic.Atanh(), "Erf": arithmetic.Erf(), "Isnan": logic.IsNan(), "Isinf": logic.IsInf(),
    "Fabs": Abs(),
}  # fmt: skip

_ACTIVATIONS = (
    *("Relu", "Relu6", "Sigmoid", "SparseSigmoid", "Softplus", "Softsign", "SoftShrink", "SparsePlus", "Silu", "Elu"),
    *("Squareplus", "LogSigmoid", "LeakyRelu", "HardSigmoid", "HardSilu", "Selu", "Gelu", "Celu", "Glu", "TanhShrink"),
    *("HardTanh", "HardShrink", "Threshold", "Softmax", "LogSoftmax", "Sparsemax", "Tanh"),
)

OPERATIONS: Table = {
    **{name: binary(op) for name, op in _BINARY.items()},
    **{name: unary(op) for name, op in _UNARY.items()},
    **{name: unary(op, floating=True) for name, op in _FLOATING.items()},
    **{name: activation(snake_case(name)) for name in _ACTIVATIONS},
    "Divide": binary(Div(), floating=True),
    "TrueDivide": binary(Div(), floating=True),
    "DivideNoNan": divide_no_nan,
    "FloorDivide": floor_divide,
    "Mod": binary(Mod()),
    "LogicalAnd": binary(logic.And(), truth=True),
    "LogicalOr": binary(logic.Or(), truth=True),
    "LogicalXor": binary(logic.Xor(), truth=True),
    "LogicalNot": lambda layer, x: apply(logic.Not(), as_truth(x)),
    "Logaddexp": log_add_exp,
    "Isclose": is_close,
    "Isfinite": lambda layer, x: finite(x),
    "Hypot": lambda layer, x, y: apply(Sqrt(), apply(Add(), *(apply(Mul(), a, a) for a in map(real, alike(x, y))))),
    "Square": lambda layer, x: apply(Mul(), x, x),
    "Exp2": of_one(lambda x: apply(Exp(), apply(Mul(), x, math.log(2)))),
    "Log2": log_of(2),
    "Log10": log_of(10),
    "Deg2rad": scaled(math.pi / 180),
    "Rad2deg": scaled(180 / math.pi),
    "Round": rounded,
    "Clip": clip,
    "Where": selected,
    "Cast": converted,
    "SaturateCast": converted,
    "ConvertToTensor": converted,
    "Copy": lambda layer, x: x,
    "StopGradient": lambda layer, x: x,
    "ZerosLike": like(0),
    "OnesLike": like(1),
    "FullLike": lambda layer, x, value: filled(value, x.type.shape, layer.kind_of("to", x.type.dtype)),
    "Sum": reduction("sum"),
    "Prod": reduction("prod"),
    "Mean": reduction("mean", floating=True),
    **dict.fromkeys(("Max", "Amax"), reduction("max")),
    **dict.fromkeys(("Min", "Amin"), reduction("min")),
    "Any": reduction("any"),
    "All": reduction("all"),
    "Logsumexp": reduction("log_sum_exp", floating=True),
    "Var": variance,
    "Std": lambda layer, x: apply(Sqrt(), variance(layer, x)),
    "Moments": moments,
    "Average": average,
    "CountNonzero": count_nonzero,
    "Argmax": argument("max"),
    "Argmin": argument("min"),
    "Cumsum": cumulative("sum"),
    "Cumprod": cumulative("prod"),
    "Norm": norm,
    "Normalize": normalize,
    "Matmul": matmul,
    "Dot": dot,
    "Tensordot": tensordot,
    "Outer": outer,
    "Einsum": einsum_op,
}

"""Activations that models write as chains of arithmetic."""

from __future__ import annotations

import math

from tenfold.ir.graph import Value
from tenfold.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, Mish, Relu, Sigmoid, Silu, Softplus, Swish
from tenfold.ops.arithmetic import Add, Div, Erf, Exp, Maximum, Minimum, Mul, Neg, Reciprocal, Tanh
from tenfold.ops.constant import scalar
from tenfold.rewrite.pattern import either, exactly, nearly, number, same_type, used_once
from tenfold.rewrite.rule import Replacement, rule


def factors(value: Value) -> tuple[list[Value], float]:
    """What is multiplied to give `value`: the values, and the product of the numbers.

    Products between that anything else uses count as one value.
    """
    match value:
        case Value(Mul(), (x, y)) if number(y) is not None:
            inside, factor = _inner_factors(x)
            return inside, factor * (number(y) or 0.0)
        case Value(Div(), (x, y)) if number(y):
            inside, factor = _inner_factors(x)
            return inside, factor / (number(y) or 1.0)
        case Value(Mul(), (x, y)):
            left, a = _inner_factors(x)
            right, b = _inner_factors(y)
            return left + right, a * b
    return [value], 1.0


def _inner_factors(value: Value) -> tuple[list[Value], float]:
    return factors(value) if used_once(value) else ([value], 1.0)


def _near(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-6)


@rule(
    "graph (%x: f32[2]) { return Reciprocal(Add(Exp(Neg(%x)), f32{1.0})) }",
    "graph (%x: f32[2]) { return Reciprocal(Add(Exp(%x), f32{1.0})) }",
)
def sigmoid(value: Value) -> Replacement:
    """1 / (exp(-x) + 1) -> sigmoid(x)"""
    match value:
        case Value(Reciprocal(), (Value(Add(), (Value(Exp(), (Value(Neg(), (x,)),)), one)),)) if exactly(one, 1.0):
            return Sigmoid()(x) if same_type(x, value) else None
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(%x, Sigmoid(%x)) }",
    "graph (%x: f32[2], %y: f32[2]) { return Mul(%x, Sigmoid(%y)) }",
)
def silu(value: Value) -> Replacement:
    """x sigmoid(x) -> silu(x);  x / (exp(-x) + 1) -> silu(x)"""
    for x, gate in either(value, Mul):
        if isinstance(gate.op, Sigmoid) and gate.inputs[0] is x:
            return Silu()(x)
    match value:
        case Value(Div(), (x, Value(Add(), (Value(Exp(), (Value(Neg(), (y,)),)), one)))) if x is y and exactly(
            one, 1.0
        ):
            return Silu()(x) if same_type(x, value) else None
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(%x, Sigmoid(Mul(%x, f32{1.702}))) }",
    "graph (%x: f32[2]) { return Mul(%x, Sigmoid(Mul(%x, f32[2]{1.702, 1.0}))) }",
)
def swish(value: Value) -> Replacement:
    """x sigmoid(a x) -> swish(x)"""
    for x, gate in either(value, Mul):
        match gate:
            case Value(Sigmoid(), (Value(Mul(), (y, a)),)) if y is x and same_type(x, value):
                alpha = number(a)
                return None if alpha is None else Swish(alpha)(x)
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(%x, Tanh(Softplus(%x))) }",
    "graph (%x: f32[2]) { return Mul(%x, Tanh(Sigmoid(%x))) }",
)
def mish(value: Value) -> Replacement:
    """x tanh(softplus(x)) -> mish(x)"""
    for x, gate in either(value, Mul):
        match gate:
            case Value(Tanh(), (Value(Softplus(), (y,)),)) if y is x:
                return Mish()(x)
    return None


@rule(
    "graph (%x: f32[2]) { return Minimum(Maximum(%x, f32{0.0}), f32{6.0}) }",
    "graph (%x: f32[2], %y: f32[2]) { return Minimum(Maximum(%x, %y), f32{6.0}) }",
)
def clip(value: Value) -> Replacement:
    """min(max(x, low), high) -> clip(x, low, high);  min(relu(x), high) -> clip(x, 0, high)"""
    match value:
        case Value(Minimum(), (Value(Maximum(), (x, low)), high)) if same_type(x, value):
            return None if number(low) is None or number(high) is None else Clip()(x, low, high)
        case Value(Minimum(), (Value(Relu(), (x,)), high)) if same_type(x, value):
            return None if number(high) is None else Clip()(x, scalar(0, x.type.dtype)(), high)
    return None


@rule(
    "graph (%x: f32[2]) { return Maximum(%x, f32{0.0}) }",
    "graph (%x: f32[2]) { return Maximum(%x, f32{-0.0}) }",
)
def relu(value: Value) -> Replacement:
    """max(x, 0) -> relu(x)"""
    match value:
        case Value(Maximum(), (x, zero)) if exactly(zero, 0.0) and same_type(x, value):
            return Relu()(x)
    return None


def _relu6_of_three_more(value: Value) -> Value | None:
    """x where `value` is clip(x + 3, 0, 6)."""
    match value:
        case Value(Clip(), (Value(Add(), (x, three)), low, high)):
            if exactly(three, 3.0) and exactly(low, 0.0) and exactly(high, 6.0) and same_type(x, value):
                return x
    return None


@rule(
    "graph (%x: f32[2]) { return Div(Clip(Add(%x, f32{3.0}), f32{0.0}, f32{6.0}), f32{6.0}) }",
    "graph (%x: f32[2]) { return Div(Clip(Add(%x, f32{3.0}), f32{0.0}, f32{5.0}), f32{6.0}) }",
)
def hard_sigmoid(value: Value) -> Replacement:
    """clip(x + 3, 0, 6) / 6 -> hard sigmoid of x with slope 1/6"""
    match value:
        case Value(Div(), (clipped, six)) if exactly(six, 6.0) and (x := _relu6_of_three_more(clipped)):
            return HardSigmoid(1 / 6, 0.5)(x)
        case Value(Mul(), (clipped, sixth)) if nearly(sixth, 1 / 6) and (x := _relu6_of_three_more(clipped)):
            return HardSigmoid(1 / 6, 0.5)(x)
    return None


@rule(
    "graph (%x: f32[2]) { return Div(Mul(%x, Clip(Add(%x, f32{3.0}), f32{0.0}, f32{6.0})), f32{6.0}) }",
    "graph (%x: f32[2], %y: f32[2]) { return Div(Mul(%y, Clip(Add(%x, f32{3.0}), f32{0.0}, f32{6.0})), f32{6.0}) }",
)
def hard_swish(value: Value) -> Replacement:
    """x clip(x + 3, 0, 6) / 6 -> hard swish of x;  x hard_sigmoid(x) with slope 1/6 -> hard swish of x"""
    for x, gate in either(value, Mul):
        match gate:
            case Value(HardSigmoid(alpha, beta), (y,)) if y is x and _near(alpha, 1 / 6) and beta == 0.5:
                return HardSwish()(x)
    inside, factor = factors(value)
    if len(inside) == 2 and _near(factor, 1 / 6):
        for x, gate in (inside, inside[::-1]):
            if _relu6_of_three_more(gate) is x and same_type(x, value):
                return HardSwish()(x)
    return None


@rule(
    "graph (%x: f32[2]) { return Mul(Mul(%x, f32{0.5}), Add(Erf(Div(%x, f32{1.4142135})), f32{1.0})) }",
    "graph (%x: f32[2]) { return Mul(Mul(%x, f32{0.5}), Add(Erf(Div(%x, f32{1.5})), f32{1.0})) }",
)
def gelu(value: Value) -> Replacement:
    """x / 2 (1 + erf(x / sqrt(2))) -> gelu(x), the factors in any order"""
    x = _gated(value, Erf)
    if x is None:
        return None
    inside, factor = factors(_argument(value, Erf))
    return Gelu()(x) if _near(factor, math.sqrt(0.5)) and inside == [x] else None


@rule(
    """graph (%x: f32[2]) {
      %cube = Mul(Mul(Mul(%x, %x), %x), f32{0.044715})
      return Mul(%x, Mul(Add(Tanh(Mul(Add(%x, %cube), f32{0.7978845608})), f32{1.0}), f32{0.5}))
    }""",
    """graph (%x: f32[2]) {
      %square = Mul(Mul(%x, %x), f32{0.044715})
      return Mul(%x, Mul(Add(Tanh(Mul(Add(%x, %square), f32{0.7978845608})), f32{1.0}), f32{0.5}))
    }""",
)
def gelu_tanh(value: Value) -> Replacement:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x x x))) -> gelu(x) by its approximation"""
    x = _gated(value, Tanh)
    if x is None:
        return None
    inside, factor = factors(_argument(value, Tanh))
    if not math.isclose(factor, math.sqrt(2 / math.pi), rel_tol=1e-5):
        return None
    return Gelu(tanh=True)(x) if _is_cubic(inside, x) else None


def _is_cubic(inside: list[Value], x: Value) -> bool:
    """x + 0.044715 x x x, or x (1 + 0.044715 x x)."""
    match inside:
        case [Value(Add(), (linear, cube))]:
            cube, linear = (linear, cube) if cube is x else (cube, linear)
            powers, factor = factors(cube)
            return linear is x and _powers(powers, x) == 3 and _near(factor, 0.044715)
        case [one, Value(Add(), (square, unit))] | [Value(Add(), (square, unit)), one]:
            powers, factor = factors(square)
            return one is x and exactly(unit, 1.0) and _powers(powers, x) == 2 and _near(factor, 0.044715)
    return False


def _powers(values: list[Value], x: Value) -> int:
    """n where the product of `values` is x to the power n; 0 if it is not."""
    count = 0
    for one in values:
        inside = factors(one)[0] if one is not x else [x]
        count += len(inside)
        if any(part is not x for part in inside):
            return 0
    return count


def _gate(value: Value, kind: type[Erf] | type[Tanh]) -> Value | None:
    match value:
        case Value(Add(), (inner, one)) if isinstance(inner.op, kind) and exactly(one, 1.0):
            return inner.inputs[0]
    return None


def _gated(value: Value, kind: type[Erf] | type[Tanh]) -> Value | None:
    """x where `value` is x (1 + kind(…)) / 2."""
    inside, factor = factors(value) if isinstance(value.op, Mul | Div) else ([], 0.0)
    if len(inside) != 2 or factor != 0.5:
        return None
    rest = [one for one in inside if _gate(one, kind) is None]
    return rest[0] if len(rest) == 1 and same_type(rest[0], value) else None


def _argument(value: Value, kind: type[Erf] | type[Tanh]) -> Value:
    return next(found for one in factors(value)[0] if (found := _gate(one, kind)) is not None)


ACTIVATIONS = (sigmoid, silu, swish, mish, clip, relu, hard_sigmoid, hard_swish, gelu, gelu_tanh)

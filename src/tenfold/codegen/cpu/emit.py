"""A body to LLVM IR, one vector at a time. Emitters know primitives only; `expand_body` makes them of the rest.

    outputs = emit_body(code, body, inputs, place)

`inputs` are vectors of `code.lanes` elements in register form (see storage.py: `widen` what was loaded, `narrow` what
is stored); so are the outputs. Code goes where `code.builder` stands, and may leave it in a later block.
`refusal(body)` says beforehand whether a body can be emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llvmlite import ir

from tenfold.codegen.cpu import vmath
from tenfold.codegen.cpu.body import expand_body
from tenfold.codegen.cpu.division import divide, remainder, whole_power
from tenfold.codegen.cpu.storage import SUPPORTED, bit_cast, cast, register_type, wrap
from tenfold.codegen.cpu.vectors import Vector, Vectors
from tenfold.codegen.region import Body, Index, Instruction, Load, Uniform
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.op import Op
from tenfold.ops import activation, logic
from tenfold.ops import arithmetic as ops
from tenfold.ops.constant import Constant
from tenfold.ops.primitive import Within


def _nowhere(*_: Any) -> Vector:
    raise ValueError("this body asks for positions, sizes or loads, and its place has none")


@dataclass(frozen=True)
class Place:
    """What bodies ask about where they run: the position along an axis and a uniform, both i64, an element of a
    gathered operand at positions, in register form; and to end the stage with an error where a condition holds.
    """

    index: Callable[[int], Vector] = _nowhere
    uniform: Callable[[int], Vector] = _nowhere
    load: Callable[[int, Sequence[Vector]], Vector] = _nowhere
    fail: Callable[[Vector], object] = _nowhere


NOWHERE = Place()
Emitter = Callable[..., Vector]


def _is_unsigned(dtype: DType) -> bool:
    return dtype.kind in (Kind.UINT, Kind.BOOL)


def _is_constant(x: Vector) -> bool:
    return isinstance(x.value, ir.Constant)


def _extreme(relation: str, op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
    """The lesser or greater of both, NaN if either is; a constant is no NaN, so one comparison does."""
    if not dtype.is_float:
        return x.compare(relation, y, _is_unsigned(dtype)).where(x, y)
    if _is_constant(x):
        x, y = y, x
    if _is_constant(y):
        return y.compare(relation, x).where(y, x)
    if x.code.isa.architecture == "aarch64":
        return x.intrinsic("minimum" if relation == "<" else "maximum", y)
    return x.is_nan().where(x, x.compare(relation, y).where(x, y))


minimum = partial(_extreme, "<", ops.Minimum())
"""minimum(dtype, x, y): the lesser, NaN if either is."""
maximum = partial(_extreme, ">", ops.Maximum())
"""maximum(dtype, x, y): the greater, NaN if either is."""


def _divide(op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
    return x / y if dtype.is_float else divide(x, y, _is_unsigned(dtype))


def _modulo(op: ops.Mod, dtype: DType, x: Vector, y: Vector) -> Vector:
    return remainder(x, y, op.truncated, _is_unsigned(dtype))


def _power(op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
    if dtype.is_float:
        return vmath.power(x.strict(), y.strict())
    return whole_power(x, y, _is_unsigned(dtype))


def _magnitude(op: Op, dtype: DType, x: Vector) -> Vector:
    return x if _is_unsigned(dtype) else x.abs()


def _sign(op: Op, dtype: DType, x: Vector) -> Vector:
    if _is_unsigned(dtype):
        return x.compare("!=", 0).where(x.like(1), 0)
    rest = x.is_nan().where(x, 0) if dtype.is_float else x.like(0)
    return (x > 0).where(1, (x < 0).where(-1, rest))


def _rounding(name: str) -> Emitter:
    def emit(op: Op, dtype: DType, x: Vector) -> Vector:
        return x.intrinsic(name) if dtype.is_float else x

    return emit


def _function(name: str) -> Emitter:
    function = vmath.FUNCTIONS[name]

    def emit(op: Op, dtype: DType, x: Vector) -> Vector:
        return function(x.strict())

    return emit


def _comparison(relation: str) -> Emitter:
    def emit(op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
        return x.compare(relation, y, _is_unsigned(dtype))

    return emit


def _shift_left(op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
    inside = y.compare("<", dtype.bits, unsigned=True)
    return inside.where(x << inside.where(y, 0), 0)


def _shift_right(op: Op, dtype: DType, x: Vector, y: Vector) -> Vector:
    inside = y.compare("<", dtype.bits, unsigned=True)
    if _is_unsigned(dtype):
        return inside.where(x.unsigned_shift(inside.where(y, 0)), 0)
    return x >> inside.where(y, dtype.bits - 1)


def _is_inf(op: logic.IsInf, dtype: DType, x: Vector) -> Vector:
    infinity = float("inf")
    if op.positive and op.negative:
        return x.abs().equals(infinity)
    return x.equals(infinity if op.positive else -infinity) if op.positive or op.negative else x.compare("<", x)


def _plain(emit: Callable[..., Vector]) -> Emitter:
    def emitter(op: Op, dtype: DType, *args: Vector) -> Vector:
        return emit(*args)

    return emitter


def _swish(op: activation.Swish, dtype: DType, x: Vector) -> Vector:
    return x / vmath.logistic_divisor(x.strict() * op.alpha)


_FLOAT_ONLY: dict[type[Op], Emitter] = {
    activation.Sigmoid: _plain(lambda x: 1.0 / vmath.logistic_divisor(x.strict())),
    activation.Silu: _plain(lambda x: vmath.silu(x.strict())),
    activation.Swish: _swish,
    activation.Gelu: lambda op, dtype, x: vmath.gelu(x.strict(), op.tanh),
    ops.Sqrt: _plain(Vector.sqrt),
    ops.Rsqrt: _plain(lambda x: 1.0 / x.sqrt()),
    ops.Reciprocal: _plain(lambda x: 1.0 / x),
    logic.IsNan: _plain(Vector.is_nan),
    logic.IsInf: _is_inf,
    **{
        kind: _function(kind.__name__.lower())
        for kind in (
            *(ops.Exp, ops.Log, ops.Log1p, ops.Expm1, ops.Erf, ops.Sin, ops.Cos, ops.Tan, ops.Asin, ops.Acos),
            *(ops.Atan, ops.Sinh, ops.Cosh, ops.Tanh, ops.Asinh, ops.Acosh, ops.Atanh),
        )
    },
}

EMITTERS: dict[type[Op], Emitter] = {
    **_FLOAT_ONLY,
    ops.Add: _plain(lambda x, y: x + y),
    ops.Sub: _plain(lambda x, y: x - y),
    ops.Mul: _plain(lambda x, y: x * y),
    ops.Neg: _plain(lambda x: -x),
    ops.Div: _divide,
    ops.Mod: _modulo,
    ops.Pow: _power,
    ops.Minimum: lambda op, dtype, x, y: minimum(dtype, x, y),
    ops.Maximum: lambda op, dtype, x, y: maximum(dtype, x, y),
    ops.Abs: _magnitude,
    ops.Sign: _sign,
    ops.Floor: _rounding("floor"),
    ops.Ceil: _rounding("ceil"),
    ops.Trunc: _rounding("trunc"),
    ops.Round: _rounding("rint"),
    logic.Equal: _comparison("=="),
    logic.NotEqual: _comparison("!="),
    logic.Less: _comparison("<"),
    logic.LessOrEqual: _comparison("<="),
    logic.Greater: _comparison(">"),
    logic.GreaterOrEqual: _comparison(">="),
    logic.And: _plain(lambda x, y: x & y),
    logic.Or: _plain(lambda x, y: x | y),
    logic.Xor: _plain(lambda x, y: x ^ y),
    logic.Not: _plain(lambda x: ~x),
    logic.BitAnd: _plain(lambda x, y: x & y),
    logic.BitOr: _plain(lambda x, y: x | y),
    logic.BitXor: _plain(lambda x, y: x ^ y),
    logic.BitNot: _plain(lambda x: ~x),
    logic.ShiftLeft: _shift_left,
    logic.ShiftRight: _shift_right,
    logic.Where: _plain(Vector.where),
    logic.Cast: lambda op, dtype, x: cast(dtype, op.to, x, op.saturate),
    logic.BitCast: lambda op, dtype, x: bit_cast(dtype, op.to, x),
}
"""What each primitive becomes: emitter(op, element type of the first argument, *arguments)."""

_PLACED = (Constant, Index, Uniform, Load, Within)


def refusal(body: Body) -> str | None:
    """Why this body cannot be emitted, or None if it can."""
    expanded = expand_body(body)
    for dtype in (*expanded.inputs, *(one.dtype for one in expanded.code)):
        if dtype not in SUPPORTED:
            return f"elements of type {dtype}"
    for one in expanded.code:
        if not isinstance(one.op, _PLACED) and type(one.op) not in EMITTERS:
            return f"{one.op.name} is not computed element by element"
        if type(one.op) in _FLOAT_ONLY and not expanded.dtype(one.args[0]).is_float:
            return f"{one.op.name} of {expanded.dtype(one.args[0])}"
    return None


def emit_body(code: Vectors, body: Body, inputs: Sequence[Vector], place: Place = NOWHERE) -> list[Vector]:
    """The outputs of `body` on `inputs`: vectors in register form, as many lanes as `code` has."""
    body = expand_body(body)
    fused = replace(code, contract=True)
    registers = [Vector(fused, one.value) for one in inputs]
    for one in body.code:
        registers.append(_emit(fused, body, one, [registers[arg] for arg in one.args], place))
    return [Vector(code, registers[output].value) for output in body.outputs]


def _emit(code: Vectors, body: Body, one: Instruction, args: list[Vector], place: Place) -> Vector:
    match one.op:
        case Constant(tensor):
            return code.constant(register_type(one.dtype), tensor.array.item())
        case Index(axis):
            value = place.index(axis)
        case Uniform(number):
            value = place.uniform(number)
        case Load(number):
            value = place.load(number, args)
        case Within():
            index, size = args
            value = (index < 0).where(index + size, index)
            place.fail(value.compare(">=", size, unsigned=True))
        case _:
            dtype = body.dtype(one.args[0]) if not isinstance(one.op, logic.Where) else one.dtype
            value = wrap(one.dtype, EMITTERS[type(one.op)](one.op, dtype, *args))
    return Vector(code, value.value)

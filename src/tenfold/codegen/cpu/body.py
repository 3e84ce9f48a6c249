"""Bodies made ready for emission: activations expanded, equal instructions merged, unused ones dropped."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence

from tenfold.codegen.region import Body, Index, Instruction, Load, Uniform
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tenfold.ops.activation import Gelu, Sigmoid, Silu, Swish
from tenfold.ops.arithmetic import Abs, Add, Div, Mul, Pow, Reciprocal, Sqrt
from tenfold.ops.constant import Constant, scalar
from tenfold.ops.logic import Cast, Equal, Less, Where

_PLACED = (Index, Uniform, Load)
LOGISTIC = (Sigmoid, Silu, Swish)
"""Activations that are emitted whole in f32 and f64; Gelu is in f32."""


class Writer:
    """A body being written; an instruction that stands there already is not written twice."""

    def __init__(self, inputs: Iterable[DType]) -> None:
        self.inputs = tuple(inputs)
        self.code: list[Instruction] = []
        self._known: dict[Instruction, int] = {}

    def add(self, one: Instruction) -> int:
        """The register of that instruction."""
        if isinstance(one.op, Cast) and self.dtype(one.args[0]) is one.dtype:
            return one.args[0]
        if one not in self._known:
            self._known[one] = len(self.inputs) + len(self.code)
            self.code.append(one)
        return self._known[one]

    def dtype(self, register: int) -> DType:
        """The element type of a register."""
        count = len(self.inputs)
        return self.inputs[register] if register < count else self.code[register - count].dtype

    def copy(self, body: Body, inputs: Sequence[int]) -> list[int]:
        """The registers of `body`'s registers, its inputs being `inputs` here; activations are expanded."""
        registers = list(inputs)
        for one in body.code:
            registers.append(self._write(one, [registers[arg] for arg in one.args]))
        return registers

    def body(self, outputs: Iterable[int]) -> Body:
        """The body that gives these registers."""
        return pruned(Body(self.inputs, tuple(self.code), tuple(outputs)))

    def _write(self, one: Instruction, args: list[int]) -> int:
        if isinstance(one.op, _PLACED):
            return self.add(Instruction(one.op, tuple(args), one.dtype))
        values = [self.value(arg) for arg in args]
        expanded = expansion(one.op, values)
        if expanded is None:
            return self.add(Instruction(one.op, tuple(args), one.dtype))
        return self.linear(expanded, dict(zip(values, args, strict=True)))

    def value(self, register: int) -> Value:
        """A register as a value that operations can be called on."""
        count = len(self.inputs)
        op = self.code[register - count].op if register >= count else None
        if isinstance(op, Constant):
            constant: Value = op()
            return constant
        return Value(Type(self.dtype(register), ()))

    def linear(self, value: Value, known: dict[Value, int]) -> int:
        """The register of what is computed from the values in `known`."""
        if value not in known:
            assert value.op is not None, "an expansion uses only what it is given"
            args = [self.linear(one, known) for one in value.inputs]
            known[value] = self._write(Instruction(value.op, tuple(args), value.type.dtype), args)
        return known[value]


def expansion(op: Op, values: Sequence[Value]) -> Value | None:
    """`op` on these scalars in simpler operations, or None if it is a primitive."""
    if isinstance(op, Pow):
        return _power(*values)
    if isinstance(op, LOGISTIC) and values[0].type.dtype in (dt.f32, dt.f64):
        return None
    if isinstance(op, Gelu) and values[0].type.dtype is dt.f32:
        return None
    expand: Callable[..., Value] | None = getattr(op, "expand", None)
    return expand(*values) if expand else None


def _power(x: Value, y: Value) -> Value | None:
    if not isinstance(y.op, Constant) or not x.type.dtype.is_float:
        return None
    rewrite = _POWERS.get(float(y.op.tensor.array))
    return rewrite(x) if rewrite else None


def _square(x: Value) -> Value:
    result: Value = Mul()(x, x)
    return result


def _cube(x: Value) -> Value:
    result: Value = Mul()(_square(x), x)
    return result


def _reciprocal(x: Value) -> Value:
    result: Value = Reciprocal()(x)
    return result


def _root(x: Value) -> Value:
    """pow's square root: +0 for -0, and +Inf for -Inf."""
    dtype = x.type.dtype
    low = scalar(-math.inf, dtype)()
    result: Value = Where()(Equal()(x, low), scalar(math.inf, dtype)(), Add()(Sqrt()(x), scalar(0, dtype)()))
    return result


_POWERS: dict[float, Callable[[Value], Value]] = {
    1.0: lambda x: x,
    2.0: _square,
    3.0: _cube,
    -1.0: _reciprocal,
    0.5: _root,
    -0.5: lambda x: _reciprocal(_root(x)),
}


@functools.cache
def expand_body(body: Body) -> Body:
    """The same body in primitives, each computed once."""
    writer = Writer(body.inputs)
    registers = writer.copy(body, range(len(body.inputs)))
    return writer.body(registers[output] for output in body.outputs)


def pruned(body: Body) -> Body:
    """The same body without instructions that no output needs."""
    count = len(body.inputs)
    needed = set(body.outputs)
    for place in range(len(body.code) - 1, -1, -1):
        if count + place in needed:
            needed.update(body.code[place].args)
    numbers = {register: register for register in range(count)}
    code: list[Instruction] = []
    for place, one in enumerate(body.code):
        if count + place in needed:
            numbers[count + place] = count + len(code)
            code.append(Instruction(one.op, tuple(numbers[arg] for arg in one.args), one.dtype))
    return Body(body.inputs, tuple(code), tuple(numbers[output] for output in body.outputs))


def indices(body: Body) -> frozenset[int]:
    """The axes of the domain whose positions the body reads."""
    return frozenset(one.op.axis for one in body.code if isinstance(one.op, Index))


def evenness(body: Body, even: Sequence[bool], moving: int | None) -> list[bool]:
    """Of each register, whether it stays the same along the domain's axis `moving`, given that of the inputs."""
    same = list(even)
    for one in body.code:
        moves = isinstance(one.op, Index) and one.op.axis == moving
        same.append(not moves and all(same[arg] for arg in one.args))
    return same


def split(body: Body, even: Sequence[bool], moving: int | None) -> tuple[Body, Body]:
    """What a body computes that stays the same along the domain's axis `moving`, and the rest, to which those results
    are further inputs. `even` says so of the inputs.
    """
    same = evenness(body, even, moving)
    count = len(body.inputs)
    rest = [place for place, one in enumerate(body.code) if not same[count + place] or isinstance(one.op, Constant)]
    wanted = dict.fromkeys(arg for place in rest for arg in body.code[place].args)
    wanted |= dict.fromkeys(body.outputs)
    moved = [
        register
        for register in wanted
        if register >= count and same[register] and not isinstance(body.code[register - count].op, Constant)
    ]
    numbers = {register: register for register in range(count)}
    numbers |= {register: count + k for k, register in enumerate(moved)}
    first = count + len(moved)
    numbers |= {count + place: first + k for k, place in enumerate(rest)}
    code = tuple(
        Instruction(one.op, tuple(numbers[arg] for arg in one.args), one.dtype)
        for one in (body.code[place] for place in rest)
    )
    inputs = (*body.inputs, *(body.dtype(register) for register in moved))
    later = pruned(Body(inputs, code, tuple(numbers[register] for register in body.outputs)))
    return pruned(Body(body.inputs, body.code, tuple(moved))), later


def multiplied(body: Body, even: Sequence[bool]) -> Body:
    """`body` with divisions by what stays the same along a line as products with its reciprocal, within 1.5 ulp.

    A divisor so small or large that its reciprocal would not be normal is scaled first.
    """
    same = evenness(body, even, None)
    writer = Writer(body.inputs)
    registers = list(range(len(body.inputs)))
    for one in body.code:
        args = [registers[arg] for arg in one.args]
        apart = isinstance(one.op, Div) and one.dtype in (dt.f32, dt.f64) and not same[one.args[0]]
        if apart and same[one.args[1]]:
            x, y = (writer.value(arg) for arg in args)
            registers.append(writer.linear(_times_reciprocal(x, y), dict(zip((x, y), args, strict=True))))
        else:
            registers.append(writer.add(Instruction(one.op, tuple(args), one.dtype)))
    return writer.body(registers[output] for output in body.outputs)


def _times_reciprocal(x: Value, y: Value) -> Value:
    one, far = scalar(1, y.type.dtype), 2.0**64
    up, down = scalar(far, y.type.dtype), scalar(1 / far, y.type.dtype)
    size = Abs()(y)
    scale = Where()(Less()(size, down()), up(), Where()(Less()(up(), size), down(), one()))
    result: Value = Mul()(Mul()(x, Reciprocal()(Mul()(y, scale))), scale)
    return result


def constant(value: float, dtype: DType) -> Instruction:
    """The instruction that gives a number."""
    return Instruction(scalar(value, dtype), (), dtype)


LIGHT = 8
"""The weight of a light body: sums, products and bounds, but no function with coefficients of its own."""
WRITTEN_OUT = {False: LIGHT, True: 26}
"""The heaviest body that is written out for each vector of a block of sums in registers, by whether lanes are masked:
with masks come 32 wide registers, which also hold the coefficients of a Silu or a GELU. A heavier one is applied to
sums that were stored, once for all vectors.
"""


def weight(body: Body) -> float:
    """A rough count of the vector instructions of a body in primitives."""
    return sum(_WEIGHTS.get(type(one.op).__name__, 1.0) for one in body.code)


_WEIGHTS = {
    **dict.fromkeys(("Constant", "Index", "Uniform"), 0.0),
    **dict.fromkeys(("Div", "Sqrt", "Reciprocal", "Rsqrt"), 8.0),
    **dict.fromkeys(("Exp", "Expm1", "Log", "Log1p", "Sigmoid", "Silu", "Swish", "Gelu"), 20.0),
    **dict.fromkeys(("Tanh", "Erf", "Sinh", "Cosh", "Atan", "Asin", "Acos"), 32.0),
    **dict.fromkeys(("Sin", "Cos", "Tan", "Asinh", "Acosh", "Atanh", "Mod"), 60.0),
    **dict.fromkeys(("Load",), 15.0),
    **dict.fromkeys(("Pow",), 100.0),
}


def stashed(body: Body, earlier: Body) -> Body | None:
    """`body` with one more input in place of what `earlier` gives from the same inputs; None if it does not need that.

    The inputs of `earlier` are the first of those of `body`.
    """
    writer = Writer(body.inputs)
    kept = writer.copy(earlier, range(len(earlier.inputs)))[earlier.outputs[0]]
    registers = writer.copy(body, range(len(body.inputs)))
    count = len(body.inputs)
    if kept < count:
        return None
    written = Body(body.inputs, tuple(writer.code), tuple(registers[output] for output in body.outputs))
    moved = {register: register if register < count else register + 1 for register in range(count + len(writer.code))}
    moved[kept] = count
    code = tuple(Instruction(one.op, tuple(moved[arg] for arg in one.args), one.dtype) for one in written.code)
    found = pruned(Body((*body.inputs, writer.dtype(kept)), code, tuple(moved[output] for output in written.outputs)))
    used = {arg for one in found.code for arg in one.args} | set(found.outputs)
    return found if count in used else None

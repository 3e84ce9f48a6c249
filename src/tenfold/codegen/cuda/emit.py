"""A body to Triton source, one tile at a time.

    text = hole_text(writer, outputs)

A hole is a Triton function `hole(values, at, uniforms, gathered, inside)`: the body's inputs as tiles that broadcast
with each other, the positions along the axes, the region's uniforms, (pointer, strides) of its gathered operands, and
which elements exist. It returns a tuple of tiles. Where indices are counted from the start, an alarm is the last of
what is gathered. Floats narrower than 32 bits are computed in f32 in registers and
rounded where a Cast says so, or when stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tenfold.codegen.region import Body, Combine, Index, Instruction, Load, Uniform
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tenfold.ops import activation, logic
from tenfold.ops import arithmetic as ops
from tenfold.ops.constant import Constant
from tenfold.ops.primitive import Within

NAMES = {
    dt.f64: ("float64", "fp64"),
    dt.f32: ("float32", "fp32"),
    dt.f16: ("float16", "fp16"),
    dt.bf16: ("bfloat16", "bf16"),
    dt.i64: ("int64", "i64"),
    dt.i32: ("int32", "i32"),
    dt.i16: ("int16", "i16"),
    dt.i8: ("int8", "i8"),
    dt.u64: ("uint64", "u64"),
    dt.u32: ("uint32", "u32"),
    dt.u16: ("uint16", "u16"),
    dt.u8: ("uint8", "u8"),
    dt.boolean: ("int1", "i1"),
}
"""Of each element type that has generated code, its name in Triton's language and in its signatures."""

ALARM = "gathered[-1][0]"
"""In a hole that counts indices from the start, the address of a word that is set where one lies outside."""

Template: TypeAlias = "str | Callable[[Any, DType], str]"


def pointer(dtype: DType) -> str:
    """A pointer to such elements, in a signature."""
    return f"*{NAMES[dtype][1]}"


def register(dtype: DType) -> str:
    """The element type of a tile that holds such elements in registers, as text."""
    narrow = dtype.is_float and dtype.bits < 32
    return f"tl.{NAMES[dt.f32 if narrow else dtype][0]}"


def _by_kind(floating: str, integer: str) -> Template:
    return lambda op, dtype: floating if dtype.is_float else integer


def _divide(op: Op, dtype: DType) -> str:
    if not dtype.is_float:
        return "{0} // tl.where({1} == 0, {1} * 0 + 1, {1})"
    return "tl.math.div_rn({0}, {1})" if dtype is dt.f32 else "{0} / {1}"


def _unsigned_or(text: str) -> Template:
    return lambda op, dtype: "{0}" if dtype.kind in (Kind.UINT, Kind.BOOL) else text


def _is_inf(op: logic.IsInf, dtype: DType) -> str:
    signs = (["{0} == float('inf')"] if op.positive else []) + (["{0} == float('-inf')"] if op.negative else [])
    return " | ".join(f"({one})" for one in signs) or "{0} != {0}"


def _cast(op: logic.Cast, dtype: DType) -> str:
    to = op.to
    if to is dt.boolean:
        return "{0} != 0"
    narrow = to.is_float and to.bits < 32 and to is not dtype
    return f"{{0}}.to(tl.{NAMES[to][0]})" + (".to(tl.float32)" if narrow else "")


def _bit_cast(op: logic.BitCast, dtype: DType) -> str:
    exact = f"{{0}}.to(tl.{NAMES[dtype][0]})" if dtype.is_float and dtype.bits < 32 else "{0}"
    widened = ".to(tl.float32)" if op.to.is_float and op.to.bits < 32 else ""
    return f"{exact}.to(tl.{NAMES[op.to][0]}, bitcast=True){widened}"


def _modulo(op: ops.Mod, dtype: DType) -> str:
    if dtype.is_float:
        return "vmath.libdevice.fmod({0}, {1})" if op.truncated else "vmath.floor_mod({0}, {1})"
    safe = "tl.where({1} == 0, {1} * 0 + 1, {1})"
    return f"{{0}} % {safe}" if op.truncated else f"vmath.whole_mod({{0}}, {safe})"


def _shift_right(op: Op, dtype: DType) -> str:
    return "{0} >> {1}" if dtype.kind is Kind.UINT else f"{{0}} >> tl.minimum({{1}}, {dtype.bits - 1})"


TEMPLATES: Mapping[type[Op], Template] = {
    ops.Add: "{0} + {1}",
    ops.Sub: "{0} - {1}",
    ops.Mul: "{0} * {1}",
    ops.Div: _divide,
    ops.Minimum: "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    ops.Maximum: "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    ops.Neg: "-{0}",
    ops.Abs: _unsigned_or("tl.abs({0})"),
    ops.Sign: _by_kind("vmath.sign({0})", "({0} > 0).to({0}.dtype) - ({0} < 0).to({0}.dtype)"),
    ops.Floor: _by_kind("tl.floor({0})", "{0}"),
    ops.Ceil: _by_kind("tl.ceil({0})", "{0}"),
    ops.Trunc: _by_kind("vmath.trunc({0})", "{0}"),
    ops.Round: _by_kind("vmath.rint({0})", "{0}"),
    ops.Sqrt: lambda op, dtype: "tl.sqrt({0})" if dtype is dt.f64 else "tl.math.sqrt_rn({0})",
    ops.Rsqrt: "tl.rsqrt({0})",
    ops.Reciprocal: lambda op, dtype: "tl.math.div_rn(1.0, {0})" if dtype is dt.f32 else "1.0 / {0}",
    ops.Exp: "tl.exp({0})",
    ops.Log: "tl.log({0})",
    ops.Log1p: "vmath.log1p({0})",
    ops.Expm1: "vmath.expm1({0})",
    ops.Erf: "tl.erf({0})",
    ops.Sin: "tl.sin({0})",
    ops.Cos: "tl.cos({0})",
    ops.Tanh: "vmath.tanh({0})",
    **{
        op: f"vmath.libdevice.{op.__name__.lower()}({{0}})"
        for op in (ops.Tan, ops.Asin, ops.Acos, ops.Atan, ops.Sinh, ops.Cosh, ops.Asinh, ops.Acosh, ops.Atanh)
    },
    ops.Pow: "vmath.libdevice.pow({0}, {1})",
    ops.Mod: _modulo,
    logic.BitCast: _bit_cast,
    logic.ShiftLeft: lambda op, dtype: f"tl.where({{1}} < {dtype.bits}, {{0}} << {{1}}, {{0}} * 0)",
    logic.ShiftRight: lambda op, dtype: (
        f"tl.where({{1}} < {dtype.bits}, {_shift_right(op, dtype)}, {{0}} * 0)"
        if dtype.kind is Kind.UINT
        else _shift_right(op, dtype)
    ),
    logic.Equal: "{0} == {1}",
    logic.NotEqual: "{0} != {1}",
    logic.Less: "{0} < {1}",
    logic.LessOrEqual: "{0} <= {1}",
    logic.Greater: "{0} > {1}",
    logic.GreaterOrEqual: "{0} >= {1}",
    logic.And: "{0} & {1}",
    logic.Or: "{0} | {1}",
    logic.Xor: "{0} ^ {1}",
    logic.Not: "{0} == 0",
    logic.BitAnd: "{0} & {1}",
    logic.BitOr: "{0} | {1}",
    logic.BitXor: "{0} ^ {1}",
    logic.BitNot: "~{0}",
    logic.IsNan: "{0} != {0}",
    logic.IsInf: _is_inf,
    logic.Where: "tl.where({0}, {1}, {2})",
    logic.Cast: _cast,
    Within: "tl.maximum(tl.minimum(tl.where({0} < 0, {0} + {1}, {0}), {1} - 1), 0)",
}
"""Of each primitive, its text; `{0}` is its first argument. The element type is that of the first argument."""

COARSE: Mapping[type[Op], Template] = {
    activation.Gelu: lambda op, dtype: "" if op.tanh else "vmath.coarse_gelu({0})",
    activation.Sigmoid: "vmath.coarse_sigmoid({0})",
    activation.Silu: "{0} * vmath.coarse_sigmoid({0})",
    activation.Swish: lambda op, dtype: f"{{0}} * vmath.coarse_sigmoid({op.alpha!r} * {{0}})",
    ops.Tanh: "vmath.quick_tanh({0})",
    ops.Erf: "vmath.coarse_erf({0})",
    ops.Div: "{0} / {1}",
    ops.Reciprocal: "1.0 / {0}",
    ops.Sqrt: "tl.sqrt({0})",
}
"""Cheaper texts where every result is a float rounded to 16 bits; "" leaves an operation to its expansion."""

IDENTITIES: Mapping[str, Callable[[DType], object]] = {
    "sum": lambda dtype: 0,
    "prod": lambda dtype: 1,
    "max": lambda dtype: -np.inf if dtype.is_float else dtype.limits[0],
    "min": lambda dtype: np.inf if dtype.is_float else dtype.limits[1],
    "any": lambda dtype: 0,
    "all": lambda dtype: 1,
    **dict.fromkeys(("argmax", "argmax_last"), lambda dtype: -np.inf if dtype.is_float else dtype.limits[0]),
    **dict.fromkeys(("argmin", "argmin_last"), lambda dtype: np.inf if dtype.is_float else dtype.limits[1]),
}
"""Of each way to combine that has generated code, what combining starts from."""


COMBINED: Mapping[str, str] = {
    "sum": "tl.sum({0}, 1, keep_dims=True)",
    "prod": "tl.reduce({0}, 1, vmath.multiply, keep_dims=True)",
    "max": "tl.reduce({0}, 1, vmath.greater, keep_dims=True)",
    "min": "tl.reduce({0}, 1, vmath.lesser, keep_dims=True)",
    "any": "tl.max({0}.to(tl.int32), 1, keep_dims=True) != 0",
    "all": "tl.min({0}.to(tl.int32), 1, keep_dims=True) != 0",
    "argmax": "vmath.place({0}, inside, True, False)",
    "argmin": "vmath.place({0}, inside, False, False)",
    "argmax_last": "vmath.place({0}, inside, True, True)",
    "argmin_last": "vmath.place({0}, inside, False, True)",
}


SINGLE: Mapping[str, str] = {"sum": "tl.sum({0}, 0)"}
"""The same of a row alone, which has one axis: what has generated code there."""


class TileWriter:
    """The text of a hole being written. `places` says which of the hole's positions is the domain's axis (None: 0);
    `coarse` that all it gives is rounded to 16 bits; `combined` how rows are combined.
    """

    def __init__(
        self, places: Sequence[int | None], coarse: bool = False, combined: Mapping[str, str] = COMBINED
    ) -> None:
        self.places, self.coarse, self.combined = places, coarse, combined
        self.lines: list[str] = []
        self._known: dict[str, str] = {}

    def name(self, text: str) -> str:
        """The variable that holds an expression; equal expressions are computed once."""
        if text not in self._known:
            self._known[text] = f"t{len(self._known)}"
            self.lines.append(f"{self._known[text]} = {text}")
        return self._known[text]

    def value(self, number: int, dtype: DType) -> str:
        """One of the tiles that the hole is given, in register form."""
        return self.name(f"values[{number}].to({register(dtype)})")

    def body(self, body: Body, inputs: Sequence[str]) -> list[str]:
        """Write a body on these variables; those of its outputs."""
        names = list(inputs)
        for one in body.code:
            names.append(self._instruction(one, [names[arg] for arg in one.args], body))
        return [names[output] for output in body.outputs]

    def combine(self, element: str, dtype: DType, how: Combine) -> str:
        """The variable of a row's elements combined, one number a row."""
        start = literal(IDENTITIES[how](dtype), dtype)
        tile = self.name(f"tl.where(inside, {element}, {start})")
        return self.name(self.combined[how].format(tile))

    def text(self, outputs: Sequence[str]) -> str:
        """The whole function."""
        lines = "".join(f"    {line}\n" for line in self.lines)
        returned = "".join(f"{output}, " for output in outputs)
        return f"def hole(values, at, uniforms, gathered, inside):\n{lines}    return ({returned.strip()})\n"

    def _instruction(self, one: Instruction, args: Sequence[str], body: Body) -> str:
        match one.op:
            case Index(axis):
                place = self.places[axis]
                return self.name("tl.full((), 0, tl.int64)" if place is None else f"at[{place}].to(tl.int64)")
            case Uniform(number):
                return self.name(f"uniforms[{number}].to(tl.int64)")
            case Load(number):
                terms = (f"{arg} * gathered[{number}][1][{axis}]" for axis, arg in enumerate(args))
                address = " + ".join((f"gathered[{number}][0]", *terms))
                loaded = f"tl.load(tl.broadcast_to({address}, inside.shape), mask=inside, other=0)"
                return self.name(f"{loaded}.to({register(one.dtype)})")
            case Constant(tensor):
                return self.name(literal(tensor.array.item(), one.dtype))
            case Within():
                self._require(*args)
        return self._operation(one.op, args, [body.dtype(arg) for arg in one.args])

    def _require(self, index: str, size: str) -> None:
        """Set the alarm where an index that is used lies outside."""
        place = self.name(f"tl.broadcast_to({index}, inside.shape)")
        outside = self.name(f"inside & (({place} < -{size}) | ({place} >= {size}))")
        words = self.name(f"tl.broadcast_to({ALARM}, {outside}.shape)")
        line = f"tl.store({words}, tl.full({outside}.shape, 1, tl.int32), mask={outside})"
        if line not in self.lines:
            self.lines.append(line)

    def _operation(self, op: Op, args: Sequence[str], dtypes: Sequence[DType]) -> str:
        expand: Callable[..., Value] | None = getattr(op, "expand", None)
        text = self._text(op, dtypes[0])
        if text or expand is None:
            return self.name(text.format(*args))
        values = [Value(Type(dtype, ())) for dtype in dtypes]
        return self._expanded(expand(*values), dict(zip(values, args, strict=True)))

    def _text(self, op: Op, dtype: DType) -> str:
        """The template of an operation; "" for one that is expanded."""
        coarse = self.coarse and dtype.is_float and dtype is not dt.f64
        for table in (COARSE, TEMPLATES) if coarse else (TEMPLATES,):
            template = table.get(type(op), "")
            text = template if isinstance(template, str) else template(op, dtype)
            if text:
                return text
        return ""

    def _expanded(self, value: Value, known: dict[Value, str]) -> str:
        if value not in known:
            assert value.op is not None, "an expansion uses only what it is given"
            if isinstance(value.op, Constant):
                known[value] = self.name(literal(value.op.tensor.array.item(), value.type.dtype))
            else:
                args = [self._expanded(one, known) for one in value.inputs]
                known[value] = self._operation(value.op, args, [one.type.dtype for one in value.inputs])
        return known[value]


def literal(number: object, dtype: DType) -> str:
    """A number in register form, as text."""
    if not dtype.is_float:
        return f"tl.full((), {int(number)}, {register(dtype)})"  # type: ignore[call-overload]
    value = float(number)  # type: ignore[arg-type]
    shown = repr(value) if np.isfinite(value) else f"float('{value}')"
    return f"tl.full((), {shown}, {register(dtype)})"


def hole_text(body: Body, places: Sequence[int | None] = ()) -> str:
    """The text of the hole that computes a body."""
    results = [body.dtype(output) for output in body.outputs]
    writer = TileWriter(places, coarse=all(one in (dt.f16, dt.bf16) for one in results))
    inputs = [writer.value(number, dtype) for number, dtype in enumerate(body.inputs)]
    return writer.text(writer.body(body, inputs))


def gluon_text(body: Body, places: Sequence[int | None] = ()) -> str:
    """The same in words that Gluon knows too."""
    return in_gluon(hole_text(body, places))


def in_gluon(text: str) -> str:
    """A hole's text in words that Gluon knows too."""
    return text.replace("tl.full((), ", "tl.cast(")


def alarms(body: Body | None) -> bool:
    """Whether a body tells of indices that lie outside."""
    return body is not None and any(isinstance(one.op, Within) for one in body.code)


def refusal(*bodies: Body | None) -> str | None:
    """Why these bodies have no generated code, or None if they have."""
    for body in bodies:
        if body is None:
            continue
        for dtype in (*body.inputs, *(one.dtype for one in body.code)):
            if dtype not in NAMES:
                return f"elements of type {dtype} have no generated code for GPUs yet"
        for one in body.code:
            if not _known(one.op, one.dtype):
                return f"{one.op.name} of {one.dtype} has no generated code for GPUs yet"
    return None


def _known(op: Op, dtype: DType) -> bool:
    placed = isinstance(op, Index | Uniform | Load | Constant)
    if isinstance(op, ops.Pow):
        return dtype.is_float
    return placed or type(op) in TEMPLATES or hasattr(op, "expand")

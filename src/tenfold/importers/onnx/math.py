"""ONNX's operators that compute element by element or along axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Literal

from tenfold.importers.convert import Converter, Operator, Results, Table, after, input_from_attribute
from tenfold.importers.onnx.axes import along, integers, reduced
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, cast, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops import arithmetic, linear, logic
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mod, Mul, Pow, Sub
from tenfold.ops.logic import IsInf, ShiftLeft, ShiftRight
from tenfold.ops.reduce import ArgReduce, Cumulative, Reduce, ReduceKind


def elementwise(op: Op) -> Converter:
    """A converter to one operation on all inputs as they are."""

    def convert(node: Operator) -> Results:
        result: Value = op(*(node.input(index) for index in range(len(node.inputs))))
        return result

    return convert


def chain(op: Op) -> Converter:
    """A converter of an operator on any number of inputs to a chain of an operation on two."""

    def convert(node: Operator) -> Results:
        return combined(node, op)

    return convert


def combined(node: Operator, op: Op) -> Value:
    """All inputs, combined two by two from the left."""
    values = [node.input(index) for index in range(max(1, len(node.inputs)))]
    result: Value = reduce(op, values)
    return result


def legacy_broadcast(node: Operator) -> Operator:
    """Before version 7 the second input broadcast only if `broadcast` was set, and from `axis` on."""
    x, y = node.input(0), node.input(1)
    attributes = {key: value for key, value in node.attributes.items() if key not in ("axis", "broadcast")}
    if node.flag("broadcast", False) and "axis" in node.attributes and y.type.rank < x.type.rank:
        behind = x.type.rank - node.axis(node.integer("axis"), x.type.rank) - y.type.rank
        y = reshaped(y, (*y.type.shape, *(1,) * behind))
    return replace(node, inputs=(x, y), attributes=attributes)


def mean(node: Operator) -> Results:
    """The sum of all inputs over their number."""
    total = combined(node, Add())
    return apply(Div(), total, len(node.inputs))


def power(node: Operator) -> Results:
    """The result has the base's type; it is computed in the exponent's where only that has fractions."""
    base, exponent = node.input(0), node.input(1)
    if base.type.dtype.is_integer and exponent.type.dtype.is_float:
        return cast(apply(Pow(), cast(base, exponent.type.dtype), exponent), base.type.dtype)
    return apply(Pow(), base, cast(exponent, base.type.dtype))


def modulo(node: Operator) -> Results:
    """`fmod` chooses the sign of the dividend; floating-point inputs require it."""
    truncated = node.flag("fmod", False)
    if node.input(0).type.dtype.is_float and not truncated and node.version < 28:
        raise node.invalid("floating-point inputs need fmod = 1")
    return apply(Mod(truncated), node.input(0), node.input(1))


def bit_shift(node: Operator) -> Results:
    """To the side that `direction` names."""
    left = node.text("direction", choices=("LEFT", "RIGHT")) == "LEFT"
    return apply(ShiftLeft() if left else ShiftRight(), node.input(0), node.input(1))


def is_inf(node: Operator) -> Results:
    """Infinities of the chosen signs."""
    return apply(IsInf(node.flag("detect_positive", True), node.flag("detect_negative", True)), node.input(0))


_ON_BOOLS: Mapping[ReduceKind, ReduceKind] = {"max": "any", "min": "all"}
_CHANGES_SCALARS: tuple[ReduceKind, ...] = ("sum_square", "l1", "l2", "log_sum", "log_sum_exp")


def reduction(kind: ReduceKind) -> Converter:
    """A converter to `Reduce`: no axes mean all of them, or none at all with `noop_with_empty_axes`."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        axes: tuple[Size, ...] | None = node.axes(1, x.type.rank)
        if not axes:
            axes = () if node.flag("noop_with_empty_axes", False) else tuple(range(x.type.rank))
        if not axes and kind not in _CHANGES_SCALARS:
            return x
        chosen = _ON_BOOLS.get(kind, kind) if x.type.dtype is dt.boolean else kind
        keepdims = node.flag("keepdims", True)
        known = integers(axes)
        if known is None:
            return reduced(x, chosen, axes, keepdims)
        return apply(Reduce(chosen, tuple(sorted(set(known))), keepdims), x)

    return convert


def arg_reduction(kind: Literal["max", "min"]) -> Converter:
    """A converter to `ArgReduce`."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        axis = node.axis(node.integer("axis", 0), x.type.rank)
        return apply(ArgReduce(kind, axis, node.flag("keepdims", True), node.flag("select_last_index", False)), x)

    return convert


def cumulative(kind: Literal["sum", "prod"]) -> Converter:
    """A converter to `Cumulative`."""

    def convert(node: Operator) -> Results:
        x = node.input(0)
        found = node.axes(1, x.type.rank)
        if found is None or len(found) != 1:
            raise node.invalid("it needs one axis")
        exclusive, reverse = node.flag("exclusive", False), node.flag("reverse", False)
        if isinstance(found[0], int):
            return apply(Cumulative(kind, found[0], exclusive, reverse), x)
        return along(x, found[0], Cumulative(kind, 1, exclusive, reverse))

    return convert


def bit_cast(node: Operator) -> Results:
    """The same bits as another element type of the same width."""
    to = element_type(node.integer("to"), node.label)
    return node.input(0) if to == node.input(0).type.dtype else apply(logic.BitCast(to), node.input(0))


UNARY: Mapping[str, Op] = {
    "Abs": arithmetic.Abs(),
    "Acos": arithmetic.Acos(),
    "Acosh": arithmetic.Acosh(),
    "Asin": arithmetic.Asin(),
    "Asinh": arithmetic.Asinh(),
    "Atan": arithmetic.Atan(),
    "Atanh": arithmetic.Atanh(),
    "BitwiseNot": logic.BitNot(),
    "Ceil": arithmetic.Ceil(),
    "Cos": arithmetic.Cos(),
    "Det": linear.Det(),
    "Cosh": arithmetic.Cosh(),
    "Erf": arithmetic.Erf(),
    "Exp": arithmetic.Exp(),
    "Floor": arithmetic.Floor(),
    "IsNaN": logic.IsNan(),
    "Log": arithmetic.Log(),
    "Neg": arithmetic.Neg(),
    "Not": logic.Not(),
    "Reciprocal": arithmetic.Reciprocal(),
    "Round": arithmetic.Round(),
    "Sign": arithmetic.Sign(),
    "Sin": arithmetic.Sin(),
    "Sinh": arithmetic.Sinh(),
    "Sqrt": arithmetic.Sqrt(),
    "Tan": arithmetic.Tan(),
}

BINARY: Mapping[str, Op] = {
    "Add": Add(),
    "And": logic.And(),
    "BitwiseAnd": logic.BitAnd(),
    "BitwiseOr": logic.BitOr(),
    "BitwiseXor": logic.BitXor(),
    "Div": Div(),
    "Equal": logic.Equal(),
    "Greater": logic.Greater(),
    "GreaterOrEqual": logic.GreaterOrEqual(),
    "Less": logic.Less(),
    "LessOrEqual": logic.LessOrEqual(),
    "Mul": Mul(),
    "Or": logic.Or(),
    "Sub": Sub(),
    "Xor": logic.Xor(),
}

REDUCTIONS: Mapping[str, ReduceKind] = {
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
    "ReduceMax": "max",
    "ReduceMean": "mean",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceSum": "sum",
    "ReduceSumSquare": "sum_square",
}

axes_were_attributes = input_from_attribute("axes", 1)

TABLE: Table = {
    **{("", name): ((1, elementwise(op)),) for name, op in UNARY.items()},
    **{
        ("", name): ((1, after(legacy_broadcast, elementwise(op))), (7, elementwise(op))) for name, op in BINARY.items()
    },
    **{
        ("", name): ((1, after(axes_were_attributes, reduction(kind))), (18 if kind != "sum" else 13, reduction(kind)))
        for name, kind in REDUCTIONS.items()
    },
    ("", "ArgMax"): ((1, arg_reduction("max")),),
    ("", "ArgMin"): ((1, arg_reduction("min")),),
    ("", "BitCast"): ((26, bit_cast),),
    ("", "BitShift"): ((11, bit_shift),),
    ("", "CumProd"): ((26, cumulative("prod")),),
    ("", "CumSum"): ((11, cumulative("sum")),),
    ("", "IsInf"): ((10, is_inf),),
    ("", "Max"): ((1, chain(Maximum())),),
    ("", "Mean"): ((1, mean),),
    ("", "Min"): ((1, chain(Minimum())),),
    ("", "Mod"): ((10, modulo),),
    ("", "Pow"): ((1, after(legacy_broadcast, power)), (7, power)),
    ("", "Sum"): ((1, chain(Add())),),
}

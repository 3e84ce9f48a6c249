"""Quantised operators, each as integers, a contraction, and the rounding that the specification states."""

from __future__ import annotations

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.conv import convolution
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, axis_of, cast, filled, number, per_channel, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.activation import Clip
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mul, Neg, Round, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Equal, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.quantize import Dequantize, Quantize
from tenfold.ops.reduce import Reduce


def quantize_linear(node: Operator) -> Results:
    """QuantizeLinear; a missing zero point is 0, of output_dtype or u8."""
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    stated = node.integer("output_dtype", 0)
    if zero is None:
        zero = filled(0, scale.type.shape, element_type(stated, node.label) if stated else dt.u8)
    scale, zero = single(scale), single(zero)
    axis = _axis(node, x, scale)
    op = Quantize(axis, zero.type.dtype, node.integer("block_size", 0), node.flag("saturate", True))
    result: Value = op(x, scale, zero)
    return result


def dequantize_linear(node: Operator) -> Results:
    """DequantizeLinear; a missing zero point is 0."""
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    if zero is None:
        zero = filled(0, scale.type.shape, x.type.dtype)
    scale, zero = single(scale), single(zero)
    stated = node.integer("output_dtype", 0)
    to = element_type(stated, node.label) if stated else scale.type.dtype
    result: Value = Dequantize(_axis(node, x, scale), to, node.integer("block_size", 0))(x, scale, zero)
    return result


def _axis(node: Operator, x: Value, scale: Value) -> int:
    return 0 if scale.type.rank == 0 else axis_of(node.integer("axis", 1), max(1, x.type.rank))


def dynamic_quantize_linear(node: Operator) -> Results:
    """DynamicQuantizeLinear: scale and zero point from the range of x, which is made to hold 0."""
    return quantized_by_range(node.input(0))


def quantized_by_range(x: Value) -> tuple[Value, Value, Value]:
    """x as u8, its scale and its zero point, as DynamicQuantizeLinear defines them."""
    axes = tuple(range(x.type.rank))
    low = apply(Minimum(), Reduce("min", axes, False)(x), 0)
    high = apply(Maximum(), Reduce("max", axes, False)(x), 0)
    step = apply(Div(), apply(Sub(), high, low), 255)
    scale = Where()(apply(Equal(), step, 0), number(1, x), step)
    level = apply(Clip(), Round()(apply(Div(), Neg()(low), scale)), 0, 255)
    zero = cast(level, dt.u8)
    return Quantize(0, dt.u8)(x, scale, zero), scale, zero


def matmul_integer(node: Operator) -> Results:
    """MatMulInteger: zero points subtracted, the product exact in i32."""
    return integer_matmul(node.input(0), node.input(1), node.optional(2), node.optional(3))


def integer_matmul(a: Value, b: Value, a_zero: Value | None, b_zero: Value | None) -> Value:
    """(a - a_zero) @ (b - b_zero) in i32; a zero point of rank 1 belongs to a's rows or b's columns."""
    if a_zero is not None and a_zero.type.rank == 1 and a_zero.type.size != 1:
        a_zero = reshaped(a_zero, (*a_zero.type.shape, 1))
    result: Value = MatMul()(_centred(a, a_zero), _centred(b, b_zero))
    return result


def conv_integer(node: Operator) -> Results:
    """ConvInteger: zero points subtracted, so that padding is 0, the sums exact in i32."""
    x, w = node.input(0), node.input(1)
    return convolution(node, _centred(x, node.optional(2)), _centred(w, _leading(node.optional(3), w)))


def _centred(x: Value, zero: Value | None) -> Value:
    """x - zero in i32."""
    whole = cast(x, dt.i32)
    if zero is None or (isinstance(zero.op, Constant) and not np.any(zero.op.tensor.array)):
        return whole
    return apply(Sub(), whole, cast(single(zero), dt.i32))


def _leading(parameter: Value | None, x: Value) -> Value | None:
    """A parameter [O] as [O, 1, …] beside weights [O, …]."""
    if parameter is None or parameter.type.rank == 0 or parameter.type.size == 1:
        return parameter
    return reshaped(parameter, (*parameter.type.shape, *(1,) * (x.type.rank - 1)))


def qlinear_matmul(node: Operator) -> Results:
    """QLinearMatMul: the product in i32, then scaled, rounded and saturated."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (node.input(index) for index in range(8))
    if a_scale.type.rank == 1 and a_scale.type.size != 1:
        a_scale = reshaped(a_scale, (*a_scale.type.shape, 1))
    total = integer_matmul(a, b, a_zero, b_zero)
    return requantized(total, apply(Div(), apply(Mul(), single(a_scale), single(b_scale)), single(y_scale)), y_zero)


def qlinear_conv(node: Operator) -> Results:
    """QLinearConv: the sums in i32 with the bias, then scaled, rounded and saturated."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (node.input(index) for index in range(8))
    total = convolution(node, _centred(x, x_zero), _centred(w, _leading(w_zero, w)))
    bias = node.optional(8)
    if bias is not None:
        total = apply(Add(), total, per_channel(bias, total.type.rank))
    factor = apply(Div(), apply(Mul(), single(x_scale), single(w_scale)), single(y_scale))
    return requantized(total, factor if factor.type.rank == 0 else per_channel(factor, total.type.rank), y_zero)


def single(x: Value) -> Value:
    """A tensor of one element as rank 0."""
    return reshaped(x, ()) if x.type.size == 1 else x


def requantized(total: Value, factor: Value, zero: Value) -> Value:
    """round(total * factor) + zero, saturated to the zero point's type."""
    kind = factor.type.dtype
    level = Round()(apply(Mul(), cast(total, kind), factor))
    moved = apply(Add(), level, cast(single(zero), kind))
    return cast(apply(Clip(), moved, *zero.type.dtype.limits), zero.type.dtype)


def dequantized(x: Value, scale: Value, zero: Value | None, to: DType = dt.f32) -> Value:
    """(x - zero) * scale for one scale of the whole tensor."""
    zero = filled(0, (), x.type.dtype) if zero is None else single(zero)
    result: Value = Dequantize(0, to)(x, single(scale), zero)
    return result


TABLE: Table = {
    ("", "QuantizeLinear"): ((10, quantize_linear),),
    ("", "DequantizeLinear"): ((10, dequantize_linear),),
    ("", "DynamicQuantizeLinear"): ((11, dynamic_quantize_linear),),
    ("", "MatMulInteger"): ((10, matmul_integer),),
    ("", "ConvInteger"): ((10, conv_integer),),
    ("", "QLinearMatMul"): ((10, qlinear_matmul),),
    ("", "QLinearConv"): ((10, qlinear_conv),),
}

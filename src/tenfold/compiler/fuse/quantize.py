"""Quantisation as elementwise work: scales and zero points spread over the elements that share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenfold.compiler.fuse.accumulate import number
from tenfold.compiler.fuse.indexing import pick_along, whole_number
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Node, Value
from tenfold.ops.arithmetic import Add, Div, Maximum, Minimum, Mul, Round, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Reshape
from tenfold.ops.quantize import Dequantize, Quantize


def quantize(op: Quantize, node: Node) -> Value:
    """clip(round(x / scale) + zero); to a float type x / scale, cast"""
    x, scale, zero = node.inputs
    inner = _inner(scale.type.dtype)
    factor, offset = (_cast(_spread(one, x, op.axis, op.block), inner) for one in (scale, zero))
    quotient = Div()(_cast(x, inner), factor)
    if op.dtype.is_float:
        result: Value = Cast(op.dtype, op.saturate)(Add()(quotient, offset))
        return result
    low, high = (number(limit, quotient) for limit in op.dtype.limits)
    result = Cast(op.dtype)(Minimum()(Maximum()(Add()(Round()(quotient), offset), low), high))
    return result


def dequantize(op: Dequantize, node: Node) -> Value:
    """(x - zero) · scale"""
    x, scale, zero = node.inputs
    inner = _inner(scale.type.dtype)
    exact = dt.f64 if x.type.dtype.is_integer and x.type.dtype.bits >= 32 else inner
    factor, offset = (_spread(one, x, op.axis, op.block) for one in (scale, zero))
    difference = Sub()(_cast(x, exact), _cast(offset, exact))
    return _cast(Mul()(_cast(difference, inner), _cast(factor, inner)), op.dtype)


def _inner(scale: DType) -> DType:
    return dt.f64 if scale is dt.f64 else dt.f32


def _cast(x: Value, to: DType) -> Value:
    result: Value = x if x.type.dtype == to else Cast(to)(x)
    return result


def _spread(parameter: Value, x: Value, axis: int, block: int) -> Value:
    """A scale or zero point for each element of x: one for all, for each place of the axis, or each block of places."""
    rank = x.type.rank
    if parameter.type.size == 1:
        result: Value = Reshape((1,) * rank)(parameter)
        return result
    if parameter.type.rank == 1 and not block:
        shape: list[Size] = [1] * rank
        shape[axis] = parameter.type.shape[0]
        result = Reshape(tuple(shape))(parameter)
        return result
    place = Div()(Iota(0, 1, x.type.shape[axis])(), whole_number(block))
    return pick_along(parameter, axis, place)


RULES: dict[type, Callable[[Any, Node], Value | None]] = {Quantize: quantize, Dequantize: dequantize}

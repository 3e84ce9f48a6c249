"""Quantised operators of ONNX Runtime's own domain: dequantised, computed, and quantised again; packed weights."""

from __future__ import annotations

import dataclasses

import numpy as np

from tenfold.importers.convert import Converter, Operator, Results, Table, constant
from tenfold.importers.onnx.contrib_attention import attended_by_parts
from tenfold.importers.onnx.conv import pool
from tenfold.importers.onnx.nn import global_pool, plain, softmax, softmax_flat, with_numbers
from tenfold.importers.onnx.quant import (
    dequantize_linear,
    dequantized,
    integer_matmul,
    matmul_integer,
    qlinear_conv,
    quantize_linear,
    quantized_by_range,
    requantized,
    single,
)
from tenfold.importers.onnx.recurrent import recurrent
from tenfold.importers.shorthand import apply, axis_of, cast, filled, part, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops import activation
from tenfold.ops.arithmetic import Add, Div, Mul, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.index import Gather
from tenfold.ops.logic import BitAnd, ShiftRight, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat
from tenfold.ops.normalize import Softmax
from tenfold.ops.quantize import Dequantize, Quantize
from tenfold.ops.recurrent import LSTM

DOMAIN = "com.microsoft"

sigmoid = plain(activation.Sigmoid())
leaky_relu = with_numbers(activation.LeakyRelu, alpha=0.01)


def dynamic_quantize_matmul(node: Operator) -> Results:
    """A @ B (+ bias), A quantised by its range."""
    a, scale, zero = quantized_by_range(node.input(0))
    return _to_float(integer_matmul(a, node.input(1), zero, node.optional(3)), scale, node.input(2), node.optional(4))


def matmul_integer_to_float(node: Operator) -> Results:
    """A @ B (+ bias) of integers with their scales."""
    a, b, a_scale, b_scale = (node.input(index) for index in range(4))
    return _to_float(integer_matmul(a, b, node.optional(4), node.optional(5)), a_scale, b_scale, node.optional(6))


def _to_float(total: Value, a_scale: Value, b_scale: Value, bias: Value | None) -> Value:
    y = apply(Mul(), cast(total, a_scale.type.dtype), apply(Mul(), single(a_scale), single(b_scale)))
    return y if bias is None else apply(Add(), y, bias)


def qlinear_binary(op: Op) -> Converter:
    """A binary operation on dequantised inputs, quantised again."""

    def convert(node: Operator) -> Results:
        sides = [dequantized(node.input(at), node.input(at + 1), node.optional(at + 2)) for at in (0, 3)]
        return _requantized(apply(op, *sides), node, 6, node.input(0))

    return convert


def qlinear(convert: Converter) -> Converter:
    """An operator of one input on its dequantised input, quantised again."""

    def converted(node: Operator) -> Results:
        x = node.input(0)
        real = dequantized(x, node.input(1), node.optional(2))
        channels_last = node.flag("channels_last", False)
        rank = x.type.rank
        if channels_last:
            real = transposed(real, (0, rank - 1, *range(1, rank - 1)))
        y = convert(dataclasses.replace(node, inputs=(real,), outputs=node.outputs[:1]))
        assert isinstance(y, Value)
        if channels_last:
            y = transposed(y, (0, *range(2, rank), 1))
        return _requantized(y, node, 3, x)

    return converted


def qlinear_concat(node: Operator) -> Results:
    """Concat of dequantised inputs, quantised again."""
    triples = range(2, len(node.inputs), 3)
    pieces = [dequantized(node.input(at), node.input(at + 1), node.optional(at + 2)) for at in triples]
    axis = axis_of(node.integer("axis"), pieces[0].type.rank)
    return _requantized(Concat(axis)(*pieces), node, 0, node.input(2))


def _requantized(y: Value, node: Operator, at: int, like: Value) -> Value:
    zero = node.optional(at + 1)
    zero = filled(0, (), like.type.dtype) if zero is None else single(zero)
    result: Value = Quantize(0, like.type.dtype)(y, single(node.input(at)), zero)
    return result


def dynamic_quantize_lstm(node: Operator) -> Results:
    """LSTM of weights that are stored as integers [D, I, 4 H].

    The input is rounded to the 256 levels of its range, as ONNX Runtime does; the states between steps are not.
    """
    x, scale, zero = quantized_by_range(node.input(0))
    weights = []
    for index, at in ((1, 8), (2, 10)):
        scales, zeros = (_each_direction(node.input(one)) for one in (at, at + 1))
        axis = 0 if scales.type.rank == 1 else 2
        quantized = node.input(index)
        if scales.type.rank > 1:
            spread = apply(Sub(), cast(quantized, dt.i32), cast(zeros, dt.i32))
            real = apply(Mul(), cast(spread, dt.f32), scales)
        else:
            real = Dequantize(axis, dt.f32)(quantized, scales, zeros)
        weights.append(transposed(real, (0, 2, 1)))
    real_x = Dequantize(0, dt.f32)(x, scale, zero)
    inputs = (real_x, *weights, *node.inputs[3:8])
    return recurrent(LSTM)(dataclasses.replace(node, inputs=inputs))


def _each_direction(parameter: Value) -> Value:
    """A scale or zero point a direction [D], or one a column too [D, 4 H], as it meets weights [D, I, 4 H]."""
    if parameter.type.rank < 2:
        return parameter
    return reshaped(parameter, (parameter.type.shape[0], 1, parameter.type.shape[1]))


def qlinear_softmax(node: Operator) -> Results:
    """Softmax as of operator set `opset`, on the dequantised input."""
    convert = softmax(Softmax) if node.integer("opset") >= 13 else softmax_flat(Softmax)
    return qlinear(convert)(node)


def qlinear_where(node: Operator) -> Results:
    """x or y, quantised alike."""
    x, y = (dequantized(node.input(at), node.input(at + 1), node.optional(at + 2)) for at in (1, 4))
    return _requantized(apply(Where(), node.input(0), x, y), node, 7, node.input(1))


def channels_last(convert: Converter) -> Converter:
    """An operator whose image, and with it the result, has its channels last."""

    def converted(node: Operator) -> Results:
        x = node.input(0)
        rank = x.type.rank
        first = transposed(x, (0, rank - 1, *range(1, rank - 1)))
        y = convert(dataclasses.replace(node, inputs=(first, *node.inputs[1:]), outputs=node.outputs[:1]))
        assert isinstance(y, Value)
        return transposed(y, (0, *range(2, rank), 1))

    return converted


def qlinear_convolution(node: Operator) -> Results:
    """QLinearConv, with the channels last if `channels_last` says so."""
    return (channels_last(qlinear_conv) if node.flag("channels_last", False) else qlinear_conv)(node)


def quantized_gemm(node: Operator) -> Results:
    """alpha A' B' + C in i32, as f32 or quantised again."""
    a, b = node.input(0), node.input(3)
    a = transposed(a, (1, 0)) if node.flag("transA", False) else a
    b = transposed(b, (1, 0)) if node.flag("transB", False) else b
    total = integer_matmul(a, b, node.input(2), node.input(5))
    if node.optional(6) is not None:
        total = apply(Add(), total, node.input(6))
    factor = apply(Mul(), apply(Mul(), single(node.input(1)), single(node.input(4))), node.number("alpha", 1.0))
    if node.optional(7) is None:
        return apply(Mul(), cast(total, factor.type.dtype), factor)
    return requantized(total, apply(Div(), factor, single(node.input(7))), node.input(8))


def quantized_attention(node: Operator) -> Results:
    """Attention whose packed projection is a product of integers."""
    x, weights = node.input(0), node.input(1)
    total = integer_matmul(x, weights, node.optional(6), node.optional(7))
    packed = apply(Add(), _to_float(total, node.input(3), node.input(4), None), node.input(2))
    return attended_by_parts(node, packed, node.optional(5), node.optional(8), None)


def matmul_of_packed(node: Operator) -> Results:
    """A @ W' (+ bias) of weights [N, blocks, bytes] that hold some numbers of `bits` bits each, block by block."""
    a, packed, scales = node.input(0), node.input(1), node.input(2)
    bits, block, depth = node.integer("bits", 4), node.integer("block_size"), node.integer("K")
    if node.flag("weight_prepacked", False):
        raise node.unsupported("weights that are packed for one kind of device")
    rows, blocks = packed.type.shape[:2]
    levels = unpacked(packed, bits)
    scales, zeros = reshaped(scales, (rows, blocks)), _zeros_of(node, 3, rows, blocks, bits)
    groups = node.optional(4)
    if groups is None:
        scales, zeros = (reshaped(one, (rows, blocks, 1)) for one in (scales, zeros))
    else:
        levels = part(reshaped(levels, (rows, blocks * block)), 1, 0, depth)
        scales, zeros = (Gather(1)(one, groups) for one in (scales, zeros))
    real = apply(Mul(), apply(Sub(), cast(levels, dt.f32), cast(zeros, dt.f32)), cast(scales, dt.f32))
    flat = real if groups is not None else part(reshaped(real, (rows, blocks * block)), 1, 0, depth)
    y = MatMul()(a, transposed(cast(flat, a.type.dtype), (1, 0)))
    return y if node.optional(5) is None else apply(Add(), y, node.input(5))


def _zeros_of(node: Operator, index: int, rows: Size, blocks: Size, bits: int) -> Value:
    given = node.optional(index)
    if given is None:
        return filled(1 << bits - 1, (rows, blocks), dt.u8)
    if given.type.dtype is not dt.u8:
        return reshaped(given, (rows, blocks))
    levels = unpacked(reshaped(given, (rows, given.type.size // rows)), bits)
    return part(levels, 1, 0, blocks)


def unpacked(packed: Value, bits: int) -> Value:
    """Bytes as the numbers of `bits` bits that they hold along the last axis, the lowest bits first."""
    if bits == 8:
        return packed
    each, last = 8 // bits, packed.type.rank - 1
    known = constant(packed)
    shape = (*packed.type.shape[:last], packed.type.shape[last] * each)
    if known is not None:
        shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
        levels = (known[..., None] >> shifts) & np.uint8((1 << bits) - 1)
        result: Value = Constant(Tensor(levels.reshape(*known.shape[:-1], -1)))()
        return result
    columns = reshaped(packed, (*packed.type.shape, 1))
    pieces = [apply(BitAnd(), apply(ShiftRight(), columns, bits * at), (1 << bits) - 1) for at in range(each)]
    return reshaped(Concat(last + 1)(*pieces), shape)


def gather_block_quantized(node: Operator) -> Results:
    """Rows of a table that is quantised block by block along one axis."""
    data, indices, scales = node.input(0), node.input(1), node.input(2)
    zeros, bits = node.optional(3), node.integer("bits", 4)
    if data.type.dtype is dt.u8:
        data = unpacked(data, bits)
        zeros = filled(1 << bits - 1, scales.type.shape, dt.u8) if zeros is None else unpacked(zeros, bits)
    zeros = filled(0, scales.type.shape, data.type.dtype) if zeros is None else zeros
    rank = data.type.rank
    axis, along = (axis_of(node.integer(name, at), rank) for name, at in (("gather_axis", 0), ("quantize_axis", 1)))
    zeros = part(zeros, along, 0, scales.type.shape[along])
    block = node.integer("block_size", 128)
    real = Dequantize(along, scales.type.dtype, block)(data, scales, zeros)
    result: Value = Gather(axis)(real, indices)
    return result


TABLE: Table = {
    (DOMAIN, "DequantizeLinear"): ((1, dequantize_linear),),
    (DOMAIN, "DynamicQuantizeLSTM"): ((1, dynamic_quantize_lstm),),
    (DOMAIN, "DynamicQuantizeMatMul"): ((1, dynamic_quantize_matmul),),
    (DOMAIN, "GatherBlockQuantized"): ((1, gather_block_quantized),),
    (DOMAIN, "MatMulInteger16"): ((1, matmul_integer),),
    (DOMAIN, "MatMulIntegerToFloat"): ((1, matmul_integer_to_float),),
    (DOMAIN, "MatMulNBits"): ((1, matmul_of_packed),),
    (DOMAIN, "QAttention"): ((1, quantized_attention),),
    (DOMAIN, "QGemm"): ((1, quantized_gemm),),
    (DOMAIN, "QLinearAdd"): ((1, qlinear_binary(Add())),),
    (DOMAIN, "QLinearAveragePool"): ((1, qlinear(pool("average"))),),
    (DOMAIN, "QLinearConcat"): ((1, qlinear_concat),),
    (DOMAIN, "QLinearConv"): ((1, qlinear_convolution),),
    (DOMAIN, "QLinearGlobalAveragePool"): ((1, qlinear(global_pool("mean"))),),
    (DOMAIN, "QLinearLeakyRelu"): ((1, qlinear(leaky_relu)),),
    (DOMAIN, "QLinearMul"): ((1, qlinear_binary(Mul())),),
    (DOMAIN, "QLinearSigmoid"): ((1, qlinear(sigmoid)),),
    (DOMAIN, "QLinearSoftmax"): ((1, qlinear_softmax),),
    (DOMAIN, "QLinearWhere"): ((1, qlinear_where),),
    (DOMAIN, "QuantizeLinear"): ((1, quantize_linear),),
}

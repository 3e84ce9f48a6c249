"""Operators of ONNX Runtime's own domain, com.microsoft, that exported and optimised models hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.attention import joined, rotated, split
from tenfold.importers.onnx.conv import conv, pool
from tenfold.importers.onnx.nn import gemm, global_pool, plain, rms_normalization, with_numbers
from tenfold.importers.onnx.quant import dequantized, integer_matmul, quantized_by_range, single
from tenfold.importers.onnx.recurrent import recurrent
from tenfold.importers.shorthand import apply, axis_of, cast, filled, number, part, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops import activation
from tenfold.ops.arithmetic import Add, Mul, Sub, Tanh
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather
from tenfold.ops.logic import Less
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat
from tenfold.ops.normalize import LayerNorm, RMSNorm
from tenfold.ops.quantize import Dequantize, Quantize
from tenfold.ops.recurrent import LSTM
from tenfold.ops.reduce import Reduce

DOMAIN = "com.microsoft"
FUSED: dict[str, Callable[..., Op]] = {
    "Relu": activation.Relu,
    "Tanh": Tanh,
    "Sigmoid": activation.Sigmoid,
    "LeakyRelu": activation.LeakyRelu,
    "HardSigmoid": activation.HardSigmoid,
}


def activated(op: Op) -> Converter:
    """An activation of x, plus a bias where there is one."""

    def convert(node: Operator) -> Results:
        x, bias = node.input(0), node.optional(1)
        result: Value = op(x if bias is None else apply(Add(), x, bias))
        return result

    return convert


def quick_gelu(node: Operator) -> Results:
    """x sigmoid(alpha x)."""
    result: Value = activation.Swish(node.number("alpha", 1.702))(node.input(0))
    return result


def fused_matmul(node: Operator) -> Results:
    """alpha A B with the last two axes of either transposed."""
    sides = []
    for index, name in enumerate(("A", "B")):
        x = node.input(index)
        if node.flag(f"transBatch{name}", False):
            raise node.unsupported(f"transBatch{name}")
        axes = list(range(x.type.rank))
        if node.flag(f"trans{name}", False) and x.type.rank > 1:
            axes[-2:] = axes[-1], axes[-2]
        sides.append(transposed(x, axes))
    alpha = node.number("alpha", 1.0)
    y: Value = MatMul()(*sides)
    return y if alpha == 1 else apply(Mul(), y, alpha)


def fused(convert: Converter) -> Converter:
    """A contraction with the activation that its attributes name; FusedConv adds input 3 before it."""

    def converted(node: Operator) -> Results:
        y = convert(node)
        assert isinstance(y, Value)
        if node.optional(3) is not None:
            y = apply(Add(), y, node.input(3))
        name = node.text("activation", "", ("", *FUSED))
        parameters = node.numbers("activation_params", ())
        if not parameters and "activation_alpha" in node.attributes:
            parameters = (node.number("activation_alpha"),)
        result: Value = FUSED[name](*parameters)(y) if name else y
        return result

    return converted


sigmoid = plain(activation.Sigmoid())
leaky_relu = with_numbers(activation.LeakyRelu, alpha=0.01)


def skip_layer_normalization(node: Operator) -> Results:
    """LayerNorm of input + skip (+ bias); the sum comes out too."""
    gamma, beta = node.input(2), node.optional(3)
    total = _skipped(node, 4)
    beta = filled(0, gamma.type.shape, gamma.type.dtype) if beta is None else beta
    y = LayerNorm(total.type.rank - 1, node.number("epsilon", 1e-12))(total, gamma, beta)
    return y, None, None, total


def skip_rms_normalization(node: Operator) -> Results:
    """RMSNorm of input + skip (+ bias); the sum comes out too."""
    total = _skipped(node, 3)
    y = RMSNorm(total.type.rank - 1, node.number("epsilon", 1e-12))(total, node.input(2))
    return y, None, None, total


def _skipped(node: Operator, bias_index: int) -> Value:
    total = apply(Add(), node.input(0), node.input(1))
    bias = node.optional(bias_index)
    return total if bias is None else apply(Add(), total, bias)


def embed_layer_normalization(node: Operator) -> Results:
    """LayerNorm of the sum of word, position and segment embeddings; the lengths of the masked sequences."""
    ids, mask = node.input(0), node.optional(7)
    batch, steps = ids.type.shape
    positions = node.optional(8)
    if positions is None:
        positions = reshaped(Iota(0, 1, steps)(), (1, steps))
    total = apply(Add(), Gather(0)(node.input(2), ids), Gather(0)(node.input(3), positions))
    segments = node.optional(1)
    if segments is not None:
        total = apply(Add(), total, Gather(0)(node.input(4), segments))
    y = LayerNorm(2, node.number("epsilon", 1e-12))(total, node.input(5), node.input(6))
    lengths = filled(0, (batch,), dt.i32) if mask is None else Reduce("sum", (1,), False)(mask)
    return y, lengths, total


def attention(node: Operator) -> Results:
    """Attention over a packed projection: q, k and v are slices of input @ weights + bias."""
    x, weights, bias, mask, past = node.input(0), node.input(1), node.optional(2), node.optional(3), node.optional(4)
    heads, whole = node.integer("num_heads"), weights.type.shape[1]
    packed = MatMul()(x, weights)
    packed = packed if bias is None else apply(Add(), packed, bias)
    sizes: tuple[Size, ...] = node.integers("qkv_hidden_sizes", ()) or (whole // 3,) * 3
    starts = (0, sizes[0], sizes[0] + sizes[1])
    q, k, v = (split(part(packed, 2, start, size), heads) for start, size in zip(starts, sizes, strict=True))
    if node.flag("do_rotary", False):
        raise node.unsupported("do_rotary")
    if past is not None:
        old = [reshaped(part(past, 0, index, 1), past.type.shape[1:]) for index in (0, 1)]
        k, v = Concat(2)(old[0], k), Concat(2)(old[1], v)
    y = _attended(node, q, k, v, mask, node.optional(5))
    if not node.wants(1):
        return y
    present = Concat(0)(*(reshaped(one, (1, *one.type.shape)) for one in (k, v)))
    return y, present


def multi_head_attention(node: Operator) -> Results:
    """Attention over separate q, k and v [B, S, H D], with a bias for all three and caches."""
    if any(node.input(index).type.rank == 5 for index in range(len(node.inputs[:3])) if node.optional(index)):
        raise node.unsupported("packed keys and values")
    values, bias = [node.input(index) for index in range(3)], node.optional(3)
    if bias is not None:
        sizes = [one.type.shape[-1] for one in values]
        starts: tuple[Size, ...] = (0, sizes[0], sizes[0] + sizes[1])
        pieces = [part(bias, 0, start, size) for start, size in zip(starts, sizes, strict=True)]
        values = [apply(Add(), one, piece) for one, piece in zip(values, pieces, strict=True)]
    q, k, v = (one if one.type.rank == 4 else split(one, node.integer("num_heads")) for one in values)
    if node.optional(6) is not None:
        k, v = Concat(2)(node.input(6), k), Concat(2)(node.input(7), v)
    return _attended(node, q, k, v, node.optional(4), node.optional(5)), k, v


def _attended(node: Operator, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None) -> Value:
    size, earlier = q.type.shape[3], k.type.shape[2] - q.type.shape[2]
    scale = node.number("scale", 0.0) or 1 / math.sqrt(_whole(node, size))
    causal = node.flag("unidirectional", False)
    op = Attention(scale, causal, earlier if causal else 0)
    hidden = None if mask is None else _padding(node, mask, q, k)
    total = hidden if bias is None else bias if hidden is None else apply(Add(), bias, hidden)
    return joined(op(q, k, v) if total is None else op(q, k, v, total))


def _padding(node: Operator, mask: Value, q: Value, k: Value) -> Value:
    batch, keys = k.type.shape[0], k.type.shape[2]
    filter_value = node.number("mask_filter_value", -10000.0)
    if mask.type.rank == 1 and mask.type.shape[0] in (batch, 1):
        seen = apply(Less(), Iota(0, 1, keys)(), reshaped(cast(mask, dt.i64), (mask.type.shape[0], 1, 1, 1)))
    elif mask.type.rank in (2, 3):
        middle = (1, 1) if mask.type.rank == 2 else (1,)
        seen = reshaped(cast(mask, dt.boolean), (mask.type.shape[0], *middle, *mask.type.shape[1:]))
    else:
        raise node.unsupported(f"a mask of shape {mask.type}")
    return apply(Mul(), apply(Sub(), number(1, q), cast(seen, q.type.dtype)), filter_value)


def _whole(node: Operator, size: Size) -> int:
    if not isinstance(size, int):
        raise node.unsupported(f"the size {size} must be known when the engine is built")
    return size


def rotary_embedding(node: Operator) -> Results:
    """RotaryEmbedding: positions [B, S], or [1] for the first of consecutive ones."""
    x, positions = node.input(0), node.input(1)
    if positions.type.rank == 1:
        steps = x.type.shape[1 if x.type.rank == 3 else 2]
        positions = reshaped(apply(Add(), Iota(0, 1, steps)(), cast(positions, dt.i64)), (1, steps))
    cos, sin = (Gather(0)(node.input(index), positions) for index in (2, 3))
    heads, size = node.integer("num_heads", 0), x.type.shape[-1]
    if not heads and x.type.rank == 3:
        heads = _whole(node, size) // (2 * _whole(node, cos.type.shape[-1]))
    return rotated(x, cos, sin, heads, interleaved=node.flag("interleaved", False))


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


TABLE: Table = {
    (DOMAIN, "Gelu"): ((1, activated(activation.Gelu())),),
    (DOMAIN, "BiasGelu"): ((1, activated(activation.Gelu())),),
    (DOMAIN, "FastGelu"): ((1, activated(activation.Gelu(True))),),
    (DOMAIN, "QuickGelu"): ((1, quick_gelu),),
    (DOMAIN, "FusedMatMul"): ((1, fused_matmul),),
    (DOMAIN, "FusedConv"): ((1, fused(conv)),),
    (DOMAIN, "FusedGemm"): ((1, fused(gemm)),),
    (DOMAIN, "SkipLayerNormalization"): ((1, skip_layer_normalization),),
    (DOMAIN, "SkipSimplifiedLayerNormalization"): ((1, skip_rms_normalization),),
    (DOMAIN, "EmbedLayerNormalization"): ((1, embed_layer_normalization),),
    ("", "SimplifiedLayerNormalization"): ((1, rms_normalization),),
    (DOMAIN, "Attention"): ((1, attention),),
    (DOMAIN, "MultiHeadAttention"): ((1, multi_head_attention),),
    (DOMAIN, "RotaryEmbedding"): ((1, rotary_embedding),),
    (DOMAIN, "DynamicQuantizeMatMul"): ((1, dynamic_quantize_matmul),),
    (DOMAIN, "MatMulIntegerToFloat"): ((1, matmul_integer_to_float),),
    (DOMAIN, "DynamicQuantizeLSTM"): ((1, dynamic_quantize_lstm),),
    (DOMAIN, "QLinearAdd"): ((1, qlinear_binary(Add())),),
    (DOMAIN, "QLinearMul"): ((1, qlinear_binary(Mul())),),
    (DOMAIN, "QLinearSigmoid"): ((1, qlinear(sigmoid)),),
    (DOMAIN, "QLinearLeakyRelu"): ((1, qlinear(leaky_relu)),),
    (DOMAIN, "QLinearGlobalAveragePool"): ((1, qlinear(global_pool("mean"))),),
    (DOMAIN, "QLinearAveragePool"): ((1, qlinear(pool("average"))),),
    (DOMAIN, "QLinearConcat"): ((1, qlinear_concat),),
}

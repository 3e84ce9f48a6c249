"""Operators of ONNX Runtime's own domain, com.microsoft, that exported and optimised models hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.contrib_quant import channels_last
from tenfold.importers.onnx.conv import conv, pool
from tenfold.importers.onnx.image import grid_sample
from tenfold.importers.onnx.index import gather_nd, trilu
from tenfold.importers.onnx.nn import gemm, rms_normalization
from tenfold.importers.onnx.tensor import arange, pad, unsqueeze
from tenfold.importers.shorthand import apply, cast, filled, number, part, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops import activation
from tenfold.ops.arithmetic import Add, Mul, Tanh
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather
from tenfold.ops.matmul import MatMul
from tenfold.ops.normalize import GroupNorm, LayerNorm, RMSNorm
from tenfold.ops.reduce import Reduce
from tenfold.ops.sort import Unique

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
    """alpha A B with the last two axes of either transposed, or its first axis brought beside the last one."""
    sides = []
    for index, name in enumerate(("A", "B")):
        x = node.input(index)
        axes = list(range(x.type.rank))
        if node.flag(f"transBatch{name}", False):
            axes[:-1] = [*axes[1:-1], 0]
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


def group_norm(node: Operator) -> Results:
    """GroupNorm of an image, by default with its channels last, and SiLU after it if `activation` says so."""
    return _group_normalized(node, node.input(0))


def skip_group_norm(node: Operator) -> Results:
    """GroupNorm of x + skip (+ bias); the sum comes out too. A skip of rank 2 belongs to the images' channels."""
    x, skip, bias = node.input(0), node.input(3), node.optional(4)
    last = node.flag("channels_last", True)
    if skip.type.rank == 2:
        batch, channels = skip.type.shape
        skip = reshaped(skip, (batch, 1, 1, channels) if last else (batch, channels, 1, 1))
    total = apply(Add(), x, skip)
    if bias is not None:
        total = apply(Add(), total, bias if last else reshaped(bias, (bias.type.size, 1, 1)))
    return _group_normalized(node, total), total


def _group_normalized(node: Operator, x: Value) -> Value:
    scale, bias = (cast(node.input(index), x.type.dtype) for index in (1, 2))
    op = GroupNorm(node.integer("groups"), node.number("epsilon", 1e-5))
    last = node.flag("channels_last", True)
    y = op(transposed(x, (0, 3, 1, 2)) if last else x, scale, bias)
    y = activation.Silu()(y) if node.flag("activation") else y
    return transposed(y, (0, 2, 3, 1)) if last else y


def bias_split_gelu(node: Operator) -> Results:
    """The left half of x + bias times the Gelu of the right half."""
    total = apply(Add(), node.input(0), node.input(1))
    last = total.type.rank - 1
    half = total.type.shape[last] // 2
    left, right = (part(total, last, start, half) for start in (0, half))
    return apply(Mul(), left, activation.Gelu()(right))


def bias_add(node: Operator) -> Results:
    """x + bias + skip."""
    return apply(Add(), apply(Add(), node.input(0), node.input(1)), node.input(2))


def expand_dims(node: Operator) -> Results:
    """A new axis of size 1."""
    return unsqueeze(dataclasses.replace(node, inputs=(node.input(0), reshaped(node.input(1), (1,)))))


def range_by_one(node: Operator) -> Results:
    """Range whose step may be left out, and whose operands may have one axis."""
    start, limit, step = node.input(0), node.input(1), node.optional(2)
    step = number(1, start) if step is None else step
    return arange(dataclasses.replace(node, inputs=tuple(reshaped(one, ()) for one in (start, limit, step))))


def pad_by_input(node: Operator) -> Results:
    """Pad whose counts may have an axis in front."""
    counts = node.input(1)
    return pad(
        dataclasses.replace(node, inputs=(node.input(0), reshaped(counts, (counts.type.size,)), node.optional(2)))
    )


def unique_as_found(node: Operator) -> Results:
    """The distinct elements in order of appearance, which of them each element is, and how often each occurs."""
    distinct, _, inverse, counts = Unique(None, False)(node.input(0))
    return distinct, inverse, counts


TABLE: Table = {
    ("", "SimplifiedLayerNormalization"): ((1, rms_normalization),),
    (DOMAIN, "BiasAdd"): ((1, bias_add),),
    (DOMAIN, "BiasGelu"): ((1, activated(activation.Gelu())),),
    (DOMAIN, "BiasSplitGelu"): ((1, bias_split_gelu),),
    (DOMAIN, "EmbedLayerNormalization"): ((1, embed_layer_normalization),),
    (DOMAIN, "ExpandDims"): ((1, expand_dims),),
    (DOMAIN, "FastGelu"): ((1, activated(activation.Gelu(True))),),
    (DOMAIN, "FusedConv"): ((1, fused(conv)),),
    (DOMAIN, "FusedGemm"): ((1, fused(gemm)),),
    (DOMAIN, "FusedMatMul"): ((1, fused_matmul),),
    (DOMAIN, "GatherND"): ((1, gather_nd),),
    (DOMAIN, "Gelu"): ((1, activated(activation.Gelu())),),
    (DOMAIN, "GridSample"): ((1, grid_sample),),
    (DOMAIN, "GroupNorm"): ((1, group_norm),),
    (DOMAIN, "NhwcConv"): ((1, channels_last(conv)),),
    (DOMAIN, "NhwcMaxPool"): ((1, channels_last(pool("max"))),),
    (DOMAIN, "Pad"): ((1, pad_by_input),),
    (DOMAIN, "QuickGelu"): ((1, quick_gelu),),
    (DOMAIN, "Range"): ((1, range_by_one),),
    (DOMAIN, "SkipGroupNorm"): ((1, skip_group_norm),),
    (DOMAIN, "SkipLayerNormalization"): ((1, skip_layer_normalization),),
    (DOMAIN, "SkipSimplifiedLayerNormalization"): ((1, skip_rms_normalization),),
    (DOMAIN, "TransposeMatMul"): ((1, fused_matmul),),
    (DOMAIN, "Trilu"): ((1, trilu),),
    (DOMAIN, "Unique"): ((1, unique_as_found),),
}

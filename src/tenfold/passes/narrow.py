"""Precision "f16" and "bf16": contractions, and what lies between them, in 16 bits; inputs and outputs as declared.

Products, convolutions and attention take and give 16-bit floats, and accumulate in f32. What only moves, adds, scales
or bends such values follows them; norms and softmax do too, their interiors being f32 wherever they run. All else
(exponentials, sums, quotients, powers, what is computed from the inputs alone) stays as the model has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir import unknown
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.tensor import Recipe, Tensor
from tenfold.ir.type import Type
from tenfold.ops import activation
from tenfold.ops.arithmetic import Abs, Add, Erf, Maximum, Minimum, Mul, Neg, Sub, Tanh
from tenfold.ops.attention import Attention, RotaryEmbedding
from tenfold.ops.constant import Constant, scalar
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.index import Gather, GatherElements, GatherND
from tenfold.ops.logic import Cast, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import (
    Concat,
    DepthToSpace,
    Expand,
    Pad,
    Reshape,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)
from tenfold.ops.normalize import GroupNorm, LayerNorm, LogSoftmax, RMSNorm, Softmax
from tenfold.ops.pool import Pool
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

CONTRACTIONS = (MatMul, Conv, ConvTranspose, Attention)
FOLLOWING = (
    *(Add, Sub, Mul, Neg, Abs, Maximum, Minimum, Tanh, Erf, Where, activation.Activation),
    *(Reshape, Transpose, Expand, Slice, Concat, Split, Pad, Tile, DepthToSpace, SpaceToDepth),
    *(Gather, GatherElements, GatherND, Pool, Softmax, LogSoftmax, LayerNorm, RMSNorm, GroupNorm, RotaryEmbedding),
)


@dataclass(frozen=True)
class Narrow(Pass):
    """Contractions and what follows them in `dtype`."""

    name: str = "narrow"
    dtype: DType = dt.f16

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite the graph's nodes anew; `steps` counts one edit."""
        if steps.exhausted:
            return
        old = graph.nodes
        known: dict[Value, Value] = {value: value for value in graph.inputs}
        for node in old:
            self._copy(node, known)
        declared = [value.type.dtype for value in graph.outputs]
        ends = [self._as(known[value], dtype) for value, dtype in zip(graph.outputs, declared, strict=True)]
        graph.set_outputs(ends, graph.output_names)
        for node in reversed(old):
            graph.remove(node)

    def _copy(self, node: Node, known: dict[Value, Value]) -> None:
        inputs = [known[value] for value in node.inputs]
        wanted = [self.dtype if self._narrows(node, inputs) else None] * len(inputs)
        given = [
            self._as(now, want if want and before.type.dtype is dt.f32 else before.type.dtype)
            for now, before, want in zip(inputs, node.inputs, wanted, strict=True)
        ]
        if wanted and wanted[0] and isinstance(node.op, Attention):
            given[3:] = [self._mask(mask, now) for mask, now in zip(inputs[3:], given[3:], strict=True)]
        made = Node(node.op, given, name=node.name, source=node.source)
        for before, after in zip(node.outputs, made.outputs, strict=True):
            after.name = before.name
            if unknown.of_types((before.type,)):
                same = after.type.dtype is before.type.dtype
                after.type = before.type if same else Type(after.type.dtype, before.type.shape)
            known[before] = after

    def _narrows(self, node: Node, inputs: list[Value]) -> bool:
        """Whether a node works on 16-bit floats: a contraction of f32, or what follows one."""
        floats = [value for value in inputs if value.type.dtype in (dt.f32, self.dtype)]
        if isinstance(node.op, CONTRACTIONS):
            return len(floats) >= 2 and all(one.type.dtype in (dt.f32, dt.boolean) for one in node.inputs)
        if isinstance(node.op, Reduce):
            return node.op.kind in ("mean", "max", "min") and floats[:1] != [] and floats[0].type.dtype is self.dtype
        twice = isinstance(node.op, Mul) and len(set(inputs)) == 1
        return isinstance(node.op, FOLLOWING) and not twice and any(one.type.dtype is self.dtype for one in floats)

    def _as(self, value: Value, dtype: DType) -> Value:
        """The value in an element type; a constant is converted at once."""
        if value.type.dtype is dtype:
            return value
        if isinstance(value.op, Constant) and dtype is self.dtype:
            tensor = value.op.tensor
            low, high = map(float, dtype.limits)
            narrow = np.clip(tensor.array, low, high).astype(dtype.numpy)
            found: Value = Constant(Tensor(narrow, recipe=Recipe(Cast(dtype), (tensor,), 0)))()
            return found
        cast: Value = Cast(dtype)(value)
        return cast

    def _mask(self, mask: Value, now: Value) -> Value:
        """What is added to scores, within what 16 bits hold: the least number stands for nothing else."""
        if mask.type.dtype is not dt.f32:
            return now
        found: Value = Cast(self.dtype)(Maximum()(mask, scalar(float(self.dtype.limits[0]), dt.f32)()))
        return found

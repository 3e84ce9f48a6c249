"""Graphs by hand in float64, by PyTorch on the GPU: the reference for what is too long for the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tenfold import ops
from tenfold.ir.graph import Graph, Node, Value

Tensor = Any


def _norm(op: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[op.axis :], scale, shift, op.epsilon)


def _slice(op: Any, x: Tensor) -> Tensor:
    return x[tuple(slice(a, a + n * s, s) for a, n, s in zip(op.starts, op.sizes, op.steps, strict=True))]


RULES: Mapping[type, Callable[..., Tensor]] = {
    ops.Add: lambda op, a, b: a + b,
    ops.Mul: lambda op, a, b: a * b,
    ops.MatMul: lambda op, a, b: a @ b,
    ops.Gather: lambda op, x, i: x[i],
    ops.Reshape: lambda op, x: x.reshape(op.shape),
    ops.Transpose: lambda op, x: x.permute(op.permutation),
    ops.Expand: lambda op, x: x.expand(op.shape),
    ops.Softmax: lambda op, x: torch.softmax(x, op.axis),
    ops.Gelu: lambda op, x: torch.nn.functional.gelu(x),
    ops.LayerNorm: _norm,
    ops.Slice: _slice,
    ops.Concat: lambda op, *xs: torch.cat(xs, op.axis),
    ops.Conv: lambda op, x, w: torch.nn.functional.conv2d(x, w, stride=op.strides),
}


def exact(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph of these operations."""
    known: dict[Value, Tensor] = {}

    def wide(array: np.ndarray) -> Tensor:
        found = torch.from_numpy(np.ascontiguousarray(array)).cuda()
        return found.double() if found.is_floating_point() else found

    known.update(zip(graph.inputs, map(wide, inputs), strict=True))
    for node in graph.nodes:
        known[node.output] = _result(node, known, wide)
    return [known[value].cpu().numpy() for value in graph.outputs]


def _result(node: Node, known: Mapping[Value, Tensor], wide: Callable[[np.ndarray], Tensor]) -> Tensor:
    if isinstance(node.op, ops.Constant):
        return wide(node.op.tensor.array)
    return RULES[type(node.op)](node.op, *(known[value] for value in node.inputs))

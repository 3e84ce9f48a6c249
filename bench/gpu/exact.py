"""Graphs in float64, by PyTorch, on the GPU if there is one: the reference where the interpreter takes too long."""

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


def _attend(op: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (one.repeat_interleave(q.shape[1] // one.shape[1], 1) for one in (k, v))
    scores = q @ k.transpose(2, 3) * op.scale
    if op.causal:
        hidden = torch.ones_like(scores, dtype=torch.bool).triu(1 + op.offset)
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.softmax(scores, 3) @ v


def _turn(op: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _rms(op: Any, x: Tensor, scale: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + op.epsilon).sqrt() * scale


def _padded(op: Any, x: Tensor, by: float = 0.0) -> Tensor:
    ends = zip(reversed(op.pads_before), reversed(op.pads_after), strict=True)
    return torch.nn.functional.pad(x, [int(one) for pair in ends for one in pair], value=by)


def _conv(op: Any, x: Tensor, w: Tensor) -> Tensor:
    convolve = torch.nn.functional.conv1d if x.ndim == 3 else torch.nn.functional.conv2d
    found: Tensor = convolve(_padded(op, x), w, None, op.strides, 0, op.dilations, op.groups)
    return found


def _pool(op: Any, x: Tensor) -> Tensor:
    if op.kind == "max" and not op.ceil:
        lowest = _padded(op, x, float("-inf"))
        return torch.nn.functional.max_pool2d(lowest, op.kernel, op.strides, 0, op.dilations)
    if op.kind == "average" and not op.ceil and not any((*op.pads_before, *op.pads_after)):
        return torch.nn.functional.avg_pool2d(x, op.kernel, op.strides)
    raise NotImplementedError(f"{op} has no rule in float64 here")


def _reduce(op: Any, x: Tensor) -> Tensor:
    kinds = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
    return kinds[op.kind](x, dim=op.axes, keepdim=op.keepdims)


RULES: Mapping[type, Callable[..., Tensor]] = {
    ops.Add: lambda op, a, b: a + b,
    ops.Sub: lambda op, a, b: a - b,
    ops.Mul: lambda op, a, b: a * b,
    ops.Div: lambda op, a, b: a / b,
    ops.Sqrt: lambda op, x: torch.sqrt(x),
    ops.Erf: lambda op, x: torch.erf(x),
    ops.Relu: lambda op, x: torch.relu(x),
    ops.Sigmoid: lambda op, x: torch.sigmoid(x),
    ops.Clip: lambda op, x, low, high: torch.clip(x, low, high),
    ops.Cast: lambda op, x: x.double() if op.to.is_float else x.to(getattr(torch, op.to.numpy.name)),
    ops.Reduce: _reduce,
    ops.Pool: _pool,
    ops.MatMul: lambda op, a, b: a @ b,
    ops.Gather: lambda op, x, i: x[i],
    ops.Reshape: lambda op, x: x.reshape(op.shape),
    ops.Transpose: lambda op, x: x.permute(op.permutation),
    ops.Expand: lambda op, x: x.expand(op.shape),
    ops.Softmax: lambda op, x: torch.softmax(x, op.axis),
    ops.Gelu: lambda op, x: torch.nn.functional.gelu(x, approximate="tanh" if op.tanh else "none"),
    ops.Silu: lambda op, x: torch.nn.functional.silu(x),
    ops.Attention: _attend,
    ops.RotaryEmbedding: _turn,
    ops.RMSNorm: _rms,
    ops.LayerNorm: _norm,
    ops.Slice: _slice,
    ops.Concat: lambda op, *xs: torch.cat(xs, op.axis),
    ops.Conv: _conv,
}


def exact(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph of these operations; floats of every width are float64."""
    known: dict[Value, Tensor] = {}
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def wide(array: np.ndarray) -> Tensor:
        found = torch.from_numpy(np.array(array)).to(device)
        return found.double() if found.is_floating_point() else found

    known.update(zip(graph.inputs, map(wide, inputs), strict=True))
    for node in graph.nodes:
        known[node.output] = _result(node, known, wide)
    return [known[value].cpu().numpy() for value in graph.outputs]


def _result(node: Node, known: Mapping[Value, Tensor], wide: Callable[[np.ndarray], Tensor]) -> Tensor:
    if isinstance(node.op, ops.Constant):
        return wide(node.op.tensor.array)
    return RULES[type(node.op)](node.op, *(known[value] for value in node.inputs))

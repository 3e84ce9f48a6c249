"""An ONNX network in PyTorch's functions, for torch.compile: what depends on no input is computed once, beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

Attributes = Mapping[str, Any]


def _window(attributes: Attributes, rank: int) -> tuple[list[int], list[int]]:
    """Strides, and paddings as `functional.pad` takes them: last axis first."""
    pads = attributes.get("pads", [0] * 2 * rank)
    pairs = [(pads[axis], pads[axis + rank]) for axis in reversed(range(rank))]
    return attributes.get("strides", [1] * rank), [number for pair in pairs for number in pair]


def _even(pads: Sequence[int]) -> list[int] | None:
    """The padding of each axis, where both of its sides are alike."""
    return None if pads[::2] != pads[1::2] else list(reversed(pads[::2]))


def _convolve(a: Attributes, x: Any, weights: Any, bias: Any = None) -> Any:
    strides, pads = _window(a, x.ndim - 2)
    even = _even(pads)
    x = functional.pad(x, pads) if even is None else x
    work = functional.conv1d if x.ndim == 3 else functional.conv2d
    return work(x, weights, bias, strides, even or 0, a.get("dilations", 1), a.get("group", 1))


def _greatest(a: Attributes, x: Any) -> Any:
    strides, pads = _window(a, 2)
    return functional.max_pool2d(functional.pad(x, pads, value=-torch.inf), a["kernel_shape"], strides)


def _mean(a: Attributes, x: Any) -> Any:
    strides, pads = _window(a, 2)
    counted = bool(a.get("count_include_pad", 0))
    return functional.avg_pool2d(x, a["kernel_shape"], strides, _even(pads) or 0, count_include_pad=counted)


def _gemm(a: Attributes, x: Any, weights: Any, bias: Any) -> Any:
    return functional.linear(x, weights if a.get("transB") else weights.T, bias)


def _reshape(_: Attributes, x: Any, shape: Sequence[int]) -> Any:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _unsqueeze(a: Attributes, x: Any, axes: Sequence[int] = ()) -> Any:
    for axis in sorted(a.get("axes", axes)):
        x = x.unsqueeze(axis)
    return x


def _slice(_: Attributes, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    places = [slice(None)] * x.ndim
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        places[axes[number] if axes else number] = slice(start, end, steps[number] if steps else None)
    return x[tuple(places)]


def _gather(a: Attributes, x: Any, indices: Any) -> Any:
    axis = a.get("axis", 0)
    if isinstance(indices, int):
        return x.select(axis, indices)
    indices = torch.tensor(indices) if isinstance(indices, list) else indices
    return functional.embedding(indices, x) if axis == 0 and x.ndim == 2 else x.index_select(axis, indices)


def _softmax(a: Attributes, x: Any) -> Any:
    """Over one axis; a model that names none is older than opset 13, and means all from the second one on."""
    return torch.softmax(x, a["axis"]) if "axis" in a else torch.softmax(x.flatten(1), 1).reshape(x.shape)


def _normalised(a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    return functional.layer_norm(x, weight.shape, weight, bias, a.get("epsilon", 1e-5))


def _standardised(a: Attributes, x: Any, weight: Any, bias: Any, mean: Any, variance: Any) -> Any:
    return functional.batch_norm(x, mean, variance, weight, bias, eps=a.get("epsilon", 1e-5))


def _transposed(a: Attributes, x: Any) -> Any:
    """In two steps where the last two axes change places: Inductor takes the last step of keys for such a change."""
    *first, last, end = a["perm"]
    return x.permute(*first, end, last).transpose(-2, -1) if first and last > end else x.permute(a["perm"])


def _cast(a: Attributes, x: Any) -> Any:
    return x.to(torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(a["to"]))).dtype)


def _added_up(a: Attributes, x: Any, axes: Any = None) -> Any:
    return x.sum(a.get("axes", axes), keepdim=bool(a.get("keepdims", 1)))


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda _, x, y: x + y,
    "AveragePool": _mean,
    "BatchNormalization": _standardised,
    "Cast": _cast,
    "Clip": lambda _, x, low=None, high=None: torch.clamp(x, low, high),
    "Concat": lambda a, *several: torch.cat(several, a["axis"]),
    "Conv": _convolve,
    "Div": lambda _, x, y: x / y,
    "Dropout": lambda _, x: x,
    "Erf": lambda _, x: torch.erf(x),
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda a, x: torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0),
    "HardSwish": lambda _, x: functional.hardswish(x),
    "LayerNormalization": _normalised,
    "MatMul": lambda _, x, y: x @ y,
    "MaxPool": _greatest,
    "Mul": lambda _, x, y: x * y,
    "Pow": lambda _, x, y: x**y,
    "Range": lambda _, start, end, step: torch.arange(start, end, step),
    "ReduceL2": lambda a, x: x.norm(dim=a["axes"], keepdim=bool(a.get("keepdims", 1))),
    "ReduceSum": _added_up,
    "Relu": lambda _, x: functional.relu(x),
    "Reshape": _reshape,
    "Shape": lambda _, x: torch.tensor(x.shape),
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": lambda a, x, sizes: x.split(sizes, a.get("axis", 0)),
    "Squeeze": lambda a, x, axes=(): x.squeeze(tuple(a.get("axes", axes))),
    "Sub": lambda _, x, y: x - y,
    "Sum": lambda _, *several: sum(several[1:], several[0]),
    "Tanh": lambda _, x: torch.tanh(x),
    "Transpose": _transposed,
    "Unsqueeze": _unsqueeze,
}


NUMBERS = {"Clip", "Gather", "ReduceSum", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"}
"""What takes its second and further inputs as numbers, where they are known and no more than a vector of sizes."""


def _taken(node: onnx.NodeProto, constants: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a node takes: numbers and constants, or the names of what is computed."""
    names = [name for name in node.input if name]
    found = [constants.get(name, name) for name in names]
    if node.op_type == "Range" or node.op_type in NUMBERS:
        first = 0 if node.op_type == "Range" else 1
        found[first:] = [
            one.tolist() if isinstance(one, torch.Tensor) and one.ndim < 2 else one for one in found[first:]
        ]
    return tuple(found)


@dataclass(frozen=True)
class Step:
    """A call: numbers, constants and names of values in, names of values out."""

    work: Callable[..., Any]
    attributes: Attributes
    taken: tuple[Any, ...]
    made: tuple[str, ...]

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What it makes, by name."""
        found = self.work(self.attributes, *(values[one] if isinstance(one, str) else one for one in self.taken))
        return dict(zip(self.made, found if isinstance(found, tuple) else (found,), strict=False))


class Network(torch.nn.Module):
    """A model's nodes as PyTorch's calls, in f32; `inputs` fix its sizes. KeyError names an operator unknown here."""

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        graph = model.graph
        self._names, self._results = tuple(inputs), [value.name for value in graph.output]
        constants = {one.name: torch.from_numpy(np.array(numpy_helper.to_array(one))) for one in graph.initializer}
        values, steps = dict(inputs), []
        for node in graph.node:
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            step = Step(OPERATORS[node.op_type], attributes, _taken(node, constants), tuple(node.output))
            made = step.run(values)
            known = node.op_type == "Shape" or not any(isinstance(one, str) for one in step.taken)
            (constants if known else values).update(made)
            if not known:
                steps.append(step)
        self._steps = [replace(step, taken=tuple(map(self._kept, step.taken))) for step in steps]

    def _kept(self, taken: Any) -> Any:
        """Scalars become numbers, all other constants buffers: so torch.compile finds attention, folds and packs."""
        if not isinstance(taken, torch.Tensor):
            return taken
        return self._buffer(taken) if taken.ndim else taken.item()

    def _buffer(self, constant: Any) -> str:
        name = f"constant{len(self._buffers)}"
        self.register_buffer(name, constant)
        return name

    def forward(self, *given: Any) -> list[Any]:
        """The model's outputs in order."""
        values = dict(self.named_buffers(remove_duplicate=False)) | dict(zip(self._names, given, strict=True))
        for step in self._steps:
            values |= step.run(values)
        return [values[name] for name in self._results]

"""onnx's bundled "light" graphs (SqueezeNet, ResNet-50, DenseNet-121 …) with weights that a trained network might have.

As bundled, all elements of a weight are equal, so common subexpressions merge and bandwidth is flattered. Here each
gets seeded He-normal weights, and batch norms get statistics near those that such weights bring about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.models.packages import CACHE, replace

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)

Floats = NDArray[np.float32]
RESIDUAL, CLASSIFIER = np.float32(0.5), np.float32(0.25)
"""Scales of a branch that is added to another, and of the last layer: without them softmax saturates."""


def load(name: str, seed: int = 0) -> Path:
    """The path of the network `name` (one of NAMES) with weights drawn from `seed`."""
    path = CACHE / "light" / f"{name}-{seed}.onnx"
    if not path.exists():
        model = onnx.load(FOLDER / f"light_{name}.onnx")
        trained(model, np.random.default_rng(seed))
        replace(path, model.SerializeToString())
    return path


def image(model: Path, seed: int = 0) -> dict[str, Floats]:
    """A normal input of the declared size."""
    graph = onnx.load(model).graph
    names = {initializer.name for initializer in graph.initializer}
    (value,) = (value for value in graph.input if value.name not in names)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {value.name: np.random.default_rng(seed).standard_normal(shape, np.float32)}


def trained(model: onnx.ModelProto, random: np.random.Generator) -> None:
    """Replace each weight of `model` whose elements are all equal by one drawn for the role it has."""
    graph = model.graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    fills = {node.output[0]: node for node in graph.node if node.op_type == "ConstantOfShape"}
    shapes = {name: tuple(constants[node.input[0]].tolist()) for name, node in fills.items()}
    shapes |= {name: value.shape for name, value in constants.items() if value.size > 1 and value.dtype == np.float32}
    users = {name: (node, place) for node in reversed(graph.node) for place, name in enumerate(node.input)}
    drawn: dict[str, Floats] = {}
    for node in graph.node:
        for name in (name for name in node.input if name in shapes and name not in drawn):
            drawn[name] = weight(*role(name, users), shapes[name], random)
        if node.op_type == "BatchNormalization" and users[node.output[0]][0].op_type in ("Sum", "Add"):
            drawn[node.input[1]] *= RESIDUAL
    classifier = [name for name, value in drawn.items() if value.ndim > 1][-1]
    drawn[classifier] *= CLASSIFIER
    spent = drawn.keys() | {node.input[0] for node in fills.values()}
    for field in (graph.input, graph.initializer):
        _keep(field, [entry for entry in field if entry.name not in spent])
    _keep(graph.node, [node for node in graph.node if node.output[0] not in drawn])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in drawn.items())
    model.ir_version = 8  # from 4 on an initializer need not be an input, which callers could override
    onnx.checker.check_model(model)


def _keep(field: MutableSequence[Any], entries: Iterable[Any]) -> None:
    kept = list(entries)
    del field[:]
    field.extend(kept)


def role(name: str, users: Mapping[str, tuple[onnx.NodeProto, int]]) -> tuple[str, int]:
    """The operator that uses a weight, and as which input; (Un)squeezing it first changes nothing."""
    node, place = users[name]
    return role(node.output[0], users) if node.op_type == "Unsqueeze" else (node.op_type, place)


def weight(operator: str, place: int, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """A weight for input `place` of `operator`: He et al. (2015) for layers, small biases, calm norms."""
    normal = random.standard_normal(shape, np.float32)
    if operator == "BatchNormalization":
        scale, bias, mean, variance = 1 + 0.1 * normal, 0.1 * normal, 0.2 * normal, np.exp(0.2 * normal) + 0.5
        return (scale, bias, mean, variance)[place - 1].astype(np.float32)
    if operator == "Mul":
        return 1 + 0.1 * normal
    if len(shape) < 2:
        return 0.05 * normal
    fan = shape[0] if operator == "MatMul" else int(np.prod(shape[1:]))
    return normal * np.float32(np.sqrt(2 / fan))

"""onnx's bundled "light" graphs (SqueezeNet, ResNet-50, DenseNet-121 …) with weights that a trained network might have.

As bundled, all elements of a weight are equal, so common subexpressions merge and bandwidth is flattered. Here each
gets seeded He-normal weights, and batch norms get statistics near those that such weights bring about.
"""

from __future__ import annotations

from pathlib import Path

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
RESIDUAL = np.float32(0.5)
"""The scale of a branch that is added to another: without it the sum doubles in each block and softmax saturates."""


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
    """Replace each constant-filled weight of `model` by one drawn for the role it has."""
    graph = model.graph
    shapes = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    fills = {node.output[0]: node for node in graph.node if node.op_type == "ConstantOfShape"}
    summed = {name for node in graph.node if node.op_type in ("Sum", "Add") for name in node.input}
    drawn: dict[str, Floats] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in fills and name not in drawn:
                drawn[name] = weight(node, place, tuple(shapes[fills[name].input[0]].tolist()), random)
        if node.op_type == "BatchNormalization" and summed & set(node.output):
            drawn[node.input[1]] *= RESIDUAL
    spent = {fills[name].input[0] for name in drawn}
    kept_nodes = [node for node in graph.node if not set(node.output) & drawn.keys()]
    kept = [entry for entry in graph.initializer if entry.name not in spent]
    inputs = [value for value in graph.input if value.name not in spent]
    for field, values in ((graph.node, kept_nodes), (graph.initializer, kept), (graph.input, inputs)):
        del field[:]
        field.extend(values)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in drawn.items())
    model.ir_version = 8  # from 4 on an initializer need not be an input, which callers could override
    onnx.checker.check_model(model)


def weight(node: onnx.NodeProto, place: int, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """A weight for input `place` of `node`: He et al. (2015) for convolutions and layers, small biases, calm norms."""
    normal = random.standard_normal(shape, np.float32)
    if node.op_type == "BatchNormalization":
        scale, bias, mean, variance = 1 + 0.1 * normal, 0.1 * normal, 0.2 * normal, np.exp(0.2 * normal) + 0.5
        return (scale, bias, mean, variance)[place - 1].astype(np.float32)
    if len(shape) < 2:
        return 0.05 * normal
    fan = shape[0] if node.op_type == "MatMul" else int(np.prod(shape[1:]))
    return normal * np.float32(np.sqrt(2 / fan))

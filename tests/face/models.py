"""Tiny ONNX models for tests of the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET = 17


def model(
    nodes: list[object], inputs: list[object], outputs: list[object], weights: dict[str, np.ndarray]
) -> ModelProto:
    """A checked model of one graph."""
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers, doc_string="for tests")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="a test")
    made.ir_version = 8
    helper.set_model_props(made, {"author": "somebody", "labels": "a,b"})
    return made


def floats(name: str, *shape: int | str | None) -> object:
    """An f32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def perceptron() -> ModelProto:
    """y = relu(x @ w + b) @ v for x [n, 8]; also h, the inner layer's norm, as a second output."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((8, 16)).astype(np.float32),
        "b": random.standard_normal(16).astype(np.float32),
        "v": random.standard_normal((16, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="first"),
        helper.make_node("Add", ["xw", "b"], ["sum"], name="bias"),
        helper.make_node("Relu", ["sum"], ["h"], name="relu"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="second"),
    ]
    return model(nodes, [floats("x", "n", 8)], [floats("y", "n", 4)], weights)


def with_defaults() -> ModelProto:
    """The perceptron, whose weights are inputs, too: a call may give others."""
    made = perceptron()
    made.graph.input.extend([floats("w", 8, 16), floats("b", 16)])  # type: ignore[list-item]
    return made


def two_inputs() -> ModelProto:
    """sum = a + b and product = a * b for a, b [rows, ?]."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"], name="plus"),
        helper.make_node("Mul", ["a", "b"], ["product"], name="times"),
    ]
    ends = [floats("sum", "rows", None), floats("product", "rows", None)]
    return model(nodes, [floats("a", "rows", None), floats("b", "rows", None)], ends, {})


def endless() -> ModelProto:
    """A Loop of as many turns as the input `turns` says, each of which adds 1 to `x`."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Add", ["state", "one"], ["next"], name="step"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            floats("state", 4),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), floats("next", 4)],
    )
    nodes = [helper.make_node("Loop", ["turns", "yes", "x"], ["y"], name="loop", body=body)]
    turns = helper.make_tensor_value_info("turns", TensorProto.INT64, [])
    weights = {"one": np.ones(4, np.float32), "yes": np.array(True)}
    return model(nodes, [turns, floats("x", 4)], [floats("y", 4)], weights)


def unsupported() -> ModelProto:
    """A model with an operator that nobody knows."""
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="strange", domain="com.example")
    made = model([node], [floats("x", 4)], [floats("y", 4)], {})
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    return made


def saved(made: ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """The path of the model as a file."""
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path

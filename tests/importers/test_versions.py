"""Operator sets and files newer than ours, and what newer files may say that changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from tenfold.errors import UnsupportedError
from tenfold.importers import open_model
from tenfold.importers.onnx import functions, walk
from tenfold.ir.interpret import Interpreter


def model(*nodes: onnx.NodeProto, opset: int, ir: int = 10) -> ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", opset)], ir_version=ir
    )


def only(opset: int) -> Mapping[str, int]:
    return {**functions.KNOWN, "": opset}


def test_every_operator_of_onnx_is_of_a_set_that_we_know() -> None:
    assert max(one.since_version for one in onnx.defs.get_all_schemas() if one.domain == "") >= functions.KNOWN[""]


def test_unchanged_operators_of_a_newer_set_are_taken() -> None:
    graph = open_model(model(helper.make_node("Relu", ["x"], ["y"]), opset=99))
    assert Interpreter().run(graph, {"x": -np.ones((2, 3), np.float32)})["y"].tolist() == [[0] * 3] * 2


def test_changed_operators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (functions, walk):
        monkeypatch.setattr(module, "KNOWN", only(12))
    nodes = [helper.make_node("Softmax", ["x"], ["a"], name="/head/Softmax"), helper.make_node("Relu", ["a"], ["y"])]
    with pytest.raises(UnsupportedError, match=r"Softmax \(opset 18\) at /head/Softmax: it changed in operator set 13"):
        open_model(model(*nodes, opset=18))


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Relu", ["x"], ["y"], leak=0.5), "attribute 'leak' that no operator set up to"),
        (helper.make_node("Relu", ["x", "x"], ["y"]), "inputs that no operator set"),
        (helper.make_node("Relu", ["x"], ["y", "z"]), "outputs that no operator set"),
        (helper.make_node("Superlu", ["x"], ["y"]), "no operator set up to"),
    ],
)
def test_what_we_cannot_know(node: onnx.NodeProto, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        open_model(model(node, opset=99))


def test_every_version_of_the_format() -> None:
    for ir in range(3, 15):
        assert len(open_model(model(helper.make_node("Relu", ["x"], ["y"]), opset=18, ir=ir))) == 1


def test_devices_are_no_business_of_ours() -> None:
    message = model(helper.make_node("Relu", ["x"], ["y"]), opset=24, ir=11)
    message.configuration.add(name="two", num_devices=2, device=["a", "b"])
    placed = message.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    placed.sharding_spec.add(tensor_name="x", device=[0, 1])
    assert len(open_model(message)) == 1

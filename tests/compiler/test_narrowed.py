"""Images made smaller by scales that only the call tells, without aliasing."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper

import tenfold
from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_scales_decide_how_much_each_element_reads(mode: str) -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, antialias=1)
    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, [1, 1, "h", "w"]), info("scales", TensorProto.FLOAT, [4])]
    graph = helper.make_graph([node], "narrowed", inputs, [ValueInfoProto(name="y")])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()
    engine, imported = tenfold.build(data, effort=0, cache=False), open_model(data)
    assert engine.report["host_steps"] == 0
    dice = np.random.default_rng(3)
    for size, scales in (((4, 4), (0.6, 0.6)), ((9, 13), (0.33, 0.5)), ((8, 8), (1.7, 0.4)), ((4, 6), (0.1, 1))):
        given = {"x": dice.random((1, 1, *size), np.float32), "scales": np.array([1, 1, *scales], np.float32)}
        expected = Interpreter().run(imported, given)["y"]
        np.testing.assert_allclose(engine.run(given)["y"], expected, atol=1e-6)

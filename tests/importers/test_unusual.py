"""Valid models of a form that few exporters write, built and run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tenfold
from tenfold.errors import ModelError, OptionError

X = np.arange(-2, 4).reshape(2, 3).astype(np.float32)
W = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
TEXTS = np.array([["a", "b", "c"], ["ü", "", "zz"]], np.object_)
COMPLEX = (np.arange(6).reshape(2, 3) * (1 + 2j)).astype(np.complex64)
TWO_AROUND = numpy_helper.from_array(np.array([1, 0, 0, 2]), "counts")


def answers(
    *nodes: onnx.NodeProto, outputs: str = "y", weights: Any = (), x: Any = X, name: str = "x"
) -> list[np.ndarray]:
    """What a model on one input gives, output by output."""
    kind = TensorProto.STRING if x.dtype == object else helper.np_dtype_to_tensor_dtype(x.dtype)
    results = [onnx.ValueInfoProto(name=one) for one in outputs.split()]
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info(name, kind, x.shape)], results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return list(tenfold.build(model, effort=0, cache=False).run({name: x}).values())


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def test_an_output_may_be_an_input_or_a_weight_or_stand_twice() -> None:
    found = answers(node("Neg", "x"), outputs="y y x w y", weights=[W])
    for got, wanted in zip(found, (-X, -X, X, np.array([1, 2, 3]), -X), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_outputs_that_repeat_have_names_of_their_own() -> None:
    graph = helper.make_graph(
        [node("Neg", "x", "y"), node("Abs", "x", "y~2")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [onnx.ValueInfoProto(name=name) for name in ("y", "y~2", "y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    engine = tenfold.build(model, effort=0, cache=False)
    assert [one.name for one in engine.outputs] == ["y", "y~2", "y~3"]
    with pytest.raises(OptionError, match="twice"):
        tenfold.build(model, effort=0, cache=False, outputs=["y", "y"])


def test_names_of_any_script() -> None:
    nodes = [helper.make_node("Relu", ["вход ⚙"], [""]), helper.make_node("Neg", ["вход ⚙"], ["出力"], name="ノード\n")]
    np.testing.assert_array_equal(answers(*nodes, outputs="出力", name="вход ⚙")[0], -X)


def test_strings_are_padded_with_empty_ones() -> None:
    (found,) = answers(node("Pad", "x counts"), weights=[TWO_AROUND], x=TEXTS)
    assert found.tolist() == [[""] * 5, ["a", "b", "c", "", ""], ["ü", "", "zz", "", ""]]
    (found,) = answers(node("Trilu", "x"), x=TEXTS)
    assert found.tolist() == [["a", "b", "c"], ["", "", "zz"]]


@pytest.mark.parametrize("value", [None, 5 + 0j, 2 - 3j])
def test_complex_numbers_are_padded(value: complex | None) -> None:
    given = [] if value is None else [numpy_helper.from_array(np.array(value, np.complex64), "v")]
    (found,) = answers(node("Pad", "x counts" + " v" * len(given)), weights=[TWO_AROUND, *given], x=COMPLEX)
    expected = np.pad(COMPLEX, ((1, 0), (0, 2)), constant_values=value or 0)
    np.testing.assert_array_equal(found, expected)


def test_there_is_no_unit_matrix_of_strings() -> None:
    with pytest.raises(ModelError, match="EyeLike"):
        answers(node("EyeLike", "x"), x=TEXTS)


@pytest.mark.parametrize("number", [TensorProto.FLOAT6E2M3, TensorProto.FLOAT6E3M2])
def test_six_bit_floats_are_rounded_by_kernels(number: int) -> None:
    kind = helper.tensor_dtype_to_np_dtype(number)
    x = np.concatenate([np.linspace(-40, 40, 321), [-0.0, np.inf, -np.inf, 0.0625]]).astype(np.float32)
    weight = numpy_helper.from_array(np.arange(-3, 3, 0.5).astype(kind), "w")
    nodes = [node("Cast", "x", "q", to=number), node("Cast", "q", "y", to=1), node("Cast", "w", "v", to=1)]
    results = [onnx.ValueInfoProto(name=name) for name in "qyv"]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])], results, [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14)
    engine = tenfold.build(model, effort=0, cache=False)
    assert engine.report["host_steps"] == 0
    narrow, wide, weights = engine(x)
    assert narrow.dtype == kind
    np.testing.assert_array_equal(wide, x.astype(kind).astype(np.float32))
    np.testing.assert_array_equal(weights, np.arange(-3, 3, 0.5))

"""Damaged and malicious models end in a ModelError (or another of our errors), quickly, never in a crash."""

from __future__ import annotations

import itertools
import random

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from tenfold.errors import LimitError, ModelError, OptionError, TenfoldError, UnsupportedError
from tenfold.importers import open_model
from tenfold.importers.onnx import walk

FLOAT = TensorProto.FLOAT


def made(
    *nodes: onnx.NodeProto, weights: tuple[TensorProto, ...] = (), outputs: tuple[str, ...] = ("z",)
) -> ModelProto:
    """A model of these nodes on the input x: f32[2, 3]."""
    x = helper.make_tensor_value_info("x", FLOAT, [2, 3])
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(list(nodes), "g", [x], results, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def node(kind: str, inputs: str, outputs: str = "z", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def weight(*numbers: int, name: str = "w") -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(numbers)], list(numbers))


def broken(**fields: object) -> TensorProto:
    return TensorProto(name="w", data_type=FLOAT, **fields)


DAMAGED = {
    "nothing defines an input": made(node("Relu", "y")),
    "nothing defines an output": made(outputs=("x", "y")),
    "a cycle": made(node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")),
    "a node on itself": made(node("Add", "x z")),
    "a name defined twice": made(node("Relu", "x"), node("Exp", "x")),
    "a name of an input": made(node("Relu", "x", "x"), node("Relu", "x")),
    "no outputs": made(node("Relu", "x"), outputs=()),
    "an absent input": made(node("Relu", "")),
    "an input too few": made(node("Add", "x")),
    "an input too many": made(node("Relu", "x x")),
    "an empty name for a needed input": made(helper.make_node("Add", ["x", ""], ["z"])),
    "sizes that do not broadcast": made(node("Add", "x w"), weights=(broken(dims=[4], float_data=[1] * 4),)),
    "unlike element types": made(node("Add", "x w"), weights=(weight(1, 2, 3),)),
    "an attribute of another kind": made(node("Softmax", "x", axis="one")),
    "an axis out of range": made(node("Softmax", "x", axis=7)),
    "axes named twice": made(node("Unsqueeze", "x w"), weights=(weight(0, 0),)),
    "no permutation": made(node("Transpose", "x", perm=[0, 0])),
    "an unknown word": made(node("DepthToSpace", "x", blocksize=2, mode="XYZ")),
    "an unknown element type": made(node("Cast", "x", to=99)),
    "a reshape to other counts": made(node("Reshape", "x w"), weights=(weight(5, 5),)),
    "a reshape with two -1": made(node("Reshape", "x w"), weights=(weight(-1, -1),)),
    "a negative size": made(node("ConstantOfShape", "w"), weights=(weight(-3),)),
    "a step of zero": made(node("Slice", "x w w w w"), weights=(weight(0),)),
    "a position out of range": made(node("Shape", "x", "s"), node("Gather", "s w"), weights=(weight(7),)),
    "a split of other sizes": made(node("Split", "x w", "z y"), weights=(weight(1, 5),)),
    "too few bytes": made(node("Add", "x w"), weights=(broken(dims=[2, 3], raw_data=b"123"),)),
    "too few elements": made(node("Add", "x w"), weights=(broken(dims=[2, 3], float_data=[1]),)),
    "a negative size of a weight": made(node("Add", "x w"), weights=(broken(dims=[-1], float_data=[]),)),
    "an enormous weight": made(node("Add", "x w"), weights=(broken(dims=[2**40, 2**40], float_data=[]),)),
    "a weight of no type": made(node("Add", "x w"), weights=(TensorProto(name="w", dims=[1], data_type=77),)),
    "a weight in segments": made(
        node("Add", "x w"), weights=(broken(dims=[1], float_data=[1], segment=TensorProto.Segment(begin=0, end=1)),)
    ),
    "a branch that is no graph": made(node("If", "w", then_branch=1, else_branch=2), weights=(weight(1),)),
}


@pytest.mark.parametrize("model", DAMAGED.values(), ids=DAMAGED)
def test_damaged(model: ModelProto) -> None:
    with pytest.raises(ModelError) as caught:
        open_model(model)
    assert caught.value.message


def test_a_model_that_is_none() -> None:
    for data in (b"", b"version https://git-lfs.github.com/spec/v1", b"\xff" * 100, bytes(1000)):
        with pytest.raises(ModelError):
            open_model(data)
    with pytest.raises(ModelError, match="nowhere"):
        open_model("nowhere.onnx")


def _whole() -> bytes:
    weights = (helper.make_tensor("w", FLOAT, [3], [1, 2, 3]), weight(3, 2, name="s"))
    model = made(
        node("Add", "x w", "a"), node("Reshape", "a s", "b"), node("Softmax", "b", "z", axis=1), weights=weights
    )
    return bytes(model.SerializeToString())


def test_truncated_anywhere() -> None:
    data = _whole()
    for length in range(len(data)):
        try:
            open_model(data[:length])
        except (ModelError, UnsupportedError):
            continue


def test_bytes_changed_at_random() -> None:
    whole, dice = _whole(), random.Random(5)
    outcomes = set()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            open_model(bytes(data))
            outcomes.add("imported")
        except (ModelError, UnsupportedError, OptionError) as error:
            outcomes.add(type(error).__name__)
    assert outcomes >= {"imported", "ModelError"}


def test_functions_that_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_OPERATORS", 10_000)
    model = made(helper.make_node("f0", ["x"], ["z"], domain="local"))
    model.opset_import.add(domain="local", version=1)
    for level in range(40):
        calls = [helper.make_node(f"f{level + 1}", [f"a{i}"], [f"a{i + 1}"], domain="local") for i in range(3)]
        function = helper.make_function(
            "local", f"f{level}", ["a0"], ["a3"], calls, [helper.make_opsetid("local", 1), helper.make_opsetid("", 18)]
        )
        model.functions.append(function)
    with pytest.raises(LimitError, match="10000 operators"):
        open_model(model)


def test_a_long_chain() -> None:
    names = ["x", *(f"v{i}" for i in range(5000))]
    nodes = [node("Relu", a, b) for a, b in itertools.pairwise(names)]
    graph = open_model(made(*nodes, outputs=(names[-1],)))
    assert len(graph) == 5000


def test_nodes_out_of_order() -> None:
    model = made(node("Exp", "y"), node("Relu", "x", "y"))
    assert [one.op.name for one in open_model(model).nodes] == ["Relu", "Exp"]


def test_sizes_without_memory() -> None:
    huge = made(node("ConstantOfShape", "w"), weights=(weight(2**40, 2**20),))
    assert open_model(huge).outputs[0].type.shape == (2**40, 2**20)


def test_a_sequence_as_an_input() -> None:
    model = made(node("Relu", "x"))
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, None))
    with pytest.raises(ModelError, match="takes tensors, not seq"):
        open_model(model)


def test_a_map_as_an_input() -> None:
    model = made(node("Relu", "x"))
    model.graph.input[0].type.CopyFrom(helper.make_map_type_proto(TensorProto.INT64, model.graph.input[0].type))
    with pytest.raises(ModelError, match="takes tensors, not intmap"):
        open_model(model)


def test_errors_name_the_operator() -> None:
    model = made(helper.make_node("Softmax", ["x"], ["z"], name="/head/Softmax", axis=5))
    with pytest.raises(TenfoldError) as caught:
        open_model(model)
    assert caught.value.operator == "/head/Softmax"
    assert str(caught.value).startswith("/head/Softmax: ")


def test_every_array_is_read_only() -> None:
    graph = open_model(_whole())
    weights = [one.op.evaluate() for one in graph.nodes if one.op.name == "Constant"]
    assert weights and not any(isinstance(one, np.ndarray) and one.flags.writeable for one in weights)

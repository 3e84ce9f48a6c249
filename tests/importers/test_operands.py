"""Axes, sizes, steps and scales that only the call tells: as inputs of the graph, and computed from data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, TensorProto, helper

import tenfold
from tenfold.errors import InputError
from tenfold.importers.onnx import import_onnx
from tenfold.ir.interpret import Interpreter
from tests.importers.single import Array, feeds, interpreted, model, reference, same


@dataclass(frozen=True, eq=False)
class Operands:
    """One operator on data, and what its operands are in several calls of one graph."""

    kind: str
    data: Array
    calls: tuple[tuple[Array | None, ...], ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    outputs: int = 1

    def __str__(self) -> str:
        return f"{self.kind}({','.join(f'{name}={value}' for name, value in self.attributes.items())})"


def numbers(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def n(*values: int) -> Array:
    return np.array(values, np.int64)


X = numbers(2, 3, 4)
AXES = ((n(0),), (n(-1),), (n(1),))
PAIRS = ((n(0, 2),), (n(-1, 1),), (n(1, 0),))
KINDS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
WITHIN = {"axes": [1, 2], "keep_aspect_ratio_policy": "not_larger"}
CASES = [
    *(Operands(f"Reduce{kind}", X, AXES, {"keepdims": 1}) for kind in KINDS),
    *(Operands(f"Reduce{kind}", X, PAIRS, {"keepdims": 0}) for kind in KINDS),
    Operands("ReduceLogSum", np.abs(X), PAIRS),
    Operands("ReduceMax", X > 0, PAIRS, opset=20),
    Operands("CumSum", X, ((n(1)[0],), (n(-1)[0],), (n(0)[0],)), {"exclusive": 1}),
    Operands("CumSum", X, ((n(1)[0],), (n(-3)[0],)), {"reverse": 1}),
    Operands("Squeeze", numbers(1, 3, 1), ((n(0),), (n(-1),))),
    Operands("Unsqueeze", X, ((n(0, 2),), (n(-1, 1),), (n(3, 4),))),
    Operands("Slice", X, ((n(1), n(3), n(1), n(1)), (n(-1), n(-9), n(2), n(-2)), (n(0), n(9), n(0), n(3)))),
    Operands("Slice", X, ((n(0, 1), n(1, 3), n(2, 1), n(1, 1)), (n(3, -1), n(0, 0), n(2, 1), n(-1, -2)))),
    Operands("Pad", X, ((n(1, 0), None, n(2)), (n(0, 3), None, n(-3))), {"mode": "constant"}),
    Operands("Split", X, ((n(1, 3),), (n(2, 2),)), {"axis": 2}, outputs=2),
    Operands("Tile", X, ((n(1, 2, 1),), (n(2, 1, 3),))),
    Operands("Expand", numbers(3, 1), ((n(2, 3, 4),), (n(1, 1, 5),))),
    Operands("Reshape", X, ((n(2, -1),), (n(0, 12),), (n(-1, 4),))),
    Operands("Reshape", numbers(0, 3, 4), ((n(0, 4, 5),), (n(12, 2, 0),)), {"allowzero": 1}),
    Operands("TopK", X, ((n(1),), (n(3),)), outputs=2),
    Operands("DFT", numbers(2, 6, 5, 1), ((n(4)[0], n(1)[0]), (n(5)[0], n(-2)[0])), opset=20),
    Operands("ConstantOfShape", n(2, 3), ((),)),
    Operands("HannWindow", n(5)[0], ((),)),
    Operands("Trilu", X, ((n(1)[0],), (n(-1)[0],))),
    Operands("Resize", X, ((None, np.array([1, 2, 0.5], np.float32)), (None, np.array([2, 1, 1.5], np.float32)))),
    Operands("Resize", X, ((None, None, n(2, 6, 3)), (None, None, n(1, 3, 9))), {"mode": "linear"}),
    Operands("Resize", X, ((None, None, n(6, 5)), (None, None, n(2, 3))), WITHIN),
    Operands("CenterCropPad", X, ((n(2, 5, 3),), (n(3, 3, 6),)), opset=18),
    Operands("Col2Im", numbers(2, 12, 12), ((n(4, 5), n(2, 2)), (n(5, 4), n(2, 2)), (n(4, 5), n(2, 2)))),
    Operands("AffineGrid", numbers(2, 2, 3), ((n(2, 1, 3, 4),), (n(2, 3, 5, 2),)), opset=20),
]  # fmt: skip


def made(case: Operands, operands: tuple[Array | None, ...]) -> ModelProto:
    arrays = (case.data, *operands)
    return model(case.kind, arrays, (), case.outputs, case.opset, **case.attributes)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_inputs_of_the_graph(case: Operands) -> None:
    graph = import_onnx(made(case, case.calls[0]))
    for operands in case.calls:
        message = made(case, operands)
        inputs = feeds(message, (case.data, *operands))
        for ours, theirs in zip(interpreted(graph, inputs), reference(message, inputs), strict=True):
            same(ours, theirs)


def computed(message: ModelProto) -> ModelProto:
    """The model whose whole inputs are given as f32 and cast, so that only the data decide them."""
    changed = ModelProto()
    changed.CopyFrom(message)
    for info in changed.graph.input[1:]:
        kind = info.type.tensor_type.elem_type
        if kind == TensorProto.INT64:
            changed.graph.node.insert(0, helper.make_node("Cast", [f"{info.name}_real"], [info.name], to=kind))
            info.name += "_real"
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", [one for one in CASES if one.calls[0]], ids=str)
def test_computed_from_data(case: Operands) -> None:
    graph = import_onnx(computed(made(case, case.calls[0])))
    for operands in case.calls:
        message = made(case, operands)
        inputs = feeds(message, (case.data, *operands))
        given = {
            name if name == "x0" or array.dtype != np.int64 else f"{name}_real": (
                array.astype(np.float32) if name != "x0" and array.dtype == np.int64 else array
            )
            for name, array in inputs.items()
        }
        found = Interpreter().run(graph, given)
        for ours, theirs in zip(found.values(), reference(message, inputs), strict=True):
            same(ours, theirs)


def test_sizes_of_a_mel_matrix() -> None:
    names = ("bands", "length", "rate", "low", "high")
    node = helper.make_node("MelWeightMatrix", names, ["y"])
    kinds = (TensorProto.INT64,) * 3 + (TensorProto.FLOAT,) * 2
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in zip(names, kinds, strict=True)]
    graph = helper.make_graph([node], "mel", inputs, [onnx.ValueInfoProto(name="y")])
    message = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    ours = import_onnx(message)
    for bands, length, rate in ((8, 16, 8192), (40, 400, 16000)):
        given = {
            "bands": n(bands)[0], "length": n(length)[0], "rate": n(rate)[0],
            "low": np.float32(0), "high": np.float32(rate / 2),
        }  # fmt: skip
        given = {name: np.asarray(value) for name, value in given.items()}
        same(Interpreter().run(ours, given)["y"], reference(message, given)[0])


@pytest.mark.parametrize(
    ("case", "operands"),
    [
        (Operands("ReduceSum", X, AXES), (n(3),)),
        (Operands("CumSum", X, ((n(0)[0],),)), (n(-4)[0],)),
        (Operands("Squeeze", numbers(1, 3, 1), ((n(0),),)), (n(1),)),
        (Operands("Unsqueeze", X, ((n(0, 1),),)), (n(2, 2),)),
        (Operands("Reshape", X, ((n(2, -1),),)), (n(-1, -1),)),
        (Operands("Reshape", X, ((n(2, -1),),)), (n(5, -1),)),
    ],
    ids=str,
)
def test_what_no_axis_or_size_is(case: Operands, operands: tuple[Array, ...]) -> None:
    graph = import_onnx(made(case, case.calls[0]))
    with pytest.raises(InputError):
        Interpreter().run(graph, feeds(made(case, operands), (case.data, *operands)))


def test_what_follows_a_size_of_the_call_is_built() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 19]>
    network (float[1,1,2,2] x, float[4] scales) => (float[1,1,h,w] y) {
      large = Resize <mode: string = "nearest"> (x, "", scales)
      y = MeanVarianceNormalization (large)
    }"""
    engine = tenfold.build(onnx.parser.parse_model(text), cache=False)
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    large = x.repeat(2, 2).repeat(3, 3)
    expected = (large - large.mean()) / large.std()
    assert np.allclose(engine(x, np.array([1, 1, 2, 3], np.float32)), expected, atol=1e-5)

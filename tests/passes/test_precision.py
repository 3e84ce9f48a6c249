"""Precision "f32": narrow floats widen inside, and only there."""

from __future__ import annotations

import numpy as np

import tenfold
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops import Add, Cast, Constant, MatMul, Relu
from tenfold.passes.precision import Widen
from tenfold.rewrite.pipeline import Pipeline


def model() -> Graph:
    """relu(cast(x) w + 1) in f16, from f32 to f16."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (3, 64)))
    weights = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float16)
    product = MatMul()(Cast(dt.f16)(x), Constant(Tensor(weights))())
    one = Constant(Tensor(np.float16(1)))()
    graph.set_outputs([Relu()(Add()(product, one))], ["y"])
    return graph


def test_inside_is_wide_and_the_face_stays() -> None:
    graph = Pipeline(Widen())(model())
    graph.verify()
    assert graph.outputs[0].type.dtype is dt.f16
    inner = [value.type.dtype for node in graph.nodes for value in node.outputs if value not in graph.outputs]
    assert dt.f16 not in inner


def test_answers_are_those_of_f32() -> None:
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    plain = Interpreter().run(model(), {"x": x})["y"]
    engine = tenfold.build(model(), precision="f32", cache=False)
    answer = engine.run({"x": x})["y"]
    assert answer.dtype == np.float16
    np.testing.assert_allclose(answer.astype(np.float32), plain.astype(np.float32), rtol=2e-2, atol=2e-2)


def test_a_wide_model_is_left_alone() -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (3,)))
    graph.set_outputs([Relu()(x)], ["y"])
    before = graph.nodes
    assert Pipeline(Widen())(graph).nodes == before

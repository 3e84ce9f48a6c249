"""What is done to graphs for GPUs: products merged, values in 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.merge import MergeProducts
from tenfold.passes.narrow import Narrow
from tenfold.rewrite.pipeline import Pipeline

RNG = np.random.default_rng(3)


def weight(*shape: int) -> Value:
    value: Value = ops.Constant(Tensor(RNG.standard_normal(shape).astype(np.float32)))()
    return value


def linear(x: Value, n: int) -> Value:
    value: Value = ops.Add()(ops.MatMul()(x, weight(8, n)), weight(n))
    return value


def graph_of(*outputs: Value, x: Value) -> Graph:
    graph = Graph([x])
    graph.set_outputs(outputs, [f"y{number}" for number in range(len(outputs))])
    return graph


def answers(graph: Graph) -> tuple[np.ndarray, ...]:
    x = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    return Interpreter({}).call(graph, [x])


def given() -> Value:
    return Value(Type(dt.f32, (3, 8)), name="x")


def test_products_of_one_tensor_become_one() -> None:
    x = given()
    graph = graph_of(*(linear(x, n) for n in (4, 6, 2)), x=x)
    wanted = answers(copy(graph))
    Pipeline(MergeProducts())(graph)
    used = [node for node in graph.nodes if isinstance(node.op, ops.MatMul) and any(v.uses for v in node.outputs)]
    assert any(node.output.type.shape == (3, 12) for node in used)
    for found, exact in zip(answers(graph), wanted, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_products_that_differ_in_their_bias_stay_apart() -> None:
    x = given()
    graph = graph_of(linear(x, 4), ops.MatMul()(x, weight(8, 4)), x=x)
    Pipeline(MergeProducts())(graph)
    assert not any(isinstance(node.op, ops.Split) for node in graph.nodes)


@pytest.mark.parametrize("dtype", [dt.f16, dt.bf16], ids=str)
def test_products_and_what_follows_are_narrow_and_ends_stay(dtype: DType) -> None:
    x = given()
    graph = graph_of(ops.Exp()(ops.Relu()(linear(x, 4))), x=x)
    Pipeline(Narrow(dtype=dtype))(graph)
    types = {type(node.op): node.output.type.dtype for node in graph.nodes}
    assert (types[ops.MatMul], types[ops.Relu], types[ops.Exp]) == (dtype, dtype, dt.f32)
    assert graph.outputs[0].type.dtype is graph.inputs[0].type.dtype is dt.f32

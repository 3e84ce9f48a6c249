"""Halves of a product that meet: which products are paired, and that the numbers stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.pairs import PairProducts
from tenfold.rewrite.pipeline import Pipeline

ROWS, WIDTH, N = 70, 16, 24
Meeting = Callable[[Value, Value], Value]


def weight(*shape: int) -> Value:
    random = np.random.default_rng(sum(shape))
    value: Value = ops.Constant(Tensor((random.standard_normal(shape) * 0.3).astype(np.float32)))()
    return value


def gated(left: Value, right: Value) -> Value:
    value: Value = ops.Mul()(left, ops.Gelu()(right))
    return value


def network(
    meet: Meeting = gated, rows: int = ROWS, sizes: tuple[int, ...] = (N, N), scale: bool = True, width: int = WIDTH
) -> Graph:
    """x w scaled row by row, with a row added, and what its parts make."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, rows // 2, width)))
    y = ops.MatMul()(x, weight(width, sum(sizes)))
    if scale:
        y = ops.Mul()(y, graph.input("s", Type(dt.f32, (2, rows // 2, 1))))
    parts = ops.Split(2, sizes)(ops.Add()(y, weight(sum(sizes))))
    graph.set_outputs([meet(*parts[:2])], ["y"])
    return graph


def paired(graph: Graph) -> int:
    """How many paired products a graph has once they are sought."""
    Pipeline(PairProducts(dtype=dt.f32))(graph)
    passes.TIDY(graph)
    return sum(node.op.name == "PairedMatMul" for node in graph.nodes)


@pytest.mark.parametrize("scale", [False, True])
def test_the_numbers_stay(scale: bool) -> None:
    graph, random = network(scale=scale), np.random.default_rng(1)
    arrays = [random.standard_normal((2, ROWS // 2, n)).astype(np.float32) for n in (WIDTH, 1)][: 1 + scale]
    (wanted,) = Interpreter({}).call(copy(graph), arrays)
    assert paired(graph) == 1
    (found,) = Interpreter({}).call(graph, arrays)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert not any(node.op.name in ("Split", "MatMul") for node in graph.nodes)


@pytest.mark.parametrize(
    "graph",
    [
        network(rows=64),
        network(width=2048),
        network(sizes=(N, N, N)),
        network(sizes=(20, 20)),
        network(meet=lambda left, right: ops.Mul()(left, ops.Softmax(2)(right))),
        network(meet=lambda left, right: ops.Concat(2)(ops.Relu()(left), right)),
        network(meet=lambda left, right: ops.Mul()(left, ops.Mul()(ops.Exp()(right), right))),
    ],
    ids=["few rows", "many terms", "three", "sizes", "rows", "apart", "used twice"],
)
def test_what_stays_as_it_is(graph: Graph) -> None:
    assert not paired(graph)


def test_a_graph_that_shows_a_half() -> None:
    graph = network()
    (half,) = (node.outputs[0] for node in graph.nodes if node.op.name == "Split")
    graph.set_outputs([*graph.outputs, half], ["y", "half"])
    assert not paired(graph)


def test_what_it_takes() -> None:
    x, w = Type(dt.f16, (3, 4, 8)), Type(dt.f16, (8, 10))
    assert ops.PairedMatMul().infer(x, w) == (Type(dt.f16, (3, 4, 5)),) * 2
    for a, b in ((x, Type(dt.f16, (8, 9))), (x, Type(dt.f16, (7, 10))), (x, Type(dt.f16, (1, 8, 10)))):
        with pytest.raises(ValueError, match="PairedMatMul takes"):
            ops.PairedMatMul().infer(a, b)

"""Large batches in portions: when, how many, and what is left of the graph's meaning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.compiler import assemble
from tenfold.compiler.portions import in_portions
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

SMALL = dataclasses.replace(ROWS[0], l2=1 << 12, l3=1 << 15)


def conv(x: Value, channels: int, size: int, rng: np.random.Generator) -> Value:
    shape = (channels, x.type.shape[1], size, size)
    w = ops.Constant(Tensor(rng.standard_normal(shape).astype(np.float32)))()
    pads = (size // 2,) * 2
    return ops.Conv((1, 1), (1, 1), pads, pads)(x, w)


def network(batch: Size, wide: int = 8) -> Graph:
    """Two convolutions with a skip between, a pool, and a layer whose weights are many."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.input("x", Type(dt.f32, (batch, 4, 16, 16)))
    bias = ops.Constant(Tensor(rng.standard_normal((1, wide, 1, 1)).astype(np.float32)))()
    first = ops.Relu()(ops.Add()(conv(x, wide, 3, rng), bias))
    second = ops.Relu()(ops.Add()(conv(first, wide, 1, rng), first))
    second.name = "second"
    pooled = ops.Pool("max", (2, 2), (2, 2), (1, 1), (0, 0), (0, 0))(second)
    graph.set_outputs([conv(pooled, 16, 3, rng)], ["y"])
    return graph


def divided(graph: Graph, isa: Isa = SMALL) -> Graph:
    made = copy(graph)
    in_portions(made, isa)
    made.verify()
    return made


def portions(graph: Graph) -> int:
    return max((len(node.inputs) for node in graph.nodes if isinstance(node.op, ops.Concat)), default=1)


def test_a_large_batch_goes_image_by_image() -> None:
    graph = network(6)
    made = divided(graph)
    assert portions(made) == 6
    x = np.random.default_rng(1).standard_normal((6, 4, 16, 16)).astype(np.float32)
    before, after = (Interpreter().run(one, {"x": x})["y"] for one in (graph, made))
    assert np.array_equal(before, after)
    named = {value.name for node in made.nodes for value in node.outputs}
    assert {"second[0:1]", "second[5:6]"} <= named or "second" in named


@pytest.mark.parametrize(
    ("batch", "isa", "why"),
    [
        (1, SMALL, "one image"),
        (symbol("N"), SMALL, "a batch that only the call tells"),
        (6, ROWS[0], "results that the last cache holds"),
        (6, dataclasses.replace(SMALL, l2=64), "weights that no cache near a core holds"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_others_stay_whole(batch: Size, isa: Isa, why: str) -> None:
    assert portions(divided(network(batch), isa)) == 1, why


def test_no_more_portions_than_sixteen() -> None:
    made = divided(network(40))
    assert portions(made) == 16
    assert sum(isinstance(node.op, ops.Conv) for node in made.nodes) == 2 * 16 + 1


def test_what_is_seen_outside_is_not_divided() -> None:
    graph = network(6)
    inner = next(node.output for node in graph.nodes if node.output.name == "second")
    graph.set_outputs([inner.producer.inputs[0], *graph.outputs], ["inner", "y"])  # type: ignore[union-attr]
    assert all(len(value.type.shape) == 4 for value in divided(graph).outputs)


def test_an_engine_of_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "in_portions", lambda graph, isa: in_portions(graph, SMALL))
    graph = network(6)
    x = np.random.default_rng(2).standard_normal((6, 4, 16, 16)).astype(np.float32)
    expected = Interpreter().run(graph, {"x": x})["y"]
    engine = tenfold.build(graph, cache=False)
    assert np.allclose(engine(x), expected, rtol=1e-4, atol=1e-3)
    assert any("[2:3]" in name for name in engine.taps)

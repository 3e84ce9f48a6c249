"""Large batches in portions: when, how many, and what is left of the graph's meaning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.compiler import assemble
from tenfold.compiler import portions as portions_module
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Graph, Node, Value, copy
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
    for stretch in portions_module.portions(made, isa):
        stretch.ways["in portions"](made, stretch.nodes)
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
    assert {f"second[{image}:{image + 1}]" for image in range(6)} <= named
    assert "second" not in named


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


def test_a_run_ends_where_something_is_seen_outside() -> None:
    graph = network(6)
    second = next(node.output for node in graph.nodes if node.output.name == "second")
    graph.set_outputs([second, *graph.outputs], ["second", "y"])
    made = divided(graph)
    assert portions(made) == 6
    assert isinstance(made.outputs[0].op, ops.Concat)
    assert sum(isinstance(node.op, ops.Pool) for node in made.nodes) == 1, "the pool is behind the output"
    x = np.random.default_rng(1).standard_normal((6, 4, 16, 16)).astype(np.float32)
    before, after = (Interpreter().run(one, {"x": x}) for one in (graph, made))
    assert all(np.array_equal(before[name], after[name]) for name in ("second", "y"))


def test_long_graphs_are_searched_in_one_walk() -> None:
    """Each node is asked once for a run, however many runs begin and end in early outputs."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (6, 4, 16, 16)))
    values = [x]
    for _ in range(400):
        values.append(ops.Relu()(values[-1]))
    graph.set_outputs(values[1:], [f"y{number}" for number in range(400)])
    asked: list[Node] = []
    whole = portions_module._by_image

    def counted(node: Node, isa: Isa) -> bool:
        asked.append(node)
        return whole(node, isa)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions_module, "_by_image", counted)
        assert portions(divided(graph, dataclasses.replace(SMALL, l3=1 << 12))) == 1
    assert len(asked) <= 2 * 400


def test_an_engine_of_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, SMALL))
    graph = network(6)
    x = np.random.default_rng(2).standard_normal((6, 4, 16, 16)).astype(np.float32)
    expected = Interpreter().run(graph, {"x": x})["y"]
    engine = tenfold.build(graph, cache=False)
    assert np.allclose(engine(x), expected, rtol=1e-4, atol=1e-3)
    assert any("[2:3]" in name for name in engine.taps)

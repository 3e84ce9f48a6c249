"""Large batches in portions: when, how many, and what is left of the graph's meaning."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from onnx import helper, numpy_helper

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


TINY = dataclasses.replace(SMALL, l3=1 << 13)


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
        next(iter(stretch.ways.values()))(made, stretch.nodes)
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
        (6, ROWS[0], "results that the last cache holds"),
        (6, dataclasses.replace(SMALL, l2=64), "weights that no cache near a core holds"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_others_stay_whole(batch: Size, isa: Isa, why: str) -> None:
    assert portions(divided(network(batch), isa)) == 1, why


def test_many_portions_are_turns_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network(40)
    made = divided(graph)
    (loop,) = (node for node in made.nodes if isinstance(node.op, ops.Scan))
    assert loop.inputs[0].type.shape == (40, 1, 4, 16, 16)
    assert portions(made) == 1
    twos = divided(graph, dataclasses.replace(SMALL, l3=1 << 17))
    assert [node.inputs[0].type.shape[:2] for node in twos.nodes if isinstance(node.op, ops.Scan)] == [(20, 2)]
    x = np.random.default_rng(1).standard_normal((40, 4, 16, 16)).astype(np.float32)
    expected = Interpreter().run(graph, {"x": x})["y"]
    for one in (made, twos):
        assert np.allclose(Interpreter().run(one, {"x": x})["y"], expected, rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, SMALL))
    engine = tenfold.build(graph, effort=0, cache=False)
    assert np.allclose(engine(x), expected, rtol=1e-4, atol=1e-3)


def test_a_run_begins_with_a_layer() -> None:
    """What is added behind a layer whose weights are many stays with it."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.input("x", Type(dt.f32, (6, 32, 8, 8)))
    bias = ops.Constant(Tensor(rng.standard_normal((1, 16, 1, 1)).astype(np.float32)))()
    heavy = ops.Relu()(ops.Add()(conv(x, 16, 3, rng), bias))
    graph.set_outputs([conv(ops.Relu()(conv(heavy, 16, 1, rng)), 16, 1, rng)], ["y"])
    (run,) = portions_module.portions(graph, SMALL)
    assert isinstance(run.nodes[0].op, ops.Conv)
    assert run.nodes[0].inputs[0] is heavy


def test_portions_are_even_where_they_can_be() -> None:
    share = SMALL.l3 // 8
    assert [portions_module._count(batch, 5 * share, SMALL) for batch in (8, 10, 7, 2)] == [8, 5, 7, 2]
    assert portions_module._count(17, 5 * share, SMALL) == 5, "17 portions are too many"
    assert [portions_module._count(batch, 25 * share, SMALL) for batch in (32, 64, 37)] == [32, 32, 37]
    assert portions_module._count(8, share, SMALL) == 1


def test_later_layers_go_by_several_images() -> None:
    """Layers whose weights are many are a run of their own, in fewer portions."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.input("x", Type(dt.f32, (8, 4, 16, 16)))
    early = ops.Pool("max", (4, 4), (4, 4), (1, 1), (0, 0), (0, 0))(conv(conv(x, 8, 3, rng), 8, 3, rng))
    graph.set_outputs([conv(ops.Relu()(conv(early, 16, 3, rng)), 16, 1, rng)], ["y"])
    made = divided(graph)
    assert [len(node.inputs) for node in made.nodes if isinstance(node.op, ops.Concat)] == [8, 2]
    given = {"x": np.random.default_rng(1).standard_normal((8, 4, 16, 16)).astype(np.float32)}
    assert np.array_equal(Interpreter().run(graph, given)["y"], Interpreter().run(made, given)["y"])


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

    def counted(node: Node) -> bool:
        asked.append(node)
        return whole(node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions_module, "_by_image", counted)
        assert portions(divided(graph, dataclasses.replace(SMALL, l3=1 << 12))) == 1
    assert len(asked) <= 2 * 400


def test_later_layers_see_all_images_of_an_open_batch() -> None:
    """A run ends where a large result has been read, with the elementwise work behind it."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.input("x", Type(dt.f32, (symbol("N"), 4, 16, 16)))
    early = ops.Pool("max", (8, 8), (8, 8), (1, 1), (0, 0), (0, 0))(conv(conv(x, 8, 3, rng), 8, 3, rng))
    small = ops.Relu()(early)
    late = conv(ops.Relu()(conv(small, 8, 1, rng)), 8, 1, rng)
    graph.set_outputs([late], ["y"])
    (run,) = portions_module.portions(graph, SMALL)
    assert run.nodes[-1].output is small
    made = divided(graph)
    assert sum(isinstance(node.op, ops.Conv) for node in made.nodes) == 2
    for images in (1, 5):
        given = {"x": np.random.default_rng(1).standard_normal((images, 4, 16, 16)).astype(np.float32)}
        assert np.array_equal(Interpreter().run(graph, given)["y"], Interpreter().run(made, given)["y"])


def test_an_engine_of_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, SMALL))
    graph = network(6)
    x = np.random.default_rng(2).standard_normal((6, 4, 16, 16)).astype(np.float32)
    expected = Interpreter().run(graph, {"x": x})["y"]
    engine = tenfold.build(graph, cache=False)
    assert np.allclose(engine(x), expected, rtol=1e-4, atol=1e-3)
    assert any("[2:3]" in name for name in engine.taps)


def open_network(seen: bool) -> Graph:
    """Four layers for any number of images, with a mask for all of them and an addend for each; the second layer's
    result may be one of the network's, ahead of the last.
    """
    graph, rng = Graph(), np.random.default_rng(0)
    x, z = (graph.input(name, Type(dt.f32, (symbol("N"), 4, 16, 16))) for name in "xz")
    mask = graph.input("mask", Type(dt.f32, (1, 1, 16, 16)))
    second = ops.Relu()(conv(ops.Relu()(conv(x, 8, 3, rng)), 8, 1, rng))
    second.name = "second"
    third = ops.Mul()(ops.Add()(conv(second, 4, 3, rng), z), mask)
    graph.set_outputs([*([second] if seen else []), conv(third, 16, 1, rng)], [*(["second"] if seen else []), "y"])
    return graph


def given(images: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(images)
    shapes = {"x": (images, 4, 16, 16), "z": (images, 4, 16, 16), "mask": (1, 1, 16, 16)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("seen", [False, True])
def test_any_number_of_images_by_turns(seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = open_network(seen)
    loops = [node for node in divided(graph, TINY).nodes if isinstance(node.op, ops.Scan)]
    assert [loop.op.scanned for loop in loops] == ([1, 2] if seen else [2])
    whole = tenfold.build(graph, effort=0, cache=False)
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, TINY))
    engine = tenfold.build(graph, effort=0, cache=False)
    assert [way["tactic"] for way in engine.report["ways"]] == ["image by image"] * len(loops)
    for images in (0, 1, 5, 2):
        inputs = given(images)
        expected = Interpreter().run(graph, inputs)
        for name, found in engine.run(inputs).items():
            assert np.allclose(found, expected[name], rtol=1e-4, atol=1e-3), (name, images)
            assert np.allclose(found, whole.run(inputs)[name], rtol=1e-5, atol=1e-4)
    shapes = {name: array.shape for name, array in given(32).items()}
    assert engine.memory(shapes)["arena"] < whole.memory(shapes)["arena"] or seen


def test_what_is_seen_of_a_loop_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tap shows the last image under a name that says so, a profile every turn; a queued call answers the same."""
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, TINY))
    graph, inputs = open_network(seen=False), given(3)
    second = next(node.output for node in graph.nodes if node.output.name == "second")
    engine = tenfold.build(graph, effort=0, cache=False)
    observed = copy(graph)
    observed.set_outputs([next(n.output for n in observed.nodes if n.output.name == second.name)], ["second"])
    expected = Interpreter().run(observed, inputs)["second"]
    assert np.allclose(engine.tap(inputs, ["second[-1:]"])["second[-1:]"], expected[-1:], rtol=1e-4, atol=1e-3)
    with engine.context() as context:
        steps = context.profile(inputs).steps
        turns = [step for step in steps if step.number == steps[0].number]
        assert len(turns) == 3
        assert np.array_equal(context.submit(inputs).result()["y"], engine.run(inputs)["y"])


def test_images_that_mix_stay_together() -> None:
    """A run ends ahead of what mixes the batch, and sizes that may differ are no batch."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.input("x", Type(dt.f32, (symbol("N"), 4, 16, 16)))
    mean = ops.Reduce("mean", (0,))(conv(x, 8, 3, rng))
    graph.set_outputs([conv(ops.Relu()(mean), 8, 3, rng)], ["y"])
    assert not portions_module.portions(graph, TINY)
    graph = Graph()
    x, z = (graph.input(name, Type(dt.f32, (symbol(size), 4, 16, 16))) for name, size in (("x", "N"), ("z", "M")))
    graph.set_outputs([conv(ops.Relu()(ops.Add()(x, z)), 8, 3, rng)], ["y"])
    runs = portions_module.portions(graph, TINY)
    assert not any(isinstance(node.op, ops.Add) for run in runs for node in run.nodes)


def test_a_refit_reaches_the_weights_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, TINY))
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    rng = np.random.default_rng(3)
    old = {name: rng.standard_normal((8, 8, 3, 3)).astype(np.float32) for name in "vw"}
    ends = [helper.make_tensor_value_info(name, 1, ["N", 8, 16, 16]) for name in "xy"]
    weights = [numpy_helper.from_array(array, name) for name, array in old.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))
    model.ir_version = 10
    engine = tenfold.build(model, effort=0, cache=False)
    assert engine.report["ways"]
    x, new = given(3)["x"].repeat(2, axis=1), rng.standard_normal((8, 8, 3, 3)).astype(np.float32)
    weights[1] = numpy_helper.from_array(new, "w")
    changed = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))
    changed.ir_version = 10
    expected = tenfold.build(changed, effort=0, cache=False)(x)
    assert np.array_equal(engine.refit({"w": new})(x), expected)


def products(rows: Size, *widths: int) -> Graph:
    """Products one after another, each but the last with its bias and ReLU."""
    graph, rng = Graph(), np.random.default_rng(0)
    value: Value = graph.input("x", Type(dt.f32, (rows, widths[0])))
    for terms, columns in pairwise(widths):
        w, b = (Tensor(rng.standard_normal(shape).astype(np.float32)) for shape in ((terms, columns), (columns,)))
        value = ops.Relu()(ops.Add()(ops.MatMul()(value, ops.Constant(w)()), ops.Constant(b)()))
    graph.set_outputs([value], ["y"])
    return graph


@pytest.mark.parametrize(("rows", "count"), [(1000, 8), (1001, 11), (4000, 1)])
def test_thin_products_go_by_some_rows(rows: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = products(rows, 3, 16, 16, 8)
    small = dataclasses.replace(SMALL, l3=1 << 16)
    made = divided(graph, small)
    assert portions(made) == count
    assert sum(isinstance(node.op, ops.Scan) for node in made.nodes) == (count == 1)
    x = np.random.default_rng(1).standard_normal((rows, 3)).astype(np.float32)
    whole = tenfold.build(graph, effort=0, cache=False)(x)
    monkeypatch.setattr(assemble, "portions", lambda graph, isa: portions_module.portions(graph, small))
    assert np.array_equal(tenfold.build(graph, effort=0, cache=False)(x), whole)


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (products(1000, 16, 256, 256), "products that take longer than their rows"),
        (products(symbol("rows", 1), 16, 16, 16), "rows that only the call tells"),
        (products(3989, 16, 16, 16), "a number of rows that nothing divides"),
        (products(1000, 16, 16), "one product"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_other_products_stay_whole(graph: Graph, why: str) -> None:
    assert not portions_module.portions(graph, dataclasses.replace(SMALL, l3=1 << 16)), why

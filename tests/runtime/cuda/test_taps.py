"""Values of engines on the emulated GPU, read by taps, beside the interpreter's; and the engines unchanged."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import EngineError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, gpu
from tests.runtime.test_taps import Watching, close, looped, named

RNG = np.random.default_rng(5)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver: FakeDriver = gpu(monkeypatch)
    return driver


def constant(*shape: int) -> Value:
    value: Value = ops.Constant(Tensor((RNG.standard_normal(shape) / 4).astype(np.float32)))()
    return value


def network() -> Graph:
    """A convolution, a product of its pixels by a matrix, and a softmax, each with a value inside and one behind it."""
    graph = Graph(name="network")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1, 4), 3, 8, 6)))
    sums = named(ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), 1)(x, constant(16, 3, 3, 3)), "sums")
    image = named(ops.Relu()(sums), "image")
    pixels = named(ops.Reduce("mean", (2, 3), False)(image), "pixels")
    scores = named(ops.MatMul()(pixels, constant(16, 10)), "scores")
    graph.set_outputs([named(ops.Softmax(1)(scores), "y")], ["y"])
    return graph


def test_every_tap_is_the_reference_s_value(driver: FakeDriver) -> None:
    graph = network()
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    inputs = {"x": RNG.standard_normal((2, 3, 8, 6)).astype(np.float32)}
    before, watching = engine.run(inputs), Watching()
    watching.run(graph, inputs)
    tapped = engine.tap(inputs)
    assert {"x", "sums", "image", "pixels", "scores", "y"} <= set(tapped)
    assert [name for name in tapped if name in watching.seen and not close(tapped[name], watching.seen[name])] == []
    assert np.array_equal(tapped["x"], inputs["x"])
    assert np.array_equal(engine.run(inputs)["y"], before["y"])


def test_values_of_a_loop_are_those_of_its_last_turn(driver: FakeDriver) -> None:
    engine = tenfold.build(looped(), target="cuda:sm_90", cache=False, effort=0)
    x = np.arange(4, dtype=np.float32) / 64
    assert np.array_equal(engine.tap([x], ["last"])["last"], 32 * x)


def test_values_of_an_engine_that_is_shared_are_refused(driver: FakeDriver) -> None:
    graph = Graph(name="shared")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1),)))
    graph.set_outputs([ops.NonZero()(ops.Exp()(x))], ["y"])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    with pytest.raises(EngineError, match="a GPU and the CPU share"):
        engine.tap([np.ones(3, np.float32)])

"""Engines for GPUs from build to answer, on a GPU emulated by Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.compiler.device import measure, stopwatch, tune
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver

RNG = np.random.default_rng(5)


def constant(*shape: int, dtype: type = np.float32) -> object:
    return ops.Constant(Tensor((RNG.standard_normal(shape) / 4).astype(dtype)))()


def perceptron() -> Graph:
    """relu(x w + b), softmax."""
    graph = Graph(name="perceptron")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 24)))
    hidden = ops.Relu()(ops.Add()(ops.MatMul()(x, constant(24, 40)), constant(40)))
    graph.set_outputs([ops.Softmax(1)(hidden)], ["y"])
    return graph


def test_a_perceptron_at_several_sizes(driver: FakeDriver) -> None:
    graph = perceptron()
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    assert all(region["tier"] == "kernel" and region["expected_us"] > 0 for region in engine.report["regions"])
    with engine.context() as context:
        for n in (3, 1, 3, 3):
            x = RNG.standard_normal((n, 24)).astype(np.float32)
            (wanted,) = Interpreter({"n": n}).call(graph, [x])
            np.testing.assert_allclose(context.run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-6)
        steps = context.profile({"x": x}).steps
        assert len(steps) == 2 and steps[0].name
    assert driver.replays == 4


@pytest.mark.parametrize("precision", ["model", "tf32"])
def test_candidates_are_timed_where_there_is_a_gpu(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setitem(tune.CANDIDATES, 1, 2)
    monkeypatch.setattr(measure, "_COPIES", (1, 1))
    for name in ("_ROUNDS", "_REPLAYS"):
        monkeypatch.setattr(stopwatch, name, 1)
    engine = tenfold.build(perceptron(), target="cuda", precision=precision, cache=False, effort=1)
    assert engine.target == "cuda:sm_90" and driver.live == 0
    x = RNG.standard_normal((2, 24)).astype(np.float32)
    (wanted,) = Interpreter({"n": 2}).call(perceptron(), [x])
    assert engine(x).shape == wanted.shape

"""First layers whose greatest results alone are stored, on the emulated GPU, beside the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.compiler.device import chains
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, gpu
from tests.runtime.cuda.test_chains import _by_chains, _kinds
from tests.runtime.cuda.test_networks import bias, conv

POOLED = "Chain of Conv Add Relu, "


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    monkeypatch.setattr(chains, "tune_device", _by_chains)
    driver: FakeDriver = gpu(monkeypatch)
    return driver


def first(x: Value) -> Value:
    value: Value = ops.Relu()(bias(conv(x, 16, k=7, stride=2, pad=3)))
    return value


def greatest(x: Value) -> Value:
    value: Value = ops.Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))(x)
    return value


def built(x: Value, graph: Graph, outputs: Sequence[Value], shape: tuple[int, ...]) -> tenfold.Engine:
    """The engine of a graph, which agrees with the interpreter."""
    graph.set_outputs(outputs, [f"y{number}" for number in range(len(outputs))])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    array = np.random.default_rng(5).standard_normal(shape).astype(x.type.dtype.numpy)
    with engine.context() as context:
        results = context.run([array]).values()
        for found, exact in zip(results, Interpreter({}).call(graph, [array]), strict=True):
            assert np.abs(found.astype(np.float64) - exact).max() <= 4e-3 * np.abs(exact.astype(np.float64)).max()
    return engine


def test_a_first_layer_is_not_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, (2, 3, 22, 26)))
    engine = built(x, graph, [conv(greatest(first(x)), 16, k=1)], (2, 3, 22, 26))
    kinds = _kinds(engine)
    assert kinds[0].startswith(POOLED) and kinds[1:] == ["Conv", "Copy"], kinds
    assert engine.memory({})["buffers"] < 2 * 16 * 11 * 13 * 2


def test_of_any_number_of_images(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, (dim.symbol("n", 1, 64), 3, 14, 18)))
    engine = built(x, graph, [conv(greatest(first(x)), 16, k=1)], (3, 3, 14, 18))
    assert _kinds(engine)[0].startswith(POOLED)


def test_a_cast_image_is_not_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, 3, 14, 18)))
    engine = built(x, graph, [conv(greatest(first(ops.Cast(dt.f16)(x))), 16, k=1)], (2, 3, 14, 18))
    assert _kinds(engine)[0].startswith("Chain of Cast, Conv Add Relu, ") and len(_kinds(engine)) == 3


def test_a_cast_image_that_others_read_is_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, 3, 14, 18)))
    image = ops.Cast(dt.f16)(x)
    outputs = [greatest(first(image)), conv(image, 16, k=1)]
    engine = built(x, graph, outputs, (2, 3, 14, 18))
    assert "Cast" in _kinds(engine) and any(kind.startswith(POOLED) for kind in _kinds(engine))


def test_what_others_read_is_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, (1, 3, 14, 18)))
    made = first(x)
    engine = built(x, graph, [greatest(made), made], (1, 3, 14, 18))
    assert not any(kind.startswith(POOLED) for kind in _kinds(engine))


def test_a_tap_sees_what_is_not_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, (1, 3, 14, 18)))
    made = first(x)
    made.name = "made"
    engine = built(x, graph, [greatest(made)], (1, 3, 14, 18))
    array = np.random.default_rng(6).standard_normal((1, 3, 14, 18)).astype(np.float16)
    found = engine.tap([array])["made"].astype(np.float64)
    (exact,) = Interpreter({}).call(graph, [array])
    assert (
        np.abs(found.reshape(1, 16, -1).max(axis=2) - exact.reshape(1, 16, -1).max(axis=2)).max() <= 4e-3 * exact.max()
    )

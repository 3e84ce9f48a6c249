"""1x1 convolutions whose results only a depthwise convolution reads, on the emulated GPU, beside the interpreter."""

from __future__ import annotations

import pytest

from tenfold import ops
from tenfold.compiler.device import chains
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, gpu
from tests.runtime.cuda.test_chains import _by_chains, _kinds
from tests.runtime.cuda.test_networks import bias, conv
from tests.runtime.cuda.test_pooled import built

from tenfold.codegen.cuda.conv import expanded  # isort: skip

SHAPE = (1, 24, 6, 7)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    monkeypatch.setattr(chains, "tune_device", _by_chains)
    monkeypatch.setattr(expanded, "_LEAST", 1)
    driver: FakeDriver = gpu(monkeypatch)
    return driver


def wide(x: Value) -> Value:
    value: Value = ops.Relu()(bias(conv(x, 48, k=1)))
    return value


def deep(x: Value, stride: int = 1) -> Value:
    value: Value = ops.Silu()(bias(conv(x, 48, pad=1, groups=48, stride=stride)))
    return value


def test_what_lies_between_is_not_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, SHAPE))
    engine = built(x, graph, [ops.Add()(bias(conv(deep(wide(x)), 24, k=1)), x)], SHAPE)
    kinds = [kind for kind in _kinds(engine) if "Conv" in kind]
    assert kinds == ["Chain of Conv Add Relu, Conv Add Silu", "Conv Add"], kinds


def test_sums_are_told_by_the_way(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, SHAPE))
    y = deep(wide(x), 2)
    gate = ops.Sigmoid()(conv(ops.Reduce("mean", (2, 3), True)(y), 48, k=1))
    engine = built(x, graph, [conv(ops.Mul()(y, gate), 24, k=1)], SHAPE)
    assert any(kind.startswith("Chain of Conv Add Relu, Conv Add Silu") for kind in _kinds(engine)), _kinds(engine)


def test_what_others_read_is_stored(driver: FakeDriver) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, SHAPE))
    y = wide(x)
    engine = built(x, graph, [ops.Add()(deep(y), y)], SHAPE)
    assert not any(kind.startswith("Chain of ") for kind in _kinds(engine)), _kinds(engine)
    graph = Graph()
    x = graph.input("x", Type(dt.f16, SHAPE))
    y = wide(x)
    assert not any(kind.startswith("Chain of ") for kind in _kinds(built(x, graph, [deep(y), y], SHAPE)))

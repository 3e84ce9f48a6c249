"""Queued calls of engines that a GPU and the CPU share, the GPU emulated: two at once, in order, and given back."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import wait
from threading import Event
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import Cancelled, EngineError, InputError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, emulate

from tenfold.codegen.cuda import strategies  # isort: skip
from tenfold.runtime.cuda import shared  # isort: skip

RNG = np.random.default_rng(8)
PATIENCE = 20
TURNED = np.eye(8, dtype=np.float32)[::-1].copy()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A GPU that has no kernel for running sums."""
    kept = tuple(one for one in strategies.STRATEGIES if one.name != "scan")
    monkeypatch.setattr(strategies, "STRATEGIES", kept)
    return emulate(monkeypatch)


@pytest.fixture
def engine(driver: FakeDriver) -> tenfold.Engine:
    """A GPU's span, the CPU's running sum, a GPU's span."""
    graph = Graph(name="mixed")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 8)))
    w = ops.Constant(Tensor(TURNED))()
    graph.set_outputs([ops.MatMul()(ops.Cumulative("sum", 1)(ops.MatMul()(x, w)), w)], ["y"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def given(n: int) -> dict[str, Any]:
    return {"x": RNG.standard_normal((n, 8)).astype(np.float32)}


def wanted(feeds: dict[str, Any]) -> Any:
    return np.cumsum(feeds["x"] @ TURNED, 1) @ TURNED


def test_answers_come_in_order_at_any_size(engine: tenfold.Engine, driver: FakeDriver) -> None:
    calls, ended = [given(n) for n in (3, 3, 5, 2, 3, 1, 7)], list[int]()
    with engine.context() as context:
        assert isinstance(context, shared.SharedContext)
        waiting = [context.submit(one) for one in calls]
        for number, one in enumerate(waiting):
            one.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        for one, found in zip(calls, waiting, strict=True):
            np.testing.assert_allclose(found.result()["y"], wanted(one), 1e-5, 1e-6)
        np.testing.assert_allclose(context.run(calls[2])["y"], wanted(calls[2]), 1e-5, 1e-6)
        again = asyncio.run(context.run_async(calls[1]))
        np.testing.assert_allclose(again["y"], wanted(calls[1]), 1e-5, 1e-6)
    assert ended == sorted(ended)
    gc.collect()
    engine.resident.close()
    assert driver.live == 0


def test_the_cpu_works_on_a_call_while_the_gpu_works_on_another(
    engine: tenfold.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Event(), Event()
    launch, native = shared.SharedContext._launch, shared.Context._native
    first: list[object] = []

    def launched(self: shared.SharedContext, span: Any) -> None:
        first.append(self)
        if self is first[0] and self.native_calls:
            here.set()
            assert there.wait(PATIENCE), "the other call's part on the CPU waits for this one's on the GPU"
        elif self is not first[0]:
            assert here.wait(PATIENCE)
        launch(self, span)

    def called(self: shared.Context, span: Any, brief: bool) -> None:
        native(self, span, brief)
        if self is not first[0]:
            there.set()

    monkeypatch.setattr(shared.SharedContext, "_launch", launched)
    monkeypatch.setattr(shared.Context, "_native", called)
    calls = [given(4), given(4)]
    with engine.context() as context:
        waiting = [context.submit(one) for one in calls]
        for one, found in zip(calls, waiting, strict=True):
            np.testing.assert_allclose(found.result(PATIENCE)["y"], wanted(one), 1e-5, 1e-6)


def test_bound_results_are_written_in_order(engine: tenfold.Engine) -> None:
    mine, calls = np.zeros((3, 8), np.float32), [given(3) for _ in range(5)]
    with engine.context() as context:
        context.bind(outputs={"y": mine})
        wait([context.submit(one) for one in calls])
        np.testing.assert_allclose(mine, wanted(calls[-1]), 1e-5, 1e-6)
        context.unbind("y")
        context.bind(calls[0])
        for found in [context.submit(), context.submit()]:
            np.testing.assert_allclose(found.result()["y"], wanted(calls[0]), 1e-5, 1e-6)


def test_refusals_come_with_the_result(engine: tenfold.Engine) -> None:
    context = engine.context()
    assert isinstance(context.submit().exception(), InputError)
    assert isinstance(context.submit([1, 2]).exception(), InputError)
    waiting = [context.submit(given(2)) for _ in range(20)]
    context.cancel()
    wait(waiting)
    assert {type(one.exception()) for one in waiting[-2:]} == {Cancelled}
    context.run(given(2))
    last = [context.submit(given(2)) for _ in range(20)]
    context.close()
    wait(last)
    assert {type(one.exception()) for one in last} <= {type(None), EngineError}

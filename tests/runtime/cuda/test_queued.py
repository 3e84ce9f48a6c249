"""Calls that are queued on a GPU, which is emulated: right answers in order, memory given back, what is refused."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import ClassVar

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import Cancelled, EngineError, InputError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.plan import Spec
from tests.runtime.cuda.emulated import FakeDriver

from tenfold.runtime.cuda import memory  # isort: skip
from tenfold.runtime.cuda.arrays import on_device  # isort: skip

RNG = np.random.default_rng(8)


@pytest.fixture
def engine(driver: FakeDriver) -> tenfold.Engine:
    graph = Graph(name="queued")
    x, y = (graph.input(name, Type(dt.f32, (symbol("n", 1), 24))) for name in "xy")
    graph.set_outputs([ops.Add()(x, y), ops.Relu()(x)], ["sum", "positive"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def arrays(n: int) -> dict[str, np.ndarray]:
    return {name: RNG.standard_normal((n, 24)).astype(np.float32) for name in "xy"}


def test_answers_come_in_order_at_any_size(engine: tenfold.Engine, driver: FakeDriver) -> None:
    given = [arrays(n) for n in (3, 3, 5, 3, 1, 5, 5)]
    with engine.context() as context:
        waiting = [context.submit(one) for one in given]
        direct = context.run(given[0])
        for one, found in zip(given, waiting, strict=True):
            np.testing.assert_array_equal(found.result()["sum"], one["x"] + one["y"])
            np.testing.assert_array_equal(found.result()["positive"], np.maximum(one["x"], 0))
        np.testing.assert_array_equal(direct["sum"], given[0]["x"] + given[0]["y"])
        again = asyncio.run(context.run_async(given[1]))
        np.testing.assert_array_equal(again["sum"], given[1]["x"] + given[1]["y"])
    engine.resident.close()
    assert driver.live == 0


def test_large_results_lie_in_pinned_memory_that_is_used_again(
    engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LARGE", 64)
    with engine.context() as context:
        kept = [context.submit(arrays(4)).result() for _ in range(3)]
        places = {one.ctypes.data for result in kept for one in result.values()}
        assert len(places) == 6 and places <= driver.pinned
        del kept
        found = context.submit(given := arrays(4)).result()
        assert found["sum"].ctypes.data in places
        monkeypatch.setattr(memory, "_MOST", 0)
        assert context.run(arrays(40))["sum"].ctypes.data not in driver.pinned
    np.testing.assert_array_equal(found["sum"], given["x"] + given["y"])
    engine.resident.close()
    assert driver.live > 0
    del found
    assert driver.live == 0


def test_results_are_of_the_first_inputs_kind_or_where_the_caller_wants_them(engine: tenfold.Engine) -> None:
    given = arrays(2)
    tensors = {name: torch.from_numpy(one) for name, one in given.items()}
    with engine.context() as context:
        assert isinstance(context.run(tensors)["sum"], torch.Tensor)
        assert isinstance(context.submit(tensors).result()["sum"], torch.Tensor)
        mine = np.zeros((2, 24), np.float32)
        context.bind({"y": given["y"]}, {"sum": mine})
        context.submit({"x": given["x"]}).result()
        np.testing.assert_array_equal(mine, given["x"] + given["y"])


def test_refusals_come_with_the_result(engine: tenfold.Engine) -> None:
    context = engine.context()
    with pytest.raises(InputError, match="'y' is missing"):
        context.submit({"x": arrays(2)["x"]}).result()
    waiting = [context.submit(arrays(2)) for _ in range(20)]
    context.cancel()
    wait(waiting)
    assert isinstance(waiting[-1].exception(), Cancelled)
    context.run(arrays(2))
    last = [context.submit(arrays(2)) for _ in range(20)]
    context.close()
    wait(last)
    assert {type(one.exception()) for one in last} <= {type(None), EngineError}


def test_arrays_on_another_gpu_are_refused() -> None:
    class Elsewhere:
        __cuda_array_interface__: ClassVar[dict[str, object]] = {
            "typestr": "<f4",
            "shape": (2, 24),
            "data": (64, False),
        }

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 1

    with pytest.raises(InputError, match="lies on GPU 1, and engines run on GPU 0"):
        on_device(Spec("x", dt.f32, (2, 24)), Elsewhere())

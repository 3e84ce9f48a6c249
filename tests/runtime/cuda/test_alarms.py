"""Indices that lie outside of their axes, on a GPU that is emulated: the CPU's exception, and the next call is well."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import ExecutionError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver

from tenfold.codegen.cuda import strategies  # isort: skip

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
GOOD, BAD = np.array([0, -4, 3]), np.array([0, 4, 1])


def gather(x: Any) -> Any:
    """The rows of a table that a batch names, and elementwise work before and after."""
    return ops.Relu()(ops.Gather(0)(ops.Constant(Tensor(TABLE))(), x))


def summed(x: Any) -> Any:
    """Rows that are gathered, reduced."""
    return ops.Reduce("sum", (1,), False)(gather(x))


def scatter(x: Any) -> Any:
    """Numbers placed in a row."""
    row = ops.Constant(Tensor(np.zeros(4, np.float32)))()
    return ops.ScatterElements(0)(row, x, ops.Cast(dt.f32)(x))


def engine_of(make: Any, target: str) -> tenfold.Engine:
    graph = Graph(name="indices")
    x = graph.input("x", Type(dt.i64, (symbol("n", 1),)))
    graph.set_outputs([make(x)], ["y"])
    return tenfold.build(graph, target=target, cache=False, effort=0)


@pytest.mark.parametrize("make", [gather, summed, scatter])
def test_the_same_exception_as_on_the_cpu(driver: FakeDriver, make: Any) -> None:
    here, there = engine_of(make, "cpu"), engine_of(make, "cuda:sm_90")
    assert {region["place"] for region in there.report["regions"]} == {"cuda"}
    with pytest.raises(ExecutionError, match="an index lies outside of the axis") as expected:
        here(BAD)
    with there.context() as context:
        for _ in range(2):
            with pytest.raises(ExecutionError) as found:
                context.run([BAD])
            assert found.value.operator == expected.value.operator and found.value.remedy == expected.value.remedy
            np.testing.assert_array_equal(context.run([GOOD])["y"], here(GOOD))
        waiting = [context.submit([one]) for one in (GOOD, BAD, GOOD, BAD)]
        assert [type(one.exception()) for one in waiting] == [type(None), ExecutionError] * 2
        with pytest.raises(ExecutionError):
            context.profile([BAD])
        with pytest.raises(ExecutionError):
            asyncio.run(context.run_async([BAD]))
        context.run([GOOD])
    del found, waiting
    gc.collect()
    there.resident.close()
    assert driver.live == 0


def test_beside_the_cpu(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tuple(one for one in strategies.STRATEGIES if one.name != "scan")
    monkeypatch.setattr(strategies, "STRATEGIES", kept)
    engine = engine_of(lambda x: ops.Cumulative("sum", 1)(summed_rows(x)), "cuda:sm_90")
    assert {region["place"] for region in engine.report["regions"]} == {"cuda", "cpu"}
    with engine.context() as context:
        for run in (lambda x: context.run([x]), lambda x: context.submit([x]).result()):
            with pytest.raises(ExecutionError, match="an index lies outside of the axis"):
                run(BAD)
            np.testing.assert_allclose(run(GOOD)["y"], np.cumsum(TABLE[GOOD] @ TABLE.T, 1))


def summed_rows(x: Any) -> Any:
    """A product of the rows that are gathered."""
    return ops.MatMul()(gather(x), ops.Constant(Tensor(TABLE.T.copy()))())

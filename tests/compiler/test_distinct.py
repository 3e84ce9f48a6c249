"""Distinct elements and slices by kernels are what NumPy finds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.compiler.building import Bench, reference, workbench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def unique(axis: int | None, ordered: bool, rank: int, dtype: DType) -> Graph:
    graph = Graph(name="unique")
    x = graph.input("x", Type(dtype, tuple(symbol(name) for name in "abc"[:rank])))
    graph.set_outputs(ops.Unique(axis, ordered)(x), ["distinct", "first", "group", "often"])
    return graph


@pytest.mark.parametrize("ordered", [True, False], ids=["sorted", "as they come"])
@pytest.mark.parametrize(
    ("axis", "rank", "dtype"),
    [(None, 1, dt.f32), (None, 2, dt.i64), (None, 1, dt.boolean), (0, 1, dt.f16), (0, 2, dt.f32), (1, 3, dt.u8)],
)
def test_unique(bench: Bench, axis: int | None, rank: int, dtype: DType, ordered: bool) -> None:
    graph = unique(axis, ordered, rank, dtype)
    engine = bench.engine(graph)
    assert engine.report["host_steps"] == 0
    random = np.random.default_rng(5)
    for shape in ((7, 4, 3), (1, 1, 1), (40, 2, 2), (2, 9, 1)):
        given = {"x": random.integers(0, 4, shape[:rank]).astype(dtype.numpy)}
        if dtype.is_float and axis is None:
            given["x"].reshape(-1)[::3] = np.nan
        expected = reference(graph, given)[0]
        for name, found in engine.run(given).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
    if rank == 1:
        assert all(one.size == 0 for one in engine.run([np.zeros(0, dtype.numpy)]).values())

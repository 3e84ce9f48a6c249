"""Gathering as elements at computed places."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops
from tenfold.compiler.fuse.decompose import decompose
from tenfold.errors import ExecutionError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tests.compiler.running import H, close, graph_of, same_after


@pytest.mark.parametrize("dtype", [dt.i64, dt.i32], ids=str)
def test_places_from_the_end(dtype: dt.DType) -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (H, 2)), Type(dtype, (4,)))
    changed = copy(graph)
    decompose(changed)
    given = {"x0": np.arange(12, dtype=np.float32).reshape(6, 2), "x1": np.array([0, -1, -6, 5]).astype(dtype.numpy)}
    close(Interpreter().run(changed, given)["y0"], Interpreter().run(graph, given)["y0"], 0)


@pytest.mark.parametrize("place", [-(2**63), -5, 4, 2**62])
def test_places_outside_fail(place: int) -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (4,)), Type(dt.i64, (3,)))
    decompose(graph)
    given = {"x0": np.arange(4, dtype=np.float32), "x1": np.array([-4, 3, place])}
    with pytest.raises(ExecutionError, match="outside of an axis of 4"):
        Interpreter().run(graph, given)


def test_gathering_from_an_empty_axis_reads_nothing() -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (3, H)), Type(dt.i64, (0,)))
    same_after(decompose, graph)

"""What may run on the host: the list, and engines whose reports give its reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen import hosted
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type


def test_the_list_names_operations() -> None:
    assert set(hosted.LISTED) <= {op.__name__ for op in ops.ALL}
    assert all(hosted.LISTED.values())
    assert hosted.reason("Add", objects=False) == "" and hosted.reason("Add", objects=True)


def host_regions(graph: Graph) -> list[dict[str, Any]]:
    engine = tenfold.build(graph, effort=0)
    return [one for one in engine.report["regions"] if one["tier"] == "host"]


def test_strings_run_on_the_host_and_numbers_beside_them_do_not() -> None:
    graph = Graph()
    words, x = graph.input("words", Type(dt.string, (3,))), graph.input("x", Type(dt.f32, (3,)))
    joined = ops.StringConcat()(words, words)
    places = ops.Lookup(Tensor(np.array(["aa"], np.object_)), Tensor(np.array([1])), Tensor(np.array([0])))(joined)
    graph.set_outputs([joined, ops.Add()(ops.Cast(dt.f32)(places), x)], ["joined", "y"])
    found = host_regions(graph)
    assert {one["kind"] for one in found} == {"StringConcat", "Lookup"}
    assert {one["reason"] for one in found} == {hosted.OBJECTS}
    engine = tenfold.build(graph, effort=0)
    texts, y = engine(np.array(["a", "b", "a"], np.object_), np.ones(3, np.float32))
    assert texts.tolist() == ["aa", "bb", "aa"] and y.tolist() == [2, 1, 2]


@pytest.mark.parametrize("held", [True, False])
def test_a_condition_of_the_model(held: bool) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (3,)))
    graph.set_outputs([ops.Require("x is negative")(x, ops.GreaterOrEqual()(x, ops.scalar(0, dt.f32)()))], ["y"])
    (region,) = host_regions(graph)
    assert region["reason"] == hosted.LISTED["Require"]
    engine = tenfold.build(graph, effort=0)
    if held:
        assert engine(np.ones(3, np.float32)).tolist() == [1, 1, 1]
    else:
        with pytest.raises(tenfold.ExecutionError, match="x is negative"):
            engine(-np.ones(3, np.float32))

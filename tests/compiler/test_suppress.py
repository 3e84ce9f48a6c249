"""Non-maximum suppression by kernels gives what its definition gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.compiler.building import Bench, reference, workbench

SHAPES = ((1, 1, 6), (2, 3, 20), (1, 4, 50), (0, 2, 3), (1, 0, 4), (2, 2, 0), (1, 2, 1))
"""Images, classes, boxes."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def suppression(centred: bool, most: int, threshold: float) -> Graph:
    graph = Graph(name="suppression")
    images, kinds, count = (symbol(name) for name in "NCB")
    boxes = graph.input("boxes", Type(dt.f32, (images, count, 4)))
    scores = graph.input("scores", Type(dt.f32, (images, kinds, count)))
    limits = (np.array([most]), np.array([0.4], np.float32), np.array([threshold], np.float32))
    constants = (ops.Constant(Tensor(one))() for one in limits)
    graph.set_outputs([ops.NonMaxSuppression(centred)(boxes, scores, *constants)], ["chosen"])
    return graph


@pytest.mark.parametrize("centred", [False, True], ids=["corners", "centres"])
@pytest.mark.parametrize(("most", "threshold"), [(10, 0.3), (1000, -np.inf), (0, 0.1), (2, 0.9), (5, 2.0)])
def test_suppression(bench: Bench, centred: bool, most: int, threshold: float) -> None:
    graph = suppression(centred, most, threshold)
    engine = bench.engine(graph)
    assert engine.report["host_steps"] == 0
    random = np.random.default_rng(3)
    for images, kinds, count in SHAPES:
        scores = random.random((images, kinds, count)).round(1 if count < 30 else 6)
        given = {
            "boxes": random.random((images, count, 4)).astype(np.float32),
            "scores": scores.astype(np.float32),
        }
        expected = reference(graph, given)[0]["chosen"]
        np.testing.assert_array_equal(engine.run(given)["chosen"], expected)

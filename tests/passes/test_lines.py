"""Reductions of images by lines give what those of whole images do, whether or not axes stay."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("kind", ["mean", "max"])
def test_images_are_reduced_by_lines(kind: str, keepdims: bool) -> None:
    random = np.random.default_rng(3)
    graph = Graph(name="reduced")
    x = graph.input("x", Type(dt.f32, (2, 5, 9, 7)))
    weights = ops.Constant(Tensor(random.standard_normal((8, 5, 1, 1)).astype(np.float32)))()
    image = ops.Relu()(ops.Conv((1, 1), (1, 1), (0, 0), (0, 0), 1)(x, weights))
    graph.set_outputs([ops.Reduce(kind, (2, 3), keepdims)(image)], ["y"])
    array = random.standard_normal((2, 5, 9, 7)).astype(np.float32)
    (wanted,) = Interpreter({}).call(graph, [array])
    found = tenfold.build(graph, cache=False, effort=0).run([array])["y"]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)

"""What tells its sums or moments by the way stays on the GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.passes.test_squeeze import network, weight

pytest.importorskip("tests.codegen.cuda.interpreting")


def norm_between_products() -> Graph:
    """A product, a residual, their norm and a perceptron beside it."""
    graph, width = Graph(), 128
    x = graph.input("x", Type(dt.f32, (64, width)))
    y = ops.Add()(ops.MatMul()(x, weight(width, width)), x)
    y = ops.LayerNorm(1, 1e-5)(y, weight(width), weight(width))
    wide = ops.Gelu()(ops.Add()(ops.MatMul()(y, weight(width, 4 * width)), weight(4 * width)))
    z = ops.Add()(ops.Add()(ops.MatMul()(wide, weight(4 * width, width)), weight(width)), y)
    graph.set_outputs([ops.LayerNorm(1, 1e-5)(z, weight(width), weight(width))], ["y"])
    return graph


@pytest.mark.parametrize("model", [network, norm_between_products], ids=["sums", "moments"])
def test_a_network_that_tells_is_whole_on_the_gpu(model: Callable[[], Graph]) -> None:
    engine = tenfold.build(model(), target="cuda:sm_90", precision="f16", effort=0, cache=False)
    assert {region["place"] for region in engine.report["regions"]} == {"cuda"}

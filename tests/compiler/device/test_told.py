"""What tells its sums or moments by the way stays on the GPU, and why others do not make it is true."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.passes import behind
from tests.passes.test_squeeze import network, weight

pytest.importorskip("tests.codegen.cuda.interpreting")


def norm_between_products() -> Graph:
    """A product, a residual, their norm and a perceptron beside it, of as many rows as it takes to tell moments."""
    graph, width = Graph(), 128
    x = graph.input("x", Type(dt.f32, (behind.FEWEST, width)))
    y = ops.Add()(ops.MatMul()(x, weight(width, width)), x)
    y = ops.LayerNorm(1, 1e-5)(y, weight(width), weight(width))
    wide = ops.Gelu()(ops.Add()(ops.MatMul()(y, weight(width, 4 * width)), weight(4 * width)))
    z = ops.Add()(ops.Add()(ops.MatMul()(wide, weight(4 * width, width)), weight(width)), y)
    graph.set_outputs([ops.LayerNorm(1, 1e-5)(z, weight(width), weight(width))], ["y"])
    return graph


TOLD = pytest.mark.parametrize(
    ("model", "behind_it"), [(network, "Gated"), (norm_between_products, "Standardise")], ids=["sums", "moments"]
)


@TOLD
def test_a_network_that_tells_is_whole_on_the_gpu(model: Callable[[], Graph], behind_it: str) -> None:
    """`behind_it`: what is only there where something is told."""
    engine = tenfold.build(model(), target="cuda:sm_90", precision="f16", effort=0, cache=False)
    assert any(behind_it in region["kind"] for region in engine.report["regions"])
    assert {region["place"] for region in engine.report["regions"]} == {"cuda"}


@TOLD
def test_only_who_would_make_the_rest_is_refused_for_what_is_told(model: Callable[[], Graph], behind_it: str) -> None:
    engine = tenfold.build(model(), target="cuda:sm_90", precision="f16", effort=0, cache=False)
    refused = [(name, why) for region in engine.report["regions"] for name, why in region["refused"]]
    assert {name for name, why in refused if why.startswith("more is told")} <= {"plain"}
    assert ("flash", "no attention") in refused

"""Where the parts of a model run that a GPU and the CPU share: the cheapest division, and what the clock says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.compiler.device.cut import FOREVER, HERE, THERE, Cut
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import emulate

from tenfold.compiler.device import placing, tune  # isort: skip

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("seed", range(30))
def test_no_division_is_cheaper(seed: int) -> None:
    rng, count = np.random.default_rng(seed), 6
    costs = np.where(rng.random((count, count)) < 0.6, rng.integers(0, 20, (count, count)), 0)
    cut = Cut()
    for _ in range(count - 2):
        cut.node()
    for one, other in itertools.permutations(range(count), 2):
        cut.cost(one, other, float(costs[one, other]))

    def price(here: set[int]) -> int:
        return sum(int(costs[a, b]) for a in here for b in range(count) if a != b and b not in here)

    found = cut.here()
    assert HERE in found and THERE not in found
    rest = range(2, count)
    every = (set(some) for size in range(count - 1) for some in itertools.combinations(rest, size))
    assert price(found) == min(price({HERE, *some}) for some in every)


def test_what_may_not_be_apart() -> None:
    cut = Cut()
    one, other = cut.node(), cut.node()
    cut.cost(HERE, one, FOREVER)
    cut.cost(one, other, FOREVER)
    cut.cost(other, THERE, 5.0)
    assert cut.here() == {HERE, one, other}


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose clock is not read."""
    emulate(monkeypatch)
    monkeypatch.setattr(tune, "_measured", lambda contests, tuning: [])


def chain(*sizes: int) -> Graph:
    """Products one after another."""
    graph = Graph(name="chain")
    y: Value = graph.input("x", Type(dt.f32, (8, sizes[0])))
    for before, after in itertools.pairwise(sizes):
        y = ops.MatMul()(y, ops.Constant(Tensor(RNG.standard_normal((before, after)).astype(np.float32)))())
    graph.set_outputs([y], ["y"])
    return graph


def built(monkeypatch: pytest.MonkeyPatch, seconds: Any, graph: Graph) -> tenfold.Engine:
    """An engine whose GPU's pieces take `seconds(number of columns)`, and whose CPU's take 60 µs each."""
    monkeypatch.setattr(placing, "expected", lambda piece: seconds(piece.region.domain[-1]))
    monkeypatch.setattr(placing, "_taken", lambda piece, tuning: 6e-5)
    return tenfold.build(graph, target="cuda/cpu", cache=False, effort=1)


def places(engine: tenfold.Engine) -> list[str]:
    return [region["place"] for region in engine.report["regions"]]


def test_a_piece_goes_where_a_call_ends_soonest(unhurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_in_the_middle = {16: 1e-6, 24: 5e-3, 32: 1e-6}
    engine = built(monkeypatch, slow_in_the_middle.__getitem__, chain(8, 16, 24, 32))
    assert places(engine) == ["cpu", "cpu", "cpu"], "two changes of place cost more than two products on the CPU"
    assert not engine.report["transfers"]
    monkeypatch.setattr(placing, "_CALL", 1e-6)
    monkeypatch.setattr(placing, "_TRANSFER", 1e-6)
    graph = chain(8, 16, 24, 32)
    engine = built(monkeypatch, slow_in_the_middle.__getitem__, graph)
    assert places(engine) == ["cuda", "cpu", "cuda"]
    assert any("sooner with it on the CPU" in str(region) for region in engine.report["regions"])
    x = RNG.standard_normal((8, 8)).astype(np.float32)
    np.testing.assert_allclose(engine(x), tenfold.build(graph, cache=False, effort=0)(x), 1e-4, 1e-4)
    assert places(built(monkeypatch, lambda columns: 1e-6, chain(8, 16, 24))) == ["cuda", "cuda"]


def test_by_what_is_expected(unhurried: None) -> None:
    small = tenfold.build(chain(8, 8), target="cuda/cpu", cache=False, effort=1)
    assert places(small) == ["cpu"]
    x = RNG.standard_normal((8, 8)).astype(np.float32)
    assert small(x).shape == (8, 8)
    large = tenfold.build(chain(2048, 2048, 2048), target="cuda/cpu", cache=False, effort=1)
    assert set(places(large)) == {"cuda"}

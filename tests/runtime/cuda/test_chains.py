"""Networks of one row whose regions become chains, on the emulated GPU, beside the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import tenfold
from bench.gpu.llama import Shape, llama
from tenfold.compiler.device import chains
from tenfold.compiler.tune import Chosen, Tuning
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tests.runtime.cuda.emulated import FakeDriver, gpu


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver: FakeDriver = gpu(monkeypatch)
    return driver


def _by_chains(pieces: Sequence[Chosen], tuning: Tuning) -> str:
    """A clock that always says that the chain is faster."""
    for piece in pieces:
        strategy, tactic = piece.candidates[-1]
        piece.kernel, piece.tactic = strategy.build(piece.region, tactic, tuning.target), str(tactic)
    return ""


def _kinds(engine: tenfold.Engine) -> list[str]:
    return [region["kind"] for region in engine.report["regions"]]


def _agrees(engine: tenfold.Engine, graph: Graph) -> None:
    random = np.random.default_rng(0)
    arrays = [np.array([[7]]), *(random.standard_normal((1, 2, 40, 64)).astype(np.float16) for _ in range(2))]
    wanted = Interpreter({}).call(graph, arrays)
    with engine.context() as context:
        for found, exact in zip(context.run(arrays).values(), wanted, strict=True):
            distance = np.linalg.norm(found.astype(np.float64) - exact.astype(np.float64))
            assert distance <= 4e-3 * np.linalg.norm(exact.astype(np.float64))


def test_two_layers_behind_a_past(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = llama(1, 1, 40, Shape(width=128, layers=2, heads=2, shared=1, inner=256, words=80))
    parts = _kinds(tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0))
    assert not any(kind.startswith("Chain of ") for kind in parts)
    monkeypatch.setattr(chains, "tune_device", _by_chains)
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    found = [kind for kind in _kinds(engine) if kind.startswith("Chain of ")]
    assert len(found) == 2 and [one.count("Copy") for one in found] == [3, 1], found
    _agrees(engine, graph)


def test_contexts_whose_blocks_wait_for_each_other_take_turns(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = llama(1, 1, 40, Shape(width=128, layers=1, heads=2, shared=1, inner=256, words=80))
    monkeypatch.setattr(chains, "tune_device", _by_chains)
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    arrays = [np.array([[7]]), np.ones((1, 2, 40, 64), np.float16)]
    order: list[str] = []
    for name, word in (("wait", "wait"), ("record", "end"), ("synchronize_all", "all")):
        done = getattr(driver, name)
        monkeypatch.setattr(driver, name, lambda *given, done=done, word=word: (order.append(word), done(*given)))
    with engine.context() as one:
        one.run(arrays)
        assert not order
        with engine.context() as other:
            one.run(arrays)
            other.run(arrays)
            assert order == ["all", "end", "wait", "end"], order
            order.clear()
            one.profile(arrays)
            assert "wait" in order
        order.clear()
        one.run(arrays)
        assert not order
    assert not driver.meetings.several

"""Stretches that may run in several ways: who decides, what is remembered, what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.compiler import choices, ways
from tenfold.compiler.retune import retune
from tenfold.compiler.timings import Entry, Timings
from tenfold.compiler.tune import Tuning
from tenfold.diagnose import report
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tenfold.runtime import format

WAYS = ("attention", "taken apart")


def network(length: Any = 32, layers: int = 2) -> Graph:
    """Attention after attention: the same stretch twice."""
    graph = Graph()
    value, keys = (graph.input(name, Type(dt.f32, (1, 2, length, 16))) for name in "xk")
    for layer in range(layers):
        value = ops.Attention(0.25)(value, keys, keys)
        assert value.producer is not None
        value.producer.source = (f"layer{layer}",)
    graph.set_outputs([value], ["y"])
    return graph


def built(monkeypatch: pytest.MonkeyPatch, answer: list[float] | str, **options: Any) -> tuple[tenfold.Engine, int]:
    """An engine whose ways take these times, and how often they were asked for."""
    asked = []

    def raced(engines: Any, *_: Any) -> list[float] | str:
        asked.append([path.exists() for path in engines])
        return answer

    monkeypatch.setattr(ways, "raced", raced)
    engine = tenfold.build(network(), **{"effort": 3, "cache": False, **options})
    assert all(map(all, asked)), "each way is an engine in a file"
    return engine, len(asked)


def tactics(engine: tenfold.Engine) -> list[str]:
    return [one["tactic"] for one in engine.report["ways"]]


def kernels(engine: tenfold.Engine) -> int:
    return sum(region["kind"] == "Attention" for region in engine.report["regions"])


def check(engine: tenfold.Engine, graph: Graph, length: int) -> None:
    """The engine gives what the graph means."""
    inputs = dict(zip("xk", np.random.default_rng(0).standard_normal((2, 1, 2, length, 16)), strict=True))
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    np.testing.assert_allclose(engine.run(inputs)["y"], Interpreter().run(graph, inputs)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("times", "choice"), [([1.0, 2.0], 0), ([2.0, 1.0], 1), ([1.0, 0.99], 0)])
def test_the_fastest_way_is_taken(times: list[float], choice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked = built(monkeypatch, times)
    assert tactics(engine) == [WAYS[choice]] * 2
    assert kernels(engine) == (2, 0)[choice]
    assert asked == 1, "equal stretches are one problem"
    about = engine.report["ways"][1]
    assert about["source"] == ["layer1"]
    assert about["candidates"] == [[way, time] for way, time in zip(WAYS, times, strict=True)]
    check(engine, network(), 32)


def test_what_is_known_is_not_timed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert built(monkeypatch, [2.0, 1.0], cache=tmp_path)[1] == 1
    again, asked = built(monkeypatch, [1.0, 2.0], cache=tmp_path, threads=None, memory_limit=1 << 30)
    assert (tactics(again), asked) == ([WAYS[1]] * 2, 0)


def test_a_failed_race_leaves_the_cost_models_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = built(monkeypatch, "its process ended with status -11")
    assert tactics(engine) == [WAYS[0]] * 2
    assert engine.report["ways"][0]["candidates"][1] == [WAYS[1], "its process ended with status -11"]


def test_small_ones_open_ones_and_effort_zero_are_left_to_the_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for effort in (0, 1):
        engine, asked = built(monkeypatch, [2.0, 1.0], effort=effort)
        assert (tactics(engine), asked) == ([WAYS[0]] * 2, 0)
        assert "candidates" not in engine.report["ways"][0]


def test_open_sizes_are_timed_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "raced", lambda *_: [2.0, 1.0])
    engine = tenfold.build(network(symbol("length")), effort=3, cache=False)
    assert tactics(engine) == [WAYS[1]] * 2
    check(engine, network(symbol("length")), 7)


def test_engines_race_in_a_process_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.tenfold" for number in range(2)]
    for path in paths:
        tenfold.build(network(layers=1), effort=0, cache=False).save(path)
    times = ways.raced(paths, 2, 0.01, lambda: 1.0)
    assert isinstance(times, list) and len(times) == 2 and all(0 < one < 1 for one in times)
    paths[1].write_bytes(b"")
    assert "status 1" in ways.raced(paths, 2, 0.01, lambda: 1.0)


def test_a_race_ends_when_its_time_is_up(tmp_path: Path) -> None:
    path = tmp_path / "one.tenfold"
    tenfold.build(network(layers=1), effort=0, cache=False).save(path)
    assert ways.raced([path, path], 2, 1e6, lambda: 0.0) == [None, None]
    looks = iter([1.0] * 40)
    times = ways.raced([path, path], 2, 1e6, lambda: next(looks, 0.0))
    assert len(times) == 2 and all(isinstance(one, float) for one in times), "what was won so far"


def test_tuning_that_is_to_stop_times_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "raced", lambda *_: pytest.fail("nothing is timed"))
    path = tmp_path / "one.tenfold"
    tenfold.build(network(), effort=0, cache=False).save(path)
    file = format.File(format.read(path), "one")
    image = format.File(retune(file, 3, cache=tmp_path, stop=lambda: True), "two")
    assert {one["tactic"] for one in report.describe(image)["ways"]} == {WAYS[0]}
    assert not list(Timings(tmp_path).entries()), "what was not timed is not remembered as such"


def test_what_is_shipped_decides_where_no_clock_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    remember = Tuning.remember

    def noted(tuning: Tuning, entry: Entry) -> None:
        asked.append(entry.problem)
        remember(tuning, entry)

    monkeypatch.setattr(Tuning, "remember", noted)
    built(monkeypatch, [2.0, 1.0])
    problem = next(one for one in asked if one.endswith("candidates: " + " ".join(WAYS)))
    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    choices._shipped.cache_clear()
    try:
        entry = Entry(problem, {WAYS[0]: 2.0, WAYS[1]: 1.0}, WAYS[1], 1)
        assert choices.write(tmp_path / choices.file_for(problem), [entry]) == 1
        choices._shipped.cache_clear()
        monkeypatch.setattr(ways, "_WORTH", 0)
        engine, _ = built(monkeypatch, "not to be raced", effort=0)
    finally:
        choices._shipped.cache_clear()
    assert tactics(engine) == [WAYS[1]] * 2
    assert engine.report["ways"][0]["shipped"]
    check(engine, network(), 32)

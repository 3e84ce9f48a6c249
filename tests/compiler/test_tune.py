"""Choices: by the cost model, by the clock, by the timing cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.compiler import timings as cache
from tenfold.compiler import tune
from tenfold.compiler.timings import Entry, Timings, key_of
from tenfold.compiler.tune import best
from tenfold.ir import dtype as dt
from tenfold.ir.type import Type


def entry(effort: int = 1, problem: str = "p", choice: str = "a", **times: float | str | None) -> Entry:
    return Entry(problem, times or {"a": 1.0, "b": None}, choice, effort)


def test_the_fastest_is_taken_if_it_is_clearly_faster() -> None:
    assert best({"a": 1.0, "b": 0.99}) == "a"
    assert best({"a": 1.0, "b": 0.9, "c": 0.8}) == "c"
    assert best({"a": None, "b": None}) == "a"
    assert best({"a": "crashed", "b": None}) == "b"
    assert best({"a": "crashed", "b": 2.0, "c": 1.0}) == "c"


def test_entries_are_found_again(tmp_path: Path) -> None:
    Timings(tmp_path).keep(entry())
    found = Timings(tmp_path).find("p", 1)
    assert found == entry()
    assert found and found.skipped == ["b"]
    assert Timings(tmp_path).find("q", 0) is None


def test_an_entry_of_less_effort_is_not_enough(tmp_path: Path) -> None:
    known = Timings(tmp_path)
    known.keep(entry(1))
    assert known.find("p", 2) is None
    known.keep(entry(3))
    assert known.find("p", 2) == entry(3)


def test_a_damaged_entry_is_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Timings(tmp_path).keep(entry())
    (path,) = (tmp_path / "timings").iterdir()
    for damaged in ("{", "{}", json.dumps({"problem": "other", "times": {"a": 1.0}, "choice": "a", "effort": 1})):
        path.write_text(damaged)
        assert Timings(tmp_path).find("p", 0) is None


def test_folders_merge_through_bundles(tmp_path: Path) -> None:
    here, there = Timings(tmp_path / "here"), Timings(tmp_path / "there")
    here.keep(entry(1, "p"))
    there.keep(entry(2, "p", "b", a=2.0, b=1.0))
    there.keep(entry(1, "q"))
    assert there.bundle(tmp_path / "all.json") == 2
    assert here.merge(tmp_path / "all.json") == 2
    assert here.merge(tmp_path / "all.json") == 0
    assert [one.problem for one in sorted(here.entries(), key=lambda one: one.problem)] == ["p", "q"]
    assert here.find("p", 2) == there.find("p", 2)


def network(channels: int = 16, name: str = "n") -> tenfold.Graph:
    random = np.random.default_rng(0)
    graph = tenfold.Graph(name=name)
    value = graph.input("x", Type(dt.f32, (1, channels, 12, 12)))
    for _ in range(2):
        weights = random.standard_normal((channels, channels, 3, 3)).astype(np.float32)
        convolve = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), 1)
        value = ops.Relu()(convolve(value, ops.Constant(tenfold.ir.tensor.Tensor(weights))()))
    graph.set_outputs([value], ["y"])
    return graph


def regions(engine: tenfold.Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.report["regions"]
    return found


def test_effort_is_what_the_clock_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_model = tenfold.build(network(), effort=0, cache=tmp_path)
    assert all("candidates" not in one for one in regions(by_model))
    by_clock = tenfold.build(network(), effort=1, cache=tmp_path)
    timed = [one for one in regions(by_clock) if "candidates" in one]
    assert timed
    for one in timed:
        assert one["effort"] == 1
        assert one["tactic"] in dict(one["candidates"])
        assert any(isinstance(time, float) for _, time in one["candidates"])
    x = np.random.default_rng(1).standard_normal((1, 16, 12, 12)).astype(np.float32)
    np.testing.assert_allclose(by_clock(x), by_model(x), rtol=1e-3, atol=1e-3)

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("what is known was timed again")

    monkeypatch.setattr(tune.Stopwatch, "time", never)
    again = tenfold.build(network(name="another"), effort=1, cache=tmp_path)
    assert [one["candidates"] for one in regions(again)] == [one["candidates"] for one in regions(by_clock)]


def test_equal_problems_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    time = tune.Stopwatch.time

    def counted(self: Any, kernels: Any, *rest: Any, **options: Any) -> Any:
        asked.append(len(kernels))
        return time(self, kernels, *rest, **options)

    monkeypatch.setattr(tune.Stopwatch, "time", counted)
    engine = tenfold.build(network(), effort=3, cache=False)
    problems = {json.dumps(one.get("candidates")) for one in regions(engine)}
    assert 0 < len(asked) <= len(problems)


def test_what_there_was_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tune.EFFORTS, 1, tune.Effort(0.0, 0.0, 0.0, 0.0))
    engine = tenfold.build(network(), effort=1, cache=False)
    for one in regions(engine):
        assert all(time is None for _, time in one.get("candidates", ()))


def test_what_is_known_without_times_gets_what_is_shipped_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(problem: str, candidates: Any) -> Entry:
        name = list(candidates)[-1]
        return Entry(problem, {name: 1e-6}, name, 1, shipped=True)

    monkeypatch.setitem(tune.EFFORTS, 1, tune.Effort(0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(tune.choices, "find", last)
    first, second = (tenfold.build(network(name=name), effort=1, cache=tmp_path) for name in ("one", "another"))
    assert any(one.get("shipped") for one in regions(first))
    assert [one["tactic"] for one in regions(second)] == [one["tactic"] for one in regions(first)]


def test_keys_depend_on_the_whole_problem() -> None:
    assert key_of("a") != key_of("b")
    assert cache.generators().startswith("tenfold ")
    assert cache.machine_kind()


def test_small_change_is_left_to_the_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tune.EFFORTS, 1, tune.Effort(30.0, 0.0, 1.0, 0.0))
    assert all("candidates" not in one for one in regions(tenfold.build(network(), effort=1, cache=False)))

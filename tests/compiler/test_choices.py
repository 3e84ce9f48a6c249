"""Choices that are shipped: found by what a problem asks for, whoever timed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.compiler.device import choices
from tenfold.compiler.timings import Entry


def problem(versions: str, candidates: str, region: str = "Row\ndomain: [3]") -> str:
    return "\n".join([*choices.about("cuda:sm_90", versions), region, f"candidates: {candidates}"])


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    choices._shipped.cache_clear()
    return tmp_path / "cuda-sm_90.json"


def test_a_choice_outlives_versions_and_other_candidates(shipped: Path) -> None:
    assert choices.write(shipped, [Entry(problem("1", "a b"), {"a": 2e-6, "b": 1e-6}, "b", 1)]) == 1
    found = choices.find(problem("2", "b c"), ["b", "c"])
    assert found and (found.choice, found.times) == ("b", {"b": 1e-6})
    assert choices.find(problem("2", "a c"), ["a", "c"]) is None
    assert choices.find(problem("2", "b c", "Row\ndomain: [4]"), ["b", "c"]) is None


def test_choices_are_added_to_those_known(shipped: Path) -> None:
    choices.write(shipped, [Entry(problem("1", "a"), {"a": 2e-6}, "a", 1)])
    more = Entry(problem("1", "a", "Pointwise"), {"a": 3e-6}, "a", 1)
    untimed = Entry(problem("1", "a", "Anchored"), {"a": None}, "a", 1)
    elsewhere = Entry("avx512\n\nRow\ncandidates: a", {"a": 1e-6}, "a", 1)
    assert choices.write(shipped, [more, untimed, elsewhere]) == 2
    assert len(shipped.read_text().splitlines()) == 4


def test_a_machine_without_measurements_has_no_choices(shipped: Path) -> None:
    assert choices.find(problem("1", "a"), ["a"]) is None

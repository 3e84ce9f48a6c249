"""Choices that are shipped: found by what a problem asks for, whoever timed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.compiler import choices
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


def test_choices_of_a_cpu_lie_in_a_file_of_its_kind(shipped: Path) -> None:
    about = choices.about("cpu vendor_id Any; model 3", "1", inside="isa; 2 threads")
    entry = Entry("\n".join([*about, "Row", "candidates: a b"]), {"a": 2e-6, "b": 1e-6}, "b", 1)
    path = shipped.with_name(choices.file_for(entry.problem))
    assert path.name == "cpu-vendor_id-any-model-3.json"
    assert choices.write(path, [entry]) == 1
    choices._shipped.cache_clear()
    found = choices.find(entry.problem, ["a", "b"])
    assert found and found.shipped and found.choice == "b"
    assert choices.find(entry.problem.replace("2 threads", "3 threads"), ["a", "b"]) is None
    assert choices.are_there(entry.problem) and not choices.are_there("cpu vendor_id Other | isa")

"""A fixed sample of onnx's backend tests, spread over all of them, fails where gaps.txt says and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import gaps, table
from tests.conformance.compare import difference, is_chance

ROOT = Path(__file__).parents[2]
EVERY = "47"


def test_a_sample_of_the_suite(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.conformance", "--sample", EVERY, "--json", "--cache", str(tmp_path))
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, timeout=600)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["tests"]) >= 40
    assert {one["kind"] for one in found["tests"].values()} >= {"node", "pytorch-converted", "pytorch-operator"}
    assert not found["surprises"]


def test_the_list_of_gaps(tmp_path: Path) -> None:
    reasons = {"test_a": "refused: too  hard", "test_b": "numbers", "test_c": "numbers"}
    gaps.write(reasons, tmp_path / "gaps.txt")
    assert gaps.read(tmp_path / "gaps.txt") == {**reasons, "test_a": "refused: too hard"}
    surprises = gaps.surprises({"test_a": "x", "test_d": "y"}, reasons, {"test_a", "test_b", "test_d"})
    assert [line.split()[:2] for line in surprises] == [["test_d", "fails:"], ["test_b", "passes:"]]


@pytest.mark.parametrize("name", ["test_bernoulli_seed_expanded", "test_training_dropout_mask"])
def test_chance(name: str) -> None:
    assert is_chance(name) and not is_chance("test_training_dropout_zero_ratio")


def test_the_readme_has_a_place_for_the_table(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(table.README.read_text())
    assert table.into_readme("| none |", copy)
    assert f"{table.BEGIN}\n| none |\n{table.END}" in copy.read_text()


def test_nothing_is_not_something() -> None:
    assert difference(None, None, 0, 0) is None
    assert difference([], None, 0, 0) == "a sequence of 0 where nothing is expected"

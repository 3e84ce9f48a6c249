"""The first mutants of `python -m tests.fuzz`, and every one that ever failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, Task, kept, packed

ROOT = Path(__file__).parents[2]
COUNTS = {"onnx": 250, "engine": 250, "builder": 150}


@pytest.mark.parametrize("target", TARGETS)
def test_mutants(target: str) -> None:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = (sys.executable, "-m", "tests.fuzz", target, "--count", str(COUNTS[target]), "--json")
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, timeout=600)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)[target]
    assert not found["failures"]
    assert sum(found["outcomes"].values()) >= COUNTS[target]


def test_mutants_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "failed.txt"
    tasks = [Task("onnx", 0, 7, ""), Task("engine", 3, 9, "")]
    path.write_text("".join(packed(task, b"\x08\x01") + "\n" for task in tasks))
    assert [(task.target, task.kept) for task in kept("", path)] == [("onnx", b"\x08\x01"), ("engine", None)]
    assert (kept("", path)[1].seed, kept("", path)[1].index) == (3, 9)
    assert {task.target for task in kept("")} == set(TARGETS)

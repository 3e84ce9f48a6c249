"""A few of the graphs and mutants that `python -m tests.differential` compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _found(*arguments: str) -> dict[str, object]:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = (sys.executable, "-m", "tests.differential", *arguments, "--json")
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, timeout=600)
    assert ended.stdout, ended.stderr
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def test_every_road_gives_what_the_interpreter_gives() -> None:
    found = _found("routes", "--count", "16", "--seed", "1000")
    assert not found["wrong"]
    assert int(str(found["graphs"])) >= 8


def test_the_interpreter_gives_what_its_peers_give() -> None:
    found = _found("peers", "--count", "400")
    assert not found["wrong"]
    outcomes = found["outcomes"]
    assert isinstance(outcomes, dict) and outcomes["agree"] >= 300

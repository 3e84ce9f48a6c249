"""Every hostile case gets what the table says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table() -> None:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = (sys.executable, "-m", "tests.hostile", "--json")
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, timeout=900)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found) >= 320
    assert not {name: one["wrong"] for name, one in found.items() if one["wrong"]}

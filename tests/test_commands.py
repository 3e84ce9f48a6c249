"""The project's own commands say how they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
COMMANDS = sorted(
    ".".join(path.parent.relative_to(PROJECT).parts)
    for folder in ("tests", "bench")
    for path in (PROJECT / folder).rglob("__main__.py")
)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_use(command: str) -> None:
    own = {"PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(PROJECT)])}
    ran = subprocess.run(
        [sys.executable, "-m", command, "--help"], capture_output=True, text=True, env=os.environ | own, cwd=PROJECT
    )
    said = ran.stdout + ran.stderr
    assert "Traceback" not in said and ("usage:" in said or f"`python -m {command}" in said)

"""Sampled kernels are compiled by processes of their own, which begin as soon as tests are chosen: other tests leave a
processor idle, and the compiler takes a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

OLDEST = os.environ.get("OLDEST_TRITON", "")
"""A folder that holds the oldest Triton that is allowed, as `make test` makes it."""
PROJECT = Path(__file__).parents[3]
Running = dict[str, subprocess.Popen[str]]
_COMPILERS = pytest.StashKey[tuple[Running, TemporaryDirectory[str]]]()


def _started(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    before: dict[str, list[str]] = {"installed": [], **({"oldest": [OLDEST]} if OLDEST else {})}
    for name, first in before.items():
        paths = os.pathsep.join([*first, str(PROJECT / "src"), str(PROJECT)])
        own = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder / name), "PYTHONPATH": paths}
        command = [sys.executable, "-m", "tests.codegen.cuda.compiling"]
        yield (
            name,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | own, cwd=PROJECT
            ),
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    if any("compilers" in getattr(item, "fixturenames", ()) for item in session.items):
        folder = TemporaryDirectory()
        session.config.stash[_COMPILERS] = dict(_started(Path(folder.name))), folder


def pytest_unconfigure(config: pytest.Config) -> None:
    running, folder = config.stash.get(_COMPILERS, ({}, None))
    for one in running.values():
        one.kill()
        one.communicate()
    if folder is not None:
        folder.cleanup()


@pytest.fixture
def compilers(request: pytest.FixtureRequest) -> Running:
    """A process for each Triton that is there, side by side."""
    return request.config.stash[_COMPILERS][0]

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

OLDEST = os.environ.get("OLDEST_TRITON", "")
"""A folder that holds the oldest Triton that is allowed, as `make test` makes it."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each Triton that is there, side by side."""
    project = Path(__file__).parents[3]
    folders: dict[str, list[str]] = {"installed": [], **({"oldest": [OLDEST]} if OLDEST else {})}
    running = {}
    for name, first in folders.items():
        paths = os.pathsep.join([*first, str(project / "src"), str(project)])
        cache = str(tmp_path_factory.mktemp(name))
        environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": cache, "PYTHONPATH": paths}
        command = [sys.executable, "-m", "tests.codegen.cuda.compiling"]
        running[name] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
    yield running
    for one in running.values():
        one.kill()
        one.wait()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="the CUDA back end needs triton: pip install tenfold[cuda]")
@pytest.mark.parametrize("triton", ["installed", "oldest"])
def test_sampled_tactics_compile_without_a_gpu(triton: str, started: dict[str, subprocess.Popen[str]]) -> None:
    if triton not in started:
        pytest.skip("the oldest Triton is not there: `make test` installs it, OLDEST_TRITON names its folder")
    output, errors = started[triton].communicate()
    assert started[triton].returncode == 0, errors[-4000:]
    version, *kernels = output.splitlines()
    assert len(kernels) >= 12
    assert triton == "installed" or version.startswith("triton 3.6")

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OLDEST = os.environ.get("OLDEST_TRITON", "")
"""A folder that holds the oldest Triton that is allowed, as `make test` makes it."""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="the CUDA back end needs triton: pip install tenfold[cuda]")
@pytest.mark.parametrize("triton", ["installed", "oldest"])
def test_sampled_tactics_compile_without_a_gpu(triton: str, tmp_path: Path) -> None:
    if triton == "oldest" and not OLDEST:
        pytest.skip("the oldest Triton is not there: `make test` installs it, OLDEST_TRITON names its folder")
    project = Path(__file__).parents[3]
    paths = os.pathsep.join([*([OLDEST] if triton == "oldest" else []), str(project / "src"), str(project)])
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.codegen.cuda.compiling"], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    version, *kernels = ran.stdout.splitlines()
    assert len(kernels) >= 12
    assert triton == "installed" or version.startswith("triton 3.6")

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="the CUDA back end needs triton: pip install tenfold[cuda]")
def test_sampled_tactics_compile_without_a_gpu(tmp_path: Path) -> None:
    project = Path(__file__).parents[3]
    paths = os.pathsep.join([str(project / "src"), str(project)])
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.codegen.cuda.compiling"], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert len(ran.stdout.splitlines()) >= 12

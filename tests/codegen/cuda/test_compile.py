from __future__ import annotations

import subprocess
from importlib.util import find_spec

import pytest


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="the CUDA back end needs triton: pip install tenfold[cuda]")
@pytest.mark.parametrize("triton", ["installed", "oldest"])
def test_sampled_tactics_compile_without_a_gpu(triton: str, compilers: dict[str, subprocess.Popen[str]]) -> None:
    if triton not in compilers:
        pytest.skip("the oldest Triton is not there: `make test` installs it, OLDEST_TRITON names its folder")
    output, errors = compilers[triton].communicate()
    assert compilers[triton].returncode == 0, errors[-4000:]
    version, *kernels = output.splitlines()
    assert len(kernels) >= 12
    assert triton == "installed" or version.startswith("triton 3.6")

"""`python -m tests.conformance.newest [--release X] [ARGUMENT…]`: the suite of another release of onnx.

The newest release (or X) is put into a folder of its own by pip and goes before the installed one; the other arguments
are those of `tests.conformance` (by default a sample: --sample 31). Where the newest is what is installed, it says so,
and runs it all the same. Exit status: that of the run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade", "--no-deps")


def install(release: str, folder: str) -> str:
    """Put a release of onnx into the folder; its version."""
    wanted = f"onnx=={release}" if release else "onnx"
    subprocess.run((*PIP, "--only-binary=:all:", "--target", folder, wanted), check=True)
    (found,) = Path(folder).glob("onnx-*.dist-info")
    return found.name.split("-")[1].removesuffix(".dist")


def main() -> int:
    """Install it and run; the run's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.newest", description=__doc__)
    parser.add_argument("--release", default="")
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        release, here = install(options.release, folder), version("onnx")
        same = " (it is the one that is installed)" if release == here else f" (installed is {here})"
        print(f"onnx {release}{same}", flush=True)
        paths = os.pathsep.join([folder, str(ROOT / "src"), str(ROOT)])
        command = (sys.executable, "-m", "tests.conformance", *(rest or ("--sample", "31")))
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}).returncode


if __name__ == "__main__":
    sys.exit(main())

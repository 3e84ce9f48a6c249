"""The same model and options give the same bytes: in other processes, folders, hash seeds, with other worker counts,
and with kernels chosen by the clock once the timing cache knows them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tenfold
from tests.models.catalogue import BY_NAME

ROOT = Path(__file__).parents[2]
BUILD = """
import sys, tenfold
import tenfold.compiler.build as road
road.workers = lambda: int(sys.argv[3])
tenfold.build(sys.argv[1], target=sys.argv[4], effort=0, cache=False).save(sys.argv[2])
"""


def built(model: Path, folder: Path, seed: str, workers: int, target: str) -> str:
    """The SHA-256 of the engine that a process of its own builds."""
    folder.mkdir()
    path = folder / "model.tenfold"
    subprocess.run(
        [sys.executable, "-c", BUILD, str(model), str(path), str(workers), target],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
        check=True,
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "target"), [("silero-vad-op15", "cpu:x86-64-v3,cpu:aarch64"), ("ppocr-v2-cls", "cpu:x86-64-v4")]
)
def test_bytes_repeat(name: str, target: str, tmp_path: Path) -> None:
    model = BY_NAME[name].load()
    twin = tmp_path / "copy of the model.onnx"
    twin.write_bytes(model.read_bytes())
    found = {built(model, tmp_path / "a", "0", 1, target), built(twin, tmp_path / "b", "1234", 2, target)}
    assert len(found) == 1


def test_bytes_repeat_from_the_timing_cache(tmp_path: Path) -> None:
    model = BY_NAME["silero-vad-openvino"].load()
    first, *again = (tuned(model, folder, tmp_path) for folder in ("a", "b"))
    assert again == [first]


def tuned(model: Path, name: str, folder: Path) -> str:
    """The SHA-256 of an engine built at effort 1, with a cache that holds no engine, but what was timed before."""
    shutil.rmtree(folder / "cache" / "engines", ignore_errors=True)
    path = folder / f"{name}.tenfold"
    tenfold.build(model, effort=1, cache=folder / "cache").save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Engines travel: a fresh process without a compiler runs them, at sizes nobody built for, one native call a span."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tests.models import light
from tests.models.catalogue import BY_NAME
from tests.models.samples import Array

HERE = Path(__file__)
ROOT = HERE.parents[2]


def travelled(pairs: list[tuple[Path, Path]]) -> list[dict[str, Any]]:
    """What `travel.py` prints for engines and inputs."""
    arguments = [str(path) for pair in pairs for path in pair]
    found = subprocess.run(
        [sys.executable, str(HERE.with_name("travel.py")), *arguments],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def digest(array: Array) -> str:
    """SHA-256 of an array's elements."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def check(engine: tenfold.Engine, questions: list[dict[str, Array]], folder: Path) -> None:
    """The same bits here and there, in one native call."""
    path = folder / "model.tenfold"
    engine.save(path)
    pairs = []
    for number, inputs in enumerate(questions):
        np.savez(folder / f"{number}.npz", **inputs)  # type: ignore[arg-type]
        pairs.append((path, folder / f"{number}.npz"))
    for inputs, answer in zip(questions, travelled(pairs), strict=True):
        assert answer["digests"] == [digest(array) for array in engine.run(inputs).values()]
        assert answer["calls"] == answer["spans"] == 1


@pytest.mark.slow
def test_squeezenet_at_five_batches_that_nobody_built_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    engine = tenfold.build(light.load("squeezenet"), shapes={"data_0": ("batch", 3, 224, 224)}, cache=False)
    questions = [{"data_0": rng.standard_normal((n, 3, 224, 224)).astype(np.float32)} for n in (1, 2, 3, 4, 5)]
    check(engine, questions, tmp_path)


def test_silero_vad_on_a_voice(tmp_path: Path) -> None:
    model = BY_NAME["silero-vad"]
    questions = [model.inputs(seed) for seed in range(5)]
    check(tenfold.build(model.load(), cache=False), questions, tmp_path)


def test_a_reader_of_lines_at_five_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    engine = tenfold.build(BY_NAME["ppocr-v2-cls"].load(), cache=False)
    (name,) = (spec.name for spec in engine.inputs)
    sizes = [(1, 48, 192), (2, 48, 96), (3, 80, 160), (1, 64, 256), (5, 48, 128)]
    check(engine, [{name: rng.standard_normal((n, 3, h, w)).astype(np.float32)} for n, h, w in sizes], tmp_path)

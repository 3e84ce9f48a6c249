"""Engines for several GPUs and a CPU in one file: the best match is taken, or refused in words. The GPU is emulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold import target as targets
from tenfold.errors import TargetError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import emulate


def built(path: Path, target: str) -> Path:
    graph = Graph(name="fat")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 8)))
    graph.set_outputs([ops.Softmax(1)(x)], ["y"])
    tenfold.build(graph, target=target, cache=False, effort=0).save(path)
    return path


def test_the_best_match_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    path = built(tmp_path / "fat.tenfold", "cpu:x86-64-v3,cuda:sm_80,cuda:sm_89,cuda:sm_90")
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    answers = []
    for here, wanted in ((90, "cuda:sm_90"), (89, "cuda:sm_89"), (86, "cuda:sm_80"), (120, "cpu"), (None, "cpu")):
        monkeypatch.setattr(targets, "machine_gpu", lambda here=here: here)
        engine = tenfold.load(path)
        assert engine.target.startswith(wanted), (here, engine.target)
        answers.append(engine(x))
    for one in answers:
        np.testing.assert_allclose(one, answers[0], 1e-5, 1e-6)


def test_a_refusal_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    path = built(tmp_path / "gpus.tenfold", "cuda:sm_80,cuda:sm_90")
    monkeypatch.setattr(targets, "machine_gpu", lambda: 120)
    with pytest.raises(TargetError, match="needs a GPU of that kind; this machine's is sm_120"):
        tenfold.load(path)(np.zeros((1, 8), np.float32))
    monkeypatch.setattr(targets, "machine_gpu", lambda: None)
    with pytest.raises(TargetError, match="needs an NVIDIA GPU and its driver"):
        tenfold.load(path)(np.zeros((1, 8), np.float32))

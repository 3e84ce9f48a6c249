"""Kernels that fault, hang, or end their process cost a GPU's stopwatch only themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tenfold.compiler.device import measure
from tenfold.compiler.device.job import Contestant, Job
from tenfold.compiler.device.tune import best

ROOT = Path(__file__).parents[3]


def times(monkeypatch: pytest.MonkeyPatch, *codes: str) -> Sequence[float | str]:
    job = Job((), tuple(Contestant(code.encode(), [], ()) for code in codes), 1)
    plain = measure.Process
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(measure, "_PATIENCE", 1.5)
    monkeypatch.setattr(measure, "job_of", lambda *_: job)
    monkeypatch.setattr(measure, "Process", lambda: plain("tests.compiler.device.faulty"))
    with measure.Stopwatch(132) as clock:
        return clock.time(None, codes, {})  # type: ignore[arg-type]


def test_a_fault_a_hang_and_an_end_cost_one_kernel_each(monkeypatch: pytest.MonkeyPatch) -> None:
    found = times(monkeypatch, "3e-6", "fault", "2e-6", "crash", "refuse", "hang", "4e-6")
    assert [found[place] for place in (0, 2, 6)] == [3e-6, 2e-6, 4e-6]
    assert found[1] == "a kernel failed on the GPU: illegal address"
    assert found[3] == "it ends its process with status 7"
    assert found[4] == "the GPU's driver refused"
    assert found[5] == "it does not end"


def test_a_kernel_that_gives_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = times(monkeypatch, "3e-6", "wrong 1e-6", "2e-6")
    assert found[0] == 3e-6 and found[2] == 2e-6
    assert isinstance(found[1], str) and found[1].startswith("its results are")


def test_what_is_taken() -> None:
    assert best({"a": 3e-6, "b": "no", "c": 1e-6}) == "c"
    assert best({"a": 1.005e-6, "b": 1e-6}) == "a"
    assert best({"a": "no", "b": None}) == "b"


def test_what_is_shipped_stands_until_another_is_clearly_faster() -> None:
    assert best({"a": 1.05e-6, "b": 1e-6, "c": 3e-6}, "a") == "a"
    assert best({"a": 1.1e-6, "b": 1e-6}, "a") == "b"
    assert best({"a": 1.05e-6, "b": "no"}, "b") == "a"
    assert best({"a": 1.05e-6, "b": None, "c": 1e-6}, "b") == "c"

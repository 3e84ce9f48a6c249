"""tenfold tune: Ctrl-C ends it with what has been won, a second one at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.cli import main, shell, tune
from tenfold.compiler.retune import retune
from tests.face import models


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine file."""
    path = tmp_path / "one.tenfold"
    tenfold.build(models.saved(models.perceptron(), tmp_path), effort=0, cache=False).save(path)
    return path


def test_control_c_ends_it_with_what_has_been_won(
    engine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*words: Any, stop: Any, **options: Any) -> Any:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        return retune(*words, stop=stop, **options)

    monkeypatch.setattr(tune, "retune", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert main(["tune", str(engine), "--effort", "3", "--cache", "off", "--json"]) == shell.OK
    said = capsys.readouterr()
    assert json.loads(said.out)["interrupted"] is True
    assert "what has been won" in said.err
    assert signal.getsignal(signal.SIGINT) is before
    assert tenfold.load(engine)(np.ones((3, 8), np.float32)) is not None


def test_a_second_one_leaves_the_file_as_it_was(engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return pytest.fail("it goes on")

    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(tune, "retune", interrupted)
    copy = shutil.copy(engine, tmp_path / "copy")
    assert main(["tune", str(engine), "--cache", "off"]) == shell.INTERRUPTED
    assert engine.read_bytes() == Path(copy).read_bytes()

"""tenfold timings: what tuning found is listed, taken along, and taken in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.cli import main, shell
from tenfold.compiler.timings import Entry, Timings


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of timings."""
    here, there = tmp_path / "here", tmp_path / "there"
    Timings(here).keep(Entry("a\nv\np", {"x": 2.0, "y": 1.0}, "y", 1))
    Timings(there).keep(Entry("a\nv\nq", {"x": 1.0, "y": 2.0}, "x", 1))
    Timings(there).keep(Entry("a\nv\np", {"x": 2.0, "y": 1.0}, "y", 1))
    return here, there


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main(["timings", *map(str, words), "--json"]) == shell.OK
    return json.loads(capsys.readouterr().out)


def test_what_one_machine_found_another_takes_in(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = folders
    bundle = tmp_path / "all.json"
    assert asked(capsys, "export", bundle, "--cache", there)["problems"] == 2
    assert asked(capsys, "merge", bundle, "--cache", here)["taken"] == {str(bundle): 1}
    assert asked(capsys, "list", "--cache", here)["timings"] == [
        {"machine": "a", "versions": "v", "effort": 1, "problems": 2, "won": 1}
    ]


def test_words_for_people(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "all.json"
    for words in (["list"], ["export", str(bundle)], ["merge", str(bundle)]):
        assert main(["timings", *words, "--cache", str(folders[0])]) == shell.OK
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"problem": "p"}]', '[{"problem": "p", "times": {}, "choice": "x", "effort": 1}]']
)
def test_another_file_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    assert main(["timings", "merge", str(path), "--cache", str(tmp_path)]) == shell.USAGE
    assert "no bundle of timings" in capsys.readouterr().err


def test_without_a_folder_nothing_is_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", "off")
    assert main(["timings", "list"]) == shell.USAGE
    assert "nothing is remembered" in capsys.readouterr().err

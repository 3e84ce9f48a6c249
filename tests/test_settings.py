"""The table of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

import tenfold.errors
from tenfold import settings
from tenfold.errors import OptionError

PACKAGE = Path(tenfold.errors.__file__).parent


def test_each_setting_is_documented_and_has_a_default() -> None:
    for setting in settings.TABLE:
        assert setting.variable.startswith("TENFOLD_")
        assert setting.meaning
        setting.value({})
        assert setting.value({setting.variable: "  "}) == setting.value({})


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.THREADS, "3", 3),
        (settings.PIN, "off", False),
        (settings.PIN, "1", True),
        (settings.PIN, "0-2,7", (0, 1, 2, 7)),
        (settings.SPIN, "0", 0),
        (settings.CALL_SECONDS, "0.5", 0.5),
        (settings.CACHE, "off", None),
        (settings.CACHE, "/tmp/x", Path("/tmp/x")),
        (settings.LOG, "debug", "DEBUG"),
        (settings.EFFORT, "2", 2),
    ],
)
def test_texts_are_read(setting: settings.Setting, text: str, value: object) -> None:
    assert setting.value({setting.variable: text}) == value


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (settings.THREADS, "0"),
        (settings.THREADS, "many"),
        (settings.PIN, "perhaps"),
        (settings.PIN, "2-x"),
        (settings.SPIN, "-1"),
        (settings.CALL_SECONDS, "0"),
        (settings.LOG, "LOUD"),
        (settings.EFFORT, "4"),
    ],
)
def test_nonsense_is_refused_by_name(setting: settings.Setting, text: str) -> None:
    with pytest.raises(OptionError, match=setting.variable):
        setting.value({setting.variable: text})


def test_a_child_finds_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert settings.child_environment(Path("/here"))["PYTHONPATH"] == "/here:/elsewhere"
    monkeypatch.delenv("PYTHONPATH")
    assert settings.child_environment(Path("/here"))["PYTHONPATH"] == "/here"

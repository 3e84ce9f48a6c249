"""Files appear whole or not at all, and what cannot be written says so once."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from tenfold import files
from tenfold.errors import OptionError


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with files.whole(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux's device that is always full")
def test_devices_are_written_into_and_never_replaced(tmp_path: Path) -> None:
    nothing, full = tmp_path / "nothing", tmp_path / "full"  # were one replaced, it would be the link
    nothing.symlink_to("/dev/null")
    full.symlink_to("/dev/full")
    files.require_place(nothing)
    with files.whole(nothing, durable=True) as file:
        file.write(b"x")
    with pytest.raises(OSError, match="No space"), files.whole(full) as file:
        file.write(b"x")
    assert nothing.is_symlink() and full.is_symlink()


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert files.folder(tmp_path / "file" / "inside") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert files.folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


@pytest.mark.parametrize(("name", "number"), [("", errno.EISDIR), ("none/x", errno.ENOENT)])
def test_a_place_is_looked_at_before_the_work(name: str, number: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        files.require_place(tmp_path / name)
    assert caught.value.errno == number
    files.require_place(tmp_path / "x")


def test_remedies_follow_the_reason(tmp_path: Path) -> None:
    assert "free some space" in files.remedy_for(tmp_path / "x", OSError(errno.ENOSPC, ""))
    assert "not of a folder" in files.remedy_for(tmp_path, OSError(errno.EBUSY, ""))
    assert "ulimit" in files.remedy_for(tmp_path / "x", OSError(errno.EFBIG, ""))


def test_what_is_no_path_is_refused() -> None:
    assert files.path_of("a", "cache") == Path("a")
    with pytest.raises(OptionError, match="cache is a int"):
        files.path_of(5, "cache")
    with pytest.raises(OptionError, match="zero byte"):
        files.path_of("a\0b", "cache")

"""Paths that users give, folders that may turn out unwritable, files that appear whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tenfold.errors import InputError, OptionError

_log = logging.getLogger("tenfold")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_LARGE = "raise the limit on files' sizes (ulimit -f), or choose another folder"


def path_of(given: Any, argument: str) -> Path:
    """A path that was given as an argument; OptionError for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise OptionError(f"{argument} is a {type(given).__name__}", argument=argument, remedy="give a path")
    if "\0" in os.fsdecode(given):
        raise OptionError(
            f"{argument} is {given!r}: no path holds a zero byte", argument=argument, remedy="take it out"
        )
    return Path(os.fsdecode(given))


def folder(path: Path) -> Path | None:
    """The folder, made (mode 0700) where it is missing; None, with a warning, where nothing can be written to it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        _log.warning("nothing is cached in %s: %s", path, error.strerror or error)
        return None
    return path


def _is_stream(path: Path) -> bool:
    """Whether a device or a pipe has that name, which is written into and never replaced: /dev/null, /dev/stdout."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def whole(path: str | os.PathLike[str], mode: int = 0o600, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the name `path` at the end, on the disk by then if it is `durable`; an older file
    of that name stays until then. A device or a pipe is written into.

    Raises OSError where it cannot be written; nothing of it is left then.
    """
    target = Path(path)
    if _is_stream(target):
        with open(target, "wb") as stream:
            yield stream
        return
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.chmod(file.name, mode)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def require_place(path: Path) -> None:
    """OSError where no file can be written to `path`: before the work for it begins."""
    missing = errno.EISDIR if path.is_dir() else 0 if path.parent.is_dir() else errno.ENOENT
    writable = os.access(path, os.W_OK) if _is_stream(path) else os.access(path.parent, os.W_OK | os.X_OK)
    if missing or not writable:
        raise OSError(missing or errno.EACCES, os.strerror(missing or errno.EACCES))


def require_output(path: Path | None, argument: str, sources: Iterable[Path | None] = ()) -> None:
    """InputError where no file can be written to `path`, if one is named, or one that is read would be lost."""
    if path is None:
        return
    if any(source is not None and source.exists() and path.exists() and path.samefile(source) for source in sources):
        raise InputError(f"{path} would be lost: it is read", argument=argument, remedy="write to another file")
    try:
        require_place(path)
    except OSError as error:
        raise unwritable(path, error, argument) from error


def unwritable(path: Path, error: OSError, argument: str) -> InputError:
    """The error for a file that could not be written."""
    problem = f"cannot write {path}: {error.strerror or error}"
    return InputError(problem, argument=argument, remedy=remedy_for(path, error))


def remedy_for(path: str | os.PathLike[str], error: OSError) -> str:
    """What to do about a file that could not be written."""
    if os.path.isdir(path):
        return "give the path of a file, not of a folder"
    if error.errno in _FULL:
        return "free some space there, or choose another folder"
    if error.errno == errno.EFBIG:
        return _TOO_LARGE
    return "choose a folder that is there and can be written"

"""Engines remembered on disk: a program's second start builds nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tenfold
from tenfold import files, settings
from tenfold.errors import EngineError, OptionError, TenfoldError
from tenfold.options import Options
from tenfold.plugin import Plugin
from tenfold.runtime import format
from tenfold.runtime.engine import Engine, from_file
from tenfold.version import __version__

_log = logging.getLogger("tenfold")
_LOCATION = re.compile(rb"\x0a\x08location\x12")
"""How the place of external data begins in an ONNX file: an entry's key, and the mark of its value."""
_LONGEST = 4096
_NO_FOLDERS = ("", "off", "on", "no", "yes", "none", "false", "true")


def cache_folder(cache: bool | str | os.PathLike[str]) -> Path | None:
    """The folder that the argument `cache` of a build means; None for no cache, and with a warning for one that cannot
    be written. OptionError for what is neither True, False nor a path.
    """
    if cache is False:
        return None
    given: Any = cache
    if given is not True and (not isinstance(given, str | os.PathLike) or str(given).lower() in _NO_FOLDERS):
        remedy = "give True, False (none), or the path of a folder, such as './off'"
        raise OptionError(f"cache is {cache!r}", argument="cache", remedy=remedy)
    chosen: Path | None = settings.CACHE.value() if cache is True else files.path_of(cache, "cache")
    return files.folder(chosen) if chosen else None


class EngineCache:
    """Engine files in `folder`, by everything that decides their bytes: model, options, versions."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = files.folder(folder / "engines") if folder else None

    def key(
        self, model: Any, options: Options, opening: Mapping[str, Any], plugins: Sequence[Plugin] = ()
    ) -> str | None:
        """The address of the engine for these arguments; None if the model is not a file or bytes."""
        digest = _content(model, opening.get("data_root")) if self._folder else None
        if digest is None:
            return None
        machines = [f"{t.portable} {t.native}" for t in options.targets]
        said = [digest, machines, options.precision, options.effort, options.threads, options.winograd]
        said += [options.memory_limit, repr(sorted(opening.items())), __version__, _code(), version("llvmlite")]
        said += [[one.name, one.version] for one in plugins]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def find(self, key: str | None, **loading: Any) -> Engine | None:
        """The engine of that key, if it is there and whole."""
        path = self._path(key)
        if path is None or not path.exists():
            return None
        try:
            return from_file(path, foreign=True, **loading)
        except TenfoldError as error:
            _log.warning("a cached engine is built again: %s", error)
            return None

    def keep(self, key: str | None, image: format.Bytes) -> None:
        """Remember an engine."""
        path = self._path(key)
        if path is not None:
            try:
                format.write(path, image)
            except EngineError as error:
                _log.warning("the engine is not cached: %s", error)

    def _path(self, key: str | None) -> Path | None:
        return self._folder / f"{key}.tenfold" if self._folder and key else None


@functools.cache
def _code() -> str:
    """What identifies this compiler beside its version: the state of its source files."""
    root = Path(tenfold.__file__).parent
    files = ((path, path.stat()) for path in sorted(root.rglob("*.py")))
    about = [(path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in files]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _content(model: Any, data_root: Any) -> str | None:
    """A digest of a model's bytes, and of sizes and dates of the files that it names as its weights' places."""
    if isinstance(model, bytes | bytearray | memoryview):
        return _digest(memoryview(model), [data_root])
    if not isinstance(model, str | os.PathLike) or not os.path.isfile(model) or not os.path.getsize(model):
        return None
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _digest(memoryview(data), [Path(model).parent, data_root])


def _digest(data: memoryview, folders: Sequence[Any]) -> str:
    with data:
        state = hashlib.sha256(data)
        names = sorted({_name(data, found.end()) for found in _LOCATION.finditer(data)})
    for path in (Path(folder) / name for folder in folders if folder is not None for name in names):
        if "\0" not in str(path) and os.path.exists(path):
            about = path.stat()
            state.update(f"{path} {about.st_size} {about.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def _name(data: memoryview, place: int) -> str:
    """The text of a protobuf string whose length stands at `place`, seven bits a byte, the lowest first."""
    length = shift = 0
    while place < len(data) and shift < 35:
        length |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 0x80:
            break
    return bytes(data[place : place + min(length, _LONGEST)]).decode("utf-8", "surrogateescape")

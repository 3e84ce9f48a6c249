"""The engine file: a header, a manifest, and sections at page boundaries. No pickle, nothing run on load.

    header    64 bytes: magic, version, size of the manifest, SHA-256 of the manifest
    manifest  JSON: what the engine is, and each section's place, size and checks
    sections  weights, then plans, machine code, graphs in textual form

The manifest and every section but the weights are checked by SHA-256 at each load; weights carry a 64-bit sum for each
MiB, which is checked at memory speed, and a SHA-256 that `verify="sha256"` asks for. Files of another major version
are refused; a newer minor version adds only what older readers may ignore.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold import files
from tenfold.errors import EngineError
from tenfold.runtime.cpu.arena import zeroed
from tenfold.runtime.records import read as read_as

MAGIC = b"TENFOLD\x00"
MAJOR, MINOR = 1, 0
HEADER = struct.Struct("<8sHHIQ32s8x")
PAGE = 4096
CHUNK = 1 << 20
Bytes = NDArray[np.uint8]


def chunk_sums(data: Bytes) -> list[int]:
    """For each MiB: the sum of its 64-bit words modulo 2^64 (a last partial word is padded with zeros)."""
    whole = data[: data.size // CHUNK * CHUNK].view(np.uint64).reshape(-1, CHUNK // 8)
    sums: list[int] = whole.sum(axis=1, dtype=np.uint64).tolist()
    rest = data[whole.size * 8 :]
    if rest.size:
        padded = np.zeros(-(-rest.size // 8) * 8, np.uint8)
        padded[: rest.size] = rest
        sums.append(int(padded.view(np.uint64).sum(dtype=np.uint64)))
    return sums


class Content(Protocol):
    """A section that is not in memory yet."""

    nbytes: int

    def write(self, into: Bytes) -> None:
        """Put it there, where zeros are."""


def pack(manifest: Mapping[str, Any], sections: Mapping[str, bytes | Bytes | Content]) -> Bytes:
    """The bytes of an engine file, at a page-aligned address. A section named "weights" is checked in chunks.

    Sections are written where they belong at once; the manifest, which checks them, comes last, and ends in blanks.
    """
    sizes = {name: len(one) if isinstance(one, bytes) else one.nbytes for name, one in sections.items()}
    table = {name: _entry(name, size) for name, size in sizes.items()}
    room = len(_laid_out(manifest, table))
    image = zeroed(max((one["offset"] + one["size"] for one in table.values()), default=HEADER.size + room))
    for name, content in sections.items():
        part = image[table[name]["offset"] :][: sizes[name]]
        if isinstance(content, bytes | np.ndarray):
            part[:] = np.frombuffer(content, np.uint8)
        else:
            content.write(part)
        table[name] |= {"sha256": hashlib.sha256(part.data).hexdigest()}
        table[name] |= {"sums": chunk_sums(part)} if name == "weights" else {}
    text = _text(manifest, table).ljust(room)
    header = HEADER.pack(MAGIC, MAJOR, MINOR, 0, room, hashlib.sha256(text).digest())
    image[: HEADER.size + room] = np.frombuffer(header + text, np.uint8)
    return image


def _entry(name: str, size: int) -> dict[str, Any]:
    """A section's entry with checks that take as much room as any."""
    entry: dict[str, Any] = {"offset": 0, "size": size, "sha256": "0" * 64}
    if name == "weights":
        entry["sums"] = [2**64 - 1] * -(-size // CHUNK)
    return entry


def _text(manifest: Mapping[str, Any], table: Mapping[str, Any]) -> bytes:
    return json.dumps({**manifest, "sections": table}, sort_keys=True, separators=(",", ":")).encode()


def _laid_out(manifest: Mapping[str, Any], table: dict[str, dict[str, Any]]) -> bytes:
    """The manifest's text, once its own length no longer moves the sections."""
    text = b""
    while True:
        at = HEADER.size + len(text)
        for entry in table.values():
            at += -at % PAGE
            entry["offset"] = at
            at += entry["size"]
        again = _text(manifest, table)
        if len(again) == len(text):
            return again
        text = again


@dataclass(frozen=True)
class Section:
    """Where a section lies, and what its contents are checked by: `sums` if it has them, else `sha256`."""

    offset: int
    size: int
    sha256: str
    sums: tuple[int, ...] | None = None


class File:
    """An engine file in memory: `manifest`, and sections by name. EngineError for anything damaged or foreign."""

    def __init__(self, image: Bytes, name: str, *, verify: str = "default") -> None:
        self.image, self.name = image, name
        self.manifest = self._read_manifest()
        self._table: Mapping[str, Section] = read_as(Mapping[str, Section], self.manifest.get("sections"), "sections")
        self._check_places()
        for section in self._table:
            self._check(section, verify)

    def _read_manifest(self) -> dict[str, Any]:
        if self.image.size < HEADER.size or self.image[:8].tobytes() != MAGIC:
            raise self._bad("it is not a Tenfold engine", "build one with `tenfold build MODEL -o FILE.tenfold`")
        _, major, minor, _, size, digest = HEADER.unpack(self.image[: HEADER.size].tobytes())
        if major != MAJOR:
            raise self._bad(
                f"it has format version {major}.{minor}, and this Tenfold reads {MAJOR}.x",
                "build it again with this version",
            )
        text = self.image[HEADER.size : HEADER.size + size].tobytes()
        self._begin = HEADER.size + size
        if len(text) != size or hashlib.sha256(text).digest() != digest:
            raise self._bad("its manifest is damaged", "copy or build it again")
        try:
            manifest: dict[str, Any] = dict(read_as(Mapping[str, Any], json.loads(text), "the whole"))
        except (ValueError, RecursionError) as error:
            raise self._bad("its manifest is no JSON", "copy or build it again") from error
        return manifest

    def _check_places(self) -> None:
        """Sections follow one another at page boundaries, to the file's end: none overlaps another."""
        end = self._begin
        for name, entry in sorted(self._table.items(), key=lambda item: (item[1].offset, item[1].size)):
            if entry.offset != end + -end % PAGE or entry.size < 0:
                raise self._bad(f"its section {name!r} is not where it belongs", "copy or build it again")
            end = entry.offset + entry.size
            if end > self.image.size:
                raise self._bad(f"its section {name!r} is cut off", "copy or build it again")

    def _check(self, section: str, verify: str) -> None:
        entry = self._table[section]
        data = self.section(section)
        if entry.sums is not None and verify != "sha256":
            good = tuple(chunk_sums(data)) == entry.sums
        else:
            good = hashlib.sha256(data.data).hexdigest() == entry.sha256
        if not good:
            raise self._bad(f"its section {section!r} is damaged", "copy or build it again")

    def _entry(self, name: str) -> Section:
        if name not in self._table:
            raise self._bad(f"it has no section {name!r}", "copy or build it again")
        return self._table[name]

    def section(self, name: str) -> Bytes:
        """A section's bytes, as a view; EngineError if there is none of that name."""
        entry = self._entry(name)
        found: Bytes = self.image[entry.offset : entry.offset + entry.size]
        return found

    def offset(self, name: str) -> int:
        """Where a section starts in the file."""
        return self._entry(name).offset

    def _bad(self, problem: str, remedy: str) -> EngineError:
        return EngineError(f"{self.name}: {problem}", remedy=remedy)


def write(path: str | os.PathLike[str], image: Bytes) -> None:
    """Write an engine file, whole and to the disk; EngineError where that cannot be."""
    with _writing(path), files.whole(path, 0o644, durable=True) as file:
        file.write(image.data)


def require_place(path: Path) -> None:
    """EngineError where no engine file can be written to `path`: before one is built."""
    with _writing(path):
        files.require_place(path)


@contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = files.remedy_for(path, error)
        raise EngineError(f"cannot write {path}: {error.strerror or error}", remedy=remedy) from error


def read(path: str | os.PathLike[str]) -> Bytes:
    """An engine file, memory-mapped; EngineError if there is none."""
    try:
        if os.path.getsize(path) == 0:
            raise EngineError(f"{path}: the file is empty", remedy="copy or build it again")
        return np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror or error}", remedy="give the path of an engine file") from error

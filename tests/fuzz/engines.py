"""Mutants of engine files: bytes changed under a stale hash; header, sections and plan under a repaired one."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from tenfold.runtime.format import HEADER, PAGE
from tests.fuzz.mutate import EXTREMES

_FIELDS = struct.Struct("<8sHHIQ32s8x")


def mutant(whole: bytes, dice: Random) -> tuple[bytes, bool]:
    """A mutant, and whether its hashes were repaired."""
    if dice.random() < 0.4:
        return stale(whole, dice), False
    return dice.choice((header, sections, manifest, manifest, plan, plan))(whole, dice), True


def stale(whole: bytes, dice: Random) -> bytes:
    """Bytes changed, cut off or put in, and the hashes left as they were."""
    data = bytearray(whole)
    at = dice.randrange(len(data))
    match dice.randrange(5):
        case 0:
            data[at] ^= 1 << dice.randrange(8)
        case 1:
            del data[at:]
        case 2:
            data[at : at + 64] = dice.randbytes(64)
        case 3:
            data[at:at] = dice.randbytes(dice.randrange(1, 65))
        case 4:
            data[at : at + PAGE] = bytes(len(data[at : at + PAGE]))
    return bytes(data)


def read(whole: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The fields of the header, and the manifest."""
    fields = list(_FIELDS.unpack_from(whole))
    return fields, json.loads(whole[HEADER.size : HEADER.size + fields[4]])


def written(whole: bytes, fields: list[Any], text: bytes) -> bytes:
    """The file with another manifest of right length and hash. One that has grown past its place takes the room."""
    text = text.ljust(fields[4])
    fields = [*fields[:4], len(text), hashlib.sha256(text).digest()]
    return _FIELDS.pack(*fields) + text + whole[HEADER.size + len(text) :]


def _text(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def header(whole: bytes, dice: Random) -> bytes:
    """A field of the header is another number."""
    fields, _ = read(whole)
    place = dice.randrange(1, 5)
    fields[place] = dice.choice(EXTREMES) % (1 << (16, 16, 32, 64)[place - 1])
    return _FIELDS.pack(*fields) + whole[HEADER.size :]


def sections(whole: bytes, dice: Random) -> bytes:
    """A place, size or hash in the table of sections."""
    fields, data = read(whole)
    name = dice.choice(sorted(data["sections"]))
    entry = data["sections"][name]
    match dice.randrange(5):
        case 0:
            entry[dice.choice(("offset", "size"))] = dice.choice((*EXTREMES, len(whole), len(whole) - 1))
        case 1:
            entry[dice.choice(("offset", "size"))] += dice.choice((-4096, -8, -1, 1, 8, 4096))
        case 2:
            del entry[dice.choice(sorted(entry))]
        case 3:
            del data["sections"][name]
        case 4:
            entry[dice.choice(sorted(entry))] = dice.choice((None, "x", [], 1.5))
    _hashed(whole, data)
    return written(whole, fields, _text(data))


def _hashed(whole: bytes, data: dict[str, Any]) -> None:
    """Hashes of all sections as they lie now, where that can be said."""
    for entry in data["sections"].values():
        start, size = entry.get("offset"), entry.get("size")
        if isinstance(start, int) and isinstance(size, int) and 0 <= start <= start + size <= len(whole):
            entry["sha256"] = hashlib.sha256(whole[start : start + size]).hexdigest()


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in JSON data."""
    keys = data.keys() if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in list(keys):
        yield data, key
        yield from _places(data[key])


def manifest(whole: bytes, dice: Random) -> bytes:
    """One value of the manifest, but for the table of sections: another number, kind or name; dropped; doubled.

    Where functions begin in the code is part of the code, which is trusted.
    """
    fields, data = read(whole)
    table = data.pop("sections")
    code = [target.pop(name) for target in data["targets"].values() for name in ("entries", "crew_entries")]
    container, key = dice.choice(list(_places(data)))
    match dice.randrange(6):
        case 0:
            del container[key]
        case 1:
            container[key] = dice.choice((None, True, "x", [], {}, [[]], -1, 1.5, "9" * 99))
        case 2 if isinstance(container, list):
            container.insert(dice.randrange(len(container) + 1), container[key])
        case _ if isinstance(container[key], int):
            container[key] = dice.choice((*EXTREMES, container[key] + 1, container[key] - 1))
        case _ if isinstance(container[key], str):
            container[key] = dice.choice(("", "x", container[key] + "?", container[key][1:], "f32", "seq<f32[2]>"))
        case _:
            container[key] = dice.choice((0, "", []))
    data["sections"] = table
    targets = data.get("targets")
    for target in targets.values() if isinstance(targets, dict) else ():
        if isinstance(target, dict):
            target |= {"entries": code[0], "crew_entries": code[1]}
    return written(whole, fields, _text(data))


def plan(whole: bytes, dice: Random) -> bytes:
    """A number in the tables of steps, arguments, addresses or sizes, with all hashes repaired."""
    fields, data = read(whole)
    name = dice.choice(sorted(name for name in data["sections"] if name.endswith("/plan")))
    entry = data["sections"][name]
    arrays = data["targets"][name.removesuffix("/plan")]["plan"]["arrays"]
    image = bytearray(whole)
    at, kind = entry["offset"], dice.choice(("steps", "steps", "binds", "binds", "argmap", "rows"))
    for table, element in (("rows", "<i8"), ("steps", "<i4"), ("argmap", "<i4"), ("binds", "<i8")):
        count, width = int(np.prod(arrays[table])), int(element[2])
        if table == kind and count:
            place = at + width * dice.randrange(count)
            old = int.from_bytes(image[place : place + width], "little", signed=True)
            new = dice.choice((old + 1, old - 1, old + 8, *EXTREMES)) % (1 << 8 * width)
            image[place : place + width] = new.to_bytes(width, "little")
        at += count * width
    _hashed(bytes(image), data)
    return written(bytes(image), fields, _text(data))

"""Our own small linker: ELF objects to one flat position-independent blob.

A blob is code and read-only data in a row, mapped at any page boundary and entered at offsets. Objects may hold
only PC-relative relocations, and no writable data: what a kernel needs beside its own code comes as an argument.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tenfold.errors import UnsupportedError

MACHINES = {"x86_64": 62, "aarch64": 183}
_CODE_ALIGNMENT = 64
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_DROPPED = (".eh_frame", ".note")


@dataclass(frozen=True)
class Unit:
    """One object to link. `exports` says which of its symbols are entries of the blob, and by what name; the rest
    is private to it, so several units may define the same symbol. `name` is for messages.
    """

    name: str
    data: bytes
    exports: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Blob:
    """Linked code: its bytes, and the offset of each entry."""

    code: bytes
    entries: dict[str, int]


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class _Symbol(NamedTuple):
    name: str
    section: int
    value: int


class _Relocation(NamedTuple):
    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


class _Object:
    """A parsed relocatable ELF file: its sections, symbols and relocations."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        data = unit.data
        if data[:7] != b"\x7fELF\x02\x01\x01":
            raise UnsupportedError(f"{unit.name}: expected a little-endian 64-bit ELF object")
        _, self.machine = struct.unpack_from("<HH", data, 16)
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        rows = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
        at = rows[names][4]
        self.sections = [
            _Section(_text(data, at + row[0]), row[1], row[2], row[4], row[5], row[6], row[7], row[8]) for row in rows
        ]
        self.symbols = [
            symbol for section in self.sections if section.kind == _SYMTAB for symbol in self._read(section)
        ]
        self.kept = [index for index, section in enumerate(self.sections) if self._keeps(section)]

    def _read(self, table: _Section) -> Iterator[_Symbol]:
        strings = self.sections[table.link].offset
        for at in range(table.offset, table.offset + table.size, 24):
            name, _, section, value, _ = struct.unpack_from("<IBxHQQ", self.unit.data, at)
            yield _Symbol(_text(self.unit.data, strings + name), section, value)

    def _keeps(self, section: _Section) -> bool:
        if not section.flags & _ALLOC or not section.size or section.name.startswith(_DROPPED):
            return False
        if section.flags & _WRITE or section.kind == _NOBITS:
            raise UnsupportedError(f"{self.unit.name}: section {section.name} is writable; code may hold no state")
        return True

    def relocations(self) -> Iterator[_Relocation]:
        """The relocations of the kept sections."""
        for section in self.sections:
            if section.kind == _RELA and section.info in self.kept:
                for at in range(section.offset, section.offset + section.size, 24):
                    offset, info, addend = struct.unpack_from("<QQq", self.unit.data, at)
                    yield _Relocation(section.info, offset, info & 0xFFFFFFFF, info >> 32, addend)


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _bits(value: int, width: int) -> int:
    if not -(1 << (width - 1)) <= value < 1 << (width - 1):
        raise OverflowError
    return value & ((1 << width) - 1)


def _word(width: int) -> Callable[[bytearray, int, int], None]:
    def store(code: bytearray, at: int, target: int) -> None:
        code[at : at + width // 8] = _bits(target - at, width).to_bytes(width // 8, "little")

    return store


def _insert(code: bytearray, at: int, mask: int, value: int) -> None:
    (word,) = struct.unpack_from("<I", code, at)
    struct.pack_into("<I", code, at, (word & ~mask) | (value & mask))


def _branch(shift: int, width: int) -> Callable[[bytearray, int, int], None]:
    def store(code: bytearray, at: int, target: int) -> None:
        _insert(code, at, ((1 << width) - 1) << shift, _bits((target - at) >> 2, width) << shift)

    return store


def _page(pages: bool) -> Callable[[bytearray, int, int], None]:
    def store(code: bytearray, at: int, target: int) -> None:
        value = _bits((target >> 12) - (at >> 12) if pages else target - at, 21)
        _insert(code, at, 3 << 29 | 0x7FFFF << 5, (value & 3) << 29 | (value >> 2) << 5)

    return store


def _low(scale: int) -> Callable[[bytearray, int, int], None]:
    def store(code: bytearray, at: int, target: int) -> None:
        _insert(code, at, 0xFFF << 10, ((target & 0xFFF) >> scale) << 10)

    return store


_RELOCATIONS: dict[int, dict[int, Callable[[bytearray, int, int], None]]] = {
    MACHINES["x86_64"]: {2: _word(32), 4: _word(32), 24: _word(64)},
    MACHINES["aarch64"]: {
        260: _word(64),
        261: _word(32),
        273: _branch(5, 19),
        274: _page(pages=False),
        275: _page(pages=True),
        277: _low(0),
        278: _low(0),
        279: _branch(5, 14),
        280: _branch(5, 19),
        282: _branch(0, 26),
        283: _branch(0, 26),
        284: _low(1),
        285: _low(2),
        286: _low(3),
        299: _low(4),
    },
}


def link(units: Sequence[Unit], library: Sequence[Unit] = ()) -> Blob:
    """Lay out the units in order, code before data, and resolve their relocations.

    A symbol that a unit does not define is looked up among the exports of `library`, whose units are linked when
    needed; UnsupportedError names one that nobody defines, and a relocation or section that cannot be flat.
    Units of equal bytes share one placement.
    """
    objects = {unit.data: _Object(unit) for unit in units}
    offered = {name: unit for unit in library for name in unit.exports.values()}
    waiting = list(objects.values())
    while waiting:
        for name in _undefined(waiting.pop()):
            if name in offered and offered[name].data not in objects:
                objects[offered[name].data] = _Object(offered[name])
                waiting.append(objects[offered[name].data])
    placed, code = _lay_out(list(objects.values()))
    places = {data: _addresses(item, placed[item.unit.data]) for data, item in objects.items()}
    shared = {
        name: places[unit.data][symbol]
        for unit in library
        if unit.data in places
        for symbol, name in unit.exports.items()
    }
    for item in objects.values():
        _resolve(item, placed[item.unit.data], shared, code)
    entries: dict[str, int] = {}
    for unit in units:
        for symbol, name in unit.exports.items():
            if symbol not in places[unit.data]:
                raise UnsupportedError(f"{unit.name}: the object does not define {symbol!r}")
            if name in entries:
                raise UnsupportedError(f"{unit.name}: the entry {name!r} is exported twice")
            entries[name] = places[unit.data][symbol]
    return Blob(bytes(code), entries)


def _undefined(item: _Object) -> list[str]:
    return [symbol.name for symbol in item.symbols if symbol.section == 0 and symbol.name]


def _lay_out(objects: list[_Object]) -> tuple[dict[bytes, dict[int, int]], bytearray]:
    """Where each kept section of each object goes, and the bytes: all code first, then all read-only data."""
    placed: dict[bytes, dict[int, int]] = {item.unit.data: {} for item in objects}
    code = bytearray()
    for executable in (_EXECUTE, 0):
        for item in objects:
            for index in item.kept:
                section = item.sections[index]
                if section.flags & _EXECUTE != executable:
                    continue
                code.extend(b"\xcc" * (-len(code) % max(_CODE_ALIGNMENT, section.alignment)))
                placed[item.unit.data][index] = len(code)
                code += item.unit.data[section.offset : section.offset + section.size]
    return placed, code


def _addresses(item: _Object, placed: dict[int, int]) -> dict[str, int]:
    return {symbol.name: placed[symbol.section] + symbol.value for symbol in item.symbols if symbol.section in placed}


def _resolve(item: _Object, placed: dict[int, int], shared: dict[str, int], code: bytearray) -> None:
    kinds = _RELOCATIONS[item.machine]
    for relocation in item.relocations():
        symbol = item.symbols[relocation.symbol]
        if symbol.section in placed:
            target = placed[symbol.section] + symbol.value
        elif symbol.section == 0 and symbol.name in shared:
            target = shared[symbol.name]
        else:
            raise UnsupportedError(f"{item.unit.name}: the code needs {symbol.name!r}, which no part of it defines")
        if relocation.kind not in kinds:
            raise UnsupportedError(f"{item.unit.name}: relocation type {relocation.kind} is not position-independent")
        at = placed[relocation.section] + relocation.offset
        try:
            kinds[relocation.kind](code, at, target + relocation.addend)
        except OverflowError:
            raise UnsupportedError(f"{item.unit.name}: {symbol.name!r} is too far from the code using it") from None

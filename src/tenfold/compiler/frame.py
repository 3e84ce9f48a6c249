"""Building a frame: what a plan's slots hold, before they have numbers.

A `Slot` is a promise of a number. Sizes become rows of the plan's program, addresses rows of its binds, counters and
pointers that steps change stand last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.program import Opcode, Program

_NONE: Mapping[str, int] = {}


@dataclass(frozen=True)
class Slot:
    """A place in the frame: `kind` says how it is filled, `index` counts within the kind."""

    kind: str
    index: int


class FrameBuilder:
    """Collects what a frame must hold and gives it numbers at the end."""

    def __init__(self) -> None:
        self._sizes: dict[Size, Slot] = {}
        self._rows: dict[tuple[Opcode, Slot, Slot], Slot] = {}
        self._binds: dict[tuple[int, Slot], Slot] = {}
        self._cells: list[int] = []

    def size(self, size: Size) -> Slot:
        """A slot that holds a size."""
        return self._sizes.setdefault(size, Slot("size", len(self._sizes)))

    def row(self, opcode: Opcode, a: Slot, b: Slot) -> Slot:
        """A slot computed from two others, ADD or MAX: for long chains that need no normal form."""
        return self._rows.setdefault((opcode, a, b), Slot("row", len(self._rows)))

    def add(self, a: Slot, b: Slot) -> Slot:
        """The sum of two slots."""
        zero = self.size(0)
        return b if a == zero else a if b == zero else self.row(Opcode.ADD, a, b)

    def maximum(self, slots: Iterable[Slot]) -> Slot:
        """The greatest of some slots, and of 0."""
        result = self.size(0)
        for slot in slots:
            result = slot if result == self.size(0) else self.row(Opcode.MAX, result, slot)
        return result

    def address(self, base: int, offset: Slot) -> Slot:
        """A slot that holds the address `offset` bytes after a base."""
        return self._binds.setdefault((base, offset), Slot("bind", len(self._binds)))

    def cell(self) -> Slot:
        """A slot that steps write."""
        self._cells.append(0)
        return Slot("cell", len(self._cells) - 1)

    def symbols(self) -> set[str]:
        """The names of the symbols that any size uses."""
        return {name for size in self._sizes for name in dim.symbols(size)}

    def finish(self, symbols: Sequence[str], sections: Mapping[str, int] = _NONE) -> Numbering:
        """Give every slot its number. `sections` says of symbols after which section of the program they are known."""
        program = Program.compile(list(self._sizes), list(symbols))
        numbers = dict(zip(self._sizes.values(), program.results, strict=True))
        rows = program.rows.tolist()
        for (opcode, a, b), slot in self._rows.items():
            numbers[slot] = program.symbols + len(rows)
            rows.append([int(opcode), numbers[a], numbers[b], 0])
        whole = Program(np.array(rows, np.int64).reshape(-1, 4), program.symbols, program.results)
        whole, ends, moved = in_sections(whole, [sections.get(name, 0) for name in symbols])
        numbers = {slot: moved[number] for slot, number in numbers.items()}
        first = ends[-1]
        binds = []
        for number, ((base, offset), slot) in enumerate(self._binds.items()):
            numbers[slot] = first + number
            binds.append([first + number, base, numbers[offset]])
        cells = first + len(binds)
        numbers.update({Slot("cell", index): cells + index for index in range(len(self._cells))})
        return Numbering(whole, ends, np.array(binds, np.int64).reshape(-1, 3), cells + len(self._cells), numbers)


def in_sections(program: Program, symbols: Sequence[int]) -> tuple[Program, tuple[int, ...], list[int]]:
    """The program with its rows in sections, given that of each symbol; the slots that sections end before; the new
    number of each slot.
    """
    section = list(symbols)
    for operands in program.operands():
        section.append(max((section[one] for one in operands), default=0))
    count = program.symbols
    order = sorted(range(count, len(section)), key=section.__getitem__)
    moved = [*range(count), *([0] * len(order))]
    for number, slot in enumerate(order, count):
        moved[slot] = number
    rows = program.rows[[slot - count for slot in order]]
    for row in rows:
        if row[0] != Opcode.CONST:
            row[1:] = [moved[slot] for slot in row[1:]]
    of_row = [section[slot] for slot in order]
    ends = [count + bisect_right(of_row, number) for number in range(max(section, default=0) + 1)]
    return Program(rows, count, [moved[slot] for slot in program.results]), tuple(ends), moved


@dataclass(frozen=True, eq=False)
class Numbering:
    """A finished frame: its program, where its sections end, its binds, how many slots it has, the number of each."""

    program: Program
    sections: tuple[int, ...]
    binds: NDArray[np.int64]
    slots: int
    numbers: dict[Slot, int]

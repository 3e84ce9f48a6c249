"""Building a frame: what a plan's slots hold, before they have numbers.

A `Slot` is a promise of a number. Sizes become rows of the plan's program, addresses rows of its binds, counters and
pointers that steps change stand last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.program import Opcode, Program


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

    def finish(self, symbols: list[str]) -> Numbering:
        """Give every slot its number."""
        program = Program.compile(list(self._sizes), symbols)
        numbers: dict[Slot, int] = {}
        for slot, result in zip(self._sizes.values(), program.results, strict=True):
            numbers[slot] = result
        rows = program.rows.tolist()
        for (opcode, a, b), slot in self._rows.items():
            numbers[slot] = program.symbols + len(rows)
            rows.append([int(opcode), numbers[a], numbers[b], 0])
        first = program.symbols + len(rows)
        binds = []
        for number, ((base, offset), slot) in enumerate(self._binds.items()):
            numbers[slot] = first + number
            binds.append([first + number, base, numbers[offset]])
        cells = first + len(binds)
        numbers.update({Slot("cell", index): cells + index for index in range(len(self._cells))})
        whole = Program(np.array(rows, np.int64).reshape(-1, 4), program.symbols, program.results)
        return Numbering(whole, np.array(binds, np.int64).reshape(-1, 3), cells + len(self._cells), numbers)


@dataclass(frozen=True, eq=False)
class Numbering:
    """A finished frame: its program, its binds, how many slots it has, and the number of each."""

    program: Program
    binds: NDArray[np.int64]
    slots: int
    numbers: dict[Slot, int]

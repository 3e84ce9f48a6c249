"""Formulas of sizes as a flat program: what a frame runs to know the sizes of a call."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError, InputError, LimitError
from tenfold.ir import polynomial

if TYPE_CHECKING:
    from tenfold.ir.atom import Atom
    from tenfold.ir.dim import Size
    from tenfold.ir.polynomial import Monomial


class Opcode(IntEnum):
    """What a row computes from the slots a, b and c; CONST is the number a itself, SELECT is b if slot a, else c."""

    CONST = 0
    ADD = 1
    SUB = 2
    MUL = 3
    FLOORDIV = 4
    MOD = 5
    MIN = 6
    MAX = 7
    BROADCAST = 8
    SELECT = 9
    EQ = 10
    LT = 11


def _broadcast(a: int, b: int) -> int:
    if a != b and a != 1 and b != 1:
        raise InputError(f"sizes {a} and {b} do not broadcast", remedy="give arrays whose sizes agree, or are 1")
    return b if a == 1 else a


_FUNCTIONS: dict[int, Callable[..., int]] = {
    Opcode.ADD: operator.add,
    Opcode.SUB: operator.sub,
    Opcode.MUL: operator.mul,
    Opcode.FLOORDIV: operator.floordiv,
    Opcode.MOD: operator.mod,
    Opcode.MIN: min,
    Opcode.MAX: max,
    Opcode.BROADCAST: _broadcast,
    Opcode.SELECT: lambda condition, a, b: a if condition else b,
    Opcode.EQ: lambda a, b: 1 if a == b else 0,
    Opcode.LT: lambda a, b: 1 if a < b else 0,
}

_OPCODES = {
    "//": Opcode.FLOORDIV,
    "%": Opcode.MOD,
    "minimum": Opcode.MIN,
    "maximum": Opcode.MAX,
    "broadcast": Opcode.BROADCAST,
    "equal": Opcode.EQ,
    "less": Opcode.LT,
}


class Program:
    """A straight-line program over int64: its slots are first the symbols of a call, then one for each row.

    `symbols` is how many symbols there are, in the order given to `compile`. A row (opcode, a, b, c) computes its slot
    from slots before it; `rows` is an int64 array of shape (n, 4). `results` are the slots of the formulas. The triple
    rebuilds the program: EngineError if a row reads a slot that is not before it, or has an unknown opcode.
    """

    def __init__(self, rows: NDArray[np.int64], symbols: int, results: Sequence[int]) -> None:
        self.rows = np.array(rows, dtype=np.int64).reshape(-1, 4)
        self.symbols = symbols
        self.results = tuple(map(int, results))
        self._check()

    @staticmethod
    def compile(formulas: Sequence[Size], symbols: Sequence[str]) -> Program:
        """The program of these formulas, common parts computed once.

        Raises InputError naming a symbol that is not among `symbols`, LimitError for a constant beyond 64 bits.
        """
        compiler = _Compiler(symbols)
        results = [compiler.size(formula) for formula in formulas]
        return Program(np.array(compiler.rows, dtype=np.int64), len(symbols), results)

    def run(self, values: Sequence[int], end: int | None = None, *, lenient: bool = False) -> list[int]:
        """Every slot, for these values of the symbols; or only those before `end`, the others stay 0 or constant.

        What a select does not choose need not exist, and is 0 where it doesn't. Raises InputError if a result needs
        a division by zero, or sizes that do not broadcast; such a result is 0 if that is `lenient`.
        """
        if len(values) != self.symbols:
            raise InputError(f"{self.symbols} symbols take as many values, not {len(values)}")
        constants, steps = self._steps
        slots = [*map(int, values), *constants]
        last = len(steps) if end is None else bisect_left(steps, end, key=itemgetter(0))
        try:
            for slot, function, operands in steps[:last] if end is not None else steps:
                slots[slot] = function(*operands(slots))
        except (ZeroDivisionError, InputError):
            return self._run_carefully([*map(int, values), *constants], len(slots) if end is None else end, lenient)
        return slots

    def resume(self, slots: list[int], begin: int, end: int) -> list[int]:
        """The slots with those from `begin` on to before `end` computed, all before them being known."""
        _, steps = self._steps
        first, last = (bisect_left(steps, slot, key=itemgetter(0)) for slot in (begin, end))
        found = [*slots]
        try:
            for slot, function, operands in steps[first:last]:
                found[slot] = function(*operands(found))
        except (ZeroDivisionError, InputError):
            return self._run_carefully([*slots], end)
        return found

    def operands(self) -> Iterator[tuple[int, ...]]:
        """The slots that each row reads."""
        for row in self.rows.tolist():
            yield _operands(row) if row[0] in _FUNCTIONS else ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        same = self.symbols == other.symbols and self.results == other.results
        return same and np.array_equal(self.rows, other.rows)

    __hash__ = None  # type: ignore[assignment]

    @property
    def constants(self) -> list[int]:
        """What each row's slot holds before anything is computed: the number of a CONST, else 0."""
        return self._steps[0]

    @cached_property
    def _steps(self) -> tuple[list[int], list[tuple[int, Callable[..., int], Callable[[list[int]], Any]]]]:
        rows: list[list[int]] = self.rows.tolist()
        constants = [row[1] if row[0] == Opcode.CONST else 0 for row in rows]
        return constants, [
            (slot, _FUNCTIONS[row[0]], itemgetter(*_operands(row)))
            for slot, row in enumerate(rows, self.symbols)
            if row[0] in _FUNCTIONS
        ]

    def _run_carefully(self, slots: list[int], end: int, lenient: bool = False) -> list[int]:
        """As `run`, but a failure counts only if a result needs it."""
        failed: dict[int, str] = {}
        for slot, row in enumerate(self.rows.tolist(), self.symbols):
            if row[0] not in _FUNCTIONS or slot >= end:
                continue
            needed = _operands(row)
            if row[0] == Opcode.SELECT and row[1] not in failed:
                needed = (row[1], row[2] if slots[row[1]] else row[3])
            wrong = next((failed[one] for one in needed if one in failed), None)
            try:
                slots[slot] = 0 if wrong else _FUNCTIONS[row[0]](*itemgetter(*_operands(row))(slots))
            except (ZeroDivisionError, InputError) as error:
                wrong = error.message if isinstance(error, InputError) else "a size is divided by zero"
            if wrong:
                failed[slot] = wrong
        for slot in (one for one in self.results if one < end):
            if slot in failed and not lenient:
                raise InputError(failed[slot], remedy="give inputs whose sizes the model can take")
        return slots

    def _check(self) -> None:
        for slot, row in enumerate(self.rows.tolist(), self.symbols):
            known = row[0] in _FUNCTIONS or row[0] == Opcode.CONST
            operands = _operands(row) if row[0] in _FUNCTIONS else ()
            if not known or any(not 0 <= one < slot for one in operands):
                raise EngineError(
                    f"row {slot - self.symbols} of a program of sizes is damaged: {row}",
                    remedy="build the engine again",
                )
        if self.symbols < 0 or any(not 0 <= one < self.symbols + len(self.rows) for one in self.results):
            raise EngineError("the results of a program of sizes are damaged", remedy="build the engine again")


def _operands(row: Sequence[int]) -> tuple[int, ...]:
    return (row[1], row[2], row[3]) if row[0] == Opcode.SELECT else (row[1], row[2])


class _Compiler:
    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = {name: slot for slot, name in enumerate(symbols)}
        self.rows: list[tuple[int, int, int, int]] = []
        self.slots: dict[tuple[int, int, int, int], int] = {}
        self.sizes: dict[Size, int] = {}

    def row(self, opcode: Opcode, a: int, b: int = 0, c: int = 0) -> int:
        row = (int(opcode), a, b, c)
        if row not in self.slots:
            self.slots[row] = len(self.symbols) + len(self.rows)
            self.rows.append(row)
        return self.slots[row]

    def constant(self, number: int) -> int:
        if not -(2**63) <= number < 2**63:
            raise LimitError(f"the number {number} in a formula of sizes does not fit 64 bits")
        return self.row(Opcode.CONST, number)

    def size(self, size: Size) -> int:
        if size not in self.sizes:
            self.sizes[size] = self.sum(polynomial.of_size(size))
        return self.sizes[size]

    def sum(self, terms: polynomial.Terms) -> int:
        """Terms that are added first, so that a difference starts with what it subtracts from."""
        ordered = sorted(terms.items(), key=lambda term: term[1] < 0)
        if not ordered or (ordered[0][1] < 0 and len(ordered) > 1):
            ordered.insert(0, ((), 0))
        (first, factor), *others = ordered
        found = self.term(first, factor)
        for monomial, times in others:
            opcode = Opcode.SUB if times < 0 else Opcode.ADD
            found = self.row(opcode, found, self.term(monomial, abs(times)))
        return found

    def term(self, monomial: Monomial, factor: int) -> int:
        """A symbol counted in multiples of m is read as it is where the factor holds m."""
        parts = []
        for part in monomial:
            whole = part.symbol is not None and factor % part.symbol.multiple == 0
            factor //= part.symbol.multiple if part.symbol and whole else 1
            parts.append(self.atom(part, whole))
        if factor != 1 or not parts:
            parts.append(self.constant(factor))
        found = parts[0]
        for part_slot in parts[1:]:
            found = self.row(Opcode.MUL, found, part_slot)
        return found

    def atom(self, atom: Atom, whole: bool) -> int:
        if atom.symbol:
            if atom.symbol.name not in self.symbols:
                raise InputError(f"a formula of sizes needs {atom.symbol.name}", argument=atom.symbol.name)
            slot = self.symbols[atom.symbol.name]
            return slot if whole else self.row(Opcode.FLOORDIV, slot, self.constant(atom.symbol.multiple))
        operands = [self.size(argument) for argument in atom.arguments]
        if atom.kind == "select":
            return self.row(Opcode.SELECT, *operands)
        found, *others = operands
        for operand in others:
            found = self.row(_OPCODES[atom.kind], found, operand)
        return found

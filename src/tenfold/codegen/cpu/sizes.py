"""The sizes of a call, natively: a plan's program of formulas, row by row, as `ir.program` defines it.

`sizes(rows, count, slots, first)` computes slot `first + i` from row i, for `count` rows of four i64. It returns 0,
or 1 if a row divides by zero, has sizes that do not broadcast, or leaves 64 bits: Python then looks whether it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tenfold.codegen.cpu.assembly import Code, Variable
from tenfold.codegen.cpu.isa import Isa
from tenfold.ir.program import Opcode

_WORD = 8
_ROW = 4 * _WORD
_CHECKED = {Opcode.ADD: "sadd", Opcode.SUB: "ssub", Opcode.MUL: "smul"}
_CHOSEN = {Opcode.MIN: "slt", Opcode.MAX: "sgt"}
_COMPARED = {Opcode.EQ: "eq", Opcode.LT: "slt"}


class _Row:
    """One row being computed: its operands are numbers, or slots to read."""

    def __init__(self, code: Code, row: str, slots: str, found: Variable) -> None:
        self._code, self._row, self._slots, self._found = code, row, slots, found

    def _number(self, place: int) -> str:
        return self._code.load(self._code.add(self._row, place * _WORD))

    def _slot(self, place: int) -> str:
        return self._code.load(self._code.item(self._slots, self._number(place), _WORD))

    def _fail_if(self, condition: str) -> None:
        with self._code.when(condition):
            self._code.give(1)

    def constant(self) -> None:
        """The number itself."""
        self._found.set(self._number(1))

    def checked(self, name: str) -> None:
        """A sum, difference or product that fits 64 bits."""
        code = self._code
        a, b = self._slot(1), self._slot(2)
        pair = code.op(f"call {{ i64, i1 }} @llvm.{name}.with.overflow.i64(i64 {a}, i64 {b})")
        self._fail_if(code.op(f"extractvalue {{ i64, i1 }} {pair}, 1"))
        self._found.set(code.op(f"extractvalue {{ i64, i1 }} {pair}, 0"))

    def divided(self, remainder: bool) -> None:
        """Python's floor division, or what it leaves."""
        code = self._code
        a, b = self._slot(1), self._slot(2)
        self._fail_if(code.compare("eq", b, 0))
        with code.when(code.compare("eq", b, -1)):
            self._fail_if(code.compare("eq", a, -(2**63)))
        rest = code.op(f"srem i64 {a}, {b}")
        other_sign = code.compare("slt", code.op(f"xor i64 {rest}, {b}"), 0)
        below = code.together(code.compare("ne", rest, 0), other_sign)
        if remainder:
            self._found.set(code.select(below, code.add(rest, b), rest))
        else:
            quotient = code.op(f"sdiv i64 {a}, {b}")
            self._found.set(code.select(below, code.sub(quotient, 1), quotient))

    def chosen(self, how: str) -> None:
        """The lesser or greater."""
        a, b = self._slot(1), self._slot(2)
        self._found.set(self._code.select(self._code.compare(how, a, b), a, b))

    def compared(self, how: str) -> None:
        """1 if it holds, else 0."""
        self._found.set(self._code.select(self._code.compare(how, self._slot(1), self._slot(2)), 1, 0))

    def broadcast(self) -> None:
        """The size that both broadcast to."""
        code = self._code
        a, b = self._slot(1), self._slot(2)
        apart = code.together(code.compare("ne", a, 1), code.compare("ne", b, 1))
        self._fail_if(code.together(code.compare("ne", a, b), apart))
        self._found.set(code.select(code.compare("eq", a, 1), b, a))

    def select(self) -> None:
        """The second if the first is not 0, else the third."""
        self._found.set(self._code.select(self._code.compare("ne", self._slot(1), 0), self._slot(2), self._slot(3)))

    def cases(self) -> dict[int, Callable[[], None]]:
        """What each opcode does."""
        return {
            Opcode.CONST: self.constant,
            **{opcode: partial(self.checked, name) for opcode, name in _CHECKED.items()},
            Opcode.FLOORDIV: partial(self.divided, False),
            Opcode.MOD: partial(self.divided, True),
            **{opcode: partial(self.chosen, how) for opcode, how in _CHOSEN.items()},
            **{opcode: partial(self.compared, how) for opcode, how in _COMPARED.items()},
            Opcode.BROADCAST: self.broadcast,
            Opcode.SELECT: self.select,
        }


def sizes_function(isa: Isa) -> Code:
    """`sizes(rows, count, slots, first)`: see the module."""
    code = Code(isa, "sizes", 4, external=True)
    rows, count, slots, first = code.parameters
    found = code.variable(0)
    with code.counting(count) as index:
        row = code.item(rows, index, _ROW)
        code.choose(code.load(row), _Row(code, row, slots, found).cases())
        code.store(found.get(), code.item(slots, code.add(first, index), _WORD))
    code.give(0)
    return code

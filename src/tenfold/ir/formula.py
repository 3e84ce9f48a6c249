"""Formulas of sizes as text: `show` prints the normal form, `read` reads any formula back.

    2*H*W + (H + 1)//2 - minimum(H, "past length", 4) + select(less(H, W), 1, image.2%8)

A symbol stands as it is if it is a word, or words joined by dots; otherwise in double quotes, escaped as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from tenfold.errors import ModelError
from tenfold.ir.polynomial import Monomial

if TYPE_CHECKING:
    from tenfold.ir.atom import Atom
    from tenfold.ir.dim import Dim, Size

_WORD = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_TAKEN = re.compile(r"b?f\d\w*|[iu](?:2|4|8|16|32|64)|c\d+|bool|string|graph|true|false|none|inf|nan")
"""Words that stand for element types and the like in the textual form of graphs."""
_STRING = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+)|(?P<word>{_WORD.pattern})|(?P<string>{_STRING})|(?P<mark>//|\S|$))", re.ASCII
)
_FACTORS = ("*", "//", "%")
_OPERATORS = ("+", "-", *_FACTORS)


def show(size: Dim) -> str:
    """The formula as text, the same in every process."""
    (first, factor), *others = size.terms
    head = "-" + _product(first, -factor, enclosed=True) if factor < 0 else _product(first, factor)
    tail = ((" - " if times < 0 else " + ") + _product(monomial, abs(times)) for monomial, times in others)
    return head + "".join(tail)


def _product(monomial: Monomial, factor: int, enclosed: bool = False) -> str:
    """A symbol counted in multiples of m is shown itself where the factor holds m."""
    parts = []
    for atom in monomial:
        multiple = atom.symbol.multiple if atom.symbol else 1
        shared = multiple if factor % multiple == 0 else 1
        factor //= shared
        parts.append(_atom(atom, multiple // shared))
    if factor != 1 or not parts:
        parts.insert(0, str(factor))
    return "*".join(map(_enclosed, parts)) if enclosed or len(parts) > 1 else parts[0]


def _atom(atom: Atom, divisor: int) -> str:
    if atom.symbol:
        name = atom.symbol.name
        plain = _WORD.fullmatch(name) and not _TAKEN.fullmatch(name)
        word = name if plain else json.dumps(name)
        return word if divisor == 1 else f"{word}//{divisor}"
    arguments = [str(argument) for argument in atom.arguments]
    if atom.kind in ("//", "%"):
        return atom.kind.join(map(_enclosed, arguments))
    return f"{atom.kind}({', '.join(arguments)})"


def _enclosed(text: str) -> str:
    """In parentheses, if it has an operator outside parentheses and quotes."""
    depth = 0
    for found in _TOKEN.finditer(text):
        mark = found["mark"] or ""
        depth += (mark == "(") - (mark == ")")
        if depth == 0 and mark in _OPERATORS:
            return f"({text})"
    return text


class _Reader:
    def __init__(self, text: str, symbols: Mapping[str, Size], functions: Mapping[str, Callable[..., Size]]) -> None:
        self.text = text
        self.symbols = symbols
        self.functions = functions
        self.tokens = [(found.lastgroup or "", found.group(found.lastgroup or 0)) for found in _TOKEN.finditer(text)]
        self.place = 0

    def fail(self, expected: str) -> NoReturn:
        found = self.tokens[self.place][1] or "the end"
        raise ModelError(f"the size {self.text!r} cannot be read: expected {expected}, not {found}")

    def accept(self, *marks: str) -> str | None:
        kind, found = self.tokens[self.place]
        if kind != "mark" or found not in marks:
            return None
        self.place += 1
        return found

    def expect(self, mark: str) -> None:
        if self.accept(mark) is None:
            self.fail(mark or "the end")

    def sum(self) -> Size:
        found = self.term()
        while mark := self.accept("+", "-"):
            found = found + self.term() if mark == "+" else found - self.term()
        return found

    def term(self) -> Size:
        found = self.factor()
        while mark := self.accept(*_FACTORS):
            found = self.functions[mark](found, self.factor())
        return found

    def factor(self) -> Size:
        if self.accept("-"):
            return -self.factor()
        if self.accept("("):
            found = self.sum()
            self.expect(")")
            return found
        kind, text = self.tokens[self.place]
        if kind == "mark":
            self.fail("a number, a symbol or a function")
        self.place += 1
        if kind == "number":
            return int(text)
        if self.accept("("):
            return self.call(text)
        return self.symbol(str(json.loads(text)) if kind == "string" else text)

    def symbol(self, name: str) -> Size:
        if name not in self.symbols:
            self.place -= 1
            self.fail(f"one of the symbols {', '.join(sorted(self.symbols))}")
        return self.symbols[name]

    def call(self, name: str) -> Size:
        if name not in self.functions:
            self.place -= 2
            self.fail(f"one of the functions {', '.join(sorted(filter(str.isidentifier, self.functions)))}")
        arguments = [self.sum()]
        while self.accept(","):
            arguments.append(self.sum())
        self.expect(")")
        return self.functions[name](*arguments)


def read(text: str, symbols: Mapping[str, Size], functions: Mapping[str, Callable[..., Size]]) -> Size:
    """The size that a text says, of these symbols and functions, `*`, `//` and `%` among them.

    Raises ModelError saying where it is wrong.
    """
    reader = _Reader(text, symbols, functions)
    found = reader.sum()
    reader.expect("")
    return found

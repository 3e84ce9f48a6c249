"""Sizes put to numbers: symbols replaced in a formula, formulas evaluated, and read from text.

Each operation of a formula is done again on what its operands have become, so whatever is known by then folds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from tenfold.errors import InputError
from tenfold.ir import dim, formula
from tenfold.ir.atom import Atom
from tenfold.ir.dim import Dim, Size


def substitute(size: Size, mapping: Mapping[str, Size]) -> Size:
    """The formula with symbols replaced, by name; one that is not in the mapping stays.

    Raises InputError if a number breaks what is known of its symbol, or if a division by zero is needed.
    """
    return _rebuilt(size, mapping, {})


def _rebuilt(size: Size, mapping: Mapping[str, Size], done: dict[Size, Size]) -> Size:
    if not isinstance(size, Dim):
        return operator.index(size)
    if size not in done:
        terms = ([factor, *(_rebuilt_atom(part, mapping, done) for part in one)] for one, factor in size.terms)
        done[size] = dim.total([dim.product(parts) for parts in terms])
    return done[size]


def _rebuilt_atom(part: Atom, mapping: Mapping[str, Size], done: dict[Size, Size]) -> Size:
    if part.symbol:
        value = mapping.get(part.symbol.name)
        if value is None:
            value = dim.of_symbol(part.symbol)
        elif not isinstance(value, Dim):
            part.symbol.check(value)
        return dim.floordiv(value, part.symbol.multiple)
    if part.kind == "select":
        condition = _rebuilt(part.arguments[0], mapping, done)
        if isinstance(condition, int):
            return _rebuilt(part.arguments[1 if condition else 2], mapping, done)
    return _OPERATIONS[part.kind](*(_rebuilt(one, mapping, done) for one in part.arguments))


def evaluate(size: Size, bindings: Mapping[str, int]) -> int:
    """The number it is. Raises InputError naming a symbol that has no number, or one that it cannot have."""
    found = substitute(size, bindings)
    if isinstance(found, int):
        return found
    missing = ", ".join(sorted(dim.symbols(found)))
    raise InputError(f"the size {size} needs a number for {missing}", argument=missing)


def parse(text: str, symbols: Mapping[str, Size]) -> Size:
    """The size that `str` printed, or any formula of these symbols and of the functions of `dim`.

    Raises ModelError saying what cannot be read.
    """
    return formula.read(text, symbols, _OPERATIONS)


_OPERATIONS: dict[str, Callable[..., Size]] = {
    "*": operator.mul,
    "//": dim.floordiv,
    "%": dim.modulo,
    "minimum": dim.minimum,
    "maximum": dim.maximum,
    "broadcast": dim.broadcast,
    "select": dim.select,
    "equal": dim.equal,
    "less": dim.less,
    "less_equal": dim.less_equal,
    "ceildiv": dim.ceildiv,
    "truncdiv": dim.truncdiv,
}

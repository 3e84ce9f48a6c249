"""Polynomials with integer factors over ordered atoms: the arithmetic under formulas of sizes.

A polynomial maps monomials to factors that are not zero; a monomial is the ordered tuple of its atoms, and the empty
one stands for the constant. Monomials are ordered by falling degree, then by their atoms' keys: an order that products
respect, so the leading monomial of a product is the product of the leading ones.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from tenfold.errors import LimitError

if TYPE_CHECKING:
    from tenfold.ir.atom import Atom
    from tenfold.ir.dim import Size

Monomial: TypeAlias = tuple["Atom", ...]
Terms: TypeAlias = dict[Monomial, int]
Key: TypeAlias = tuple[int, list[tuple[int, str, str]]]

_DIVISION_STEPS = 64


def order(monomial: Monomial) -> Key:
    """The key that monomials are sorted by."""
    return -len(monomial), [atom.key for atom in monomial]


def of_size(size: Size) -> Terms:
    """The polynomial that a size is. Raises TypeError for what is no integer."""
    terms = getattr(size, "terms", None)
    if terms is not None:
        return dict(terms)
    number = int(operator.index(size))  # type: ignore[arg-type]
    return {(): number} if number else {}


MOST_TERMS = 1 << 12
"""The most terms of a product."""


def add(polynomials: Iterable[Terms]) -> Terms:
    """The sum."""
    found: Terms = {}
    for monomial, factor in chain.from_iterable(one.items() for one in polynomials):
        found[monomial] = found.get(monomial, 0) + factor
    return {monomial: factor for monomial, factor in found.items() if factor}


def scale(terms: Terms, factor: int) -> Terms:
    """The product with a number."""
    return {monomial: factor * times for monomial, times in terms.items()} if factor else {}


def multiply(a: Terms, b: Terms) -> Terms:
    """The product. LimitError if it has far too many terms, as a product of many sums has."""
    if len(a) * len(b) > MOST_TERMS:
        raise LimitError(f"a size is a product of sums with more than {MOST_TERMS} terms")
    return add({_join(left, right): times * factor} for left, times in a.items() for right, factor in b.items())


def _join(left: Monomial, right: Monomial) -> Monomial:
    """The product; x * x -> x for x in {0, 1}"""
    if not left or not right:
        return left or right
    atoms: list[Atom] = []
    for atom in sorted(left + right, key=lambda one: one.key):
        if not (atoms and atoms[-1] is atom and atom.interval[0] >= 0 and atom.interval[1] <= 1):
            atoms.append(atom)
    return tuple(atoms)


def reduce(terms: Terms, divisor: int) -> tuple[Terms, Terms]:
    """(quotient, rest): terms = quotient * divisor + rest; in the rest 0 <= constant < divisor, |factors| < divisor."""
    quotient = {one: f // divisor if f > 0 or not one else -(-f // divisor) for one, f in terms.items()}
    return add([quotient]), add([terms, scale(quotient, -divisor)])


def only_atom(terms: Terms) -> Atom | None:
    """The atom that it is, if it is one."""
    (monomial, factor), *others = terms.items() or [((), 0)]
    return monomial[0] if len(monomial) == factor == 1 and not others else None


def content(terms: Terms) -> int:
    """The largest number that divides every factor but the constant; 0 if there is none."""
    return math.gcd(*(factor for monomial, factor in terms.items() if monomial))


def shrink(terms: Terms, divisor: int) -> Terms:
    """The quotient by a divisor of the content, the constant rounded down."""
    return add([{monomial: factor // divisor for monomial, factor in terms.items()}])


def leading(terms: Terms) -> tuple[Monomial, int]:
    """The first monomial in order, and its factor."""
    monomial = min(terms, key=order)
    return monomial, terms[monomial]


def divide(a: Terms, b: Terms) -> tuple[Terms, Terms]:
    """(quotient, rest): a = quotient * b + rest, by the leading monomial of b as long as it divides one of the rest."""
    lead, factor = leading(b)
    quotient: Terms = {}
    for _ in range(_DIVISION_STEPS):
        steps = (_monomial_quotient(one, a[one], lead, factor) for one in sorted(a, key=order))
        step = next((one for one in steps if one), None)
        if step is None:
            break
        quotient, a = add([quotient, step]), add([a, scale(multiply(step, b), -1)])
    return quotient, a


def _monomial_quotient(monomial: Monomial, times: int, lead: Monomial, factor: int) -> Terms:
    left = list(monomial)
    for atom in lead:
        if atom not in left:
            return {}
        left.remove(atom)
    return {} if times % factor else {tuple(left): times // factor}

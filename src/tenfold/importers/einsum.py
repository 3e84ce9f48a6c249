"""Einsum as transposes, products and sums: operands are joined two at a time, from the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.importers.diagonal import diagonal
from tenfold.importers.shorthand import apply, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Mul
from tenfold.ops.matmul import MatMul
from tenfold.ops.reduce import Reduce

ELLIPSIS = "..."


@dataclass(frozen=True)
class Term:
    """A value whose axes have names, all different. The axes of an ellipsis are called "...0", "...1", … from
    the last one on.
    """

    value: Value
    axes: tuple[str, ...]

    def size(self, axis: str) -> Size:
        """The size of an axis; 1 if it has none of that name."""
        return self.value.type.shape[self.axes.index(axis)] if axis in self.axes else 1

    def ordered(self, axes: Sequence[str]) -> Value:
        """The value with exactly these axes in this order, those that it lacks of size 1."""
        present = [axis for axis in axes if axis in self.axes]
        moved = transposed(self.value, [self.axes.index(axis) for axis in present])
        return reshaped(moved, [self.size(axis) for axis in axes])

    def summed(self, kept: set[str]) -> Term:
        """The sum over the axes that are not kept."""
        gone = tuple(at for at, axis in enumerate(self.axes) if axis not in kept)
        if not gone:
            return self
        return Term(Reduce("sum", gone, False)(self.value), tuple(axis for axis in self.axes if axis in kept))


def einsum(equation: str, *values: Value) -> Value:
    """The sum of products that an equation states; ellipses broadcast, a name that stands twice in a term takes the
    diagonal. ValueError where the equation does not fit the values.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(values):
        raise ValueError(f"the equation {equation!r} has {len(names)} terms for {len(values)} inputs")
    terms = [_term(value, name) for value, name in zip(values, names, strict=True)]
    output = _output(right, terms) if arrow else _implied(left, terms)
    result = terms[0]
    for at, other in enumerate(terms[1:], 2):
        later = {axis for term in terms[at:] for axis in term.axes}
        result = _joined(result, other, set(output) | later)
    final = result.summed(set(output))
    if set(final.axes) != set(output):
        raise ValueError(f"the equation {equation!r} has an axis in its result that no term has")
    return final.ordered(output)


def _axes(name: str, rank: int) -> list[str]:
    before, dots, after = name.partition(ELLIPSIS)
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"{ELLIPSIS}{at}" for at in reversed(range(hidden))), *after]


def _term(x: Value, name: str) -> Term:
    axes = _axes(name, x.type.rank)
    if len(axes) != x.type.rank:
        raise ValueError(f"the term {name!r} does not fit {x.type}")
    for axis in dict.fromkeys(axes):
        while axes.count(axis) > 1:
            first = axes.index(axis)
            second = axes.index(axis, first + 1)
            x = _diagonal(x, first, second)
            axes = [axis, *(one for at, one in enumerate(axes) if at not in (first, second))]
    return Term(x, tuple(axes))


def _diagonal(x: Value, first: int, second: int) -> Value:
    shape = list(x.type.shape)
    shape[second] = shape[first]  # a call whose two sizes differ does not fit it
    found = diagonal(reshaped(x, shape), first, second)
    last = found.type.rank - 1
    return transposed(found, [last, *range(last)])


def _output(right: str, terms: Sequence[Term]) -> list[str]:
    hidden = {axis for term in terms for axis in term.axes if axis.startswith(ELLIPSIS)}
    named = len(right.replace(ELLIPSIS, ""))
    return _axes(right, named + len(hidden))


def _implied(left: str, terms: Sequence[Term]) -> list[str]:
    letters = left.replace(ELLIPSIS, "").replace(",", "")
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
    hidden = sorted({axis for term in terms for axis in term.axes if axis.startswith(ELLIPSIS)}, reverse=True)
    return [*hidden, *once]


def _joined(a: Term, b: Term, kept: set[str]) -> Term:
    """One term for two: axes of both that are not kept are summed over."""
    a, b = a.summed(kept | set(b.axes)), b.summed(kept | set(a.axes))
    both = [axis for axis in a.axes if axis in b.axes]
    batch, inner = [one for one in both if one in kept], [one for one in both if one not in kept]
    rows, columns = [one for one in a.axes if one not in both], [one for one in b.axes if one not in both]
    if not inner or not all(dim.known_equal(a.size(axis), b.size(axis)) for axis in inner):
        axes = [*batch, *rows, *columns, *inner]
        return Term(apply(Mul(), a.ordered(axes), b.ordered(axes)), tuple(axes)).summed(kept)
    left = _matrix(a, batch, rows, inner)
    right = _matrix(b, batch, inner, columns)
    product: Value = MatMul()(left, right)
    shape = (
        *product.type.shape[: len(batch)],
        *(a.size(axis) for axis in rows),
        *(b.size(axis) for axis in columns),
    )
    return Term(reshaped(product, shape), (*batch, *rows, *columns))


def _matrix(term: Term, batch: list[str], rows: list[str], columns: list[str]) -> Value:
    moved = term.ordered([*batch, *rows, *columns])
    stacked = moved.type.shape[: len(batch)]
    sizes = (dim.product(term.size(axis) for axis in group) for group in (rows, columns))
    return reshaped(moved, (*stacked, *sizes))

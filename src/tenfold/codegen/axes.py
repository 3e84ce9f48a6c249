"""The axes of a domain, made few: those of size 1 dropped, neighbours that every operand walks as one merged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir.dim import Size


@dataclass(frozen=True)
class Axes:
    """`sizes`, outermost first, and for each operand its `strides` over them, in elements.

    `places[axis]` says which of these axes is the domain's `axis`: None if it was merged, -1 if it had size 1.
    """

    sizes: tuple[Size, ...]
    strides: tuple[tuple[Size, ...], ...]
    places: tuple[int | None, ...]


def few(domain: Sequence[Size], operands: Sequence[Sequence[Size]], kept: Collection[int] = (), cut: int = 0) -> Axes:
    """The fewest axes with which all operands reach the same elements in the same order.

    Axes in `kept` are merged with no other, and none of the last `cut` with one before them.
    """
    groups: list[list[int]] = []
    first_cut = len(domain) - cut
    for axis in range(len(domain)):
        if domain[axis] == 1:
            continue
        previous = groups[-1][-1] if groups else -1
        apart = previous < first_cut <= axis or previous in kept or axis in kept
        if groups and not apart and all(_follows(strides, domain, previous, axis) for strides in operands):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    places: list[int | None] = [-1 if size == 1 else None for size in domain]
    for number, group in enumerate(groups):
        if len(group) == 1:
            places[group[0]] = number
    return Axes(
        tuple(dim.product(domain[axis] for axis in group) for group in groups),
        tuple(tuple(strides[group[-1]] for group in groups) for strides in operands),
        tuple(places),
    )


def _follows(strides: Sequence[Size], domain: Sequence[Size], outer: int, inner: int) -> bool:
    return dim.known_equal(strides[outer], strides[inner] * domain[inner])


def at_least_one(size: Size) -> Size:
    """A size to divide by: 1 where it is 0."""
    return size if dim.known_positive(size) else dim.maximum(1, size)

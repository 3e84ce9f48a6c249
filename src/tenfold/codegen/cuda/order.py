"""The order of a chain's links, and where all blocks meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.launch import Filling
from tenfold.codegen.cuda.links import ARRIVE, WAIT
from tenfold.codegen.cuda.links import POINTS as _POINTS
from tenfold.codegen.cuda.program import Hole
from tenfold.ir.graph import Value

POINTS = _POINTS.value
_MOST = 16
"""Points of a thread at a time."""


@dataclass(frozen=True, eq=False)
class Link:
    """What all blocks do together: the buffers that it reads and writes, addresses, numbers, bodies; `turns` portions
    of work, which go round the blocks; terms of a row; bytes of a matrix; points of a domain; bytes of workspace.
    `ahead`: portions of its matrix that are asked for ahead of their turn.
    """

    kind: int
    reads: frozenset[Value] = frozenset()
    writes: frozenset[Value] = frozenset()
    given: tuple[Filling, ...] = ()
    plan: tuple[int | tuple[int, ...], ...] = ()
    holes: tuple[Hole, ...] = ()
    turns: int = 0
    width: int = 0
    weight: int = 0
    points: int = 0
    room: int = 0
    ahead: int = 0

    def numbers(self, before: int, threads: int, processors: int) -> tuple[int | tuple[int, ...], ...]:
        """Its plan, where so many portions came before: they begin at the block whose turn it is."""
        shift = -before % processors
        if self.kind == POINTS:
            each = min(_MOST, grid.power_of_two(-(-self.points // (threads * processors))))
            return (self.kind, shift, self.points, each, min(8, each))
        return (self.kind, shift, *self.plan, self.ahead) if self.plan else (self.kind,)


def ordered(made: Sequence[Link]) -> list[Link]:
    """The links in order, and where all blocks meet. What depends on nothing that is under way is done between
    arriving and waiting.
    """
    heaviest = max(made, key=lambda one: one.weight)
    found: list[Link] = []
    left = list(made)
    while left:
        one = left.pop(0)
        if one.reads & _fresh(found):
            near = [one, *left]
            near = near[: near.index(heaviest)] if heaviest in near else near
            hoisted = _meanwhile(near, _fresh(found))
            left = [one, *(other for other in left if other not in hoisted)]
            found += [Link(ARRIVE.value), *hoisted, Link(WAIT.value)]
            continue
        found.append(one)
    return found


def _fresh(found: Sequence[Link]) -> set[Value]:
    """What was written since the blocks last arrived anywhere."""
    last = max((at for at, one in enumerate(found) if one.kind == ARRIVE.value), default=0)
    return {value for one in found[last:] for value in one.writes}


def _meanwhile(left: Sequence[Link], fresh: set[Value]) -> list[Link]:
    """The links that may be done before those ahead of them."""
    made, read, found = set(fresh), set[Value](), list[Link]()
    for one in left:
        if one.kind == POINTS and not one.reads & made and not one.writes & read:
            found.append(one)
        else:
            made |= one.writes
            read |= one.reads
    return found

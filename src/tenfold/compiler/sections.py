"""Which sizes become known when, and what Python keeps between native calls.

Sections are counted in the order in which spans run: the sizes that a host step decides, or the results of a branch or
loop, or a loop's states at each turn, complete the next section of the plan's program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.compiler import loops
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, operands
from tenfold.compiler.layout import Layout
from tenfold.ir import unknown
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Value


@dataclass(eq=False)
class Sections:
    """After which section of the program each unknown size is known, and which section each item completes: first
    what a loop's states decide at each turn, then what its results do.
    """

    of: dict[str, int]
    turns: dict[Cycle, int]
    ends: dict[Item, int]

    def latest(self, *sizes: Size) -> int:
        """The section after which these sizes are known."""
        return max((self.of.get(name, 0) for name in unknown.of_sizes(sizes)), default=0)

    def decide(self, size: Size) -> bool:
        """True if a size follows from what is given or decided."""
        return unknown.of_sizes((size,)) <= self.of.keys()

    @property
    def count(self) -> int:
        """How many sections there are after the first."""
        return len(self.turns) + len(self.ends)


def sections_of(items: Sequence[Item]) -> Sections:
    """The sections of a schedule."""
    found = Sections({}, {}, {})
    _number(items, found)
    return found


def _number(items: Iterable[Item], found: Sections) -> None:
    for item in items:
        match item:
            case HostPiece():
                _complete(found.ends, item, item.decides, found)
            case Reveal():
                _complete(found.ends, item, item.names, found)
            case Choice(node):
                _number((*item.then, *item.otherwise), found)
                _complete(found.ends, item, unknown.decided_by(node), found)
            case Cycle(node):
                _complete(found.turns, item, decided_inside(item), found)
                _number(item.body, found)
                _complete(found.ends, item, unknown.decided_by(node), found)


def _complete(where: dict[Any, int], item: Item, names: Iterable[str], found: Sections) -> None:
    names = sorted(names)
    if names:
        where[item] = number = found.count + 1
        found.of.update(dict.fromkeys(names, number))


def decided_inside(item: Cycle) -> frozenset[str]:
    """The sizes that what a loop gives to its body decides, turn by turn."""
    body = loops.body_of(item.node.op)
    given = (body.inputs[position].type for position in loops.changing(item.node.op))
    outer = unknown.of_types(value.type for value in item.node.inputs)
    return frozenset(name for type in given for name in bare(type.shape) if name) - outer


def bare(shape: Sequence[Size]) -> tuple[str, ...]:
    """For each axis the unknown size that it is, "" where it is none."""
    symbols = (size.symbol if isinstance(size, Dim) else None for size in shape)
    return tuple(symbol.name if symbol and symbol.data_dependent else "" for symbol in symbols)


def kept_values(items: Sequence[Item], layout: Layout) -> list[Value]:
    """The values that Python keeps: objects, what a host step alone makes at a size that only data decide, what loops
    and branches between native calls give and take. Not those that the model returns.
    """
    writers: Counter[Value] = Counter()
    found: dict[Value, None] = {}
    _collect(items, layout, writers, found)
    writers.update({layout.view(value).root for value in layout.placed})
    return [value for value in found if writers[value] == 1 and value not in layout.outputs]


def _collect(items: Iterable[Item], layout: Layout, writers: Counter[Value], found: dict[Value, None]) -> None:
    for item in items:
        match item:
            case Piece():
                writers.update(operand.value for operand in operands(item.region)[1])
            case HostPiece():
                writers.update(layout.view(value).root for value in item.writes)
                found.update(dict.fromkeys(value for value in item.writes if is_free(value, layout)))
            case Branch() | Choice():
                _collect((*item.then, *item.otherwise), layout, writers, found)
            case Repeat() | Cycle():
                _collect(item.body, layout, writers, found)
        if isinstance(item, Choice | Cycle):
            given = loops.changing(item.node.op) if isinstance(item, Cycle) else ()
            inner = [loops.body_of(item.node.op).inputs[position] for position in given]
            writers.update((*inner, *item.node.outputs))
            found.update(dict.fromkeys((*inner, *item.node.outputs)))


def is_free(value: Value, layout: Layout) -> bool:
    """Whether Python makes a value in memory of its own: an object, or one of a size that only data decide."""
    free = value.type.dtype.is_object or bool(unknown.of_types((value.type,)))
    return free and layout.view(value).root is value

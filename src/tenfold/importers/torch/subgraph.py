"""Branches and turns that are followed among the operations around them, and then cut out as graphs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.torch.aliases import Cell, Ref
from tenfold.importers.torch.promote import as_value
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.control import If

NUMBERS: Mapping[type, DType] = {bool: dt.boolean, int: dt.i64, float: dt.f64, Dim: dt.i64}
"""What numbers of a program are as tensors."""


@dataclass
class Memory:
    """What a part of a program may write to: the tensors, lists and attributes that are there before it."""

    cells: list[Cell]
    lists: list[list[Any]]
    attributes: dict[str, Any]

    @classmethod
    def behind(cls, held: Sequence[Any], attributes: dict[str, Any]) -> Memory:
        """The memory of these things of a program, and its attributes."""
        cells: dict[int, Cell] = {}
        lists: dict[int, list[Any]] = {}
        stack = [*held, *attributes.values()]
        while stack:
            one = stack.pop()
            if isinstance(one, Ref):
                cells[id(one.cell)] = one.cell
            elif isinstance(one, list | tuple):
                if isinstance(one, list):
                    lists[id(one)] = one
                stack.extend(one)
        return cls(list(cells.values()), list(lists.values()), attributes)

    def contents(self) -> Contents:
        """What it holds now."""
        return Contents([one.value for one in self.cells], [list(one) for one in self.lists], dict(self.attributes))

    def set(self, contents: Contents) -> None:
        """Let it hold something else."""
        for cell, value in zip(self.cells, contents.values, strict=True):
            if cell.value is not value:
                cell.write(value)
        for one, items in zip(self.lists, contents.items, strict=True):
            one[:] = items
        self.attributes.clear()
        self.attributes.update(contents.attributes)

    def trial(self, follow: Callable[[], Any]) -> tuple[Any, Contents]:
        """What following a part gives, and what memory holds after it; memory is then as it was."""
        before = self.contents()
        try:
            return follow(), self.contents()
        finally:
            self.set(before)


@dataclass(frozen=True)
class Contents:
    """What memory holds at one moment."""

    values: list[Value]
    items: list[list[Any]]
    attributes: dict[str, Any]

    def beside_tensors(self, other: Contents) -> bool:
        """True if nothing but tensors differs."""
        return self.items == other.items and self.attributes == other.attributes


def branched(memory: Memory, condition: Value, outside: set[Node], ways: Sequence[tuple[Any, Contents]]) -> list[Any]:
    """The results of an If of two ways that were followed on trial; tensors that either writes into are joined too."""
    before = memory.contents()
    if not all(before.beside_tensors(after) for _, after in ways):
        raise UnsupportedError("a branch that only a call decides changes a list or an attribute outside itself")
    (yes, after_yes), (no, after_no) = ways
    written = [
        (cell, a, b)
        for cell, was, a, b in zip(memory.cells, before.values, after_yes.values, after_no.values, strict=True)
        if a is not was or b is not was
    ]
    pairs = [_alike(a, b) for a, b in zip(yes, no, strict=True)]
    tensors = [(a.value, b.value) for a, b in pairs if isinstance(a, Ref) and isinstance(b, Ref)]
    tensors += [(a, b) for _, a, b in written]
    if not tensors:
        return [a for a, _ in pairs]
    captures: dict[Value, None] = {}
    for ends in zip(*tensors, strict=True):
        captures.update(captured(ends, outside))
    graphs = [_closed(ends, list(captures)) for ends in zip(*tensors, strict=True)]
    found = If(*graphs)(condition, *captures)
    made = iter((found,) if isinstance(found, Value) else found)
    results = [Ref(Cell(next(made))) if isinstance(a, Ref) else a for a, _ in pairs]
    for cell, _, _ in written:
        cell.write(next(made))
    return results


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """What two ways give: both tensors, or the same thing; numbers that differ as tensors."""
    if (isinstance(a, Ref) and isinstance(b, Ref)) or (type(a) is type(b) and a == b):
        return a, b
    first, second = _kind(a), _kind(b)
    if first is None or first is not second:
        raise UnsupportedError(f"a branch that only a call decides gives {a!r} or {b!r}")
    return _as_tensor(a, first), _as_tensor(b, first)


def _kind(one: Any) -> DType | None:
    return one.value.type.dtype if isinstance(one, Ref) else NUMBERS.get(type(one))


def _as_tensor(one: Any, kind: DType) -> Ref:
    return one if isinstance(one, Ref) else Ref(Cell(as_value(one, kind)))


def captured(ends: Sequence[Value], outside: set[Node]) -> dict[Value, None]:
    """The values from outside that these are computed from."""
    found: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = list(ends)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.producer is None or (value.producer in outside and value.inputs):
            found[value] = None
        else:
            stack.extend(value.inputs)
    return found


def _closed(ends: Sequence[Value], captures: list[Value]) -> Graph:
    graph = Graph()
    known = {value: graph.input(value.name or f"x{at}", value.type) for at, value in enumerate(captures)}
    graph.set_outputs([copied(one, known) for one in ends], [f"y{at}" for at in range(len(ends))])
    return graph


def copied(value: Value, known: dict[Value, Value]) -> Value:
    """A value computed again from those that are known, which it is then among."""
    stack = [value]
    while stack:
        one = stack[-1]
        if one in known:
            stack.pop()
            continue
        waiting = [inner for inner in one.inputs if inner not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        made = one.producer
        assert made is not None
        again = Node(made.op, [known[inner] for inner in made.inputs], name=made.name, source=made.source)
        known.update(zip(made.outputs, again.outputs, strict=True))
    return known[value]

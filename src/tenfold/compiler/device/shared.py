"""Where the items of a schedule run beside a GPU, which buffers they read and write, and what therefore moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold.compiler.inplace import whole
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.loops import body_of
from tenfold.compiler.typical import typical
from tenfold.ir import dim, unknown
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant

WALKED = (HostPiece, Choice, Cycle, Reveal)
"""What has a span of its own."""


@dataclass(eq=False)
class Touched:
    """Roots of buffers, each once: those whose content counts, and those written. Where a part is written the rest
    counts.
    """

    reads: dict[Value, None] = field(default_factory=dict)
    writes: dict[Value, None] = field(default_factory=dict)

    def see(self, roots: Iterable[Value]) -> None:
        """Note what is read."""
        self.reads.update(dict.fromkeys(roots))

    def change(self, roots: Iterable[Value]) -> None:
        """Note what is written in part, or perhaps."""
        found = dict.fromkeys(roots)
        self.reads.update(found)
        self.writes.update(found)

    def follow(self, other: Touched) -> None:
        """Note what comes next: it may read what was written here."""
        self.see(one for one in other.reads if one not in self.writes)
        self.writes.update(other.writes)


def place_of(item: Item) -> str:
    """The place of an item: "cuda" for a kernel of the GPU and for a loop of them, else "cpu"."""
    places = {piece.kernel.place for piece in kernels([item])}
    return "cuda" if places == {"cuda"} and isinstance(item, Piece | Repeat) else "cpu"


def touched_by(item: Item, layout: Layout) -> Touched:
    """What an item reads and writes."""
    found = Touched()
    _note(item, layout, found)
    return found


def _note(item: Item, layout: Layout, found: Touched) -> None:
    def roots(values: Iterable[Value]) -> Iterator[Value]:
        return _numbers(values, layout)

    match item:
        case Piece(region):
            reads, writes = operands(region)
            found.see(roots(one.value for one in reads))
            found.change(roots(one.value for one in writes if not whole(one)))
            found.writes.update(dict.fromkeys(roots(one.value for one in writes)))
        case HostPiece():
            found.see(roots(item.reads))
            found.change(roots(item.writes))
        case Reveal(value):
            found.see(roots([value]))
        case Branch(condition, then, otherwise):
            found.see(roots([condition]))
            _note_all((*then, *otherwise), layout, found)
        case Repeat(turns, body):
            given = (turns.limit, turns.condition, turns.number, *turns.lasting, *turns.elements.values())
            found.see(roots(one for one in given if isinstance(one, Value)))
            found.change(roots(one for pair in turns.moves for one in pair))
            _note_all(body, layout, found)
        case Choice(node, then, otherwise):
            found.see(roots((node.inputs[0], *(value for one in node.op.graphs for value in one.outputs))))
            found.change(roots(node.outputs))
            _note_all((*then, *otherwise), layout, found)
        case Cycle(node, body):
            found.see(roots((*node.inputs, *body_of(node.op).outputs)))
            found.change(roots(node.outputs))
            _note_all(body, layout, found)


def _note_all(items: Iterable[Item], layout: Layout, found: Touched) -> None:
    inner = Touched()
    for item in items:
        _note(item, layout, inner)
    found.see(inner.reads)
    found.change(inner.writes)


def _numbers(values: Iterable[Value], layout: Layout) -> Iterator[Value]:
    """The buffers of values that lie in memory and change."""
    for value in values:
        if value.type.dtype.is_object:
            continue
        root = layout.view(value).root
        while root in layout.elements:
            root = layout.view(layout.elements[root]).root
        if not isinstance(root.op, Constant):
            yield root


class Shared:
    """The spans of a schedule: where each runs, what it is, what it touches."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, Touched]] = []

    def add(self, place: str, kind: str, found: Touched) -> None:
        """Note the next span."""
        self.spans.append((place, kind, found))

    def by_both(self, home: Callable[[Value], Value]) -> set[Value]:
        """The buffers that the GPU touches."""
        found = (one for place, _, one in self.spans if place == "cuda")
        return {home(root) for one in found for root in (*one.reads, *one.writes)}

    def transfers(
        self, inputs: Sequence[Value], outputs: Sequence[Value], home: Callable[[Value], Value]
    ) -> list[dict[str, Any]]:
        """What moves in a call, in order: each buffer, its bytes at typical sizes, where to, and for what."""
        wanted, places = self.by_both(home), {value: {"cpu"} for value in inputs}
        found: list[dict[str, Any]] = []

        def need(root: Value, place: str, kind: str) -> None:
            at = places.get(home(root), set())
            if at and place not in at and home(root) in wanted:
                at.add(place)
                found.append({"value": root.name, "bytes": _bytes(root), "to": place, "for": kind})

        for place, kind, touched in self.spans:
            for root in touched.reads:
                need(root, place, kind)
            places.update({home(root): {place} for root in touched.writes})
        for root in outputs:
            need(root, "cpu", "output")
        return found


def _bytes(root: Value) -> int | None:
    if unknown.of_types((root.type,)):
        return None
    return typical(dim.maximum(root.type.size, 0) * root.type.dtype.itemsize)

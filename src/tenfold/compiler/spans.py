"""The spans of a schedule: where native calls end, and what Python does between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from tenfold.compiler import loops
from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Choice, Cycle, HostPiece, Reveal
from tenfold.compiler.places import Places
from tenfold.compiler.sections import bare, decided_inside, is_free
from tenfold.compiler.views import row_major
from tenfold.ir import unknown
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.control import Loop
from tenfold.runtime.plan import WEIGHTS, Kept, Span, Window
from tenfold.runtime.spans import Revealed, State, WalkedIf, WalkedLoop

NUMBERED = (Span, Window, Kept, WalkedIf, WalkedLoop, Revealed, State)


class SpanWriter:
    """Collects spans, with slots in the place of numbers."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.spans: list[Span] = []

    def native(self, begin: int, end: int) -> None:
        """A range of steps."""
        self.spans.append(Span(begin, end))

    def host(self, item: HostPiece) -> None:
        """A host step."""
        for symbol in item.mentions:
            if self._places.is_given(symbol):
                self._places.frame.size(symbol)
        learns = tuple(sorted(item.decides))
        self.spans.append(
            Span(
                host=item.text,
                reads=tuple(map(self.window, item.reads)),
                writes=tuple(map(self._written, item.writes)),
                tensors=tuple(self._tensor(name, tensor) for name, tensor in item.tensors.items()),
                label=item.label,
                learns=learns,
                section=self._places.sections.ends.get(item, 0),
            )
        )

    def choice(self, item: Choice, then: Sequence[Span], otherwise: Sequence[Span]) -> None:
        """An If, given the spans of its branches."""
        condition, names = item.node.inputs[0], unknown.decided_by(item.node)
        ends = []
        for sense, branch in zip((True, False), item.node.op.graphs, strict=True):
            with self._places.guarded(condition, sense):
                ends.append([self.window(value) for value in branch.outputs])
        results = tuple(zip(*ends, (self.kept(whole, names) for whole in item.node.outputs), strict=True))
        control = WalkedIf(self.window(condition), tuple(then), tuple(otherwise), results)
        self._control(item, control)

    def cycle(self, item: Cycle, body: Sequence[Span]) -> None:
        """A loop, given the spans of its body."""
        node, inner = item.node, loops.body_of(item.node.op)
        inside, names = decided_inside(item), unknown.decided_by(node)
        first = loops.first_result(node.op)
        results = {place: self.kept(whole, names) for place, whole in enumerate(node.outputs, first)}
        with self._places.within(loops.guard_of(node)):
            given = [self.kept(inner.inputs[position], inside) for position in loops.changing(node.op)]
            made = [self.window(value) for value in inner.outputs]

        def state(position: int) -> State:
            after = position - first
            return State(self.window(node.inputs[position]), given[position], made[after], results.get(after))

        loop = isinstance(node.op, Loop)
        states = tuple(map(state, loops.states(node.op)))
        scans = tuple((made[place], whole) for place, whole in results.items() if place >= first + len(states))
        control = WalkedLoop(
            tuple(body),
            states,
            limit=self.window(node.inputs[0]) if loop else None,
            turn=given[0] if loop else None,
            going=state(1) if loop else None,
            sequences=tuple((self.window(node.inputs[at]), given[at]) for at in loops.sequences(node.op)),
            scans=scans,
            section=self._places.sections.turns.get(item, 0),
        )
        self._control(item, control)

    def reveal(self, item: Reveal) -> None:
        """Numbers that are read back."""
        self._control(item, Revealed(self.window(item.value), item.names))

    def _control(self, item: Choice | Cycle | Reveal, control: WalkedIf | WalkedLoop | Revealed) -> None:
        section = self._places.sections.ends.get(item, 0)
        self.spans.append(Span(label=item.label, section=section, control=control))

    def _written(self, value: Value) -> Window | Kept:
        places = self._places
        returned = value in places.outputs and is_free(value, places.layout)
        return self.kept(value) if returned or value in places.kept else self.window(value)

    def kept(self, value: Value, names: frozenset[str] = unknown.NONE) -> Kept:
        """A value that Python keeps; of the sizes it decides those in `names` count."""
        base, _ = self._places.base(value)
        order = self._places.layout.orders.get(value, tuple(range(value.type.rank)))
        decided = tuple(name if name in names else "" for name in bare(value.type.shape))
        shape: Any = tuple(map(self._places.size, value.type.shape))
        return Kept(value.name, value.type.dtype, base, shape, order, decided if any(decided) else ())

    def window(self, value: Value) -> Window:
        """A value where it lies."""
        places = self._places
        view = places.layout.view(value)
        base, offset = places.base(view.root)
        place: Any = places.frame.add(offset, places.size(view.offset * value.type.dtype.itemsize))
        shape: Any = tuple(map(places.size, value.type.shape))
        strides: Any = tuple(map(places.size, view.strides))
        return Window(value.name, value.type.dtype, base, place, shape, strides)

    def _tensor(self, name: str, tensor: Tensor) -> Window:
        frame = self._places.frame
        place: Any = frame.size(self._places.weights.stored(tensor, ()))
        shape, strides = (tuple(map(frame.size, numbers)) for numbers in (tensor.shape, row_major(tensor.shape)))
        return Window(name, tensor.dtype, WEIGHTS, place, shape, strides)  # type: ignore[arg-type]


def numbered(draft: Any, numbers: Mapping[Slot, int]) -> Any:
    """Spans, and what they consist of, with numbers in the place of slots."""
    if isinstance(draft, Slot):
        return numbers[draft]
    if isinstance(draft, tuple):
        return tuple(numbered(one, numbers) for one in draft)
    if not isinstance(draft, NUMBERED):
        return draft
    return replace(draft, **{field.name: numbered(getattr(draft, field.name), numbers) for field in fields(draft)})

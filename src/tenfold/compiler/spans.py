"""The spans of a schedule: where native calls end, what Python does between them, which sizes become known when.

Sections are counted in the order in which spans run: the sizes that a host step decides, or the results of a branch or
loop, or a loop's states at each turn, complete the next section of the plan's program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from tenfold.compiler import loops
from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Branch, Choice, Cycle, HostPiece, Item, Piece, Repeat, Reveal, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.views import row_major
from tenfold.ir import unknown
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.control import Loop
from tenfold.runtime.plan import WEIGHTS, Kept, Span, Window
from tenfold.runtime.spans import Revealed, State, WalkedIf, WalkedLoop

if TYPE_CHECKING:
    from tenfold.compiler.schedule import Scheduler

NUMBERED = (Span, Window, Kept, WalkedIf, WalkedLoop, Revealed, State)


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
    return frozenset(name for type in given for name in _bare(type.shape) if name) - outer


def _bare(shape: Sequence[Size]) -> tuple[str, ...]:
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
                found.update(dict.fromkeys(value for value in item.writes if _is_free(value, layout)))
            case Branch() | Choice():
                _collect((*item.then, *item.otherwise), layout, writers, found)
            case Repeat() | Cycle():
                _collect(item.body, layout, writers, found)
        if isinstance(item, Choice | Cycle):
            given = loops.changing(item.node.op) if isinstance(item, Cycle) else ()
            inner = [loops.body_of(item.node.op).inputs[position] for position in given]
            writers.update((*inner, *item.node.outputs))
            found.update(dict.fromkeys((*inner, *item.node.outputs)))


def _is_free(value: Value, layout: Layout) -> bool:
    free = value.type.dtype.is_object or bool(unknown.of_types((value.type,)))
    return free and layout.view(value).root is value


class SpanWriter:
    """Collects the spans of a scheduler, with slots in the place of numbers."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.spans: list[Span] = []
        self.depth = 0

    def native(self, begin: int, end: int) -> None:
        """A range of steps."""
        self.spans.append(Span(begin, end))

    def host(self, item: HostPiece) -> None:
        """A host step."""
        for symbol in item.mentions:
            if self.scheduler.is_given(symbol):
                self.scheduler.frame.size(symbol)
        learns = tuple(sorted(item.decides))
        self.spans.append(
            Span(
                host=item.text,
                reads=tuple(map(self.window, item.reads)),
                writes=tuple(map(self._written, item.writes)),
                tensors=tuple(self._tensor(name, tensor) for name, tensor in item.tensors.items()),
                label=item.label,
                learns=learns,
                section=self.scheduler.sections.ends.get(item, 0),
            )
        )

    def choice(self, item: Choice, then: Sequence[Span], otherwise: Sequence[Span]) -> None:
        """An If, given the spans of its branches."""
        condition, names = item.node.inputs[0], unknown.decided_by(item.node)
        ends = []
        for sense, branch in zip((True, False), item.node.op.graphs, strict=True):
            with self.scheduler.guarded(condition, sense):
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
        with self.scheduler.within(loops.guard_of(node)):
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
            section=self.scheduler.sections.turns.get(item, 0),
        )
        self._control(item, control)

    def reveal(self, item: Reveal) -> None:
        """Numbers that are read back."""
        self._control(item, Revealed(self.window(item.value), item.names))

    def _control(self, item: Choice | Cycle | Reveal, control: WalkedIf | WalkedLoop | Revealed) -> None:
        section = self.scheduler.sections.ends.get(item, 0)
        self.spans.append(Span(label=item.label, section=section, control=control))

    def _written(self, value: Value) -> Window | Kept:
        scheduler = self.scheduler
        returned = value in scheduler.outputs and _is_free(value, scheduler.layout)
        return self.kept(value) if returned or value in scheduler.kept else self.window(value)

    def kept(self, value: Value, names: frozenset[str] = unknown.NONE) -> Kept:
        """A value that Python keeps; of the sizes it decides those in `names` count."""
        base, _ = self.scheduler.base(value)
        order = self.scheduler.layout.orders.get(value, tuple(range(value.type.rank)))
        decided = tuple(name if name in names else "" for name in _bare(value.type.shape))
        shape: Any = tuple(map(self.scheduler.size, value.type.shape))
        return Kept(value.name, value.type.dtype, base, shape, order, decided if any(decided) else ())

    def window(self, value: Value) -> Window:
        """A value where it lies."""
        scheduler = self.scheduler
        view = scheduler.layout.view(value)
        base, offset = scheduler.base(view.root)
        place: Any = scheduler.frame.add(offset, scheduler.size(view.offset * value.type.dtype.itemsize))
        shape: Any = tuple(map(scheduler.size, value.type.shape))
        strides: Any = tuple(map(scheduler.size, view.strides))
        return Window(value.name, value.type.dtype, base, place, shape, strides)

    def _tensor(self, name: str, tensor: Tensor) -> Window:
        frame = self.scheduler.frame
        place: Any = frame.size(self.scheduler.weights.stored(tensor, ()))
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

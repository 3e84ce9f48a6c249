"""Storage: in which order each tensor lies in memory, who lies inside whom, and what may be placed elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenfold.compiler import views
from tenfold.compiler.loops import LOOPS, Turns
from tenfold.compiler.typical import typical
from tenfold.compiler.views import View, is_view, movement_view
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant, Fill, Iota, Sizes
from tenfold.ops.movement import Reshape
from tenfold.ops.primitive import Copy

Order = tuple[int, ...]

SOURCES = (Constant, Fill, Iota, Sizes)


@dataclass(frozen=True)
class Assumption:
    """A formula that is 1 where a node of the model can run at all."""

    formula: Size
    message: str
    source: tuple[str, ...]


@dataclass(eq=False)
class Layout:
    """Where every value of a graph and of its subgraphs lies.

    `orders` holds the storage order of values with a buffer; `placed` says that a value lies inside another from
    a given element along an axis; `aliases` that it is another value seen from a subgraph; `elements` that it is one
    element of a sequence, another one at each turn; `outputs` which buffer becomes which output of the
    model; `turns` how the loops run that the step table takes; `walked` why other loops and branches end a span, and
    `hosted` those that turned out to hold a host step, by their first subgraph; `assumed` counts the checks of its own.
    """

    orders: dict[Value, Order] = field(default_factory=dict)
    placed: dict[Value, tuple[Value, int, Size]] = field(default_factory=dict)
    aliases: dict[Value, Value] = field(default_factory=dict)
    elements: dict[Value, Value] = field(default_factory=dict)
    turns: dict[Node, Turns] = field(default_factory=dict)
    walked: dict[Node, str] = field(default_factory=dict)
    hosted: dict[Graph, str] = field(default_factory=dict)
    outputs: dict[Value, int] = field(default_factory=dict)
    checks: list[Assumption] = field(default_factory=list)
    assumed: int = 0
    guard: Size = 1

    def view(self, value: Value) -> View:
        """The value as a window on the buffer that holds it."""
        if value in self.aliases:
            return self.view(self.aliases[value])
        if value in self.elements:
            return View(value, self.view(self.elements[value]).strides[1:])
        if value in self.placed:
            parent, axis, start = self.placed[value]
            inside = self.view(parent)
            offset = inside.offset + (0 if start == 0 else start * inside.strides[axis])
            lacks = len(inside.strides) > value.type.rank
            strides = (*inside.strides[:axis], *inside.strides[axis + 1 :]) if lacks else inside.strides
            return View(inside.root, strides, offset)
        node = value.producer
        if node is not None and is_view(node):
            source = self.view(node.inputs[0])
            found = movement_view(node, value.index, source)
            assert found is not None, f"{node} is no view"
            return found
        order = self.orders.get(value, tuple(range(value.type.rank)))
        return View(value, views.strides_of(value.type.shape, order))

    def owns(self, value: Value) -> bool:
        """True if the value has a buffer of its own that a kernel writes."""
        node = value.producer
        computed = node is not None and not isinstance(node.op, Constant) and not is_view(node)
        return computed and value not in self.placed and value not in self.aliases and value not in self.outputs


def of_objects(node: Node) -> bool:
    """True if a node takes or makes strings, sequences or optional values."""
    return any(value.type.dtype.is_object for value in (*node.inputs, *node.outputs))


def storage_axes(layout: Layout, value: Value) -> list[int]:
    """A value's axes, outermost in memory first; axes that do not move keep their place in front."""
    strides = [typical(stride) for stride in layout.view(value).strides]
    return sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]) if strides[axis] else -(1 << 62))


def insert_copy(graph: Graph, node: Node, value: Value, layout: Layout, order: Order | None = None) -> Value:
    """A copy of a value, stored in `order`, that a node reads in its place."""
    copy = copy_of(value, node.source, order)
    graph.replace_uses(value, copy, users=[node])
    if order is not None:
        layout.orders[copy] = order
    return copy


def copy_of(value: Value, source: tuple[str, ...], order: Order | None = None) -> Value:
    """A floating copy of a value, made for the operators `source`."""
    return attribute(Copy(order)(value), source)


def attribute(value: Value, source: tuple[str, ...]) -> Value:
    """Say which operators of the user's model a new value is made for."""
    if value.producer:
        value.producer.source = source
    return value


def source_of(value: Value) -> tuple[str, ...]:
    """The operators of the user's model that a value stands for."""
    return value.producer.source if value.producer else ()


def placeable(graph: Graph, value: Value, layout: Layout) -> bool:
    """Whether a value's own kernel may write it somewhere else, with other strides."""
    return value not in graph.outputs and movable(graph, value, layout)


def movable(graph: Graph, value: Value, layout: Layout) -> bool:
    """Whether its kernel may write it somewhere else where it may also be an output of the graph."""
    return written(graph, value, layout) and not _rigid(value)


def written(graph: Graph, value: Value, layout: Layout) -> bool:
    """Whether a kernel of this graph writes the value, and nothing decides yet where."""
    own = value.producer is not None and value.producer.graph is graph and layout.owns(value)
    return own and not isinstance(value.op, LOOPS) and value.producer not in layout.walked


def _rigid(value: Value) -> bool:
    """True if some user sees the value through a reshape, which relies on its strides."""
    for user in value.uses:
        if isinstance(user.op, Reshape):
            return True
        if is_view(user) and any(_rigid(out) for out in user.outputs):
            return True
    return False


def whole_buffer(value: Value, layout: Layout) -> Value | None:
    """The buffer that holds exactly this value in row-major order, if a kernel writes one."""
    view = layout.view(value)
    dense = views.row_major(value.type.shape)
    same = all(
        size == 1 or dim.known_equal(a, b) for a, b, size in zip(view.strides, dense, value.type.shape, strict=True)
    )
    full = dim.known_equal(view.root.type.size, value.type.size) and dim.known_equal(view.offset, 0)
    return view.root if same and full and layout.owns(view.root) else None

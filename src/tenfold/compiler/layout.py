"""Storage: in which order each tensor lies in memory, who lies inside whom, and where a copy is needed.

Meaning stays N, C, H, W throughout; order is a property of a value. Images lie channels-last from the first
convolution on, movements are views wherever strides can say them, the parts of a concatenation and
the results of branches are written straight into place, and what remains is a `Copy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tenfold.compiler import loops, views
from tenfold.compiler.inplace import stands, updated_states
from tenfold.compiler.loops import LOOPS, Turns
from tenfold.compiler.typical import typical
from tenfold.compiler.views import VIEW_OPS, View, is_view, movement_view
from tenfold.ir import dim, unknown
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value, again
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant, Fill, Iota, Sizes
from tenfold.ops.control import If, Loop
from tenfold.ops.conv import Conv, ConvTranspose, Gated
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Append, Concat, Reshape, Transpose
from tenfold.ops.primitive import Copy, Pick
from tenfold.ops.reduce import ArgReduce, Reduce

Order = tuple[int, ...]

IMAGE_OPS = (Conv, ConvTranspose, Gated)
FOLLOWING_OPS = (Elementwise, Concat, Reduce, ArgReduce, Pick)
SOURCES = (Constant, Fill, Iota, Sizes)
CONTROL = (If, *LOOPS)
FEW_CHANNELS = 4


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


def arrange(graph: Graph) -> Layout:
    """Decide the layout of a graph, inserting copies where views do not reach. The graph is changed in place.

    Every output of the graph ends as a row-major buffer of its own.
    """
    layout = Layout()
    rearrange(graph, layout)
    return layout


def rearrange(graph: Graph, layout: Layout) -> None:
    """Decide the layout of a graph again, with what became known of its branches and loops."""
    fresh = Layout(hosted=layout.hosted, aliases=updated_states(graph))
    _arrange(graph, fresh)
    _place_outputs(graph, fresh)
    fresh.assumed = len(fresh.checks)
    fresh.checks += layout.checks[layout.assumed :]
    vars(layout).update(vars(fresh))


def _arrange(graph: Graph, layout: Layout) -> None:
    for node in graph.nodes:
        if isinstance(node.op, CONTROL) or not of_objects(node):
            _ARRANGE.get(type(node.op), _arrange_compute)(graph, node, layout)


def of_objects(node: Node) -> bool:
    """True if a node takes or makes strings, sequences or optional values."""
    return any(value.type.dtype.is_object for value in (*node.inputs, *node.outputs))


def _arrange_compute(graph: Graph, node: Node, layout: Layout) -> None:
    if isinstance(node.op, IMAGE_OPS):
        _want_channels_last(graph, node, layout)
    for value in node.outputs:
        order = _natural_order(node, value, layout)
        if order != tuple(range(value.type.rank)):
            layout.orders[value] = order


def _natural_order(node: Node, value: Value, layout: Layout) -> Order:
    rank = value.type.rank
    plain = tuple(range(rank))
    if isinstance(node.op, Copy):
        return node.op.order or plain
    if isinstance(node.op, IMAGE_OPS):
        return views.channels_last(rank)
    if not isinstance(node.op, FOLLOWING_OPS) or isinstance(node.op, Constant):
        return plain
    alike = [v for v in node.inputs if v.type.rank == rank and not isinstance(v.op, SOURCES)]
    full = [v for v in alike if v.type.shape == value.type.shape] or alike
    return tuple(storage_axes(layout, full[0])) if full else plain


def storage_axes(layout: Layout, value: Value) -> list[int]:
    """A value's axes, outermost in memory first; axes that do not move keep their place in front."""
    strides = [typical(stride) for stride in layout.view(value).strides]
    return sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]) if strides[axis] else -(1 << 62))


def _want_channels_last(graph: Graph, node: Node, layout: Layout) -> None:
    image = node.inputs[0]
    if image.type.rank < 3 or dim.known_equal(layout.view(image).strides[1], 1):
        return
    channels = image.type.shape[1]
    if isinstance(node.op, Conv) and isinstance(channels, int) and channels <= FEW_CHANNELS:
        return
    _insert_copy(graph, node, image, layout, views.channels_last(image.type.rank))


def _insert_copy(graph: Graph, node: Node, value: Value, layout: Layout, order: Order | None = None) -> Value:
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


def _arrange_view(graph: Graph, node: Node, layout: Layout) -> None:
    if isinstance(node.op, Reshape):
        _assume_equal_sizes(node, layout)
    source = layout.view(node.inputs[0])
    if movement_view(node, 0, source) is not None:
        return
    if not _reorder(node, layout):
        _insert_copy(graph, node, node.inputs[0], layout, views.shuffled(node, source))


def _assume_equal_sizes(node: Node, layout: Layout) -> None:
    old, new = node.inputs[0].type, node.output.type
    if not dim.known_equal(old.size, new.size):
        fits = dim.select(layout.guard, dim.equal(old.size, new.size), 1)
        shapes = " to ".join(f"[{', '.join(map(str, t.shape))}]" for t in (old, new))
        layout.checks.append(Assumption(fits, f"the elements do not fit: reshaped from {shapes}", node.source))


def _reorder(reshape: Node, layout: Layout) -> bool:
    """Make a reshape of transposed data a view by storing the data in the transposed order to begin with."""
    moved = reshape.inputs[0]
    if not isinstance(moved.op, Transpose) or len(moved.uses) != 1:
        return False
    root = moved.inputs[0]
    if not layout.owns(root) or len(root.uses) != 1 or root in layout.orders:
        return False
    if root.producer is None or isinstance(root.producer.op, (If, *LOOPS, *IMAGE_OPS)):
        return False
    layout.orders[root] = moved.op.permutation
    return True


def _arrange_concat(graph: Graph, node: Node, layout: Layout) -> None:
    assert isinstance(node.op, Concat)
    axis = node.op.axis % node.output.type.rank
    order = _natural_order(node, node.output, layout)
    parts: dict[Value, Value] = {}
    sizes = unknown.of_types((node.output.type,))
    for part in node.inputs:
        laid = _laid(part, axis)
        free = _movable if laid is part else _written
        fits = laid not in graph.outputs and free(graph, laid, layout)
        if part in parts or not fits or not _sees(laid, sizes):
            part = laid = copy_of(part, node.source, order)
        parts[part] = laid
    whole = node.output
    if tuple(parts) != node.inputs:
        whole = graph.insert(node.op(*parts))
        attribute(whole, node.source)
        graph.replace_uses(node.output, whole)
        graph.remove(node)
    layout.orders[whole] = order
    start: Size = 0
    for part, laid in parts.items():
        layout.placed[laid] = (whole, axis, start)
        layout.orders.pop(laid, None)
        start = start + part.type.shape[axis]


def _arrange_append(graph: Graph, node: Node, layout: Layout) -> None:
    """The result is the buffer itself; the new elements are written where they belong in it."""
    assert isinstance(node.op, Append)
    buffer, rows = node.inputs
    if not _placeable(graph, rows, layout) or not _sees(rows, unknown.of_types((node.output.type,))):
        rows = _insert_copy(graph, node, rows, layout)
    layout.aliases[node.output] = buffer
    layout.placed[rows] = (node.output, node.op.axis, node.op.start)
    layout.orders.pop(rows, None)


def _laid(part: Value, axis: int) -> Value:
    """What a concatenation along an axis lays into its place: a part, or what a part shows with that axis added to it,
    as where values are stacked. Contractions write whole vectors, so theirs are not stacked elementwise.
    """
    if part.producer is None or not isinstance(part.op, Reshape) or len(part.uses) != 1:
        return part
    (base,) = part.producer.inputs
    stacked = part.type.shape == (*base.type.shape[:axis], 1, *base.type.shape[axis:])
    apart = axis == base.type.rank and isinstance(base.op, (MatMul, *IMAGE_OPS))
    return base if stacked and not apart and len(base.uses) == 1 else part


def _sees(value: Value, sizes: unknown.Names) -> bool:
    """Whether these sizes are known when a value is computed, so that it may be written to a place that they decide."""
    node = value.producer
    if node is None or not sizes:
        return True
    if isinstance(node.op, Concat):
        return all(_sees(part, sizes) for part in node.inputs)
    return sizes <= unknown.of_types(one.type for one in node.inputs) | unknown.of_op(node.op) | unknown.decided_by(
        node
    )


def _placeable(graph: Graph, value: Value, layout: Layout) -> bool:
    """Whether a value's own kernel may write it somewhere else, with other strides."""
    return value not in graph.outputs and _movable(graph, value, layout)


def _movable(graph: Graph, value: Value, layout: Layout) -> bool:
    return _written(graph, value, layout) and not _rigid(value)


def _written(graph: Graph, value: Value, layout: Layout) -> bool:
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


def _arrange_if(graph: Graph, node: Node, layout: Layout) -> None:
    assert isinstance(node.op, If)
    reason = loops.refusal(node) or layout.hosted.get(node.op.graphs[0])
    if reason is not None:
        _set_apart(graph, node, reason, layout)
    captures = node.inputs[1:]
    known = node.inputs[0].type.entries
    outer = layout.guard
    for sense, branch in ((True, node.op.then_branch), (False, node.op.else_branch)):
        if known:
            layout.guard = dim.logical_and(outer, known[0] if sense else dim.logical_not(known[0]))
        layout.aliases.update(zip(branch.inputs, captures, strict=True))
        _arrange(branch, layout)
        if reason is not None:
            _return_from(branch)
            layout.guard = outer
            continue
        results = [_written_into(branch, *pair, layout) for pair in zip(branch.outputs, node.outputs, strict=True)]
        branch.set_outputs(results, branch.output_names)
        layout.guard = outer


def _set_apart(graph: Graph, node: Node, reason: str, layout: Layout) -> None:
    """Let Python walk a branch or loop; constant objects that it takes are made a value of their own."""
    layout.walked[node] = reason
    for value in dict.fromkeys(node.inputs):
        if isinstance(value.op, Constant) and value.type.dtype.is_object:
            _insert_copy(graph, node, value, layout)


def _return_from(body: Graph) -> None:
    """Let a branch or body that Python walks return no constants: only what lies where its own pieces put it."""
    results = [body.insert(copy_of(v, source_of(v))) if isinstance(v.op, Constant) else v for v in body.outputs]
    body.set_outputs(results, body.output_names)


def _arrange_walked(node: Node, layout: Layout) -> None:
    """What changes from turn to turn is given to the body by Python, the rest it sees outside."""
    body = loops.body_of(node.op)
    own = loops.changing(node.op)
    outside = (pair for position, pair in enumerate(zip(body.inputs, node.inputs, strict=True)) if position not in own)
    layout.aliases.update(outside)
    outer, layout.guard = layout.guard, dim.logical_and(layout.guard, loops.guard_of(node))
    _arrange(body, layout)
    _return_from(body)
    layout.guard = outer


def _written_into(graph: Graph, value: Value, target: Value, layout: Layout) -> Value:
    """The value, or a copy of it, that its own kernel writes straight into what it becomes outside."""
    if not _movable(graph, value, layout):
        value = graph.insert(copy_of(value, source_of(value)))
    layout.placed[value] = (target, 0, 0)
    layout.orders.pop(value, None)
    return value


def _arrange_loop(graph: Graph, node: Node, layout: Layout) -> None:
    """A state lies in the buffer of the loop's result throughout; what a turn gives to the next moves there last."""
    reason = loops.refusal(node) or layout.hosted.get(node.op.graphs[0])
    if reason is not None:
        _set_apart(graph, node, reason, layout)
        _arrange_walked(node, layout)
        return
    node, targets = _with_states(graph, node, layout)
    op, body = node.op, loops.body_of(node.op)
    formal = dict(zip(body.inputs, node.inputs, strict=True))
    formal.update({body.inputs[position]: target for position, target in targets.items()})
    turns = Turns(body, loops.limit_of(node), guard=loops.guard_of(node))
    turns.elements = {body.inputs[position]: node.inputs[position] for position in loops.sequences(op)}
    if isinstance(op, Loop):
        turns.condition = None if formal[body.inputs[1]].type.entries == (1,) else formal[body.inputs[1]]
        turns.number = formal[body.inputs[0]] = Value(body.inputs[0].type, name="turn")
    outer, layout.guard = layout.guard, dim.logical_and(layout.guard, turns.guard)
    _assume_equal_lengths(node, layout)
    layout.elements.update(turns.elements)
    layout.aliases.update({one: other for one, other in formal.items() if one not in turns.elements})
    _arrange(body, layout)
    _end_turn(node, turns, targets, layout)
    layout.guard = outer
    layout.turns[node] = turns


def _assume_equal_lengths(node: Node, layout: Layout) -> None:
    lengths = [node.inputs[position].type.shape[0] for position in loops.sequences(node.op)]
    for other in lengths[1:]:
        if not dim.known_equal(lengths[0], other):
            fits = dim.select(layout.guard, dim.equal(lengths[0], other), 1)
            layout.checks.append(Assumption(fits, f"sequences of {lengths[0]} and {other} elements", node.source))


def _with_states(graph: Graph, node: Node, layout: Layout) -> tuple[Node, dict[int, Value]]:
    """The loop with each state's beginning written where the state lies; that place for the position of each input."""
    inputs = list(node.inputs)
    for position in loops.carried(node.op):
        value = node.inputs[position]
        alone = len(value.uses) == 1 and node.inputs.count(value) == 1
        if not alone or not _placeable(graph, value, layout):
            inputs[position] = graph.insert(copy_of(value, node.source))
    changed = again(node, inputs)
    graph.insert(changed.outputs[0])
    for old, new in zip(node.outputs, changed.outputs, strict=True):
        graph.replace_uses(old, new)
    graph.remove(node)
    first = 2 if isinstance(node.op, Loop) else 0
    targets: dict[int, Value] = {}
    for position in loops.carried(node.op):
        target = changed.outputs[position - first] if position >= first else _condition_of(changed)
        targets[position] = target
        layout.placed[inputs[position]] = (target, 0, 0)
        layout.orders.pop(inputs[position], None)
    return changed, targets


def _condition_of(node: Node) -> Value:
    """A buffer for the condition of a loop, which has no result."""
    given = node.inputs[1].type
    return Value(Type(given.dtype, given.shape), name="condition")


def _end_turn(node: Node, turns: Turns, targets: dict[int, Value], layout: Layout) -> None:
    """Give each new state a buffer of its own, and let each scan be written into its element of the whole."""
    body, first = turns.body, loops.first_result(node.op)
    results = list(body.outputs)
    for position, target in targets.items():
        if results[position - first] is not body.inputs[position]:
            result, root = _in_own_buffer(body, results[position - first], [r for _, r in turns.moves], layout)
            results[position - first] = result
            turns.moves.append((target, root))
    taken = [root for _, root in turns.moves]
    for place, whole in enumerate(node.outputs, first):
        if whole in targets.values():
            continue
        if node.graph and whole not in node.graph.outputs and results[place] in layout.orders:
            layout.orders[whole] = (0, *(1 + axis for axis in layout.orders[results[place]]))
        element = Value(results[place].type, name=whole.name)
        turns.elements[element] = layout.elements[element] = whole
        if results[place] in taken:
            results[place] = body.insert(copy_of(results[place], source_of(results[place])))
        results[place] = _written_into(body, results[place], element, layout)
    body.set_outputs(results, body.output_names)
    turns.lasting = [*targets.values(), *node.outputs, *turns.elements.values()]


def _in_own_buffer(body: Graph, value: Value, taken: Sequence[Value], layout: Layout) -> tuple[Value, Value]:
    """The value, or a copy of it, and the dense buffer in which the body computes exactly this."""
    root = _whole_buffer(value, layout)
    if root is None or root in taken or root.producer is None or root.producer.graph is not body:
        value = root = body.insert(copy_of(value, source_of(value)))
    return value, root


def _place_outputs(graph: Graph, layout: Layout) -> None:
    results: list[Value] = []
    for number, value in enumerate(graph.outputs):
        if isinstance(value.op, Append) or stands(value, layout.aliases):
            results.append(value)
            continue
        root = _whole_buffer(value, layout)
        if root is None or root in layout.outputs:
            value = root = graph.insert(copy_of(value, source_of(value)))
        layout.outputs[root] = number
        results.append(value)
    graph.set_outputs(results, graph.output_names)


def _whole_buffer(value: Value, layout: Layout) -> Value | None:
    """The buffer that holds exactly this value in row-major order, if a kernel writes one."""
    view = layout.view(value)
    dense = views.row_major(value.type.shape)
    same = all(
        size == 1 or dim.known_equal(a, b) for a, b, size in zip(view.strides, dense, value.type.shape, strict=True)
    )
    full = dim.known_equal(view.root.type.size, value.type.size) and dim.known_equal(view.offset, 0)
    return view.root if same and full and layout.owns(view.root) else None


_Arranger = Callable[[Graph, Node, Layout], None]
_ARRANGE: dict[type, _Arranger] = {
    **dict.fromkeys(VIEW_OPS, _arrange_view),
    Concat: _arrange_concat,
    Append: _arrange_append,
    If: _arrange_if,
    **dict.fromkeys(LOOPS, _arrange_loop),
}

"""Arranging a graph: every value gets a place and an order, and where views do not reach, a copy.

Meaning stays N, C, H, W throughout; order is a property of a value. Images lie channels-last from the first
convolution on, movements are views wherever strides can say them, the parts of a concatenation and
the results of branches are written straight into place, and what remains is a `Copy`.
"""

from __future__ import annotations

from collections.abc import Callable

from tenfold.compiler import views
from tenfold.compiler.inplace import stands, updated_states
from tenfold.compiler.layout import (
    SOURCES,
    Assumption,
    Layout,
    Order,
    attribute,
    copy_of,
    insert_copy,
    movable,
    of_objects,
    placeable,
    source_of,
    storage_axes,
    whole_buffer,
    written,
)
from tenfold.compiler.loops import LOOPS
from tenfold.compiler.nested import arrange_branches, arrange_loop
from tenfold.compiler.views import VIEW_OPS, movement_view
from tenfold.ir import dim, unknown
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant
from tenfold.ops.control import If
from tenfold.ops.conv import Conv, ConvTranspose, Gated
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Append, Concat, Reshape, Transpose
from tenfold.ops.primitive import Copy, Pick
from tenfold.ops.reduce import ArgReduce, Reduce

IMAGE_OPS = (Conv, ConvTranspose, Gated)
FOLLOWING_OPS = (Elementwise, Concat, Reduce, ArgReduce, Pick)
FEW_CHANNELS = 4


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
        if isinstance(node.op, If):
            arrange_branches(graph, node, layout, _arrange)
        elif isinstance(node.op, LOOPS):
            arrange_loop(graph, node, layout, _arrange)
        elif not of_objects(node):
            _ARRANGE.get(type(node.op), _arrange_compute)(graph, node, layout)


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


def _want_channels_last(graph: Graph, node: Node, layout: Layout) -> None:
    image = node.inputs[0]
    if image.type.rank < 3 or dim.known_equal(layout.view(image).strides[1], 1):
        return
    channels = image.type.shape[1]
    if isinstance(node.op, Conv) and isinstance(channels, int) and channels <= FEW_CHANNELS:
        return
    insert_copy(graph, node, image, layout, views.channels_last(image.type.rank))


def _arrange_view(graph: Graph, node: Node, layout: Layout) -> None:
    if isinstance(node.op, Reshape):
        _assume_equal_sizes(node, layout)
    source = layout.view(node.inputs[0])
    if movement_view(node, 0, source) is not None:
        return
    if not _reorder(node, layout):
        insert_copy(graph, node, node.inputs[0], layout, views.shuffled(node, source))


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
        free = movable if laid is part else written
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
    if not placeable(graph, rows, layout) or not _sees(rows, unknown.of_types((node.output.type,))):
        rows = insert_copy(graph, node, rows, layout)
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


def _place_outputs(graph: Graph, layout: Layout) -> None:
    results: list[Value] = []
    for number, value in enumerate(graph.outputs):
        if isinstance(value.op, Append) or stands(value, layout.aliases):
            results.append(value)
            continue
        root = whole_buffer(value, layout)
        if root is None or root in layout.outputs:
            value = root = graph.insert(copy_of(value, source_of(value)))
        layout.outputs[root] = number
        results.append(value)
    graph.set_outputs(results, graph.output_names)


_ARRANGE: dict[type, Callable[[Graph, Node, Layout], None]] = {
    **dict.fromkeys(VIEW_OPS, _arrange_view),
    Concat: _arrange_concat,
    Append: _arrange_append,
}

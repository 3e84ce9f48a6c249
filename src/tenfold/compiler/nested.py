"""Where the values of branches and loops lie: results in what they become outside, a loop's states in its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenfold.compiler import loops
from tenfold.compiler.layout import (
    Assumption,
    Layout,
    copy_of,
    insert_copy,
    movable,
    placeable,
    source_of,
    whole_buffer,
)
from tenfold.compiler.loops import Turns
from tenfold.ir import dim
from tenfold.ir.graph import Graph, Node, Value, again
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.ops.control import If, Loop

Arrange = Callable[[Graph, Layout], None]
"""What arranges a graph within another."""


def arrange_branches(graph: Graph, node: Node, layout: Layout, arrange: Arrange) -> None:
    """An If: each branch writes its results straight into what they become outside."""
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
        arrange(branch, layout)
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
            insert_copy(graph, node, value, layout)


def _return_from(body: Graph) -> None:
    """Let a branch or body that Python walks return no constants: only what lies where its own pieces put it."""
    results = [body.insert(copy_of(v, source_of(v))) if isinstance(v.op, Constant) else v for v in body.outputs]
    body.set_outputs(results, body.output_names)


def _arrange_walked(node: Node, layout: Layout, arrange: Arrange) -> None:
    """What changes from turn to turn is given to the body by Python, the rest it sees outside."""
    body = loops.body_of(node.op)
    own = loops.changing(node.op)
    outside = (pair for position, pair in enumerate(zip(body.inputs, node.inputs, strict=True)) if position not in own)
    layout.aliases.update(outside)
    outer, layout.guard = layout.guard, dim.logical_and(layout.guard, loops.guard_of(node))
    arrange(body, layout)
    _return_from(body)
    layout.guard = outer


def _written_into(graph: Graph, value: Value, target: Value, layout: Layout) -> Value:
    """The value, or a copy of it, that its own kernel writes straight into what it becomes outside."""
    if not movable(graph, value, layout):
        value = graph.insert(copy_of(value, source_of(value)))
    layout.placed[value] = (target, 0, 0)
    layout.orders.pop(value, None)
    return value


def arrange_loop(graph: Graph, node: Node, layout: Layout, arrange: Arrange) -> None:
    """A state lies in the buffer of the loop's result throughout; what a turn gives to the next moves there last."""
    reason = loops.refusal(node) or layout.hosted.get(node.op.graphs[0])
    if reason is not None:
        _set_apart(graph, node, reason, layout)
        _arrange_walked(node, layout, arrange)
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
    arrange(body, layout)
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
        if not alone or not placeable(graph, value, layout):
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
    root = whole_buffer(value, layout)
    if root is None or root in taken or root.producer is None or root.producer.graph is not body:
        value = root = body.insert(copy_of(value, source_of(value)))
    return value, root

"""ONNX's branches and loops."""

from __future__ import annotations

import numpy as np

from tenfold.importers.convert import Operator, Results, Subgraph, Table
from tenfold.importers.shorthand import reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.constant import scalar
from tenfold.ops.control import If, Loop, Scan
from tenfold.ops.movement import Slice

MOST_TURNS = np.iinfo(np.int64).max
MOST_ATTEMPTS = 8


def branch(node: Operator) -> Results:
    """A condition that is known chooses its branch at once; else both are traced on what either captures.

    Branches of unlike ranks cannot be joined: the one that the rest of the model can use is taken, and every
    call must then meet its condition.
    """
    condition = node.input(0)
    asked = (node.sizes(0) or (None,))[0]
    if isinstance(asked, int):
        return node.body("then_branch" if asked else "else_branch").inline(())
    yes, yes_captures = _traced(node, "then_branch", asked)
    no, no_captures = _traced(node, "else_branch", None if asked is None else dim.logical_not(asked))
    if [value.type.rank for value in yes.outputs] != [value.type.rank for value in no.outputs]:
        if asked is None or asked.data_dependent or node.context is None:
            raise node.unsupported("its branches return tensors of unlike ranks, and only data choose between them")
        return node.body("then_branch" if node.context.decide(node.label, asked) else "else_branch").inline(())
    captures = tuple(dict.fromkeys((*yes_captures, *no_captures)))
    _take(yes, yes_captures, captures)
    _take(no, no_captures, captures)
    return _listed(If(yes, no)(condition, *captures))


def _traced(node: Operator, name: str, condition: Size | None) -> tuple[Graph, tuple[Value, ...]]:
    if node.context is None or condition is None:
        return node.body(name).trace(())
    with node.context.given(condition):
        return node.body(name).trace(())


def _take(graph: Graph, own: tuple[Value, ...], captures: tuple[Value, ...]) -> None:
    """Let a branch take all captures, in order: those it does not use as inputs without users."""
    formal = dict(zip(own, graph.inputs, strict=True))
    graph.inputs = [formal.get(one) or Value(one.type, name=one.name) for one in captures]


def loop(node: Operator) -> Results:
    """A state whose sizes change from turn to turn gets a symbol for each of them."""
    body = node.body("body")
    state = [node.input(index) for index in range(2, len(node.inputs))]
    trips = node.optional(0)
    condition = node.optional(1)
    trips = scalar(int(MOST_TURNS), dt.i64)() if trips is None else reshaped(trips, ())
    condition = scalar(True, dt.boolean)() if condition is None else reshaped(condition, ())
    first = [Type(dt.i64, ()), Type(dt.boolean, ())]
    graph, captures = settle(node, body, first, [value.type for value in state], 1)
    return _listed(Loop(graph, len(state))(trips, condition, *state, *captures))


def settle(
    node: Operator, body: Subgraph, before: list[Type], state: list[Type], results: int, after: tuple[Type, ...] = ()
) -> tuple[Graph, tuple[Value, ...]]:
    """The body traced on state types that hold for every turn: sizes that it changes are made unknown, one by one.

    Its inputs are `before`, the state, `after`; the state's new values are its outputs from `results` on.
    """
    types = [Type(one.dtype, one.shape) for one in state]
    varying: set[Size] = set()
    for _ in range(MOST_ATTEMPTS):
        graph, captures = body.trace((*before, *types, *after))
        found = [value.type for value in graph.outputs[results : results + len(types)]]
        if len(found) != len(types):
            raise node.invalid(f"its body returns {len(found)} state values, and takes {len(types)}")
        wider = [_widened(node, old, new, varying) for old, new in zip(types, found, strict=True)]
        if wider == types:
            return graph, captures
        types = wider
    raise node.unsupported("the sizes of its state do not settle")


def _widened(node: Operator, old: Type, new: Type, varying: set[Size]) -> Type:
    """The type that holds before and after a turn; `varying` collects the sizes made unknown."""
    if old.dtype != new.dtype or old.rank != new.rank:
        raise node.unsupported(f"its state is {old} before a turn and {new} after it")
    pairs = zip(old.shape, new.shape, strict=True)
    shape = tuple(a if a == b or a in varying else unknown_size() for a, b in pairs)
    varying.update(size for size, before in zip(shape, old.shape, strict=True) if size != before)
    return Type(old.dtype, shape)


def scan(node: Operator) -> Results:
    """Sequences are brought to run forwards along their first axis; so are the results."""
    body, sequences = node.body("body"), node.integer("num_scan_inputs")
    carried = len(node.inputs) - sequences
    if sequences < 1 or carried < 0:
        raise node.invalid(f"{sequences} sequences among {len(node.inputs)} inputs")
    axes = node.integers("scan_input_axes", (0,) * sequences)
    backwards = node.integers("scan_input_directions", (0,) * sequences)
    rows = [
        _first(node, node.input(carried + at), axis, reverse)
        for at, (axis, reverse) in enumerate(zip(axes, backwards, strict=True))
    ]
    state = [node.input(index) for index in range(carried)]
    elements = tuple(Type(row.type.dtype, row.type.shape[1:]) for row in rows)
    graph, captures = settle(node, body, [], [value.type for value in state], 0, elements)
    found = _listed(Scan(graph, carried, sequences)(*state, *rows, *captures))
    scans = found[carried:]
    out_axes = node.integers("scan_output_axes", (0,) * len(scans))
    out_backwards = node.integers("scan_output_directions", (0,) * len(scans))
    placed = [
        _back(node, value, axis, reverse) for value, axis, reverse in zip(scans, out_axes, out_backwards, strict=True)
    ]
    return [*found[:carried], *placed]


def scan_batched(node: Operator) -> Results:
    """Version 8 had a batch axis before the sequence's: one batch is taken out of the way."""
    raise node.unsupported("Scan of version 8 is batched", "convert the model to operator set 9 or newer")


def _first(node: Operator, x: Value, axis: int, reverse: int) -> Value:
    axis = node.axis(axis, x.type.rank)
    order = (axis, *(one for one in range(x.type.rank) if one != axis))
    return _reversed(transposed(x, order)) if reverse else transposed(x, order)


def _back(node: Operator, x: Value, axis: int, reverse: int) -> Value:
    axis = node.axis(axis, x.type.rank)
    order = (*range(1, axis + 1), 0, *range(axis + 1, x.type.rank))
    return transposed(_reversed(x) if reverse else x, order)


def _reversed(x: Value) -> Value:
    rest = x.type.rank - 1
    starts = (x.type.shape[0] - 1, *(0,) * rest)
    result: Value = Slice(starts, x.type.shape, (-1, *(1,) * rest))(x)
    return result


def _listed(found: Value | tuple[Value, ...]) -> list[Value]:
    return [found] if isinstance(found, Value) else list(found)


TABLE: Table = {
    ("", "If"): ((1, branch),),
    ("", "Loop"): ((1, loop),),
    ("", "Scan"): ((8, scan_batched), (9, scan)),
}

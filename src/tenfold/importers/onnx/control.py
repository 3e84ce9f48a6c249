"""ONNX's branches and loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.importers.convert import Operator, Parted, Results, Subgraph, Table
from tenfold.importers.onnx.sequence import parted, rejoined, stacked
from tenfold.importers.shorthand import cast, number, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Value, inline
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.constant import Iota, scalar
from tenfold.ops.control import If, Loop, Scan, visible_symbols
from tenfold.ops.logic import Less, Where
from tenfold.ops.movement import Slice
from tenfold.ops.sequence import OptionalOf, SequenceInsert, SequenceOf, Unstack, joined_dtype

MOST_TURNS = np.iinfo(np.int64).max
MOST_ATTEMPTS = 8
MOST_UNROLLED = 256


def branch(node: Operator) -> Results:
    """A condition that is known chooses its branch at once; else both are traced on what either captures.

    Branches of unlike ranks cannot be joined. Where sizes choose, the one that the rest of the model can use is taken,
    and every call must then meet its condition. Where data choose, the rest is converted in each (Parted), and an
    output of the model that has more than one rank is an optional value.
    """
    condition = node.input(0)
    asked = (node.sizes(0) or (None,))[0]
    if isinstance(asked, int):
        return node.body("then_branch" if asked else "else_branch").inline(())
    yes, yes_captures = _traced(node, "then_branch", asked)
    no, no_captures = _traced(node, "else_branch", None if asked is None else dim.logical_not(asked))
    if unlike := unlike_ranks(yes, no):
        if node.context is None:
            raise node.unsupported("its branches return tensors of unlike ranks")
        if not node.context.any_rank([node.outputs[at] for at in unlike]):
            if asked is None or asked.data_dependent:
                raise Parted(node.label)
            return node.body("then_branch" if node.context.decide(node.label, asked) else "else_branch").inline(())
    captures = tuple(dict.fromkeys((*yes_captures, *no_captures)))
    for graph, own in ((yes, yes_captures), (no, no_captures)):
        with_any_rank(graph, unlike)
        _take(graph, own, captures)
    if len(yes.outputs) != len(no.outputs):
        raise node.invalid(f"its branches return {len(yes.outputs)} and {len(no.outputs)} values")
    was = parted((yes, no))
    return rejoined(_listed(If(yes, no)(condition, *captures)) if yes.outputs else [], was)


def unlike_ranks(a: Graph, b: Graph) -> list[int]:
    """The outputs that are tensors of one rank in one graph, and of another or of any rank in the other."""
    pairs = enumerate(zip(a.outputs, b.outputs, strict=False))
    return [at for at, (x, y) in pairs if _held(x).dtype == _held(y).dtype and _rank(x) != _rank(y)]


def _held(value: Value) -> Type:
    return value.type.dtype.element or value.type if _rank(value) is None else value.type


def _rank(value: Value) -> int | None:
    return None if value.type.dtype.kind is Kind.OPTIONAL else value.type.rank


def with_any_rank(graph: Graph, places: Sequence[int]) -> None:
    """Let these outputs be optional values, which are always there."""
    outputs = list(graph.outputs)
    for at in places:
        kind = outputs[at].type
        if kind.dtype.kind is not Kind.OPTIONAL:
            outputs[at] = OptionalOf(Type(kind.dtype, kind.shape))(outputs[at])
    graph.set_outputs(outputs, graph.output_names)


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
    written = _unrolled(node, body, state)
    if written is not None:
        return written
    first = [Type(dt.i64, ()), Type(dt.boolean, ())]
    graph, captures = settle(node, body, first, [value.type for value in state], 1)
    grown = collected(graph, state)
    left = [value for at, value in enumerate(state) if at not in grown]
    found = _listed(Loop(graph, len(left))(trips, condition, *left, *captures))
    scans = len(found) - len(grown)
    states, rows = iter(found[: len(left)]), iter(found[scans:])
    ends = [Unstack(0)(next(rows)) if at in grown else next(states) for at in range(len(state))]
    return [*ends, *found[len(left) : scans]]


def _unrolled(node: Operator, body: Subgraph, state: list[Value]) -> list[Value] | None:
    """Few turns that carry sequences or optional values, written out one after another: so these are followed."""
    turns = node.sizes(0)
    going = node.sizes(1) if node.optional(1) is not None else (1,)
    carries = any(value.type.dtype.element is not None for value in state)
    if not carries or turns is None or not isinstance(turns[0], int) or turns[0] > MOST_UNROLLED or not going:
        return None
    rows: list[list[Value]] = [[] for _ in range(len(node.outputs) - len(state))]
    for turn in range(turns[0] if going[0] != 0 else 0):
        if not isinstance(going[0], int):
            return None
        found = body.inline((scalar(turn, dt.i64)(), scalar(True, dt.boolean)(), *state))
        going, state = found[0].type.entries or (dim.unknown("?"),), list(found[1 : 1 + len(state)])
        for row, value in zip(rows, found[1 + len(state) :], strict=True):
            row.append(value)
        if going[0] == 0:
            break
    return None if any(not row for row in rows) else [*state, *(stacked(row, 0) for row in rows)]


def collected(body: Graph, state: list[Value]) -> set[int]:
    """The states that begin as an empty sequence, and only get one more element of one shape at the end each turn.

    The body is changed to return these elements as its last results, which the loop stacks, instead of the states.
    """
    outer = visible_symbols(*(value.type for value in body.inputs[2 + len(state) :]))
    found: dict[int, Value] = {}
    for at, start in enumerate(state):
        inner, end = body.inputs[2 + at], body.outputs[1 + at]
        empty = isinstance(start.op, SequenceOf) and not start.inputs
        grown = isinstance(end.op, SequenceInsert) and len(end.inputs) == 2 and end.inputs[0] is inner
        if not empty or not grown or len(inner.uses) != 1 or inner in body.outputs or body.outputs.count(end) != 1:
            continue
        item = end.inputs[1]
        if not end.uses and all(_steady(size, outer) for size in item.type.shape):
            found[at] = end
    kept = [value for at, value in enumerate(body.outputs) if at - 1 not in found]
    body.set_outputs([*kept, *(end.inputs[1] for end in found.values())])
    for end in found.values():
        if end.producer is not None:
            body.remove(end.producer)
    body.inputs = [value for at, value in enumerate(body.inputs) if at - 2 not in found]
    return set(found)


def _steady(size: Size, outer: set[str]) -> bool:
    """True if a size is the same in every turn."""
    return isinstance(size, int) or not size.data_dependent or dim.symbols(size) <= outer


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
        _wrap(graph, types, results)
        found = [value.type for value in graph.outputs[results : results + len(types)]]
        if len(found) != len(types):
            raise node.invalid(f"its body returns {len(found)} state values, and takes {len(types)}")
        wider = [_widened(node, old, new, varying) for old, new in zip(types, found, strict=True)]
        if wider == types:
            return graph, captures
        types = wider
    raise node.unsupported("the sizes of its state do not settle")


def _wrap(graph: Graph, types: list[Type], results: int) -> None:
    """Let a state that may be missing stay so where the body returns a value that is there."""
    outputs = list(graph.outputs)
    for at, type in enumerate(types, start=results):
        value = outputs[at] if at < len(outputs) else None
        if type.dtype.kind is Kind.OPTIONAL and value is not None and value.type.dtype.kind is not Kind.OPTIONAL:
            outputs[at] = OptionalOf(Type(value.type.dtype, value.type.shape))(value)
    graph.set_outputs(outputs, graph.output_names)


def _widened(node: Operator, old: Type, new: Type, varying: set[Size]) -> Type:
    """The type that holds before and after a turn; `varying` collects the sizes made unknown."""
    if old.dtype.element is not None and new.dtype.element is not None:
        return Type(joined_dtype(old.dtype, new.dtype), ())
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
    """Version 8: state [B, …] and sequences [B, T, …], each of the batch on its own; turns past lengths[b] give 0."""
    body, sequences, lengths = node.body("body"), node.integer("num_scan_inputs"), node.optional(0)
    given = [node.input(index) for index in range(1, len(node.inputs))]
    carried = len(given) - sequences
    backwards = node.integers("directions", (0,) * sequences)
    if sequences < 1 or carried < 0 or len(backwards) != sequences or any(one.type.rank < 1 for one in given):
        raise node.invalid(f"{sequences} sequences and {len(backwards)} directions among {len(given)} inputs")
    if lengths is not None and any(backwards):
        raise node.unsupported("sequences of different lengths that run backwards")
    types = [Type(one.type.dtype, one.type.shape[1:]) for one in given]
    elements = tuple(Type(one.dtype, one.shape[1:]) for one in types[carried:])
    graph, captures = settle(node, body, [], types[:carried], 0, elements)
    one = Graph(name=node.type)
    inner = [one.input(f"x{at}", type) for at, type in enumerate(types)]
    rows = [_reversed(row) if back else row for row, back in zip(inner[carried:], backwards, strict=True)]
    ends = [] if lengths is None else [one.input("length", Type(dt.i64, ()))]
    extra = [one.input(f"capture{at}", value.type) for at, value in enumerate(captures)]
    if ends:
        rows.append(Iota(0, 1, rows[0].type.shape[0])())
        graph = _until(graph, carried, sequences)
    one.set_outputs(_listed(Scan(graph, carried, len(rows))(*inner[:carried], *rows, *ends, *extra)))
    every = [*given, *([] if lengths is None else [cast(lengths, dt.i64)])]
    return _listed(Scan(one, 0, len(every))(*every, *captures))


def _until(body: Graph, carried: int, sequences: int) -> Graph:
    """The body with a turn's number and a length after its elements: from the length on the state stays."""
    found = Graph(name=body.name)
    inner = [found.input(value.name, value.type) for value in body.inputs[: carried + sequences]]
    turn, length = (found.input(name, Type(dt.i64, ())) for name in ("turn", "length"))
    extra = [found.input(value.name, value.type) for value in body.inputs[carried + sequences :]]
    results = inline(body, [*inner, *extra])
    goes: Value = Less()(turn, length)
    kept = [*inner[:carried], *(number(0, one) for one in results[carried:])]
    found.set_outputs([Where()(goes, new, old) for new, old in zip(results, kept, strict=True)])
    return found


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

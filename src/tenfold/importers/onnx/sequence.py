"""ONNX's sequences and optional values.

A sequence whose elements are known one by one, or that are the slices of one tensor, is followed: `SequenceOf` and
`Unstack` float beside the graph, and only what is left unfollowed is computed, by the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from onnx import TensorProto, TypeProto

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.inputs import value_type
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, measure, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type, taken_out
from tenfold.ops import movement, sequence
from tenfold.ops.constant import scalar
from tenfold.ops.index import Gather
from tenfold.ops.sequence import NOTHING, OptionalOf, SequenceOf, Unstack, joined

MOST_FOLLOWED = 1024


def listed(values: Sequence[Value], element: Type | None = None) -> Value:
    """Values as a followed sequence."""
    types = [Type(value.type.dtype, value.type.shape) for value in values]
    found: Value = SequenceOf(reduce(joined, types) if element is None else element)(*values)
    return found


def items(x: Value) -> tuple[Value, ...] | None:
    """The elements of a followed sequence."""
    return x.inputs if isinstance(x.op, SequenceOf) else None


def _place(node: Operator, index: int, default: int, most: int) -> int | None:
    """A position among `most`, counted from the start; None if only the data decide it."""
    if node.optional(index) is None:
        return default
    known = node.sizes(index)
    if known is None or len(known) != 1 or not isinstance(known[0], int):
        return None
    if not -most <= known[0] < most:
        raise node.invalid(f"there is no place {known[0]} in a sequence of {most}")
    return known[0] % most


def _element(node: Operator, x: Value) -> Type:
    if x.type.dtype.kind is not Kind.SEQUENCE or x.type.dtype.element is None:
        raise node.invalid(f"it takes a sequence, not {x.type}")
    return x.type.dtype.element


def construct(node: Operator) -> Results:
    """Its inputs."""
    return listed([node.input(index) for index in range(len(node.inputs))])


def empty(node: Operator) -> Results:
    """No elements."""
    return listed((), Type(element_type(node.integer("dtype", TensorProto.FLOAT), node.label), (NOTHING,)))


def at(node: Operator) -> Results:
    """One element; of elements that are all alike one may be chosen by data."""
    x, place = node.input(0), node.input(1)
    element, known = _element(node, x), items(x)
    if isinstance(x.op, Unstack):
        found = apply(Gather(x.op.axis), x.inputs[0], reshaped(place, ()))
        return reshaped(found, taken_out(element).shape) if x.op.keep else found
    if known is None:
        _check_rank(node, element)
        return apply(sequence.SequenceAt(), x, place)
    position = _place(node, 1, 0, len(known))
    if position is not None:
        return known[position]
    if known and all(one.type.is_static and one.type.shape == known[0].type.shape for one in known):
        return apply(Gather(0), stacked(known, 0), reshaped(place, ()))
    _check_rank(node, element)
    return apply(sequence.SequenceAt(), x, place)


def _check_rank(node: Operator, element: Type) -> None:
    if dt.REST in element.shape or NOTHING in element.shape:
        raise node.unsupported(
            "nothing states how many axes the elements of its sequence have (for an input of the model, shapes= can)"
        )


def length(node: Operator) -> Results:
    """The number of elements."""
    x = node.input(0)
    _element(node, x)
    known = items(x)
    if isinstance(x.op, Unstack):
        return measure(x.inputs[0].type.shape[x.op.axis], dt.i64)
    return apply(sequence.SequenceLength(), x) if known is None else scalar(len(known), dt.i64)()


def insert(node: Operator) -> Results:
    """A value before a place, or at the end."""
    x, value = node.input(0), node.input(1)
    known = items(x)
    position = None if known is None else _inserted(node, len(known))
    if known is not None and position is not None:
        element = joined(_element(node, x), Type(value.type.dtype, value.type.shape))
        return listed((*known[:position], value, *known[position:]), element)
    rest = [] if node.optional(2) is None else [reshaped(node.input(2), ())]
    return apply(sequence.SequenceInsert(), x, value, *rest)


def _inserted(node: Operator, count: int) -> int | None:
    """The place that a value is put before among `count`; None if only the data decide it."""
    known = node.sizes(2) if node.optional(2) is not None else (count,)
    if known is None or len(known) != 1 or not isinstance(known[0], int):
        return None
    if not -count <= known[0] <= count:
        raise node.invalid(f"there is no place {known[0]} in a sequence of {count}")
    return known[0] + count if known[0] < 0 else known[0]


def erase(node: Operator) -> Results:
    """All but one."""
    x = node.input(0)
    known = items(x)
    position = None if known is None else _place(node, 1, len(known) - 1, len(known))
    if known is not None and position is not None:
        return listed((*known[:position], *known[position + 1 :]), _element(node, x))
    rest = [] if node.optional(1) is None else [reshaped(node.input(1), ())]
    return apply(sequence.SequenceErase(), x, *rest)


def split(node: Operator) -> Results:
    """Pieces of one size, or of stated sizes; without either, slices."""
    x = node.input(0)
    axis = node.axis(node.integer("axis", 0), x.type.rank)
    size, sizes = x.type.shape[axis], node.sizes(1)
    scalar_split = node.optional(1) is None or node.input(1).type.rank == 0
    if node.optional(1) is not None and sizes is None:
        return apply(sequence.SplitToSequence(axis), x, node.input(1))
    if scalar_split:
        each = 1 if sizes is None else sizes[0]
        keep = node.optional(1) is not None or node.flag("keepdims", True)
        pieces = _pieces(node, size, each)
        if pieces is None and each == 1:
            return apply(Unstack(axis, keep), x)
        if pieces is None:
            return apply(sequence.SplitToSequence(axis), x, measure(each, dt.i64))
    else:
        pieces, keep = sizes or (), True
    if not pieces:
        return listed((), Type(x.type.dtype, (*x.type.shape[:axis], dt.ANY, *x.type.shape[axis + 1 :])))
    found = movement.Split(axis, tuple(pieces))(x)
    parts = [found] if isinstance(found, Value) else list(found)
    return listed([part if keep else _without(part, axis) for part in parts])


def _pieces(node: Operator, size: Size, each: Size) -> tuple[Size, ...] | None:
    """The sizes of the pieces where they are known and few."""
    if not isinstance(size, int) or not isinstance(each, int):
        return None
    if each < 1:
        raise node.invalid(f"pieces of {each}")
    count = -(-size // each)
    return None if count > MOST_FOLLOWED else tuple(min(each, size - start) for start in range(0, size, each))


def _without(x: Value, axis: int) -> Value:
    return reshaped(x, (*x.type.shape[:axis], *x.type.shape[axis + 1 :]))


def stacked(values: Sequence[Value], axis: int) -> Value:
    """Values of one shape side by side along a new axis."""
    grown = [reshaped(one, (*one.type.shape[:axis], 1, *one.type.shape[axis:])) for one in values]
    return grown[0] if len(grown) == 1 else movement.Concat(axis)(*grown)


def concat(node: Operator) -> Results:
    """All elements along an axis, or along a new one."""
    x, new = node.input(0), node.flag("new_axis", False)
    element, known = _element(node, x), items(x)
    if known is not None and not known:
        raise node.invalid("a sequence of no elements")
    rank = known[0].type.rank if known else element.rank
    if known is None:
        _check_rank(node, element)
    axis = node.axis(node.integer("axis"), rank + new)
    if isinstance(x.op, Unstack):
        return _rejoined(x.inputs[0], x.op, axis, new)
    if known is None:
        return apply(sequence.ConcatFromSequence(axis, new), x)
    return stacked(known, axis) if new else known[0] if len(known) == 1 else movement.Concat(axis)(*known)


def _rejoined(x: Value, op: Unstack, axis: int, new: bool) -> Value:
    """The slices of x, stacked or laid one after another along another axis."""
    if op.keep and axis == op.axis and not new:
        return x
    rest = [at for at in range(x.type.rank) if at != op.axis]
    if op.keep:
        x = reshaped(x, (*x.type.shape[: op.axis + 1], 1, *x.type.shape[op.axis + 1 :]))
        rest = [at for at in range(x.type.rank) if at != op.axis]
    moved = transposed(x, (*rest[:axis], op.axis, *rest[axis:]))
    if new:
        return moved
    sizes = moved.type.shape
    return reshaped(moved, (*sizes[:axis], sizes[axis] * sizes[axis + 1], *sizes[axis + 2 :]))


def mapped(node: Operator) -> Results:
    """The body for each element: written out where the elements are known."""
    body, inputs = node.body("body"), [node.input(index) for index in range(len(node.inputs))]
    lists = [value for value in inputs if value.type.dtype.kind is Kind.SEQUENCE]
    if not inputs or inputs[0].type.dtype.kind is not Kind.SEQUENCE:
        raise node.invalid("its first input must be a sequence")
    known = [items(one) for one in lists]
    lengths = {len(one) for one in known if one is not None}
    if all(one is not None for one in known) and len(lengths) == 1 and max(lengths) > 0:
        turns = [
            body.inline([(items(one) or (one,) * max(lengths))[turn] for one in inputs]) for turn in range(max(lengths))
        ]
        return [listed([turn[place] for turn in turns]) for place in range(len(turns[0]))]
    for one in lists:
        _check_rank(node, _element(node, one))
    types = [taken_out(_element(node, one)) if one in lists else one.type for one in inputs]
    graph, captures = body.trace(types)
    others = [one for one in inputs if one not in lists]
    order = sorted(range(len(inputs)), key=lambda at: inputs[at] not in lists)
    graph.inputs = [*(graph.inputs[at] for at in order), *graph.inputs[len(inputs) :]]
    found = sequence.MapSequence(graph, len(lists))(*lists, *others, *captures)
    return [found] if isinstance(found, Value) else list(found)


def optional(node: Operator) -> Results:
    """A value that may be missing: the input, or none of the stated type."""
    value = node.optional(0)
    if value is not None:
        return apply(OptionalOf(Type(value.type.dtype, value.type.shape)), value)
    stated = TypeProto.FromString(bytes.fromhex(node.text("type")))
    nothing: Value = OptionalOf(value_type(stated, node.label))()
    return nothing


def has_element(node: Operator) -> Results:
    """Known but for optional values that are computed; what cannot be missing is there."""
    value = node.optional(0)
    if value is not None and value.type.dtype.kind is Kind.OPTIONAL and not isinstance(value.op, OptionalOf):
        return apply(sequence.HasElement(), value)
    there = value is not None and not (isinstance(value.op, OptionalOf) and not value.inputs)
    known: Value = scalar(there, dt.boolean)()
    return known


def get_element(node: Operator) -> Results:
    """The value itself."""
    value = node.input(0)
    if value.type.dtype.kind is not Kind.OPTIONAL:
        return value
    if isinstance(value.op, OptionalOf):
        if not value.inputs:
            raise node.invalid("the optional value is missing")
        return value.inputs[0]
    element = value.type.dtype.element
    assert element is not None
    _check_rank(node, element)
    return apply(sequence.GetElement(), value)


def parted(graphs: Sequence[Graph]) -> list[Value | None]:
    """Let branches return the elements of sequences that all of them follow alike.

    For each output that was parted so, the value of the first branch that was; None for the others.
    """
    found: list[Value | None] = []
    columns = list(zip(*(graph.outputs for graph in graphs), strict=True))
    for column in columns:
        shapes = {tuple((one.type.dtype, one.type.rank) for one in value.inputs) for value in column}
        followed = all(isinstance(value.op, SequenceOf | OptionalOf) for value in column)
        alike = len(shapes) == 1 and len({type(value.op) for value in column}) == 1
        found.append(column[0] if followed and alike else None)
    for place, graph in enumerate(graphs):
        outputs = [column[place] for column in columns]
        kept = [one for value, was in zip(outputs, found, strict=True) for one in (value.inputs if was else (value,))]
        graph.set_outputs(kept)
        for value, was in zip(outputs, found, strict=True):
            if was is not None and value.producer is not None and not value.uses and value not in kept:
                graph.remove(value.producer)
    return found


def rejoined(values: Sequence[Value], was: Sequence[Value | None]) -> list[Value]:
    """What `parted` took apart, put together again of the values that came out."""
    left, found = iter(values), []
    for one in was:
        if one is None:
            found.append(next(left))
            continue
        parts = [next(left) for _ in one.inputs]
        if isinstance(one.op, OptionalOf):
            element = reduce(joined, [Type(part.type.dtype, part.type.shape) for part in parts], one.op.element)
            found.append(OptionalOf(element)(*parts))
        else:
            found.append(listed(parts) if parts else one.op() if one.op else one)
    return found


TABLE: Table = {
    ("", "ConcatFromSequence"): ((11, concat),),
    ("", "Optional"): ((15, optional),),
    ("", "OptionalGetElement"): ((15, get_element),),
    ("", "OptionalHasElement"): ((15, has_element),),
    ("", "SequenceAt"): ((11, at),),
    ("", "SequenceConstruct"): ((11, construct),),
    ("", "SequenceEmpty"): ((11, empty),),
    ("", "SequenceErase"): ((11, erase),),
    ("", "SequenceInsert"): ((11, insert),),
    ("", "SequenceLength"): ((11, length),),
    ("", "SequenceMap"): ((17, mapped),),
    ("", "SplitToSequence"): ((11, split),),
}

"""ONNX's operators that pick, place, order or mark elements by position."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tenfold.importers.convert import Operator, Results, Table, after, input_from_attribute
from tenfold.importers.deferred import once_known
from tenfold.importers.follow import followed
from tenfold.importers.onnx.axes import integers, placed
from tenfold.importers.onnx.cache import laid_over
from tenfold.importers.onnx.tensor import element_type
from tenfold.importers.shorthand import apply, cast, filled, nothing, part, reshaped, span, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops import index, movement
from tenfold.ops.arithmetic import Add, Maximum, Sub
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.index import Reduction
from tenfold.ops.logic import Equal, GreaterOrEqual, Less, LessOrEqual, Where
from tenfold.ops.sort import NonMaxSuppression, TopK, Unique


def gather(node: Operator) -> Results:
    """Slices along an axis."""
    x = node.input(0)
    return apply(index.Gather(node.axis(node.integer("axis", 0), x.type.rank)), x, node.input(1))


def gather_elements(node: Operator) -> Results:
    """One element for each position."""
    x = node.input(0)
    return apply(index.GatherElements(node.axis(node.integer("axis", 0), x.type.rank)), x, node.input(1))


def gather_nd(node: Operator) -> Results:
    """Slices at coordinates."""
    return apply(index.GatherND(node.integer("batch_dims", 0)), node.input(0), node.input(1))


_REDUCTIONS: tuple[Reduction, ...] = ("none", "add", "mul", "max", "min")


def _reduction(node: Operator) -> Reduction:
    asked = node.text("reduction", "none", _REDUCTIONS)
    return next(kind for kind in _REDUCTIONS if kind == asked)


def scatter_elements(node: Operator) -> Results:
    """Updates placed one by one."""
    x = node.input(0)
    op = index.ScatterElements(node.axis(node.integer("axis", 0), x.type.rank), _reduction(node))
    return apply(op, x, node.input(1), node.input(2))


def scatter_nd(node: Operator) -> Results:
    """Updates placed at coordinates."""
    return apply(index.ScatterND(_reduction(node)), node.input(0), node.input(1), node.input(2))


def compress(node: Operator) -> Results:
    """Without an axis the input counts as flat."""
    x = node.input(0)
    if "axis" not in node.attributes:
        return apply(index.Compress(0), reshaped(x, (x.type.size,)), node.input(1))
    return apply(index.Compress(node.axis(node.integer("axis"), x.type.rank)), x, node.input(1))


def non_zero(node: Operator) -> Results:
    """Coordinates of what is not zero."""
    return apply(index.NonZero(), node.input(0))


def one_hot(node: Operator) -> Results:
    """values[1] where the position along the new axis equals the index, else values[0]."""
    positions, values = cast(node.input(0), dt.i64), node.input(2)
    counts = _counted(node)
    depth = counts.type.shape[0]
    axis = node.axis(node.integer("axis", -1), positions.type.rank + 1)
    counted_back = apply(Add(), positions, cast(reshaped(node.input(1), ()), dt.i64))
    wrapped = Where()(apply(Less(), positions, 0), counted_back, positions)
    places = reshaped(wrapped, (*positions.type.shape[:axis], 1, *positions.type.shape[axis:]))
    counted = reshaped(counts, (depth, *(1,) * (positions.type.rank - axis)))
    off, on = (reshaped(_piece(values, at), ()) for at in (0, 1))
    result: Value = Where()(Equal()(places, counted), on, off)
    return result


def _counted(node: Operator) -> Value:
    """0, 1, … to before the number in input 1."""
    known = followed(node.input(1)) or node.sizes(1)
    if known is not None and len(known) == 1:
        result: Value = Iota(0, 1, known[0])()
        return result
    depth = apply(Maximum(), cast(reshaped(node.input(1), ()), dt.i64), 0)
    return once_known(depth, lambda sizes: Iota(0, 1, sizes[0])())


def _piece(x: Value, at: int) -> Value:
    return apply(movement.Slice((at,), (1,), (1,)), x)


def top_k(node: Operator) -> Results:
    """The greatest k (the least, if `largest` is 0)."""
    x = node.input(0)
    axis = node.axis(node.integer("axis", -1), x.type.rank)
    largest, in_order = node.flag("largest", True), node.flag("sorted", True)
    asked = node.sizes(1)
    if asked is not None:
        return list(TopK(asked[0], axis, largest, in_order)(x))
    count = reshaped(cast(node.input(1), dt.i64), (1,))
    every = TopK(x.type.shape[axis], axis, largest, True)(x)
    return [once_known(count, lambda sizes, best: part(best, axis, 0, sizes[0]), found) for found in every]


def unique(node: Operator) -> Results:
    """Distinct elements, or slices."""
    x = node.input(0)
    axis = node.axis(node.integer("axis"), x.type.rank) if "axis" in node.attributes else None
    return list(Unique(axis, node.flag("sorted", True))(x))


def slices(node: Operator) -> Results:
    """Along each of `axes` from start to before end, counted from the end where negative, and clamped."""
    x = node.input(0)
    starts, ends = node.contents(1) or (), node.contents(2) or ()
    axes, steps = node.axes(3, x.type.rank), node.contents(4)
    axes = tuple(range(len(starts))) if axes is None else axes
    strides = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(strides) or 0 in strides:
        raise node.invalid(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes, steps {list(strides)}")
    known, by = integers(axes), integers(strides)
    for step in strides:
        node.require(dim.logical_not(dim.equal(step, 0)), "a step of it is 0")
    if known is None or by is None:
        return _sliced(node, x, (placed(axes, given, (0,) * x.type.rank) for given in (starts, ends, strides)))
    steps_of = dict(zip(known, by, strict=True))
    froms, counts = [*placed(known, starts, (0,) * x.type.rank)], [*placed(known, ends, x.type.shape)]
    for axis, step in steps_of.items():
        froms[axis], counts[axis] = span(x.type.shape[axis], froms[axis], counts[axis], step)
    every = tuple(steps_of.get(axis, 1) for axis in range(x.type.rank))
    if set(every) <= {1} and tuple(counts) == x.type.shape:
        return x
    return apply(movement.Slice(tuple(froms), tuple(counts), every), x)


def _sliced(node: Operator, x: Value, rows: Iterable[tuple[Size, ...]]) -> Value:
    """Where only the call tells axes or steps: one gather an axis; a step of 0 marks an axis that is left whole."""
    for axis, (start, end, step) in enumerate(zip(*rows, strict=True)):
        size = x.type.shape[axis]
        up, down = span(size, start, end, dim.maximum(step, 1)), span(size, start, end, dim.minimum(step, -1))
        if step != 0:
            pairs = [dim.select(dim.less(step, 0), back, on) for on, back in zip(up, down, strict=True)]
            whole = dim.equal(step, 0)
            first, count, by = (dim.select(whole, a, b) for a, b in zip((0, size, 1), (*pairs, step), strict=True))
            x = index.Gather(axis)(x, Iota(first, by, count)())
    return x


def trilu(node: Operator) -> Results:
    """Zero below (upper) or above the k-th diagonal of the last two axes."""
    x = node.input(0)
    if x.type.rank < 2:
        raise node.invalid(f"it takes a matrix, not {x.type}")
    rows, columns = x.type.shape[-2:]
    down = reshaped(Iota(0, 1, rows)(), (rows, 1))
    shift = node.optional(1)
    edge = down if shift is None else apply(Add(), down, reshaped(cast(shift, dt.i64), ()))
    compare = GreaterOrEqual() if node.flag("upper", True) else LessOrEqual()
    kept = apply(compare, Iota(0, 1, columns)(), edge)
    result: Value = Where()(kept, x, nothing(x))
    return result


def eye_like(node: Operator) -> Results:
    """Ones on the k-th diagonal of a matrix shaped as the input."""
    x = node.input(0)
    if x.type.rank != 2:
        raise node.invalid(f"it takes a matrix, not {x.type}")
    kind = x.type.dtype if "dtype" not in node.attributes else element_type(node, "dtype")
    if kind.is_object:
        raise node.invalid(f"there is no one in {kind}")
    rows, columns = x.type.shape
    down = reshaped(Iota(node.integer("k", 0), 1, rows)(), (rows, 1))
    return cast(apply(Equal(), Iota(0, 1, columns)(), down), kind)


def reverse_sequence(node: Operator) -> Results:
    """The first lengths[b] elements of each row b in reverse order along the time axis."""
    x, lengths = node.input(0), cast(node.input(1), dt.i64)
    batch, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
    if (batch, time) not in ((0, 1), (1, 0)) or x.type.rank < 2:
        raise node.invalid(f"batch axis {batch} and time axis {time} of {x.type}")
    order = (batch, time, *range(2, x.type.rank))
    rows = transposed(x, order)
    count, steps = rows.type.shape[:2]
    place = Iota(0, 1, steps)()
    ends = reshaped(lengths, (count, 1))
    mirrored = apply(Sub(), apply(Sub(), ends, 1), place)
    source = Where()(apply(Less(), place, ends), mirrored, place)
    turned: Value = index.GatherND(1)(rows, reshaped(source, (count, steps, 1)))
    return transposed(turned, order)


def non_max_suppression(node: Operator) -> Results:
    """Absent limits: no boxes at most, no overlap, every score."""
    most = node.optional(2) or Constant(Tensor(np.zeros(1, np.int64)))()
    overlap = node.optional(3) or Constant(Tensor(np.zeros(1, np.float32)))()
    threshold = node.optional(4) or Constant(Tensor(np.full(1, -np.inf, np.float32)))()
    op = NonMaxSuppression(node.integer("center_point_box", 0) == 1)
    return apply(op, node.input(0), node.input(1), most, overlap, threshold)


def tensor_scatter(node: Operator) -> Results:
    """The update laid over the cache from place write_indices[b] of the axis on; circular: round its end."""
    cache, starts = node.input(0), node.optional(2)
    axis = node.axis(node.integer("axis", -2), cache.type.rank)
    if axis == 0:
        raise node.invalid("its axis is that of the batch")
    if starts is None:
        starts = filled(0, (1,), dt.i64)
    circular = node.text("mode", "linear", ("linear", "circular")) == "circular"
    return laid_over(cache, node.input(1), starts, axis, circular=circular)


def where(node: Operator) -> Results:
    """x where the condition holds."""
    result: Value = Where()(node.input(0), node.input(1), node.input(2))
    return result


SLICE_ATTRIBUTES = (("starts", 1), ("ends", 2), ("axes", 3))

TABLE: Table = {
    ("", "Compress"): ((9, compress),),
    ("", "EyeLike"): ((9, eye_like),),
    ("", "Gather"): ((1, gather),),
    ("", "GatherElements"): ((11, gather_elements),),
    ("", "GatherND"): ((11, gather_nd),),
    ("", "NonMaxSuppression"): ((10, non_max_suppression),),
    ("", "NonZero"): ((9, non_zero),),
    ("", "OneHot"): ((9, one_hot),),
    ("", "ReverseSequence"): ((10, reverse_sequence),),
    ("", "Scatter"): ((9, scatter_elements),),
    ("", "ScatterElements"): ((11, scatter_elements),),
    ("", "ScatterND"): ((11, scatter_nd),),
    ("", "Slice"): ((1, after(*(input_from_attribute(*one) for one in SLICE_ATTRIBUTES), slices)), (10, slices)),
    ("", "TensorScatter"): ((24, tensor_scatter),),
    ("", "TopK"): ((1, after(input_from_attribute("k", 1), top_k)), (10, top_k)),
    ("", "Trilu"): ((14, trilu),),
    ("", "Unique"): ((11, unique),),
    ("", "Where"): ((9, where),),
}

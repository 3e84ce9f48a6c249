"""aten's operators that pick or place elements by positions held in tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.convert import constant
from tenfold.importers.shorthand import apply, axis_of, cast, filled, number, part, reshaped, transposed
from tenfold.importers.torch.promote import Operand, as_value
from tenfold.importers.torch.tensor import along_one, expand
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops import index, logic
from tenfold.ops.arithmetic import Add, Div, Floor, Maximum, Minimum, Mul, Sub
from tenfold.ops.constant import Constant, Iota, scalar
from tenfold.ops.control import Loop
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Slice
from tenfold.ops.reduce import Cumulative, Reduce
from tenfold.ops.sort import Unique

Indices = Sequence[Value | None]


def embedding(table: Value, indices: Value, *_: Any) -> Value:
    """Rows of a table."""
    return apply(index.Gather(0), table, indices)


@along_one
def index_select(x: Value, axis: int, indices: Value) -> Value:
    """Places of an axis."""
    return apply(index.Gather(axis_of(axis, x.type.rank)), x, reshaped(indices, (indices.type.size,)))


def take(x: Value, indices: Value) -> Value:
    """Elements of x, counted row by row."""
    return apply(index.Gather(0), reshaped(x, (x.type.size,)), indices)


def gather(x: Value, axis: int, indices: Value) -> Value:
    """One element for each position along an axis."""
    if not x.type.rank:
        return x
    at = axis_of(axis, x.type.rank)
    return apply(index.GatherElements(at), x, indices)


def take_along(x: Value, indices: Value, axis: int | None = None) -> Value:
    """As `gather`, the other axes broadcast."""
    if axis is None:
        return take(x, reshaped(indices, (indices.type.size,)))
    at = axis_of(axis, x.type.rank)
    shape = broadcast_shapes(_without(x, at), _without(indices, at))
    wide = [expand(one, (*shape[:at], one.type.shape[at], *shape[at + 1 :])) for one in (x, indices)]
    return apply(index.GatherElements(at), *wide)


def _without(x: Value, axis: int) -> tuple[Size, ...]:
    return tuple(1 if at == axis else size for at, size in enumerate(x.type.shape))


def nonzero(x: Value) -> Value:
    """The coordinates of what is not zero, one row each."""
    return transposed(apply(index.NonZero(), x), (1, 0))


def unique(
    x: Value, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> tuple[Value, Value, Value]:
    """The distinct elements, ascending as PyTorch gives them on CPUs; which each element is; how often each occurs."""
    distinct, _, inverse, counts = Unique()(x)
    return distinct, reshaped(inverse, x.type.shape), counts


def masked_select(x: Value, mask: Value) -> Value:
    """The elements for which the mask holds."""
    shape = broadcast_shapes(x.type.shape, mask.type.shape)
    wide, chosen = expand(x, shape), expand(mask, shape)
    count = dim.product(shape)
    return apply(index.Compress(0), reshaped(wide, (count,)), reshaped(chosen, (count,)))


def pick(x: Value, indices: Indices) -> Value:
    """Indexing by tensors: integers broadcast together, masks count as the coordinates of what they hold."""
    chosen = _coordinates(x, indices)
    axes = list(chosen)
    if len(axes) == 1 and chosen[axes[0]] is not None:
        return apply(index.Gather(axes[0]), x, chosen[axes[0]])
    rest = [axis for axis in range(x.type.rank) if axis not in chosen]
    front = transposed(x, (*axes, *rest))
    places = _flat(list(chosen.values()), front.type.shape[: len(axes)])
    rows = reshaped(front, (dim.product(front.type.shape[: len(axes)]), *front.type.shape[len(axes) :]))
    found = apply(index.Gather(0), rows, places)
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    if not together or axes[0] == 0:
        return found
    width, before = places.type.rank, axes[0]
    order = (*range(width, width + before), *range(width), *range(width + before, found.type.rank))
    return transposed(found, order)


def _coordinates(x: Value, indices: Indices) -> dict[int, Value]:
    """For each axis that is indexed its positions."""
    chosen: dict[int, Value] = {}
    axis = 0
    for one in indices:
        if one is None:
            axis += 1
        elif one.type.dtype in (dt.boolean, dt.u8):
            held = apply(index.NonZero(), one)
            for at in range(one.type.rank):
                chosen[axis + at] = reshaped(apply(index.Gather(0), held, _whole(at)), (held.type.shape[1],))
            axis += one.type.rank
        else:
            chosen[axis] = one
            axis += 1
    return chosen


def _whole(value: int) -> Value:
    found: Value = Constant(Tensor(np.array(value)))()
    return found


def _flat(positions: Sequence[Value], sizes: Sequence[Size]) -> Value:
    """Positions in several axes as positions in their product."""
    found: Value | None = None
    for places, size in zip(positions, sizes, strict=True):
        wrapped = _from_start(cast(places, dt.i64), size)
        found = wrapped if found is None else apply(Add(), _scaled(found, size), wrapped)
    assert found is not None
    return found


def _scaled(x: Value, size: Size) -> Value:
    return apply(Mul(), x, as_value(size, dt.i64))


def _from_start(places: Value, size: Size) -> Value:
    entries = places.type.entries
    if entries is not None and all(isinstance(one, int) and one >= 0 for one in entries):
        return places
    if isinstance(places.op, Constant) and int(places.op.tensor.array.min(initial=0)) >= 0:
        return places
    back = apply(Add(), places, as_value(size, dt.i64))
    result: Value = logic.Where()(apply(logic.Less(), places, 0), back, places)
    return result


def index_put(x: Value, indices: Indices, values: Value, accumulate: bool = False) -> Value:
    """x with elements replaced, or added to, where the indices say."""
    values = cast(values, x.type.dtype)
    if len(indices) == 1 and indices[0] is not None and indices[0].type.dtype is dt.boolean and not accumulate:
        return _put_where(x, indices[0], values)
    chosen = _coordinates(x, indices)
    axes = list(chosen)
    rest = [axis for axis in range(x.type.rank) if axis not in chosen]
    order = (*axes, *rest)
    front = transposed(x, order)
    places = [cast(one, dt.i64) for one in chosen.values()]
    shape = broadcast_shapes(*(one.type.shape for one in places))
    stacked = [reshaped(expand(one, shape), (*shape, 1)) for one in places]
    coordinates = stacked[0] if len(stacked) == 1 else apply(Concat(len(shape)), *stacked)
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    updates = _updates(values, shape, front.type.shape[len(axes) :], axes[0] if together else 0)
    placed = apply(index.ScatterND("add" if accumulate else "none"), front, coordinates, updates)
    return transposed(placed, tuple(int(one) for one in np.argsort(order)))


def _updates(values: Value, places: tuple[Size, ...], rest: tuple[Size, ...], before: int) -> Value:
    """The values as [*places, *rest]; PyTorch has `before` of the other axes in front."""
    wide = expand(values, (*rest[:before], *places, *rest[before:]))
    if not before:
        return wide
    moved = (*range(before, before + len(places)), *range(before), *range(before + len(places), wide.type.rank))
    return transposed(wide, moved)


def _put_where(x: Value, mask: Value, values: Value) -> Value:
    behind = x.type.rank - mask.type.rank
    wide = reshaped(mask, (*mask.type.shape, *(1,) * behind))
    if values.type.rank <= behind:
        result: Value = logic.Where()(wide, values, x)
        return result
    count = mask.type.size
    rows = _in_turn(reshaped(mask, (count,)), values)
    result = logic.Where()(wide, reshaped(rows, (*mask.type.shape, *values.type.shape[1:])), x)
    return result


def _in_turn(mask: Value, values: Value) -> Value:
    """For each place of a mask of one axis the row of `values` that is due there."""
    if values.type.shape[0] == 1:
        return expand(values, (mask.type.size, *values.type.shape[1:]))
    turn = apply(Sub(), apply(Cumulative("sum", 0), cast(mask, dt.i64)), 1)
    return apply(index.Gather(0), values, apply(Maximum(), turn, 0))


def masked_scatter(x: Value, mask: Value, source: Value) -> Value:
    """x with the elements of `source`, one after another, where the mask holds."""
    shape = broadcast_shapes(x.type.shape, mask.type.shape)
    x, wide = expand(x, shape), expand(mask, shape)
    flat = reshaped(wide, (x.type.size,))
    due = _in_turn(flat, reshaped(source, (source.type.size,)))
    result: Value = logic.Where()(wide, reshaped(due, x.type.shape), x)
    return result


Reduction = Literal["none", "add", "mul", "max", "min"]
_REDUCTIONS: Mapping[str, Reduction] = {
    "sum": "add",
    "add": "add",
    "prod": "mul",
    "multiply": "mul",
    "amax": "max",
    "amin": "min",
}


def scatter(reduction: Reduction = "none") -> Callable[..., Value]:
    """Updates placed one by one along an axis."""

    def convert(x: Value, axis: int, indices: Value, source: Operand, *, reduce: str | None = None) -> Value:
        kind = _REDUCTIONS[reduce] if reduce else reduction
        return _scattered(x, axis, indices, source, kind)

    return convert


def _scattered(x: Value, axis: int, indices: Value, source: Operand, kind: Reduction) -> Value:
    at = axis_of(axis, max(1, x.type.rank))
    places = _from_start(cast(indices, dt.i64), x.type.shape[at] if x.type.rank else 1)
    if isinstance(source, Value) and source.type.rank:
        updates = _corner(cast(source, x.type.dtype), indices.type.shape)
    else:
        updates = expand(as_value(source, x.type.dtype), indices.type.shape)
    return apply(index.ScatterElements(at, kind), x, places, updates)


def _corner(x: Value, shape: tuple[Size, ...]) -> Value:
    """The first elements of each axis."""
    for axis, size in enumerate(shape):
        if not dim.known_equal(x.type.shape[axis], size):
            starts, sizes = (0,) * x.type.rank, (*x.type.shape[:axis], size, *x.type.shape[axis + 1 :])
            x = apply(Slice(starts, sizes, (1,) * x.type.rank), x)
    return x


def scatter_reduce(
    x: Value, axis: int, indices: Value, source: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """Updates combined with what stands there, or with each other only."""
    if reduce == "mean":
        return _scattered_mean(x, axis, indices, source, include_self)
    kind = _REDUCTIONS[reduce]
    if include_self:
        return _scattered(x, axis, indices, source, kind)
    low, high = (-np.inf, np.inf) if x.type.dtype.is_float else x.type.dtype.limits
    neutral = {"add": 0, "mul": 1, "max": low, "min": high}[kind]
    start = _scattered(x, axis, indices, neutral, "none")
    return _scattered(start, axis, indices, source, kind)


def _scattered_mean(x: Value, axis: int, indices: Value, source: Value, include_self: bool) -> Value:
    ones = filled(1, indices.type.shape, x.type.dtype)
    counts = filled(1 if include_self else 0, x.type.shape, x.type.dtype)
    counts = apply(Maximum(), _scattered(counts, axis, indices, ones, "add"), 1)
    start = x if include_self else _scattered(x, axis, indices, 0, "none")
    sums = _scattered(start, axis, indices, source, "add")
    if not x.type.dtype.is_float:
        raise UnsupportedError("scatter_reduce by mean of integers", remedy="convert them to floating point")
    return apply(Div(), sums, counts)


@along_one
def index_add(x: Value, axis: int, indices: Value, source: Value, *, alpha: Any = 1) -> Value:
    """x with slices added where the indices say."""
    updates = source if alpha == 1 else apply(Mul(), source, alpha)
    return _along(x, axis, indices, updates, True)


@along_one
def index_copy(x: Value, axis: int, indices: Value, source: Value) -> Value:
    """x with slices replaced where the indices say."""
    return _along(x, axis, indices, source, False)


@along_one
def index_fill(x: Value, axis: int, indices: Value, value: Operand) -> Value:
    """x with one number in the slices that the indices name."""
    return _along(x, axis, indices, as_value(value, x.type.dtype), False)


def _along(x: Value, axis: int, indices: Value, source: Value, accumulate: bool) -> Value:
    at = axis_of(axis, x.type.rank)
    return index_put(x, (*(None,) * at, reshaped(indices, (indices.type.size,))), source, accumulate)


def repeated_places(repeats: Value, *, output_size: Size | None = None) -> Value:
    """Each place as often as the number there says."""
    known = constant(repeats)
    if known is not None:
        written: Value = Constant(Tensor(np.repeat(np.arange(known.size), known.ravel()).astype(np.int64)))()
        return written
    ends = apply(Cumulative("sum", 0), cast(repeats, dt.i64))
    places = _counted(apply(Reduce("sum", (0,), False), cast(repeats, dt.i64)))
    rows = reshaped(places, (places.type.size, 1))
    behind = apply(logic.LessOrEqual(), reshaped(ends, (1, repeats.type.size)), rows)
    return apply(Reduce("sum", (1,), False), cast(behind, dt.i64))


def _counted(count: Value) -> Value:
    """The numbers from 0 on, as many as only the data decide."""
    body = Graph(name="count")
    turn, going = body.input("turn", Type(dt.i64, ())), body.input("condition", Type(dt.boolean, ()))
    body.set_outputs([going, apply(Add(), turn, 0)], ["condition", "place"])
    found: Value = Loop(body, 0)(count, scalar(True, dt.boolean)())
    return found


def repeat_interleave(x: Value, repeats: Value, axis: int | None = None, *, output_size: Size | None = None) -> Value:
    """Each place of an axis (of all elements in a row, if none is named) as often as stated for it."""
    flat = reshaped(x, (x.type.size,)) if axis is None else x
    at = axis_of(axis or 0, flat.type.rank)
    counts = expand(reshaped(repeats, (repeats.type.size,)), (flat.type.shape[at],))
    return apply(index.Gather(at), flat, repeated_places(counts))


def bucketize(x: Value, edges: Value, *, out_int32: bool = False, right: bool = False) -> Value:
    """How many of the sorted edges lie below each element (or at it); all below what is no number."""
    beyond = logic.Greater() if right else logic.GreaterOrEqual()
    below = apply(logic.Not(), apply(beyond, edges, reshaped(x, (*x.type.shape, 1))))
    counted = apply(Reduce("sum", (x.type.rank,), False), cast(below, dt.i64))
    return cast(counted, dt.i32) if out_int32 else counted


def searched(
    edges: Value,
    x: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    """`bucketize`, where each line of x may have edges of its own."""
    if sorter is not None:
        edges = apply(index.GatherElements(edges.type.rank - 1), edges, sorter)
    own = edges if edges.type.rank == 1 else reshaped(edges, (*edges.type.shape[:-1], 1, edges.type.shape[-1]))
    return bucketize(x, own, out_int32=out_int32, right=right or side == "right")


def is_in(elements: Value, wanted: Value, *, assume_unique: bool = False, invert: bool = False) -> Value:
    """Whether each element is one of those wanted."""
    flat = reshaped(wanted, (wanted.type.size,))
    equal = apply(logic.Equal(), reshaped(elements, (*elements.type.shape, 1)), cast(flat, elements.type.dtype))
    found = apply(Reduce("any", (elements.type.rank,), False), equal)
    return apply(logic.Not(), found) if invert else found


def histogram(x: Value, bins: int = 100, low: float = 0, high: float = 0) -> Value:
    """How many elements lie in each of the equal parts between two bounds, both within the range."""
    if low == high:
        raise UnsupportedError("histc between bounds that the data decide", remedy="state min and max")
    flat = reshaped(x, (x.type.size, 1))
    share = apply(Mul(), apply(Sub(), cast(flat, dt.f64), float(low)), bins / (high - low))
    place = apply(Minimum(), apply(Floor(), share), float(bins - 1))
    inside = apply(logic.And(), apply(logic.GreaterOrEqual(), flat, low), apply(logic.LessOrEqual(), flat, high))
    hit = apply(logic.And(), apply(logic.Equal(), place, Iota(0, 1, bins, dt.f64)()), inside)
    return apply(Reduce("sum", (0,), False), cast(hit, x.type.dtype))


_BAG_MODES: Mapping[int, Literal["sum", "mean", "max"]] = {0: "sum", 1: "mean", 2: "max"}


def embedding_bag(
    table: Value,
    indices: Value,
    offsets: Value,
    scale_by_frequency: bool = False,
    mode: int = 0,
    sparse: bool = False,
    weights: Value | None = None,
    last_offset: bool = False,
    padding: int | None = -1,
) -> tuple[Value | None, ...]:
    """The sum, mean or greatest element of the rows of each bag; bag b holds the indices from offsets[b] on."""
    rows = apply(index.Gather(0), table, indices)
    bags, ends = _bags(indices, offsets, last_offset)
    member = apply(logic.And(), *_within(indices, bags, ends))
    if padding is not None and padding >= 0:
        member = apply(logic.And(), member, apply(logic.NotEqual(), indices, padding))
    if _BAG_MODES[mode] == "max":
        return _greatest(rows, member), None, None, None
    share = cast(member, table.type.dtype)
    if weights is not None:
        share = apply(Mul(), share, weights)
    found = apply(MatMul(), share, rows)
    if _BAG_MODES[mode] == "mean":
        counts = apply(Reduce("sum", (1,)), cast(member, table.type.dtype))
        found = apply(Div(), found, apply(Maximum(), counts, 1))
    return found, None, None, None


def _bags(indices: Value, offsets: Value, last_offset: bool) -> tuple[Value, Value]:
    """The first index of each bag, and the one behind its last, each [bags, 1]."""
    count = offsets.type.shape[0] - (1 if last_offset else 0)
    starts = part(offsets, 0, 0, count)
    whole = as_value(indices.type.shape[0], offsets.type.dtype)
    rest = part(offsets, 0, 1, offsets.type.shape[0] - 1)
    ends = rest if last_offset else apply(Concat(0), rest, reshaped(whole, (1,)))
    return reshaped(starts, (count, 1)), reshaped(ends, (count, 1))


def _within(indices: Value, starts: Value, ends: Value) -> tuple[Value, Value]:
    places = cast(Iota(0, 1, indices.type.shape[0])(), starts.type.dtype)
    return apply(logic.GreaterOrEqual(), places, starts), apply(logic.Less(), places, ends)


def _greatest(rows: Value, member: Value) -> Value:
    wide = reshaped(member, (*member.type.shape, 1))
    held: Value = logic.Where()(wide, rows, number(-np.inf, rows))
    best = apply(Reduce("max", (1,), False), held)
    empty = apply(logic.Not(), apply(Reduce("any", (1,)), member))
    result: Value = logic.Where()(empty, number(0, rows), best)
    return result


TABLE: Mapping[str, Callable[..., Any]] = {
    "embedding": embedding,
    "embedding_bag": embedding_bag,
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    "index_select": index_select,
    "take": take,
    "gather": gather,
    "take_along_dim": take_along,
    "nonzero": nonzero,
    "_unique2": unique,
    "masked_select": masked_select,
    "index.Tensor": pick,
    "index_put": index_put,
    "_unsafe_index_put": index_put,
    "_unsafe_index.Tensor": pick,
    "masked_scatter": masked_scatter,
    "scatter.src": scatter(),
    "scatter.value": scatter(),
    "scatter.reduce": scatter(),
    "scatter.value_reduce": scatter(),
    "scatter_add": scatter("add"),
    "scatter_reduce.two": scatter_reduce,
    "index_add": index_add,
    "index_copy": index_copy,
    "index_fill.int_Scalar": index_fill,
    "repeat_interleave.Tensor": repeated_places,
    "repeat_interleave.self_Tensor": repeat_interleave,
    "bucketize.Tensor": bucketize,
    "searchsorted.Tensor": searched,
    "isin.Tensor_Tensor": is_in,
    "histc": histogram,
}

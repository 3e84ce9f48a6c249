"""Operations of keras.ops that place elements anew: views, pieces, joins, choices by position."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tenfold.importers.diagonal import diagonal as diagonal_of
from tenfold.importers.keras.activation import where
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.operands import alike, as_value, axes_of, axis, numbers
from tenfold.importers.keras.recurrent import flipped
from tenfold.importers.keras.reshaping import repeated
from tenfold.importers.shorthand import (
    ENDLESS,
    apply,
    axis_of,
    cast,
    constant,
    part,
    reshaped,
    resolved,
    span,
    transposed,
)
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Iota
from tenfold.ops.index import Gather, GatherElements
from tenfold.ops.logic import Equal, GreaterOrEqual, LessOrEqual
from tenfold.ops.movement import Concat, Expand, Pad, Slice, Tile
from tenfold.ops.sort import TopK


def reshape(layer: Layer, x: Value) -> Value:
    """The elements in another shape; -1 or None stands for what is left."""
    stated = layer.config.get("newshape")
    wanted = [-1 if one is None else one for one in (stated if isinstance(stated, list | tuple) else [stated])]
    if wanted and wanted[0] == -1 and wanted.count(-1) > 1:
        wanted[0] = x.type.shape[0]
    shape = [size for size in wanted if isinstance(size, int) or size is x.type.shape[0]]
    if len(shape) != len(wanted) or shape.count(-1) > 1:
        raise layer.unsupported(f"a reshape to {stated}")
    return reshaped(x, resolved(x, shape))


def transpose(layer: Layer, x: Value) -> Value:
    """The axes in another order, by default reversed."""
    stated = layer.config.get("axes")
    order = range(x.type.rank - 1, -1, -1) if stated is None else [axis_of(one, x.type.rank) for one in numbers(stated)]
    return transposed(x, list(order))


def expand_dims(layer: Layer, x: Value) -> Value:
    """With new axes of size 1."""
    places = numbers(layer.config.get("axis"))
    rank = x.type.rank + len(places)
    new, own = {axis_of(one, rank) for one in places}, iter(x.type.shape)
    return reshaped(x, [1 if at in new else next(own) for at in range(rank)])


def squeeze(layer: Layer, x: Value) -> Value:
    """Without axes of size 1."""
    stated = layer.config.get("axis")
    gone = {at for at, size in enumerate(x.type.shape) if size == 1}
    gone = gone if stated is None else {axis_of(one, x.type.rank) for one in numbers(stated)}
    return reshaped(x, [size for at, size in enumerate(x.type.shape) if at not in gone])


def swap_axes(layer: Layer, x: Value) -> Value:
    """Two axes in each other's place."""
    order = list(range(x.type.rank))
    first, second = axis(layer, x, name="axis1"), axis(layer, x, name="axis2")
    order[first], order[second] = second, first
    return transposed(x, order)


def move_axis(layer: Layer, x: Value) -> Value:
    """Some axes to other places, the rest in order."""
    source = [axis_of(one, x.type.rank) for one in numbers(layer.config.get("source"))]
    target = [axis_of(one, x.type.rank) for one in numbers(layer.config.get("destination"))]
    order = [at for at in range(x.type.rank) if at not in source]
    for place, at in sorted(zip(target, source, strict=True)):
        order.insert(place, at)
    return transposed(x, order)


def concatenate(layer: Layer, xs: Sequence[Any]) -> Value:
    """One after another."""
    values = alike(*xs)
    found: Value = Concat(axis(layer, values[0], 0))(*values)
    return found


def along(place: int) -> Converter:
    """Joined along a fixed axis, vectors along their only one."""

    def convert(layer: Layer, xs: Sequence[Any]) -> Value:
        values = alike(*xs)
        if place == 0:
            values = [reshaped(one, (1, *one.type.shape)) if one.type.rank == 1 else one for one in values]
        found: Value = Concat(min(place, values[0].type.rank - 1))(*values)
        return found

    return convert


def stack(layer: Layer, xs: Sequence[Any]) -> Value:
    """Along a new axis."""
    values = alike(*xs)
    at = axis_of(layer.integer("axis", 0), values[0].type.rank + 1)
    slabs = [reshaped(one, (*one.type.shape[:at], 1, *one.type.shape[at:])) for one in values]
    found: Value = Concat(at)(*slabs)
    return found


def split(layer: Layer, x: Value) -> list[Value]:
    """In as many equal parts, or at some places."""
    at, stated = axis(layer, x, 0), layer.config.get("indices_or_sections")
    size = x.type.shape[at]
    if isinstance(stated, int):
        each = dim.divide_exact(size, stated)
        if each is None:
            raise layer.invalid(f"{size} elements in {stated} parts")
        return [part(x, at, number * each, each) for number in range(stated)]
    places: list[Size] = [0, *numbers(stated), size]
    return [part(x, at, start, end - start) for start, end in pairwise(places)]


def unstack(layer: Layer, x: Value) -> list[Value]:
    """The slices along an axis."""
    at = axis(layer, x, 0)
    size = x.type.shape[at]
    if not isinstance(size, int):
        raise layer.unsupported(f"axis {at} of {x.type} must be known", "fix it by dims=")
    shape = (*x.type.shape[:at], *x.type.shape[at + 1 :])
    return [reshaped(part(x, at, number, 1), shape) for number in range(size)]


def tile(layer: Layer, x: Value) -> Value:
    """Side by side with itself."""
    counts = numbers(layer.config.get("repeats"))
    rank = max(len(counts), x.type.rank)
    wide = reshaped(x, (*(1,) * (rank - x.type.rank), *x.type.shape))
    return apply(Tile((*(1,) * (rank - len(counts)), *counts)), wide)


def repeat(layer: Layer, x: Value) -> Value:
    """Each element several times."""
    count = layer.integer("repeats")
    if layer.config.get("axis") is None:
        return repeated(reshaped(x, (x.type.size,)), 0, count)
    return repeated(x, axis(layer, x), count)


def flip(layer: Layer, x: Value) -> Value:
    """Axes from their end to their start."""
    for at in axes_of(layer, x):
        x = flipped(x, at)
    return x


def roll(layer: Layer, x: Value) -> Value:
    """Axes moved round."""
    shape, stated = x.type.shape, layer.config.get("axis")
    value = reshaped(x, (x.type.size,)) if stated is None else x
    places = (0,) if stated is None else tuple(axis_of(one, x.type.rank) for one in numbers(stated))
    shifts = numbers(layer.config.get("shift"))
    for at, shift in zip(places, shifts * len(places) if len(shifts) == 1 else shifts, strict=True):
        size = value.type.shape[at]
        first = shift % size
        value = Concat(at)(part(value, at, size - first, first), part(value, at, 0, size - first))
    return reshaped(value, shape)


def pad(layer: Layer, x: Value, constant_values: Any = None) -> Value:
    """With a border."""
    widths, mode = layer.config.get("pad_width"), layer.text("mode", "constant")
    rows = [(widths, widths)] if isinstance(widths, int) else list(widths or ())
    rows = rows * x.type.rank if len(rows) == 1 else rows
    value = 0 if constant_values is None else constant_values
    if isinstance(value, Value) or mode not in ("constant", "reflect", "symmetric", "edge", "wrap"):
        raise layer.unsupported(f"padding of mode {mode!r} with a value that is computed")
    before, after = (tuple(numbers(list(row))[end] for row in rows) for end in (0, 1))
    return apply(Pad(before, after, mode, value), x)  # type: ignore[arg-type]


def get_item(layer: Layer, x: Value, key: Any) -> Value:
    """What an index of numbers, slices, new axes, an ellipsis or one tensor chooses."""
    keys = list(key) if isinstance(key, list | tuple) else [key]
    used = sum(one is not None and one is not Ellipsis for one in keys)
    whole = [slice(None)] * (x.type.rank - used)
    at = next((place for place, one in enumerate(keys) if one is Ellipsis), len(keys))
    keys = [*keys[:at], *whole, *keys[at + 1 :]]
    shape: list[Size] = []
    place = 0
    for one in keys:
        if one is None:
            shape.append(1)
            continue
        x, kept = _indexed(layer, x, place, one)
        shape.extend(kept)
        place += max(len(kept), 1) if isinstance(one, Value | list) else 1
    return reshaped(x, shape)


def _indexed(layer: Layer, x: Value, place: int, key: Any) -> tuple[Value, Sequence[Size]]:
    """One axis under one index: x, and the sizes that the result has in the axis's place."""
    size = x.type.shape[place]
    if isinstance(key, slice):
        step = 1 if key.step is None else key.step
        low, high = (0, ENDLESS) if step > 0 else (ENDLESS, -ENDLESS)
        start, count = span(size, low if key.start is None else key.start, high if key.stop is None else key.stop, step)
        starts = tuple(start if at == place else 0 for at in range(x.type.rank))
        sizes = tuple(count if at == place else whole for at, whole in enumerate(x.type.shape))
        steps = tuple(step if at == place else 1 for at in range(x.type.rank))
        cut: Value = Slice(starts, sizes, steps)(x)
        return cut, [count]
    if type(key) is int:
        return part(x, place, key if key >= 0 else size + key, 1), []
    if isinstance(key, Value | list):
        chosen = as_value(key, dt.i64) if isinstance(key, list) else key
        if chosen.type.dtype.is_integer:
            return apply(Gather(place), x, chosen), chosen.type.shape
    raise layer.unsupported(f"an index of {key!r}")


def take(layer: Layer, x: Value, indices: Any) -> Value:
    """The elements at some places of an axis, or of all elements in a row."""
    chosen = as_value(indices, indices.type.dtype if isinstance(indices, Value) else dt.i32)
    places = chosen if chosen.type.dtype in (dt.i32, dt.i64) else cast(chosen, dt.i32)
    if layer.config.get("axis") is None:
        return apply(Gather(0), reshaped(x, (x.type.size,)), places)
    return apply(Gather(axis(layer, x)), x, places)


def take_along(layer: Layer, x: Value, indices: Value) -> Value:
    """For each place of the indices the element that they name along an axis."""
    places = cast(indices, dt.i64)
    if layer.config.get("axis") is None:
        return apply(GatherElements(0), reshaped(x, (x.type.size,)), reshaped(places, (places.type.size,)))
    return apply(GatherElements(axis(layer, x)), x, places)


def broadcast(layer: Layer, x: Value) -> Value:
    """Repeated to a shape."""
    return apply(Expand(numbers(layer.config.get("shape"))), x)


def triangle(lower: bool) -> Converter:
    """With zeros above, or below, a diagonal."""

    def convert(layer: Layer, x: Value) -> Value:
        *_, rows, columns = x.type.shape
        row = apply(Add(), reshaped(Iota(0, 1, rows)(), (rows, 1)), layer.integer("k", 0))
        column = reshaped(Iota(0, 1, columns)(), (1, columns))
        return where(apply(GreaterOrEqual() if lower else LessOrEqual(), row, column), x, 0.0)

    return convert


def one_hot(layer: Layer, x: Value) -> Value:
    """1 at the place of each number along a new axis, 0 elsewhere."""
    count = layer.integer("num_classes")
    at = axis_of(layer.integer("axis", -1), x.type.rank + 1)
    shape = (*x.type.shape[:at], 1, *x.type.shape[at:])
    classes = np.arange(count).reshape([count if place == at else 1 for place in range(len(shape))])
    found = apply(Equal(), reshaped(cast(x, dt.i64), shape), constant(classes))
    return cast(found, layer.kind_of("to", dt.f32))


def sort(layer: Layer, x: Value) -> Value:
    """In rising order."""
    return _sorted(layer, x)[0]


def arg_sort(layer: Layer, x: Value) -> Value:
    """The places of the elements in rising order."""
    return cast(_sorted(layer, x)[1], dt.i32)


def _sorted(layer: Layer, x: Value) -> list[Value]:
    value = reshaped(x, (x.type.size,)) if layer.config.get("axis", -1) is None else x
    at = 0 if layer.config.get("axis", -1) is None else axis(layer, x)
    return list(TopK(value.type.shape[at], at, False, True)(value))


def top_k(layer: Layer, x: Value) -> list[Value]:
    """The greatest along the last axis, and their places."""
    values, places = TopK(layer.integer("k"), x.type.rank - 1, True, layer.flag("sorted", True))(x)
    return [values, cast(places, dt.i32)]


def inside(layer: Layer, x: Value, starts: Any) -> Value:
    """A part of a stated shape from some places on."""
    sizes = numbers(layer.config.get("shape"))
    if isinstance(starts, Value):
        raise layer.unsupported("a slice whose start is computed")
    found: Value = Slice(numbers(starts), sizes, (1,) * x.type.rank)(x)
    return found


def diagonal(layer: Layer, x: Value) -> Value:
    """The elements whose two indices agree."""
    first, second, offset = axis(layer, x, 0, "axis1"), axis(layer, x, 1, "axis2"), layer.integer("offset", 0)
    return diagonal_of(x, first, second, offset)


def arange(layer: Layer, start: Any, stop: Any = None, step: Any = None) -> Value:
    """Numbers at equal distances."""
    if any(isinstance(one, Value) for one in (start, stop, step)):
        raise layer.unsupported("a range whose ends are computed")
    first, last = (0, start) if stop is None else (start, stop)
    found = np.asarray(np.arange(first, last, 1 if step is None else step))
    kind = layer.kind_of("to", dt.i32 if found.dtype.kind == "i" else dt.f32)
    return constant(found.astype(kind.numpy))


OPERATIONS: Table = {
    "Reshape": reshape,
    "Ravel": lambda layer, x: reshaped(x, (x.type.size,)),
    "Transpose": transpose,
    "ExpandDims": expand_dims,
    "Squeeze": squeeze,
    "Swapaxes": swap_axes,
    "Moveaxis": move_axis,
    "Concatenate": concatenate,
    "Hstack": along(1),
    "Vstack": along(0),
    "Stack": stack,
    "Split": split,
    "Unstack": unstack,
    "Tile": tile,
    "Repeat": repeat,
    "Flip": flip,
    "Roll": roll,
    "Pad": pad,
    "GetItem": get_item,
    "Take": take,
    "TakeAlongAxis": take_along,
    "BroadcastTo": broadcast,
    "Tril": triangle(True),
    "Triu": triangle(False),
    "OneHot": one_hot,
    "Sort": sort,
    "Argsort": arg_sort,
    "TopK": top_k,
    "Slice": inside,
    "Diagonal": diagonal,
    "Arange": arange,
}

"""Rows that only change places are picked by one list of places: windows that are cut out, rolled, and put back.

What is computed row by row may then load its rows where they lie, where views of many axes and parts that are
concatenated would each be copied.
"""

from __future__ import annotations

import numpy as np

from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.index import Gather
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Reshape, Slice, Transpose
from tenfold.ops.normalize import LayerNorm, RMSNorm
from tenfold.ops.window import known
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.rule import Replacement, rule

NARROWEST = 16
"""The least elements of a row that is worth picking."""
_MOST_ROWS = 1 << 20


def _moved(value: Value) -> tuple[Value, Array] | None:
    """(x, which of its rows stand where) of what moves whole rows of x; itself where nothing moves them."""
    match value:
        case Value(Reshape(), (x,)) if _whole(x, value):
            parts = [_moved(x)]
        case Value(Transpose(permutation), (x,)) if permutation[-1] == len(permutation) - 1:
            parts = [_moved(x)]
        case Value(Slice(starts), (x,)) if _whole(x, value) and all(isinstance(one, int) for one in starts):
            parts = [_moved(x)]
        case Value(Concat(axis), inputs) if axis < value.type.rank - 1:
            parts = [_moved(one) for one in inputs]
        case _:
            shape = _rows(value)
            return None if shape is None else (value, np.arange(int(np.prod(shape))).reshape(shape))
    shape, found = _rows(value), [one for one in parts if one is not None]
    if shape is None or len(found) < len(parts) or any(one[0] is not found[0][0] for one in found):
        return None
    return found[0][0], _placed(value, [places for _, places in found], shape)


def _placed(value: Value, places: list[Array], shape: tuple[int, ...]) -> Array:
    """Where rows stand once an operation has moved them."""
    match value.op:
        case Transpose(permutation):
            return places[0].transpose(permutation[:-1])
        case Slice(starts, _, steps):
            axes = zip(known(starts), shape, steps, strict=False)
            return places[0][np.ix_(*(first + step * np.arange(size) for first, size, step in axes))]
        case Concat(axis):
            return np.concatenate(places, axis)
    return places[0].reshape(shape)


def _rows(value: Value) -> tuple[int, ...] | None:
    """The sizes of all axes but the last; None if one is open, or there are too many rows."""
    sizes = tuple(size for size in value.type.shape[:-1] if isinstance(size, int))
    return sizes if 0 < value.type.rank - 1 == len(sizes) and 0 < np.prod(sizes) <= _MOST_ROWS else None


def _whole(x: Value, value: Value) -> bool:
    """Whether rows stay as they are."""
    return x.type.rank > 1 and value.type.rank > 1 and x.type.shape[-1] == value.type.shape[-1]


def _is_view(places: Array) -> bool:
    """Whether places are what strides give."""
    steps = [np.diff(places, axis=axis) for axis in range(places.ndim)]
    return all(one.size == 0 or (one == one.flat[0]).all() for one in steps)


def _product(value: Value) -> bool:
    """Whether rows are multiplied by a matrix."""
    match value:
        case Value(Add(), (inner, Value(Constant()))):
            return _product(inner)
        case Value(MatMul(), (_, Value(Constant()) as matrix)):
            return matrix.type.rank == 2
    return False


def _multiplied(value: Value) -> bool:
    """Whether all that becomes of rows is to be multiplied by a matrix."""
    users = list(value.uses)
    return bool(users) and all(_product(one.outputs[0]) and one.inputs[0] is value for one in users)


@rule(
    """graph (%x: f32[16, 16]) {
      %a = Transpose<permutation=(0, 2, 1, 3, 4)>(Reshape<shape=(2, 2, 2, 2, 16)>(%x))
      return MatMul(Reshape<shape=(4, 4, 16)>(%a), f32[16, 1]{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
    }""",
    """graph (%x: f32[16, 16]) {
      %a = Transpose<permutation=(0, 2, 1, 3, 4)>(Reshape<shape=(2, 2, 2, 2, 16)>(%x))
      return Relu(Reshape<shape=(4, 4, 16)>(%a))
    }""",
)
def windows(value: Value) -> Replacement:
    """rows of x moved before a product, or behind one -> rows of x picked by a list of places"""
    width = value.type.shape[-1] if value.type.rank > 1 else 0
    if not isinstance(value.op, Reshape | Concat) or not isinstance(width, int) or width < NARROWEST:
        return None
    found = _moved(value)
    if found is None or found[0] is value or _is_view(found[1]):
        return None
    x, places = found
    if not (_multiplied(value) or (_product(x) and not any(_moves_on(user.outputs[0], value) for user in value.uses))):
        return None
    rows, flat = int(np.prod(x.type.shape[:-1])), places.reshape(-1)  # type: ignore[arg-type]
    images = _images(flat, rows, (x.type.shape[0], value.type.shape[0]))
    seen: Value = x if x.type.shape == (images, rows // images, width) else Reshape((images, rows // images, width))(x)
    one = Constant(Tensor(flat[: len(flat) // images].astype(np.int64)))()
    picked: Value = Gather(1)(seen, one)
    return picked if picked.type.shape == value.type.shape else Reshape(value.type.shape)(picked)


def _moves_on(user: Value, value: Value) -> bool:
    moved = isinstance(user.op, Reshape | Transpose | Slice | Concat)
    return moved and user.type.rank > 1 and user.type.shape[-1] == value.type.shape[-1]


def _images(places: Array, rows: int, counts: tuple[object, object]) -> int:
    """In how many equal parts the same happens."""
    for count in counts:
        if isinstance(count, int) and rows % count == 0 and len(places) % count == 0:
            parts = places.reshape(count, -1) - np.arange(count)[:, None] * (rows // count)
            if (parts == parts[0]).all() and parts[0].min() >= 0 and parts[0].max() < rows // count:
                return count
    return 1


@rule(
    """graph (%x: f32[2, 3, 4], %s: f32[4], %b: f32[4]) {
      return Gather<axis=1>(LayerNorm<axis=2, epsilon=1e-05>(%x, %s, %b), i64[3]{2, 0, 1})
    }""",
    """graph (%x: f32[2, 3, 4], %s: f32[4], %b: f32[4]) {
      return Gather<axis=2>(LayerNorm<axis=2, epsilon=1e-05>(%x, %s, %b), i64[3]{2, 0, 1})
    }""",
)
def pick_before_norm(value: Value) -> Replacement:
    """norm(x)[places] -> norm(x[places]), where the norm has no other user and places are constant"""
    match value:
        case Value(Gather(axis) as pick, (Value(LayerNorm() | RMSNorm() as norm, (x, *rest)) as whole, places)):
            alone = used_once(whole) and isinstance(places.op, Constant) and places.type.size == x.type.shape[axis]
            if alone and axis < x.type.rank - 1 == norm.axis and all(one.type.rank <= 1 for one in rest):
                made: Value = norm(pick(x, places), *rest)
                return made
    return None


@rule(
    """graph () {
      return Add(Reshape<shape=(4, 2)>(Expand<shape=(2, 2, 2)>(f32[1, 2, 2]{1, 2, 3, 4})), f32[1, 2]{5, 6})
    }""",
    """graph () {
      %a = Reshape<shape=(4, 2)>(Expand<shape=(2, 2, 2)>(f32[1, 2, 2]{1, 2, 3, 4}))
      return Add(%a, f32[4, 2]{1, 2, 3, 4, 5, 6, 7, 8})
    }""",
)
def repeat_late(value: Value) -> Replacement:
    """f(repeat(a), b) -> repeat(f(a, b)) for constants; b is the same for each repetition"""
    if not isinstance(value.op, Elementwise):
        return None
    for one in value.inputs:
        match one:
            case Value(Reshape(), (Value(Expand((times, *_)), (Value(Constant()) as some,)),)):
                others = [other for other in value.inputs if other is not one]
                if _repeats(one, some, times, value) and all(map(_alike, others, [value] * len(others))):
                    few: Value = Reshape((some.type.shape[1], *one.type.shape[1:]))(some)
                    made = value.op(*(few if other is one else other for other in value.inputs))
                    shape = made.type.shape
                    spread: Value = Expand((times, *shape))(Reshape((1, *shape))(made))
                    found: Value = Reshape(value.type.shape)(spread)
                    return found
    return None


def _repeats(one: Value, some: Value, times: Size, value: Value) -> bool:
    """Whether `one` is `some` so many times, one behind the other, and no other axis broadcasts."""
    shape = some.type.shape
    tall = len(shape) > 1 and shape[0] == 1 and some.type.is_static and isinstance(times, int)
    first = one.type.shape[0] if one.type.rank else 0
    return tall and one.type.rank == value.type.rank and first == times * shape[1] and first == value.type.shape[0]


def _alike(other: Value, value: Value) -> bool:
    """Whether a constant is the same along the first axis."""
    return isinstance(other.op, Constant) and (other.type.rank < value.type.rank or other.type.shape[0] == 1)


ROWS = (windows, pick_before_norm)
"""What is done once, for machines whose loads pick rows freely."""

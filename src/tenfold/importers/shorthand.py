"""What converters say often: a number beside a value, a view that may be the value itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tenfold.importers.convert import MOST_FOLDED
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant, Fill, Sizes, scalar
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Reshape, Slice, Transpose


def number(value: float | int, like: Value) -> Value:
    """A constant of rank 0 and the element type of `like`."""
    constant: Value = scalar(value, like.type.dtype)()
    return constant


def nothing(like: Value) -> Value:
    """Zero of the element type of `like`; of strings the empty one."""
    return constant(np.array("", np.object_)) if like.type.dtype is dt.string else number(0, like)


def constant(array: Array) -> Value:
    """Numbers that are known at build time."""
    made: Value = Constant(Tensor(array))()
    return made


def apply(op: Op, x: Value, *others: Value | float | int) -> Value:
    """A binary operation in which plain numbers take x's element type."""
    result: Value = op(x, *(other if isinstance(other, Value) else number(other, x) for other in others))
    return result


def cast(x: Value, dtype: DType) -> Value:
    """`x` as `dtype`; itself if it is that already."""
    result: Value = x if x.type.dtype == dtype else Cast(dtype)(x)
    return result


def reshaped(x: Value, shape: Sequence[Size]) -> Value:
    """`x` under another shape; itself if it has that already."""
    result: Value = x if x.type.shape == tuple(shape) else Reshape(tuple(shape))(x)
    return result


def transposed(x: Value, permutation: Sequence[int]) -> Value:
    """`x` with its axes permuted; itself if the order stays."""
    result: Value = x if tuple(permutation) == tuple(range(x.type.rank)) else Transpose(tuple(permutation))(x)
    return result


def per_channel(parameter: Value, rank: int) -> Value:
    """A parameter [C] as [1, C, 1, …] of that rank."""
    return reshaped(parameter, (1, parameter.type.size, *(1,) * (rank - 2)))


def part(x: Value, axis: int, start: Size, size: Size) -> Value:
    """`size` places of one axis from `start` on; `x` itself if that is all of them."""
    if start == 0 and dim.known_equal(size, x.type.shape[axis]):
        return x
    starts = tuple(start if at == axis else 0 for at in range(x.type.rank))
    sizes = tuple(size if at == axis else whole for at, whole in enumerate(x.type.shape))
    result: Value = Slice(starts, sizes, (1,) * x.type.rank)(x)
    return result


def filled(value: float | int, shape: Sequence[Size], dtype: DType) -> Value:
    """One number everywhere: a constant where the sizes are known."""
    content = Tensor(np.array(value).astype(dtype.numpy))
    known = [size for size in shape if isinstance(size, int)]
    if len(known) == len(shape) and math.prod(known) <= MOST_FOLDED:
        array = np.full(known, value).astype(dtype.numpy)
        constant: Value = Constant(Tensor(array))()
        return constant
    fill: Value = Fill(tuple(shape), content)()
    return fill


def measure(size: Size, dtype: DType) -> Value:
    """A size as a tensor of rank 0."""
    found: Value = Sizes((size,), ())()
    return cast(found, dtype)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the end if negative, as one counted from the start."""
    return axis + rank if axis < 0 else axis


ENDLESS = 2**31 - 1


def span(size: Size, start: Size, end: Size, step: Size) -> tuple[Size, Size]:
    """First position and count of Python's slice start:end:step of an axis of that size; the step's sign is known."""
    if dim.known_positive(step):
        first = 0 if start == 0 else _clamped(size, start, 0, size)
        last = size if isinstance(end, int) and end >= ENDLESS else _clamped(size, end, 0, size)
        count = dim.ceildiv(last - first, step)
        return first, count if first == 0 and last is size else dim.maximum(count, 0)
    first = _clamped(size, start, 0, size - 1)
    last = -1 if isinstance(end, int) and end <= -ENDLESS else _clamped(size, end, -1, size - 1)
    count = dim.maximum(dim.ceildiv(first - last, -step), 0)
    return first, count if dim.known_positive(size) else dim.minimum(count, size)


def _clamped(size: Size, position: Size, low: int, high: Size) -> Size:
    from_end, from_start = dim.maximum(size + position, low), dim.minimum(position, high)
    return dim.select(dim.less(position, 0), from_end, from_start)


def resolved(x: Value, shape: Sequence[Size]) -> tuple[Size, ...]:
    """A shape for the elements of x in which -1 stands for what is left; ValueError if nothing fits."""
    found = list(shape)
    if -1 not in found:
        return tuple(found)
    at = found.index(-1)
    known = dim.product([*found[:at], *found[at + 1 :]])
    if known == 0:
        raise ValueError("-1 stands for any size where another one is 0")
    exact = dim.divide_exact(x.type.size, known)
    if exact is None and isinstance(known, int) and isinstance(x.type.size, int):
        raise ValueError(f"{x.type.size} elements are no multiple of {known}")
    found[at] = x.type.size // known if exact is None else exact
    return tuple(found)

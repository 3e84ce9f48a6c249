"""aten's operators that make tensors of sizes and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, cast, filled, number, reshaped
from tenfold.importers.torch.fraction import Quotient
from tenfold.importers.torch.promote import Operand, as_value, joined
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Mul
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.logic import GreaterOrEqual, LessOrEqual, Where
from tenfold.ops.movement import Expand


def full(shape: Sequence[Size], value: Operand, *, dtype: DType | None = None) -> Value:
    """One number everywhere."""
    kind = dtype or joined(value)
    if isinstance(value, Value | Dim | Quotient):
        return apply(Expand(tuple(shape)), as_value(value, kind))
    return filled(value, shape, kind)


def constant(value: float) -> Callable[..., Value]:
    """One number everywhere, by default as f32."""

    def convert(shape: Sequence[Size], *, dtype: DType | None = None) -> Value:
        return filled(value, shape, dtype or dt.f32)

    return convert


def constant_like(value: float) -> Callable[..., Value]:
    """One number everywhere, in the shape and by default the type of another tensor."""

    def convert(x: Value, *, dtype: DType | None = None) -> Value:
        return filled(value, x.type.shape, dtype or x.type.dtype)

    return convert


def full_like(x: Value, value: Operand, *, dtype: DType | None = None) -> Value:
    """One number in the shape of another tensor."""
    return full(x.type.shape, value, dtype=dtype or x.type.dtype)


def new_constant(value: float) -> Callable[..., Value]:
    """One number everywhere, by default in the type of another tensor."""

    def convert(x: Value, shape: Sequence[Size], *, dtype: DType | None = None) -> Value:
        return filled(value, shape, dtype or x.type.dtype)

    return convert


def new_full(x: Value, shape: Sequence[Size], value: Operand, *, dtype: DType | None = None) -> Value:
    """One number everywhere, by default in the type of another tensor."""
    return full(shape, value, dtype=dtype or x.type.dtype)


def empty_strided(shape: Sequence[Size], _: Sequence[Size], *, dtype: DType | None = None) -> Value:
    """Zeros, for what has no contents yet."""
    return filled(0, shape, dtype or dt.f32)


def scalar_tensor(value: Operand, *, dtype: DType | None = None) -> Value:
    """A number as a tensor."""
    return as_value(value, dtype or joined(value))


def arange(*bounds: Any, dtype: DType | None = None) -> Value:
    """start, start + step, … before end."""
    start, end, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: bounds}[len(bounds)]
    if isinstance(start, Value) or isinstance(end, Value) or isinstance(step, Value):
        raise UnsupportedError("a range whose bounds only the data decide")
    plain = [one for one in (start, end, step) if isinstance(one, float)]
    kind = dtype or (dt.f32 if plain else dt.i64)
    if not plain and isinstance(step, int):
        count = dim.maximum(dim.ceildiv(end - start, step) if step > 0 else dim.ceildiv(start - end, -step), 0)
        found: Value = Iota(start, step, count, kind)()
        return found
    count = max(0, math.ceil((end - start) / step))
    array = (start + np.arange(count, dtype=np.float64) * step).astype(kind.numpy)
    found = Constant(Tensor(array))()
    return found


def linspace(start: Any, end: Any, steps: int, *, dtype: DType | None = None) -> Value:
    """Evenly spaced numbers, both ends among them."""
    kind = dtype or dt.f32
    array = np.linspace(start, end, steps, dtype=np.float64).astype(kind.numpy)
    found: Value = Constant(Tensor(array))()
    return found


def eye(rows: Size, columns: Size | None = None, *, dtype: DType | None = None) -> Value:
    """Ones on the diagonal."""
    width = rows if columns is None else columns
    ones = filled(1, (rows, width), dtype or dt.f32)
    return triangle(LessOrEqual())(triangle(GreaterOrEqual())(ones))


def triangle(compare: GreaterOrEqual | LessOrEqual) -> Callable[..., Value]:
    """Zeros on one side of a diagonal of the last two axes."""

    def convert(x: Value, diagonal: Size = 0) -> Value:
        rows, columns = x.type.shape[-2:]
        down: Value = reshaped(Iota(diagonal, 1, rows)(), (rows, 1))
        kept = apply(compare, Iota(0, 1, columns)(), down)
        result: Value = Where()(kept, x, number(0, x))
        return result

    return convert


def triangle_indices(lower: bool) -> Callable[..., Value]:
    """The positions of a triangle of a matrix of known sizes."""

    def convert(rows: int, columns: int, offset: int = 0, *, dtype: DType | None = None) -> Value:
        places = np.tril_indices(rows, offset, columns) if lower else np.triu_indices(rows, offset, columns)
        found: Value = Constant(Tensor(np.array(places, dtype=(dtype or dt.i64).numpy)))()
        return found

    return convert


def window(offsets: tuple[float, ...]) -> Callable[..., Value]:
    """A sum of cosines, as Hann's and Hamming's windows."""

    def convert(length: int, periodic: bool = True, *coefficients: float, dtype: DType | None = None) -> Value:
        terms = (coefficients[0], -coefficients[1]) if len(coefficients) == 2 else offsets
        turns = 2 * np.pi * np.arange(length) / max(1, length if periodic else length - 1)
        wave = np.sum([factor * np.cos(order * turns) for order, factor in enumerate(terms)], axis=0)
        found: Value = Constant(Tensor(np.asarray(wave).astype((dtype or dt.f32).numpy)))()
        return found

    return convert


def one_hot(x: Value, classes: int = -1) -> Value:
    """1 at the place along a new last axis that each element names."""
    if classes < 0:
        raise UnsupportedError("one_hot without a number of classes", remedy="state num_classes")
    counted: Value = Iota(0, 1, classes)()
    wide = reshaped(x, (*x.type.shape, 1))
    equal = apply(LessOrEqual(), wide, counted)
    both = apply(Mul(), cast(equal, dt.i64), cast(apply(GreaterOrEqual(), wide, counted), dt.i64))
    return both


TABLE: Mapping[str, Callable[..., Any]] = {
    "full": full,
    "full_like": full_like,
    "new_full": new_full,
    "zeros": constant(0),
    "ones": constant(1),
    "empty.memory_format": constant(0),
    "empty_permuted": empty_strided,
    "empty_strided": empty_strided,
    "zeros_like": constant_like(0),
    "ones_like": constant_like(1),
    "empty_like": constant_like(0),
    "new_zeros": new_constant(0),
    "new_ones": new_constant(1),
    "new_empty": new_constant(0),
    "scalar_tensor": scalar_tensor,
    "arange": arange,
    "linspace.default": linspace,
    "eye": eye,
    "tril": triangle(LessOrEqual()),
    "triu": triangle(GreaterOrEqual()),
    "tril_indices": triangle_indices(True),
    "triu_indices": triangle_indices(False),
    "hann_window": window((0.5, -0.5)),
    "hamming_window": window((0.54, -0.46)),
    "blackman_window": window((0.42, -0.5, 0.08)),
    "one_hot": one_hot,
}

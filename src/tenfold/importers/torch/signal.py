"""Fourier transforms and complex numbers, which are pairs of tensors until the engine is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import apply, axis_of, cast, filled, part, reshaped, transposed
from tenfold.importers.torch.math import atan2, same
from tenfold.importers.torch.math import to_copy as math_to_copy
from tenfold.importers.torch.promote import promoted
from tenfold.importers.torch.tensor import stack
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Cos, Div, Mul, Neg, Sin, Sqrt, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tenfold.ops.signal import DFT

LONGEST_MATRIX = 1024
"""Up to this length a transform is a product by the matrix of its waves; beyond it the operation itself."""


@dataclass(frozen=True)
class Complex:
    """A tensor of complex numbers: their real and imaginary parts."""

    real: Value
    imaginary: Value


Either = Value | Complex


def parts(x: Either | float | int | complex) -> tuple[Any, Any]:
    """The real and the imaginary part; 0 for a real operand."""
    if isinstance(x, Complex):
        return x.real, x.imaginary
    return (x.real, x.imag) if isinstance(x, complex) else (x, 0.0)


def to_copy(x: Value, *, dtype: DType | None = None) -> Either:
    """x in another element type; as complex numbers with imaginary parts of 0."""
    if dtype is None or dtype.kind is not Kind.COMPLEX:
        return math_to_copy(x, dtype=dtype)
    real = cast(x, dt.f64 if dtype is dt.c128 else dt.f32)
    return Complex(real, filled(0, real.type.shape, real.type.dtype))


def view_as_real(x: Complex) -> Value:
    """Both parts along a new last axis."""
    return stack((x.real, x.imaginary), -1)


def view_as_complex(x: Value) -> Complex:
    """The two places of the last axis as parts."""
    last, shape = x.type.rank - 1, x.type.shape[:-1]
    return Complex(*(reshaped(part(x, last, at, 1), shape) for at in (0, 1)))


def combine(real: Value, imaginary: Value) -> Complex:
    """A complex tensor of its parts."""
    return Complex(real, imaginary)


def polar(size: Value, angle: Value) -> Complex:
    """A complex tensor of sizes and angles."""
    return Complex(apply(Mul(), size, apply(Cos(), angle)), apply(Mul(), size, apply(Sin(), angle)))


def componentwise(op: Callable[..., Any]) -> Callable[..., Any]:
    """What is linear in all its tensors: done to both parts."""

    def convert(*arguments: Any, **named: Any) -> Any:
        found = [op(*_side(arguments, at), **named) for at in (0, 1)]
        if isinstance(found[0], Value):
            return Complex(found[0], found[1])
        return tuple(Complex(a, b) for a, b in zip(*found, strict=True))

    return convert


def _side(arguments: Any, at: int) -> Any:
    if isinstance(arguments, Complex):
        return (arguments.real, arguments.imaginary)[at]
    if isinstance(arguments, tuple | list):
        return tuple(_side(one, at) for one in arguments)
    return arguments


def add(sign: int) -> Callable[..., Complex]:
    """The sum or the difference."""
    op = Add() if sign > 0 else Sub()

    def convert(x: Any, y: Any, *, alpha: Any = 1) -> Complex:
        if alpha != 1:
            raise UnsupportedError("alpha on complex numbers")
        return Complex(*(apply(op, *promoted(a, b)) for a, b in zip(parts(x), parts(y), strict=True)))

    return convert


def multiply(x: Any, y: Any) -> Complex:
    """(a + bi)(c + di)."""
    if not isinstance(y, Complex | complex):
        return Complex(*(apply(Mul(), *promoted(one, y)) for one in parts(x)))
    if not isinstance(x, Complex | complex):
        return multiply(y, x)
    (a, b), (c, d) = parts(x), parts(y)
    ac, bd, ad, bc = (apply(Mul(), *promoted(p, q)) for p, q in ((a, c), (b, d), (a, d), (b, c)))
    return Complex(apply(Sub(), ac, bd), apply(Add(), ad, bc))


def divide(x: Any, y: Any) -> Complex:
    """x / y."""
    if not isinstance(y, Complex):
        return Complex(*(apply(Div(), *promoted(one, y)) for one in parts(x)))
    return divide(multiply(x, conjugate(y)), apply(Add(), *(apply(Mul(), one, one) for one in parts(y))))


def conjugate(x: Either) -> Either:
    """The imaginary part negated."""
    return x if isinstance(x, Value) else Complex(x.real, apply(Neg(), x.imaginary))


def absolute(x: Complex) -> Value:
    """The distance from 0."""
    return apply(Sqrt(), apply(Add(), apply(Mul(), x.real, x.real), apply(Mul(), x.imaginary, x.imaginary)))


def angle(x: Complex) -> Value:
    """The angle."""
    return atan2(x.imaginary, x.real)


def power(x: Complex, exponent: Any) -> Complex:
    """The square."""
    if exponent != 2:
        raise UnsupportedError(f"complex numbers to the power {exponent}")
    return multiply(x, x)


def _norm(normalization: int, count: float) -> float:
    """0: none, 1: over the root of the count, 2: over the count."""
    return (1.0, 1 / math.sqrt(count), 1 / count)[normalization]


def _length(x: Value, axis: int) -> int:
    size = x.type.shape[axis]
    if not isinstance(size, int):
        raise UnsupportedError("the length of a Fourier transform must be known when the engine is built")
    return size


def _waves(length: int, columns: int, sign: int, factor: float, x: Value) -> tuple[Value, Value]:
    turns = np.outer(np.arange(length), np.arange(columns)) % length * (2 * np.pi / length)
    arrays = (np.cos(turns) * factor, sign * np.sin(turns) * factor)
    real, imaginary = (Constant(Tensor(one.astype(x.type.dtype.numpy)))() for one in arrays)
    return real, imaginary


def _along(x: Value, axis: int, matrix: Value) -> Value:
    order = (*(at for at in range(x.type.rank) if at != axis), axis)
    moved = apply(MatMul(), transposed(x, order), matrix)
    return transposed(moved, tuple(int(at) for at in np.argsort(order)))


def _transformed(x: Either, axis: int, forward: bool, factor: float, columns: int) -> Complex:
    """One axis transformed, of which `columns` frequencies are kept."""
    real, imaginary = parts(x)
    length = _length(real, axis)
    if length > LONGEST_MATRIX:
        return _by_operation(x, axis, forward, factor, columns)
    cosines, sines = _waves(length, columns, -1 if forward else 1, factor, real)
    a, b = _along(real, axis, cosines), _along(real, axis, sines)
    if isinstance(x, Value):
        return Complex(a, b)
    c, d = _along(imaginary, axis, cosines), _along(imaginary, axis, sines)
    return Complex(apply(Sub(), a, d), apply(Add(), b, c))


def _by_operation(x: Either, axis: int, forward: bool, factor: float, columns: int) -> Complex:
    pairs = view_as_real(x) if isinstance(x, Complex) else reshaped(x, (*x.type.shape, 1))
    length = _length(pairs, axis)
    found = view_as_complex(apply(DFT(axis, length, not forward, False), pairs))
    scale = factor if forward else factor * length
    kept = [part(one, axis, 0, columns) for one in parts(found)]
    return Complex(*(one if scale == 1 else apply(Mul(), one, scale) for one in kept))


def fft_real(x: Value, axes: Sequence[int], normalization: int, onesided: bool) -> Complex:
    """The transform of real numbers; of the last axis only half is kept if `onesided`."""
    places = [axis_of(axis, x.type.rank) for axis in axes]
    count = math.prod(_length(x, axis) for axis in places)
    last = places[-1]
    length = _length(x, last)
    columns = length // 2 + 1 if onesided else length
    found = _transformed(x, last, True, _norm(normalization, count), columns)
    for axis in places[:-1]:
        found = _transformed(found, axis, True, 1.0, _length(found.real, axis))
    return found


def fft_complex(x: Complex, axes: Sequence[int], normalization: int, forward: bool) -> Complex:
    """The transform of complex numbers, there or back."""
    places = [axis_of(axis, x.real.type.rank) for axis in axes]
    factor = _norm(normalization, math.prod(_length(x.real, axis) for axis in places))
    for axis in places:
        x, factor = _transformed(x, axis, forward, factor, _length(x.real, axis)), 1.0
    return x


def fft_to_real(x: Complex, axes: Sequence[int], normalization: int, length: Size) -> Value:
    """The real numbers whose half transform this is."""
    places = [axis_of(axis, x.real.type.rank) for axis in axes]
    if not isinstance(length, int):
        raise UnsupportedError("the length of a Fourier transform must be known when the engine is built")
    factor = _norm(normalization, length * math.prod(_length(x.real, axis) for axis in places[:-1]))
    for axis in places[:-1]:
        x = _transformed(x, axis, False, 1.0, _length(x.real, axis))
    half = length // 2 + 1
    turns = np.outer(np.arange(half), np.arange(length)) % length * (2 * np.pi / length)
    weights = np.full((half, 1), 2.0)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    kind = x.real.type.dtype.numpy
    kept = [part(one, places[-1], 0, half) for one in (x.real, x.imaginary)]
    cosines = Constant(Tensor((np.cos(turns) * weights * factor).astype(kind)))()
    sines = Constant(Tensor((-np.sin(turns) * weights * factor).astype(kind)))()
    return apply(Add(), _along(kept[0], places[-1], cosines), _along(kept[1], places[-1], sines))


TABLE: Mapping[str, Callable[..., Any]] = {
    "_to_copy": to_copy,
    "_fft_r2c": fft_real,
    "_fft_c2c": fft_complex,
    "_fft_c2r": fft_to_real,
    "view_as_complex": view_as_complex,
    "complex": combine,
    "polar": polar,
}

COMPLEX: Mapping[str, Callable[..., Any]] = {
    "_to_copy": same,
    "_fft_c2c": fft_complex,
    "_fft_c2r": fft_to_real,
    "view_as_real": view_as_real,
    "real": lambda x: x.real,
    "imag": lambda x: x.imaginary,
    "abs": absolute,
    "angle": angle,
    "_conj": conjugate,
    "conj": conjugate,
    "_conj_physical": conjugate,
    "conj_physical": conjugate,
    "add": add(1),
    "sub": add(-1),
    "mul": multiply,
    "div": divide,
    "pow": power,
}
"""What takes complex tensors."""

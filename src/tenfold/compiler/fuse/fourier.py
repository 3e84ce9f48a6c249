"""Fourier transforms, and what they are to a target without a kernel of theirs: products with matrices of cosines and
sines.

A long transform is taken apart by Cooley and Tukey (1965): of length a b it is b transforms of length a, a turn of
each element, and a transforms of length b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tenfold.compiler.fuse.accumulate import narrow, number, wide
from tenfold.compiler.fuse.indexing import whole_number
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Cos, Div, Mod, Mul, Sin, Sub
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from tenfold.ops.primitive import Pick, Windows
from tenfold.ops.signal import DFT, STFT, Fourier

LONGEST = 64
"""The longest transform that is one product."""

GREATEST = 1024
"""The greatest prime length that is one product."""

MOST = 1 << 22
"""The greatest length whose angles are kept as constants."""

Pair = tuple[Value, Value | None]
"""Real and imaginary parts, None for zeros; the transform's axis is the last."""


def dft(op: DFT, node: Node) -> Value | None:
    """Σ x[n] e^(∓2πi kn/N)"""
    (given,) = node.inputs
    if not _is_smooth(op.length):
        return None
    order = (*(a for a in range(given.type.rank) if a != op.axis), op.axis)
    x = Transpose(order)(wide(given))
    pair = _parts(x)
    if op.inverse and op.onesided:
        pair = _mirrored(pair, op.length)
    pair = tuple(None if one is None else _fitted(one, op.length) for one in pair)  # type: ignore[assignment]
    count = op.length // 2 + 1 if op.onesided and not op.inverse else op.length
    scale = 1 / op.length if op.inverse and isinstance(op.length, int) else 1.0
    found = _transformed(pair, count, 1 if op.inverse else -1, scale)
    columns = found[:1] if op.inverse and op.onesided else found
    if op.inverse and not isinstance(op.length, int):
        columns = tuple(Div()(one, narrow(whole_number(op.length), one)) for one in columns)
    return _placed(columns, op.axis, given)


def _transformed(pair: Pair, count: Size, sign: int, scale: float = 1.0) -> tuple[Value, ...]:
    """The first `count` frequencies."""
    given = [one for one in pair if one is not None]
    found: tuple[Value, ...] = Fourier(count, sign, scale)(*given)
    return found


def _parts(x: Value) -> Pair:
    """[…, 1 or 2, N] as two values […, N]."""
    *front, pairs, size = x.type.shape
    parts = []
    for at in range(2 if pairs == 2 else 1):
        starts = (*(0 for _ in front), at, 0)
        part = Slice(starts, (*front, 1, size), (1,) * x.type.rank)(x)
        parts.append(Reshape((*front, size))(part))
    return parts[0], parts[1] if len(parts) > 1 else None


def _fitted(x: Value, length: Size) -> Value:
    """The last axis cut or padded with zeros."""
    rank, size = x.type.rank, x.type.shape[-1]
    if dim.known_equal(size, length):
        return x
    value: Value = Pad((0,) * rank, (*(0,) * (rank - 1), length - size))(x)
    return value


def _mirrored(pair: Pair, length: Size) -> Pair:
    """The whole spectrum of a real signal from the half that decides it: x[N - k] is the conjugate of x[k]."""
    real, imaginary = pair
    rank, half = real.type.rank, (length + 1) // 2 - 1
    low = _fitted(real, length // 2 + 1)
    whole = [Concat(rank - 1)(low, _back(low, half))]
    if imaginary is not None:
        turned = _fitted(imaginary, length // 2 + 1)
        back = _back(turned, half)
        whole.append(Concat(rank - 1)(turned, Sub()(number(0.0, back), back)))
    return whole[0], whole[1] if imaginary is not None else None


def _back(x: Value, count: Size) -> Value:
    """Elements count, count - 1, … 1 of the last axis."""
    rank = x.type.rank
    value: Value = Slice((*(0,) * (rank - 1), count), (*x.type.shape[:-1], count), (*(1,) * (rank - 1), -1))(x)
    return value


def fourier(op: Fourier, node: Node) -> tuple[Value, ...]:
    """One product with a matrix, or shorter transforms"""
    real, length = node.inputs[0], node.inputs[0].type.shape[-1]
    pair = real, node.inputs[1] if len(node.inputs) > 1 else None
    inner = _factor(length) if isinstance(length, int) and length > LONGEST else 1
    if inner == 1 or not isinstance(length, int):
        return _times(pair, _turns(length, op, real))
    outer, front = length // inner, real.type.shape[:-1]
    rank = len(front)
    rows = [None if x is None else _swapped(Reshape((*front, inner, outer))(x)) for x in pair]
    first = _transformed((rows[0], rows[1]), inner, op.sign)  # type: ignore[arg-type]
    angles = np.outer(np.arange(outer), np.arange(inner)) * (op.sign * 2 * math.pi / length)
    turned = _product(first, (_constant(np.cos(angles), first[0]), _constant(np.sin(angles), first[0])))
    second = _transformed((_swapped(turned[0]), _swapped(turned[1])), outer, op.sign, op.scale)
    flat = [Reshape((*front, length))(_swapped(one)) for one in second]
    if op.count != length:
        flat = [Slice((0,) * (rank + 1), (*front, op.count), (1,) * (rank + 1))(one) for one in flat]
    return tuple(flat)


def _factor(length: int) -> int:
    """The divisor nearest below the square root."""
    return max(one for one in range(1, math.isqrt(length) + 1) if length % one == 0)


def _is_smooth(length: Size) -> bool:
    """True if no part of the transform is a product with a great matrix."""
    if not isinstance(length, int):
        _, most = dim.bounds(length)
        return most is not None and most <= GREATEST
    if length > MOST:
        return False
    while length > GREATEST:
        factor = _factor(length)
        if factor == 1:
            return False
        length //= factor
    return length > 0


def _swapped(x: Value) -> Value:
    rank = x.type.rank
    value: Value = Transpose((*range(rank - 2), rank - 1, rank - 2))(x)
    return value


def _constant(array: Array, like: Value) -> Value:
    value: Value = Constant(Tensor(np.ascontiguousarray(array.astype(like.type.dtype.numpy))))()
    return value


def _turns(length: Size, op: Fourier, like: Value) -> tuple[Value, Value]:
    """cos and ±sin of 2πnk/N, [N, count]; the angle's multiple is reduced as a whole number first."""
    count = op.count
    if isinstance(length, int) and isinstance(count, int):
        angles = np.outer(np.arange(length), np.arange(count)) % length * (2 * math.pi / length)
        return _constant(op.scale * np.cos(angles), like), _constant(op.scale * op.sign * np.sin(angles), like)
    row, column = Reshape((length, 1))(Iota(0, 1, length)()), Reshape((1, count))(Iota(0, 1, count)())
    steps, whole = (
        Cast(dt.f64)(one) for one in (Mod()(Mul()(row, column), whole_number(length)), whole_number(length))
    )
    angle = Div()(Mul()(steps, number(op.sign * 2 * math.pi, steps)), whole)
    return narrow(Cos()(angle), like), narrow(Sin()(angle), like)


def _times(pair: Pair, turns: tuple[Value, Value]) -> tuple[Value, Value]:
    """A vector of complex numbers times a matrix of them."""
    real, imaginary = pair
    cos, sin = turns
    a, b = MatMul()(real, cos), MatMul()(real, sin)
    if imaginary is None:
        return a, b
    return Sub()(a, MatMul()(imaginary, sin)), Add()(b, MatMul()(imaginary, cos))


def _product(a: Sequence[Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
    real = Sub()(Mul()(a[0], b[0]), Mul()(a[1], b[1]))
    return real, Add()(Mul()(a[0], b[1]), Mul()(a[1], b[0]))


def _placed(columns: Sequence[Value], axis: int, given: Value) -> Value:
    """Parts with the transform's axis last, as one tensor whose last axis holds the parts."""
    rank = given.type.rank
    pairs = [Reshape((*one.type.shape, 1))(one) for one in columns]
    whole = Concat(rank - 1)(*pairs) if len(pairs) > 1 else pairs[0]
    back = (*range(axis), rank - 2, *range(axis, rank - 2), rank - 1)
    return narrow(Transpose(back)(whole), given)


def stft(op: STFT, node: Node) -> Value | None:
    """The transform of each window's elements times its weights"""
    given, window = node.inputs
    size = window.type.shape[0]
    if not _is_smooth(size):
        return None
    batch, frames, count = *node.output.type.shape[:2], size // 2 + 1 if op.onesided else size
    weighed = Mul()(_frames(wide(given), op.step, frames, size), wide(window))
    pairs = [Reshape((batch, frames, count, 1))(one) for one in _transformed(_parts(weighed), count, -1)]
    return narrow(Concat(3)(*pairs), given)


def _frames(x: Value, step: Size, frames: Size, size: Size) -> Value:
    """x [B, L, parts] as [B, frames, parts, size]."""
    batch, _, parts = x.type.shape
    if isinstance(step, int) and isinstance(size, int):
        seen = Windows((frames,), (size,), (step,), (1,))(Transpose((0, 2, 1))(x))
        value: Value = Transpose((0, 2, 1, 3))(seen)
        return value
    start = Reshape((1, frames, 1, 1))(Iota(0, step, frames)())
    place = Add()(start, Reshape((1, 1, 1, size))(Iota(0, 1, size)()))
    value = Pick((0, -1, 2), (batch, frames, parts, size))(x, place)
    return value


RULES: dict[type, Callable[[Any, Node], Value | tuple[Value, ...] | None]] = {DFT: dft, STFT: stft, Fourier: fourier}

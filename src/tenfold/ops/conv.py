"""Convolution and its transpose, channels first: x [N, C, *S]."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.matmul import moved
from tenfold.ops.precision import contract, product_dtype
from tenfold.ops.window import count, differ, known, reach, windows


class Conv(Op):
    """The correlation of x [N, C, *S] with w [O, C / groups, *K]: y [N, O, *windows]; a bias is an Add after it.

    One stride, dilation and padding before and after for each spatial axis; the padding is zeros.
    Channels fall into `groups` that do not see each other. Narrow floats accumulate in f32, integers in i32.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[Size, ...]
    pads_after: tuple[Size, ...]
    groups: int = 1

    def infer(self, x: Type, w: Type) -> Type:
        """[N, O, *windows]; ValueError if ranks, channels or groups do not fit, or no window does."""
        _check(self, x, w)
        if differ(x.shape[1], w.shape[1] * self.groups):
            raise ValueError(f"Conv of {x} by {w} in {self.groups} groups: the channels differ")
        sizes = zip(
            x.shape[2:], w.shape[2:], self.strides, self.dilations, self.pads_before, self.pads_after, strict=True
        )
        return Type(product_dtype("Conv", x, w), (x.shape[0], w.shape[0], *(count(*row) for row in sizes)))

    def evaluate(self, x: Array, w: Array) -> Array:
        """Gather all windows, then one product of matrices for each group."""
        result = self.infer(_type(x), _type(w))
        counts = known(result.shape[2:])
        seen = windows(x, w.shape[2:], self.strides, self.dilations, known(self.pads_before), counts, 0)
        axes = len(counts)
        split = seen.reshape(x.shape[0], self.groups, w.shape[1], *seen.shape[2:])
        places = tuple(range(3, 3 + axes))
        taps = tuple(range(3 + axes, 3 + 2 * axes))
        terms = math.prod(w.shape[1:])
        rows = split.transpose(0, 1, *places, 2, *taps).reshape(x.shape[0], self.groups, math.prod(counts), terms)
        matrices = w.reshape(self.groups, w.shape[0] // self.groups, terms).transpose(0, 2, 1)
        y = contract(rows, matrices).transpose(0, 1, 3, 2)
        return y.reshape(x.shape[0], w.shape[0], *counts).astype(result.dtype.numpy, copy=False)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """A multiplication and an addition for each tap of each output element."""
        return Cost(2 * outputs[0].size * dim.product(inputs[1].shape[1:]), moved(*inputs, *outputs))


class ConvTranspose(Op):
    """The transpose of a convolution: each element of x [N, C, *S] adds its multiple of w [C, O / groups, *K] to y.

    y [N, O, *T] with T = (S - 1) stride + reach + output_padding - pads; a bias is an Add after it.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[Size, ...]
    pads_after: tuple[Size, ...]
    output_padding: tuple[Size, ...]
    groups: int = 1

    def infer(self, x: Type, w: Type) -> Type:
        """[N, O, *T]; ValueError if ranks, channels or groups do not fit, or the padding leaves nothing."""
        _check(self, x, w)
        if differ(x.shape[1], w.shape[0]):
            raise ValueError(f"ConvTranspose of {x} by {w}: the channels differ")
        rows = zip(self._full(x, w), self.pads_before, self.pads_after, strict=True)
        sizes = [full - before - after for full, before, after in rows]
        if any(isinstance(size, int) and size < 0 for size in sizes):
            raise ValueError(f"ConvTranspose of {x} by {w}: the padding takes away more than there is")
        return Type(product_dtype("ConvTranspose", x, w), (x.shape[0], w.shape[1] * self.groups, *sizes))

    def _full(self, x: Type, w: Type) -> tuple[Size, ...]:
        rows = zip(x.shape[2:], w.shape[2:], self.strides, self.dilations, self.output_padding, strict=True)
        return tuple((size - 1) * s + reach(k, d) + extra for size, k, s, d, extra in rows)

    def evaluate(self, x: Array, w: Array) -> Array:
        """One product of matrices for each group gives what every element adds; then one addition for each tap."""
        result = self.infer(_type(x), _type(w))
        batch, spatial, kernel = x.shape[0], x.shape[2:], w.shape[2:]
        channels, results = x.shape[1] // self.groups, w.shape[1] * self.groups
        rows = x.reshape(batch, self.groups, channels, math.prod(spatial)).transpose(0, 1, 3, 2)
        matrices = w.reshape(self.groups, channels, math.prod(w.shape[1:]))
        added: Array = contract(rows, matrices).transpose(0, 1, 3, 2).reshape(batch, results, *kernel, *spatial)
        y: Array = np.zeros((*added.shape[:2], *known(self._full(_type(x), _type(w)))), added.dtype)
        for taps in itertools.product(*map(range, kernel)):
            places = zip(taps, spatial, self.strides, self.dilations, strict=True)
            where: Any = (..., *(slice(k * d, k * d + (size - 1) * s + 1, s) for k, size, s, d in places))
            tap: Any = (slice(None), slice(None), *taps)
            y[where] += added[tap]
        sizes = zip(known(self.pads_before), known(result.shape[2:]), strict=True)
        kept: Any = (..., *(slice(before, before + size) for before, size in sizes))
        return np.asarray(y[kept]).astype(result.dtype.numpy)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """A multiplication and an addition for each tap of each input element."""
        return Cost(2 * inputs[0].size * dim.product(inputs[1].shape[1:]), moved(*inputs, *outputs))


class Gated(Op):
    """The convolution of x [N, C, *S] · gate [N, C, 1, …], rounded to their type, with w [O, C, 1, …]: y [N, O, *S]."""

    def infer(self, x: Type, w: Type, gate: Type) -> Type:
        """[N, O, *S]; ValueError where the gate is not one number a channel of an image, or w has several taps."""
        ones = (1,) * (x.rank - 2)
        if gate.dtype is not x.dtype or gate.shape != (*x.shape[:2], *ones) or w.shape[1:] != (x.shape[1], *ones):
            raise ValueError(f"Gated of {x}, {w} and {gate}: one number a channel of an image, and one tap, are wanted")
        return Type(product_dtype("Gated", x, w), (x.shape[0], w.shape[0], *x.shape[2:]))

    def evaluate(self, x: Array, w: Array, gate: Array) -> Array:
        """The definition."""
        (result,) = plain(x.ndim).results((x * gate, w))
        return result

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """That of the convolution."""
        return plain(inputs[0].rank).cost(inputs[:2], outputs)


def plain(rank: int) -> Conv:
    """The convolution of one tap on images of that rank."""
    ones, zeros = (1,) * (rank - 2), (0,) * (rank - 2)
    return Conv(ones, ones, zeros, zeros)


def _check(op: Conv | ConvTranspose, x: Type, w: Type) -> None:
    if x.rank != w.rank or x.rank < 3:
        raise ValueError(f"{op.name} takes x [N, C, *S] and w of the same rank, not {x} and {w}")
    settings = {len(op.strides), len(op.dilations), len(op.pads_before), len(op.pads_after), x.rank - 2}
    if len(settings) != 1:
        raise ValueError(f"{op.name} takes a stride, dilation and padding for each spatial axis of {x}")
    if isinstance(w.shape[0], int) and w.shape[0] % op.groups:
        raise ValueError(f"{op.name} by {w} does not divide into {op.groups} groups")


def _type(x: Array) -> Type:
    return Type(dt.of(x.dtype), x.shape)

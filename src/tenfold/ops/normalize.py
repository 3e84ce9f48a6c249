"""Normalisation: softmax and the norms. All are computed in f32 at least and rounded once."""

from __future__ import annotations

import math

import numpy as np

from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.precision import require_float, widen
from tenfold.ops.reduce import check_axes
from tenfold.ops.window import differ


class Softmax(Op):
    """exp(x) / sum(exp(x)) along one axis; the greatest element is subtracted first."""

    axis: int

    def infer(self, x: Type) -> Type:
        """The input's type."""
        return _same(self, x, self.axis)

    def evaluate(self, x: Array) -> Array:
        """The definition."""
        with np.errstate(invalid="ignore"):
            powers = np.exp(_shifted(x, self.axis))
            return np.asarray(powers / powers.sum(axis=self.axis, keepdims=True)).astype(x.dtype)


class LogSoftmax(Op):
    """x - log(sum(exp(x))) along one axis; the greatest element is subtracted first."""

    axis: int

    def infer(self, x: Type) -> Type:
        """The input's type."""
        return _same(self, x, self.axis)

    def evaluate(self, x: Array) -> Array:
        """The definition."""
        with np.errstate(invalid="ignore"):
            shifted = _shifted(x, self.axis)
            return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=self.axis, keepdims=True))).astype(x.dtype)


class LayerNorm(Op):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on (Ba et al. 2016).

    Scale and bias broadcast to x.
    """

    axis: int
    epsilon: float = 1e-5

    def infer(self, x: Type, scale: Type, bias: Type) -> Type:
        """The input's type."""
        _fits(self, x, scale, bias)
        return _same(self, x, self.axis)

    def evaluate(self, x: Array, scale: Array, bias: Array) -> Array:
        """The definition."""
        wide, axes = widen(x), tuple(range(self.axis, x.ndim))
        result = _standardised(wide, axes, self.epsilon) * widen(scale) + widen(bias)
        return np.asarray(result).astype(x.dtype)


class RMSNorm(Op):
    """x / sqrt(mean(x * x) + epsilon) * scale over the axes from `axis` on (Zhang and Sennrich 2019)."""

    axis: int
    epsilon: float = 1e-5

    def infer(self, x: Type, scale: Type) -> Type:
        """The input's type."""
        _fits(self, x, scale)
        return _same(self, x, self.axis)

    def evaluate(self, x: Array, scale: Array) -> Array:
        """The definition."""
        wide, axes = widen(x), tuple(range(self.axis, x.ndim))
        power = np.mean(wide * wide, axis=axes, keepdims=True)
        return np.asarray(wide / np.sqrt(power + wide.dtype.type(self.epsilon)) * widen(scale)).astype(x.dtype)


class GroupNorm(Op):
    """Standardise each of `groups` runs of channels of x [N, C, *S]; then scale [C] and bias [C] (Wu and He 2018).

    With as many groups as channels it is instance normalisation (Ulyanov et al. 2016).
    """

    groups: int
    epsilon: float = 1e-5

    def infer(self, x: Type, scale: Type, bias: Type) -> Type:
        """The input's type; ValueError if the channels do not divide, or scale and bias do not have one entry each."""
        require_float(self.name, x, scale, bias)
        channels = x.shape[1] if x.rank > 1 else 0
        if x.rank < 2 or (isinstance(channels, int) and channels % self.groups):
            raise ValueError(f"GroupNorm of {x} does not divide into {self.groups} groups")
        for one in (scale, bias):
            if one.rank != 1 or (isinstance(channels, int) and one.shape[0] not in (1, channels)):
                raise ValueError(f"GroupNorm takes one scale and one bias a channel of {x}, not {one}")
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array, scale: Array, bias: Array) -> Array:
        """The definition."""
        wide = widen(x).reshape(x.shape[0], self.groups, math.prod(x.shape[1:]) // self.groups)
        normal = _standardised(wide, (2,), self.epsilon).reshape(x.shape)
        channel = (-1, *(1,) * (x.ndim - 2))
        return np.asarray(normal * widen(scale).reshape(channel) + widen(bias).reshape(channel)).astype(x.dtype)


class LpNormalize(Op):
    """x / norm(x) along one axis, the 1-norm or the 2-norm; 0 where the norm is 0."""

    axis: int
    p: int = 2

    def infer(self, x: Type) -> Type:
        """The input's type."""
        if self.p not in (1, 2):
            raise ValueError(f"LpNormalize has p 1 or 2, not {self.p}")
        return _same(self, x, self.axis)

    def evaluate(self, x: Array) -> Array:
        """The definition."""
        wide = widen(x)
        size = np.abs(wide) if self.p == 1 else wide * wide
        norm = size.sum(axis=self.axis, keepdims=True)
        norm = norm if self.p == 1 else np.sqrt(norm)
        return np.asarray(np.where(norm == 0, 0, wide / np.where(norm == 0, 1, norm))).astype(x.dtype)


class LRN(Op):
    """x / (bias + alpha / size * sum of squares)^beta, summed over `size` neighbouring channels of x [N, C, *S].

    (size - 1) // 2 of them come before the channel, size // 2 after it (Krizhevsky et al. 2012).
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def infer(self, x: Type) -> Type:
        """The input's type."""
        return _same(self, x, 1)

    def evaluate(self, x: Array) -> Array:
        """The definition, one channel after another."""
        wide = widen(x)
        squares = wide * wide
        before, after = (self.size - 1) // 2, self.size // 2
        sums = np.stack([squares[:, max(0, c - before) : c + after + 1].sum(axis=1) for c in range(x.shape[1])], axis=1)
        scale = np.power(self.bias + wide.dtype.type(self.alpha / self.size) * sums, wide.dtype.type(self.beta))
        return np.asarray(wide / scale).astype(x.dtype)


def _same(op: Op, x: Type, axis: int) -> Type:
    require_float(op.name, x)
    check_axes((axis,), x.rank, op.name)
    return Type(x.dtype, x.shape)


def _fits(op: Op, x: Type, *parameters: Type) -> None:
    require_float(op.name, x, *parameters)
    for one in parameters:
        own = zip(one.shape, x.shape[x.rank - one.rank :], strict=False)
        wider = any(size != 1 and differ(size, whole) for size, whole in own)
        if one.rank > x.rank or wider or len(broadcast_shapes(x.shape, one.shape)) != x.rank:
            raise ValueError(f"{op.name} takes parameters that broadcast to {x}, not {one}")


def _shifted(x: Array, axis: int) -> Array:
    wide = widen(x)
    return np.asarray(wide - wide.max(axis=axis, keepdims=True, initial=-np.inf))


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(centred * centred, axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + x.dtype.type(epsilon)))

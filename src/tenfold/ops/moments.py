"""What a kernel tells of its results by the way: moments of rows, for a norm done behind the product that follows it,
and what becomes of such a product; sums along the lines of images, for their means.
"""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add, Maximum, Mul, Rsqrt, Sub
from tenfold.ops.constant import scalar
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.logic import Cast
from tenfold.ops.precision import require_float


class Moments(Op):
    """x [..., K] as f32 [2, K / group, ...]: of every `group` neighbours of a row the sum, and the sum of squares."""

    group: int

    def infer(self, x: Type) -> Type:
        """Two numbers a group; ValueError where groups do not fill the rows."""
        require_float(self.name, x)
        width = x.shape[-1] if x.rank else 0
        if not isinstance(width, int) or width % self.group:
            raise ValueError(f"Moments of groups of {self.group} do not fill the rows of {x}")
        return Type(dt.f32, (2, width // self.group, *x.shape[:-1]))

    def evaluate(self, x: Array) -> Array:
        """The definition."""
        wide = np.moveaxis(x.astype(np.float32).reshape(*x.shape[:-1], -1, self.group), -2, 0)
        return np.stack([wide.sum(-1), (wide * wide).sum(-1)])


class LineSums(Op):
    """Images x [N, C, ..., W] as f32 [N, ..., C]: the sums along their lines, channels last."""

    def infer(self, x: Type) -> Type:
        """A number for each line and channel; ValueError where there are no lines."""
        require_float(self.name, x)
        if x.rank < 3:
            raise ValueError(f"LineSums takes images, which have an axis at least, not {x}")
        return Type(dt.f32, (x.shape[0], *x.shape[2:-1], x.shape[1]))

    def evaluate(self, x: Array) -> Array:
        """The definition."""
        return np.moveaxis(x.astype(np.float32).sum(-1), 1, -1)


class Centred(Op):
    """A matrix x [K, N] less the means of its columns, rounded to `to` so that columns add up to nothing again: what
    rounding leaves of a sum is taken from elements of the first rows, a unit in their last place from each.
    """

    to: DType

    def infer(self, x: Type) -> Type:
        """The same sizes; ValueError for what is no matrix of floats."""
        require_float(self.name, x)
        if x.rank != 2:
            raise ValueError(f"Centred takes a matrix, not {x}")
        return Type(self.to, x.shape)

    def evaluate(self, x: Array) -> Array:
        """The definition, in f64."""
        wide = x.astype(np.float64)
        wide -= wide.mean(0)
        found = wide.astype(self.to.numpy)
        left = found.astype(np.float64).sum(0)
        number = self.to.numpy.type
        unit = float(np.nextafter(number(1), number(2))) - 1
        least = np.abs(wide).mean(0) * (unit / 2)
        for row in found:
            if (np.abs(left) <= least).all():
                break
            before = row.astype(np.float64)
            most = np.abs(before) * unit
            row[:] = (before - np.clip(left, -most, most)).astype(row.dtype)
            left += row.astype(np.float64) - before
        return found


class Standardise(Elementwise):
    """(x - mean) / sqrt(variance + epsilon). Mean and variance, of rows of `count` elements, follow from the sums of
    the rows' parts, then the sums of their squares. `centred`: x is made of such a row by a matrix whose columns add up
    to nothing, so that the mean is in x no more.
    """

    count: int
    epsilon: float
    centred: bool = False

    def dtype(self, *dtypes: DType) -> DType:
        """That of x; all else is in f32."""
        return dtypes[0]

    def compute(self, x: Array, *parts: Array) -> Array:
        """The definition."""
        half = len(parts) // 2
        mean = np.add.reduce(parts[:half]) / self.count
        variance = np.add.reduce(parts[half:]) / self.count - mean * mean
        moved = x if self.centred else x - mean
        return np.asarray(moved / np.sqrt(np.maximum(variance, 0) + self.epsilon))

    def expand(self, x: Value, *parts: Value) -> Value:
        """The same as floating nodes of primitives, in f32."""
        half = len(parts) // 2
        mean, square = (self._mean(parts[:half]), self._mean(parts[half:]))
        variance = Maximum()(Sub()(square, Mul()(mean, mean)), scalar(0.0, dt.f32)())
        factor = Rsqrt()(Add()(variance, scalar(self.epsilon, dt.f32)()))
        scaled: Value = Mul()(Cast(dt.f32)(x), factor)
        return scaled if self.centred else Sub()(scaled, Mul()(mean, factor))

    def _mean(self, parts: tuple[Value, ...]) -> Value:
        total = parts[0]
        for one in parts[1:]:
            total = Add()(total, one)
        mean: Value = Mul()(total, scalar(1 / self.count, dt.f32)())
        return mean

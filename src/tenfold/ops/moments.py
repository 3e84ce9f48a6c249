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


class Standardise(Elementwise):
    """(z - mean c) / sqrt(variance + epsilon), where z is a row x times a matrix whose columns add up to c: what
    (x - mean) / sqrt(variance + epsilon) times that matrix is.

    Mean and variance of x, of `count` elements, follow from the sums of its parts, then the sums of their squares.
    """

    count: int
    epsilon: float

    def dtype(self, *dtypes: DType) -> DType:
        """That of the products; all else is in f32."""
        return dtypes[0]

    def compute(self, z: Array, c: Array, *parts: Array) -> Array:
        """The definition."""
        half = len(parts) // 2
        mean = np.add.reduce(parts[:half]) / self.count
        variance = np.add.reduce(parts[half:]) / self.count - mean * mean
        return np.asarray((z - mean * c) / np.sqrt(np.maximum(variance, 0) + self.epsilon))

    def expand(self, z: Value, c: Value, *parts: Value) -> Value:
        """The same as floating nodes of primitives, in f32."""
        half = len(parts) // 2
        mean, square = (self._mean(parts[:half]), self._mean(parts[half:]))
        variance = Maximum()(Sub()(square, Mul()(mean, mean)), scalar(0.0, dt.f32)())
        factor = Rsqrt()(Add()(variance, scalar(self.epsilon, dt.f32)()))
        wide = Mul()(Cast(dt.f32)(z), factor)
        result: Value = Sub()(wide, Mul()(Mul()(mean, factor), c))
        return result

    def _mean(self, parts: tuple[Value, ...]) -> Value:
        total = parts[0]
        for one in parts[1:]:
            total = Add()(total, one)
        mean: Value = Mul()(total, scalar(1 / self.count, dt.f32)())
        return mean

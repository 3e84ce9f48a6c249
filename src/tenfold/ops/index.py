"""Operations that pick or place elements by positions held in a tensor.

Positions count from the end where they are negative. A position out of range is an error of the call.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Op
from tenfold.ir.type import ENTRIES_LIMIT, Type, unknown_size
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.movement import Movement
from tenfold.ops.reduce import check_axes

Reduction = Literal["none", "add", "mul", "max", "min"]


class Gather(Movement):
    """Slices of x along `axis`, chosen by a tensor of positions whose axes take the place of that axis."""

    axis: int = 0

    def infer(self, x: Type, indices: Type) -> Type:
        """x's sizes with the axis replaced by the sizes of the positions."""
        check_axes((self.axis,), x.rank, self.name)
        _check_indices(self, indices)
        result = Type(x.dtype, (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))
        return result.with_entries(_gathered(x, indices) if x.rank == 1 else None)

    def evaluate(self, x: Array, indices: Array) -> Array:
        """NumPy's take."""
        return np.take(x, indices, axis=self.axis)


class GatherElements(Movement):
    """result[i, j, …] = x[…, indices[i, j, …], …]: each position replaces the coordinate along `axis`."""

    axis: int = 0

    def infer(self, x: Type, indices: Type) -> Type:
        """The sizes of the positions."""
        check_axes((self.axis,), x.rank, self.name)
        _check_indices(self, indices)
        _check_rank(self, x, indices)
        return Type(x.dtype, indices.shape).with_entries(_gathered(x, indices) if x.rank == 1 else None)

    def evaluate(self, x: Array, indices: Array) -> Array:
        """Open index grids, one of them replaced."""
        return x[element_grid(indices, self.axis, x.shape[self.axis])]


class GatherND(Movement):
    """The last axis of `indices` holds coordinates into x, after `batch_axes` axes that both share."""

    batch_axes: int = 0

    def infer(self, x: Type, indices: Type) -> Type:
        """The sizes of the positions but the last, then those of x that no coordinate chooses."""
        _check_indices(self, indices)
        if not 0 <= self.batch_axes < min(x.rank, indices.rank):
            raise ValueError(f"GatherND of {x} at {indices} shares {self.batch_axes} axes")
        depth = coordinate_depth(self, x, indices)
        return Type(x.dtype, (*indices.shape[:-1], *x.shape[self.batch_axes + depth :]))

    def evaluate(self, x: Array, indices: Array) -> Array:
        """The batch axes as further coordinates."""
        shared = indices.shape[: self.batch_axes]
        grids = np.indices(shared) if shared else ()
        wide = indices.ndim - 1 - self.batch_axes
        batch = tuple(grid.reshape(*shared, *(1,) * wide) for grid in grids)
        return np.asarray(x[(*batch, *np.moveaxis(indices, -1, 0))])


class ScatterElements(Movement):
    """x with updates placed where `indices` says, each replacing the coordinate along `axis`; or combined there."""

    axis: int = 0
    reduction: Reduction = "none"

    def infer(self, x: Type, indices: Type, updates: Type) -> Type:
        """x's type."""
        check_axes((self.axis,), x.rank, self.name)
        _check_indices(self, indices)
        _check_rank(self, x, indices)
        _check_updates(self, x, updates, indices.shape)
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array, indices: Array, updates: Array) -> Array:
        """One update after another."""
        return _placed(x, element_grid(indices, self.axis, x.shape[self.axis]), updates, self.reduction)


class ScatterND(Movement):
    """x with updates placed at the coordinates that the last axis of `indices` holds; or combined there."""

    reduction: Reduction = "none"

    def infer(self, x: Type, indices: Type, updates: Type) -> Type:
        """x's type."""
        _check_indices(self, indices)
        depth = coordinate_depth(self, x, indices)
        _check_updates(self, x, updates, (*indices.shape[:-1], *x.shape[depth:]))
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array, indices: Array, updates: Array) -> Array:
        """One update after another."""
        return _placed(x, tuple(np.moveaxis(indices, -1, 0)), updates, self.reduction)


class NonZero(Op):
    """The coordinates of the elements that are not zero: i64[rank, count], in row-major order."""

    def infer(self, x: Type) -> Type:
        """Only the data decide the count."""
        return Type(dt.i64, (x.rank, unknown_size()))

    def evaluate(self, x: Array) -> Array:
        """NumPy's nonzero; a scalar has no coordinates."""
        found = np.nonzero(np.atleast_1d(x))
        return np.asarray(found, dtype=np.int64)[: x.ndim] if x.ndim else np.zeros((0, len(found[0])), np.int64)


class Compress(Op):
    """The slices of x along `axis` for which the condition, of one axis, holds; it may be shorter than the axis."""

    axis: int

    def infer(self, x: Type, condition: Type) -> Type:
        """Only the data decide the count."""
        check_axes((self.axis,), x.rank, self.name)
        if condition.rank != 1 or condition.dtype is not dt.boolean:
            raise ValueError(f"the condition of Compress must be bool of one axis, not {condition}")
        return Type(x.dtype, (*x.shape[: self.axis], unknown_size(), *x.shape[self.axis + 1 :]))

    def evaluate(self, x: Array, condition: Array) -> Array:
        """NumPy's compress."""
        return np.compress(condition[: x.shape[self.axis]], x, axis=self.axis)


def element_grid(indices: Array, axis: int, size: int) -> tuple[Array, ...]:
    """The coordinates that GatherElements reads and ScatterElements writes, one array an axis."""
    grids: list[Array] = list(np.indices(indices.shape))
    grids[axis] = np.where(indices < 0, indices + size, indices)
    return tuple(grids)


def coordinate_depth(op: Op, x: Type, indices: Type) -> int:
    """How many coordinates a position has; ValueError if that is unknown or more than x has axes."""
    depth = indices.shape[-1] if indices.rank else None
    batch = getattr(op, "batch_axes", 0)
    if not isinstance(depth, int) or depth + batch > x.rank or batch >= indices.rank:
        raise ValueError(f"{op.name} at positions {indices} in a tensor {x}")
    return depth


def _check_indices(op: Op, indices: Type) -> None:
    if not indices.dtype.is_integer:
        raise ValueError(f"{op.name} takes integer positions, not {indices.dtype}")


def _check_rank(op: Op, x: Type, indices: Type) -> None:
    if x.rank != indices.rank:
        raise ValueError(f"{op.name} takes positions of rank {x.rank}, not {indices}")


def _check_updates(op: Op, x: Type, updates: Type, shape: tuple[Size, ...]) -> None:
    if updates.dtype != x.dtype or updates.rank != len(shape):
        raise ValueError(f"{op.name} takes updates of {Type(x.dtype, shape)}, not {updates}")
    broadcast_shapes(updates.shape, shape)


def _gathered(x: Type, indices: Type) -> tuple[Size, ...] | None:
    if x.entries is None or indices.entries is None or not indices.is_static:
        return None
    positions = [index for index in indices.entries if isinstance(index, int)]
    count = len(x.entries)
    if len(positions) != len(indices.entries) or len(positions) > ENTRIES_LIMIT:
        return None
    if any(not -count <= position < count for position in positions):
        raise ValueError(f"position {positions} of a tensor of {count} elements")
    return tuple(x.entries[position] for position in positions)


def _placed(x: Array, at: tuple[Array, ...], updates: Array, reduction: Reduction) -> Array:
    result = x.copy()
    if reduction == "none":
        result[at] = updates
        return result
    combine = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
    flat = np.arange(math.prod(x.shape)).reshape(x.shape)[at].ravel()
    target = result.reshape(-1)
    for position, update in zip(flat, updates.ravel(), strict=True):
        target[position] = combine(target[position], update)
    return result

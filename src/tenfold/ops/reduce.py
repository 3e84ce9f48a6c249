"""Operations that combine the elements along axes."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np

from tenfold.errors import LimitError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type

ReduceKind = Literal[
    "sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2", "log_sum", "log_sum_exp", "any", "all"
]
FLOAT_KINDS = ("log_sum", "log_sum_exp")
BOOL_KINDS = ("any", "all")


def check_axes(axes: tuple[int, ...], rank: int, name: str) -> None:
    """ValueError unless the axes are distinct and within 0 <= axis < rank."""
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise ValueError(f"{name} over axes {axes} of a tensor of rank {rank}")


class Reduce(Op):
    """The elements along `axes` combined: by default each axis stays, with size 1.

    Floats narrower than 32 bits are combined in f32 and rounded once; integers wrap; the mean of integers
    rounds toward zero. Over no elements at all: sum 0, prod 1, max the lowest value (-Inf), min the highest.
    """

    kind: ReduceKind
    axes: tuple[int, ...]
    keepdims: bool = True

    def infer(self, x: Type) -> Type:
        """The kept axes, or all of them with the reduced ones of size 1."""
        check_axes(self.axes, x.rank, f"{self.name}.{self.kind}")
        if self.kind in FLOAT_KINDS and not x.dtype.is_float:
            raise ValueError(f"{self.name}.{self.kind} takes floating-point elements, not {x.dtype}")
        if self.kind in BOOL_KINDS and x.dtype is not dt.boolean:
            raise ValueError(f"{self.name}.{self.kind} takes bool elements, not {x.dtype}")
        return Type(x.dtype, reduced_shape(x.shape, self.axes, self.keepdims)).with_entries(self._entries(x))

    def _entries(self, x: Type) -> tuple[Size, ...] | None:
        if x.entries is None or self.kind not in ("sum", "prod", "max", "min", "any", "all"):
            return None
        sizes = [size for size in x.shape if isinstance(size, int)]
        kept = [range(size) for axis, size in enumerate(sizes) if axis not in self.axes]
        groups: dict[tuple[int, ...], list[Size]] = {index: [] for index in itertools.product(*kept)}
        for index, entry in zip(itertools.product(*map(range, sizes)), x.entries, strict=True):
            groups[tuple(at for axis, at in enumerate(index) if axis not in self.axes)].append(entry)
        if any(not group for group in groups.values()):
            return None
        try:
            return tuple(self._combine(group) for group in groups.values())
        except LimitError:
            return None

    def _combine(self, group: list[Size]) -> Size:
        result = group[0]
        for entry in group[1:]:
            match self.kind:
                case "sum":
                    result = result + entry
                case "prod" | "all":
                    result = result * entry
                case "max" | "any":
                    result = dim.maximum(result, entry)
                case _:
                    result = dim.minimum(result, entry)
        return result

    def evaluate(self, x: Array) -> Array:
        """The definition of each kind, in NumPy."""
        wide = x.astype(np.float32) if dt.of(x.dtype).is_float and x.dtype.itemsize < 4 else x
        with np.errstate(all="ignore"):
            return np.asarray(self._compute(wide)).astype(x.dtype)

    def _compute(self, x: Array) -> Array:
        axes, keep = self.axes, self.keepdims
        found: Array
        match self.kind:
            case "max" | "min" | "any" | "all":
                combine: Any = np.maximum if self.kind in ("max", "any") else np.minimum
                found = combine.reduce(x, axis=axes, keepdims=keep, initial=_neutral(self.kind, x))
            case "prod":
                found = np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype)
            case "mean":
                found = _mean(x, axes, keep)
            case "log_sum_exp":
                found = _log_sum_exp(x, axes, keep)
            case _:
                terms = {"l1": np.abs(x), "l2": x * x, "sum_square": x * x}.get(self.kind, x)
                total = np.sum(terms, axis=axes, keepdims=keep, dtype=x.dtype)
                found = {"l2": np.sqrt, "log_sum": np.log}.get(self.kind, np.asarray)(total)
        return found

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """One operation an input element."""
        return Cost(inputs[0].size, super().cost(inputs, outputs).bytes)


class ArgReduce(Op):
    """The i64 index of the greatest or least element along an axis: the first of equals, or the `last`. NaN wins."""

    kind: Literal["max", "min"]
    axis: int
    keepdims: bool = True
    last: bool = False

    def infer(self, x: Type) -> Type:
        """i64; the axis of size 1, or gone."""
        check_axes((self.axis,), x.rank, self.name)
        if x.shape[self.axis] == 0:
            raise ValueError(f"{self.name} over axis {self.axis} of size 0")
        return Type(dt.i64, reduced_shape(x.shape, (self.axis,), self.keepdims))

    def evaluate(self, x: Array) -> Array:
        """NumPy's argmax or argmin, from the far end if `last`."""
        find = np.argmax if self.kind == "max" else np.argmin
        wide = x.astype(np.float32) if dt.of(x.dtype).is_float and x.dtype.itemsize < 4 else x
        if self.last:
            found = x.shape[self.axis] - 1 - find(np.flip(wide, self.axis), axis=self.axis)
        else:
            found = find(wide, axis=self.axis)
        return np.expand_dims(found, self.axis) if self.keepdims else np.asarray(found)


class Cumulative(Op):
    """Running sum, product, greatest or least element along an axis.

    `exclusive` leaves each element out of its own result (the first one is then the neutral element);
    `reverse` runs from the end.
    """

    kind: Literal["sum", "prod", "max", "min"]
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, x: Type) -> Type:
        """The input's type."""
        check_axes((self.axis,), x.rank, self.name)
        return Type(x.dtype, x.shape).with_entries(self._entries(x))

    def _entries(self, x: Type) -> tuple[Size, ...] | None:
        if x.entries is None or x.rank != 1 or self.kind != "sum":
            return None
        items = x.entries[::-1] if self.reverse else x.entries
        sums = list(itertools.accumulate(items, initial=0))
        run = sums[:-1] if self.exclusive else sums[1:]
        return tuple(run[::-1] if self.reverse else run)

    def evaluate(self, x: Array) -> Array:
        """One slice after another."""
        combine = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[self.kind]
        wide = x.astype(np.float32) if dt.of(x.dtype).is_float and x.dtype.itemsize < 4 else x
        rows = np.moveaxis(np.flip(wide, self.axis) if self.reverse else wide, self.axis, 0)
        with np.errstate(all="ignore"):
            running = np.asarray(combine.accumulate(rows, axis=0, dtype=wide.dtype))
        if self.exclusive and len(rows):
            first = np.full_like(running[:1], _neutral(self.kind, wide))
            running = np.concatenate([first, running[:-1]])
        back = np.moveaxis(running, 0, self.axis)
        return (np.flip(back, self.axis) if self.reverse else back).astype(x.dtype)


def reduced_shape(shape: tuple[Size, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[Size, ...]:
    """The shape after the axes are reduced."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _neutral(kind: str, x: Array) -> float | int:
    low, high = dt.of(x.dtype).limits
    if x.dtype.kind == "f":
        low, high = -math.inf, math.inf
    return {"sum": 0, "prod": 1, "any": 0, "all": 1, "max": low, "min": high}[kind]


def _mean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The mean of no floats is NaN, of no integers 0."""
    total = np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)
    count = math.prod(x.shape[axis] for axis in axes)
    if x.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return np.asarray(total / x.dtype.type(count))
    return np.asarray(np.trunc(total / max(1, count)))


def _log_sum_exp(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    top = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, np.zeros_like(top))
    total = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift
    return np.asarray(total if keepdims else np.squeeze(total, axis=axes))

"""Tensors that share memory: a view sees what is written through another, as in PyTorch.

A `Cell` stands for memory; a `Ref` is how one tensor of the user's program sees it, through a chain of views. Reading
applies the views to what the memory holds now; writing goes back through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import cast, reshaped
from tenfold.importers.torch import placed, tensor
from tenfold.ir.graph import Value


@dataclass(eq=False)
class Cell:
    """Memory: what it holds, and how often that has changed."""

    value: Value
    version: int = 0

    def write(self, value: Value) -> None:
        """Let it hold something else."""
        self.value, self.version = value, self.version + 1


@dataclass(frozen=True)
class Step:
    """One view: how to see, and how to put back what was seen and has changed."""

    see: Callable[[Value], Value]
    back: Callable[[Value, Value], Value]


class Ref:
    """A tensor of the user's program."""

    def __init__(self, cell: Cell, steps: tuple[Step, ...] = ()) -> None:
        self.cell, self.steps = cell, steps
        self._seen: tuple[int, Value] | None = None

    @property
    def value(self) -> Value:
        """What it holds now."""
        if not self.steps:
            return self.cell.value
        if self._seen is None or self._seen[0] != self.cell.version:
            self._seen = (self.cell.version, self._along()[-1])
        return self._seen[1]

    def _along(self) -> list[Value]:
        found = [self.cell.value]
        for step in self.steps:
            found.append(step.see(found[-1]))
        return found

    def write(self, new: Value) -> None:
        """Let it hold something else, of its own shape and element type."""
        old = self.value.type
        new = tensor.expand(cast(new, old.dtype), old.shape)
        for step, before in zip(reversed(self.steps), reversed(self._along()[:-1]), strict=True):
            new = step.back(before, new)
        self.cell.write(new)

    def view(self, step: Step) -> Ref:
        """The same memory, seen through one more view."""
        return Ref(self.cell, (*self.steps, step))


def _shape_back(old: Value, new: Value) -> Value:
    return reshaped(new, old.type.shape)


def _replace(old: Value, new: Value) -> Value:
    return new


def _read_only(old: Value, new: Value) -> Value:
    raise UnsupportedError("writing through an expanded view", remedy="clone the tensor before writing to it")


def _transposed_back(order: Sequence[int]) -> Callable[[Value, Value], Value]:
    back = sorted(range(len(order)), key=lambda at: order[at])
    return lambda old, new: tensor.permute(new, back)


def _permute(value: Value, order: Sequence[int]) -> Step:
    wanted = [axis % value.type.rank for axis in order]
    return Step(lambda x: tensor.permute(x, wanted), _transposed_back(wanted))


def _transpose(value: Value, a: int, b: int) -> Step:
    return Step(lambda x: tensor.transpose(x, a, b), lambda old, new: tensor.transpose(new, a, b))


def _select(value: Value, axis: int, index: Any) -> Step:
    return Step(lambda x: tensor.select(x, axis, index), lambda old, new: placed.select_scatter(old, new, axis, index))


def _slice(value: Value, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Step:
    return Step(
        lambda x: tensor.cut(x, axis, start, end, step),
        lambda old, new: placed.slice_scatter(old, new, axis, start, end, step),
    )


def _narrow(value: Value, axis: int, start: Any, length: Any) -> Step:
    return _slice(value, axis, start, start + length)


def _diagonal(value: Value, *arguments: int) -> Step:
    return Step(
        lambda x: tensor.diagonal(x, *arguments), lambda old, new: placed.diagonal_scatter(old, new, *arguments)
    )


def _reshaping(convert: Callable[..., Value]) -> Callable[..., Step]:
    return lambda value, *arguments: Step(lambda x: convert(x, *arguments), _shape_back)


def _expanding(convert: Callable[..., Value]) -> Callable[..., Step]:
    return lambda value, *arguments: Step(lambda x: convert(x, *arguments), _read_only)


SAME = Step(lambda x: x, _replace)

VIEWS: Mapping[str, Callable[..., Step]] = {
    **{name: _reshaping(tensor.view) for name in ("view", "reshape", "_unsafe_view")},
    "flatten": _reshaping(tensor.flatten),
    "unflatten": _reshaping(tensor.unflatten),
    "squeeze": _reshaping(tensor.squeeze),
    "unsqueeze": _reshaping(tensor.unsqueeze),
    "permute": _permute,
    "transpose": _transpose,
    "t": lambda value: _transpose(value, 0, value.type.rank - 1),
    "numpy_T": lambda value: _permute(value, tuple(reversed(range(value.type.rank)))),
    "select": _select,
    "slice": _slice,
    "narrow": _narrow,
    "diagonal": _diagonal,
    "expand": lambda value, shape, *_: _expanding(tensor.expand)(value, shape),
    **{name: lambda value, *_: SAME for name in ("detach", "alias", "data", "contiguous", "lift_fresh")},
}
"""The operators whose result is a view, by name without overload."""


_SPLITS: Mapping[str, Callable[..., tuple[Value, ...]]] = {
    "split": tensor.split,
    "split_with_sizes": tensor.split_with_sizes,
    "chunk": tensor.chunk,
}


def pieces(value: Value, name: str, arguments: Sequence[Any]) -> list[Step] | None:
    """The views that an operator with several results gives; None for another operator."""
    axis = arguments[-1] if len(arguments) > (0 if name == "unbind" else 1) else 0
    if name == "unbind":
        count = value.type.shape[axis % value.type.rank]
        return [_select(value, axis, at) for at in range(count)] if isinstance(count, int) else None
    convert = _SPLITS.get(name)
    if convert is None:
        return None
    found: list[Step] = []
    start: Any = 0
    for one in convert(value, arguments[0], axis):
        size = one.type.shape[axis % value.type.rank]
        found.append(_narrow(value, axis, start, size))
        start = start + size
    return found

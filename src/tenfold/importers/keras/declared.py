"""The model's inputs: declared shapes, and what the user's `shapes=` and `dims=` make of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tenfold.errors import ModelError, OptionError
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size

Bounds = int | tuple[int, int] | tuple[int, int, int]
Shape = Sequence[int | str | Dim]


class Declared:
    """Turns declared shapes into sizes, under the user's overrides.

    `shapes` holds for an input's name its sizes (numbers or names); `dims` for a dimension's name a value, or
    (least, most) or (least, most, multiple). An open size is called "input.axis"; the first axis of every input is
    the batch, so that an open one is called after the first input. OptionError for a name that the model lacks.
    """

    def __init__(self, shapes: Mapping[str, Shape] | None, dims: Mapping[str, Bounds] | None) -> None:
        self._shapes = dict(shapes or {})
        self._dims = dict(dims or {})
        self._seen: dict[str, Size] = {}
        self._batch = ""

    def sizes(self, name: str, stated: Any) -> tuple[Size, ...]:
        """The sizes of an input that the model states so (None for an open one)."""
        asked = self._shapes.get(name)
        if not isinstance(stated, list | tuple):
            if asked is None:
                raise OptionError(
                    f"input {name!r} states no shape", argument="shapes", remedy=f"pass shapes={{{name!r}: (…)}}"
                )
            stated = [None] * len(asked)
        if asked is not None and len(asked) != len(stated):
            raise OptionError(
                f"shapes[{name!r}] has {len(asked)} sizes, and the model declares {len(stated)} axes", argument="shapes"
            )
        chosen = [None] * len(stated) if asked is None else asked
        return tuple(
            self._size(name, axis, own if one is None else one)
            for axis, (one, own) in enumerate(zip(chosen, stated, strict=True))
        )

    def _size(self, name: str, axis: int, size: Any) -> Size:
        if isinstance(size, Dim):
            return size
        if isinstance(size, str):
            return self._named(size)
        if size is None:
            if axis:
                return self._named(f"{name}.{axis}")
            self._batch = self._batch or f"{name}.0"
            return self._named(self._batch)
        if type(size) is not int or size < 0:
            raise ModelError(f"axis {axis} of input {name!r} has the size {size!r}")
        return size

    def _named(self, name: str) -> Size:
        if name not in self._seen:
            self._seen[name] = _bounded(name, self._dims.get(name))
        return self._seen[name]

    def check(self, inputs: Collection[str]) -> None:
        """OptionError if an override names an input or a dimension that the model does not have."""
        for name in self._shapes:
            if name not in inputs:
                raise unknown_name("input", name, inputs, "shapes")
        for name in self._dims:
            if name not in self._seen:
                raise unknown_name("dimension", name, self._seen, "dims")


def unknown_name(kind: str, name: str, known: Collection[str], argument: str) -> OptionError:
    """The error for a name that the model does not have, with the nearest one that it has."""
    near = difflib.get_close_matches(name, list(known), 1)
    shown = ", ".join(sorted(known)[:12])
    hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}" if shown else f"it has no {kind}s to choose"
    return OptionError(f"the model has no {kind} {name!r}", argument=argument, remedy=hint)


def _bounded(name: str, bounds: Any) -> Size:
    if bounds is None:
        return dim.symbol(name, low=1)
    if type(bounds) is int and bounds >= 0:
        return bounds
    if not isinstance(bounds, tuple | list) or len(bounds) not in (2, 3) or not all(type(b) is int for b in bounds):
        raise OptionError(
            f"dims[{name!r}] is {bounds!r}", argument="dims", remedy="give a number, or (least, most[, multiple])"
        )
    low, high, multiple = bounds if len(bounds) == 3 else (*bounds, 1)
    try:
        return dim.symbol(name, low=low, high=high, multiple=multiple)
    except ValueError as error:
        raise OptionError(f"dims[{name!r}]: {error}", argument="dims") from error

"""The model's inputs: declared shapes, and what the user's `shapes=` and `dims=` make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenfold.errors import ModelError, OptionError
from tenfold.importers.overrides import Bounds, Overrides, Shape, require_axes
from tenfold.ir.dim import Dim, Size


class Declared(Overrides):
    """Turns declared shapes into sizes, under the user's overrides.

    An open size is called "input.axis"; the first axis of every input is the batch, so that an open one is called
    after the first input.
    """

    def __init__(self, shapes: Mapping[str, Shape] | None, dims: Mapping[str, Bounds] | None) -> None:
        super().__init__(shapes, dims)
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
        if asked is not None:
            require_axes(name, asked, len(stated))
        chosen = [None] * len(stated) if asked is None else asked
        return tuple(
            self._size(name, axis, own if one is None else one)
            for axis, (one, own) in enumerate(zip(chosen, stated, strict=True))
        )

    def _size(self, name: str, axis: int, size: Any) -> Size:
        if isinstance(size, Dim):
            return size
        if isinstance(size, str):
            return self.named(size)
        if size is None:
            if axis:
                return self.named(f"{name}.{axis}")
            self._batch = self._batch or f"{name}.0"
            return self.named(self._batch)
        if type(size) is not int or size < 0:
            raise ModelError(f"axis {axis} of input {name!r} has the size {size!r}")
        return size

"""The user's `shapes=` and `dims=`: which sizes of a model's inputs are open, under which names and bounds."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tenfold.errors import OptionError
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.options import is_whole

Bounds = int | tuple[int, int] | tuple[int, int, int]
Shape = Sequence[int | str | Dim]


class Overrides:
    """What the user says of sizes, and which names of dimensions the model has.

    `shapes` holds for an input's name its sizes (numbers or names); `dims` for a dimension's name a value, or
    (least, most) or (least, most, multiple). A size without a bound may be 0.
    """

    def __init__(self, shapes: Mapping[str, Shape] | None, dims: Mapping[str, Bounds] | None) -> None:
        self._shapes = _by_name("shapes", "inputs", shapes, "{'image': (1, 3, 224, 224)}")
        for name, sizes in self._shapes.items():
            if isinstance(sizes, str) or not isinstance(sizes, Sequence):
                remedy = f"give the size of each axis: {{{name!r}: (1, 3, 224, 224)}}"
                raise OptionError(f"shapes[{name!r}] is {sizes!r}", argument="shapes", remedy=remedy)
            if "" in sizes:
                remedy = "give a number, or a name to leave it open"
                raise OptionError(f"a size of {name!r} is ''", argument="shapes", remedy=remedy)
        self._dims = _by_name("dims", "dimensions", dims, "{'batch': (1, 32)}")
        self._seen: dict[str, Size] = {}

    def states(self, name: str) -> bool:
        """Whether the user says which sizes an input of that name has."""
        return name in self._shapes

    def named(self, name: str) -> Size:
        """The size of that name; OptionError for bounds that no number fulfils."""
        if name not in self._seen:
            self._seen[name] = _bounded(name, self._dims.get(name))
        return self._seen[name]

    def check(self, inputs: Collection[str]) -> None:
        """OptionError if the user names an input or a dimension that the model does not have."""
        for name in self._shapes:
            if name not in inputs:
                raise unknown_name("input", name, inputs, "shapes")
        for name in self._dims:
            if name not in self._seen:
                raise unknown_name("dimension", name, self._seen, "dims")


def _by_name(argument: str, what: str, given: Any, example: str) -> dict[str, Any]:
    remedy = f"give a dict by the names of {what}: {example}"
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"{argument}= is a {type(given).__name__}", argument=argument, remedy=remedy)
    for name in given or ():
        if not isinstance(name, str):
            raise OptionError(f"{argument}= names one of the {what} {name!r}", argument=argument, remedy=remedy)
    return dict(given or {})


def require_axes(name: str, sizes: Shape, declared: int) -> None:
    """OptionError for sizes of an input that the model declares with another number of axes."""
    if len(sizes) != declared:
        raise OptionError(
            f"shapes[{name!r}] has {len(sizes)} sizes, and the model declares {declared} axes",
            argument="shapes",
            remedy=f"give {declared} sizes; a name leaves one open",
        )


def unknown_name(kind: str, name: str, known: Collection[str], argument: str) -> OptionError:
    """The error for a name that the model does not have, with the nearest one that it has."""
    near = difflib.get_close_matches(name, list(known), 1)
    shown = ", ".join(sorted(known)[:12])
    hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}" if shown else f"it has no {kind}s to choose"
    return OptionError(f"the model has no {kind} {name!r}", argument=argument, remedy=hint)


def _bounded(name: str, bounds: Any) -> Size:
    if bounds is None:
        return dim.symbol(name)
    if is_whole(bounds) and bounds >= 0:
        return int(bounds)
    if not isinstance(bounds, tuple | list) or len(bounds) not in (2, 3) or not all(map(is_whole, bounds)):
        raise OptionError(
            f"dims[{name!r}] is {bounds!r}", argument="dims", remedy="give a number, or (least, most[, multiple])"
        )
    low, high, multiple = map(int, bounds if len(bounds) == 3 else (*bounds, 1))
    if multiple < 1:
        raise OptionError(f"dims[{name!r}]: a multiple of {multiple}", argument="dims", remedy="give 1 or more")
    if low < 0:
        raise OptionError(f"dims[{name!r}]: the least is {low}", argument="dims", remedy="give 0 or more")
    if low > high:
        raise OptionError(
            f"dims[{name!r}]: the least, {low}, is more than the most, {high}", argument="dims", remedy="exchange them"
        )
    try:
        return dim.symbol(name, low=low, high=high, multiple=multiple)
    except ValueError as error:
        raise OptionError(f"dims[{name!r}]: {error}", argument="dims", remedy="widen the bounds") from error

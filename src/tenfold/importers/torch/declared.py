"""The user's `shapes=` and `dims=`: which sizes of a module's inputs are open, under which names and bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim as ExportDim

from tenfold.errors import OptionError
from tenfold.importers.overrides import Bounds, Overrides, Shape
from tenfold.importers.torch.structure import children, joined
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size

SMALLEST_EXAMPLE = 2


class Declared(Overrides):
    """What the user says of the sizes of a module. A dimension that `shapes` does not name is called "input.axis"."""

    def __init__(self, shapes: Mapping[str, Shape] | None, dims: Mapping[str, Bounds] | None) -> None:
        super().__init__(shapes, dims)
        self._safe: dict[str, str] = {}
        self._made: dict[str, Any] = {}

    def stated(self, name: str, own: Sequence[int | None]) -> list[Size | None]:
        """For each axis of an input the size that the user states, None where nothing is said.

        `own` holds the sizes of the example or program, None for an open one. OptionError if they cannot agree.
        """
        shape = self._shapes.get(name)
        if shape is not None and len(shape) != len(own):
            raise OptionError(
                f"shapes[{name!r}] has {len(shape)} sizes, and the input has {len(own)} axes", argument="shapes"
            )
        return [self._stated(name, axis, None if shape is None else shape[axis]) for axis in range(len(own))]

    def _stated(self, name: str, axis: int, asked: int | str | Dim | None) -> Size | None:
        label = asked if isinstance(asked, str) else f"{name}.{axis}"
        if not isinstance(asked, str) and label not in self._dims:
            return asked
        return self.named(label)

    def sizes(self, name: str, own: Sequence[int]) -> tuple[Size, ...]:
        """The sizes of an example, under what the user says."""
        pairs = zip(self.stated(name, own), own, strict=True)
        return tuple(size if asked is None else asked for asked, size in pairs)

    def between(self, label: str, low: int, high: int | None) -> Size:
        """A size that a program leaves open: under the user's bounds, or between the program's."""
        if label not in self._dims:
            self._seen.setdefault(label, dim.symbol(label, low=low, high=high))
        return self.named(label)

    def dynamic(self, name: str, leaf: Any) -> dict[int, Any]:
        """For each axis of an input that is open its dimension of torch.export."""
        found = {}
        for axis, size in enumerate(self.sizes(name, leaf.shape)):
            if isinstance(size, Dim) and size.symbol is not None:
                found[axis] = self._dimension(size)
        return found

    def _dimension(self, size: Dim) -> Any:
        known = size.symbol
        assert known is not None
        if known.name not in self._made:
            safe = re.sub(r"\W", "_", known.name)
            self._safe[safe] = known.name
            low, high = max(known.low or 0, 0), known.high
            if known.multiple == 1:
                self._made[known.name] = ExportDim(safe, min=low, max=high)
            else:
                most = None if high is None else high // known.multiple
                self._made[known.name] = known.multiple * ExportDim(f"_{safe}", min=-(-low // known.multiple), max=most)
        return self._made[known.name]

    def renamed(self, text: str) -> str:
        """A message of torch.export with the user's names of dimensions."""
        for safe, name in self._safe.items():
            text = re.sub(rf"\b_?{re.escape(safe)}\b", name, text)
        return text

    def stretched(
        self, given: tuple[tuple[Any, ...], dict[str, Any]], named: Sequence[tuple[str, Any]]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The example inputs with sizes that the tracer takes for open: at least 2, equal where names are."""
        chosen: dict[str, int] = {}
        for name, value in named:
            _each(name, value, lambda path, leaf: self._choose(path, leaf, chosen))
        args, kwargs = given
        count = len(args)
        changed = [_each(n, v, lambda path, leaf: self._stretch(path, leaf, chosen)) for n, v in named]
        flat = list(args)
        for at in range(min(count, len(changed))):
            flat[at] = changed[at] if named[at][1] is args[at] else args[at]
        names = dict(zip((name for name, _ in named), changed, strict=True))
        return tuple(flat), {name: names.get(name, value) for name, value in kwargs.items()}

    def _choose(self, path: str, leaf: Any, chosen: dict[str, int]) -> Any:
        for size, own in zip(self.sizes(path, leaf.shape), leaf.shape, strict=True):
            if isinstance(size, Dim) and size.symbol is not None:
                known = size.symbol
                least = max(SMALLEST_EXAMPLE * known.multiple, known.low or 0)
                least = -(-least // known.multiple) * known.multiple
                fits = own >= least and own % known.multiple == 0 and (known.high is None or own <= known.high)
                chosen[known.name] = max(chosen.get(known.name, least), own if fits else least)
        return leaf

    def _stretch(self, path: str, leaf: Any, chosen: Mapping[str, int]) -> Any:
        for axis, size in enumerate(self.sizes(path, leaf.shape)):
            wanted = size
            if isinstance(size, Dim) and size.symbol is not None:
                wanted = chosen[size.symbol.name]
            if isinstance(wanted, int) and wanted != leaf.shape[axis]:
                leaf = _repeated(leaf, axis, wanted)
        return leaf


def _repeated(x: Any, axis: int, size: int) -> Any:
    if not x.shape[axis]:
        return x.new_zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]))
    places = torch.arange(size) % x.shape[axis]
    return x.index_select(axis, places.to(x.device))


def _each(path: str, tree: Any, change: Callable[[str, Any], Any]) -> Any:
    """Nested containers with every tensor changed; other containers than dicts, lists and tuples stay as they are."""
    if isinstance(tree, torch.Tensor):
        return change(path, tree)
    found = children(tree)
    if found is None:
        return tree
    kind, held = found
    if type(tree) not in (tuple, list, dict):
        return tree
    if kind == "dict":
        return {key: _each(joined(path, key), child, change) for key, child in held}
    return type(tree)(_each(joined(path, key), child, change) for key, child in held)

"""Where the weights of a Keras model lie, under the names that its layers give them.

Keras numbers a layer's own variables in the order of their creation and keeps those of inner layers under the
attribute that holds the layer. Older files hold one list of names a layer, whatever is inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import h5py
import ml_dtypes
import numpy as np

from tenfold.errors import ModelError, UnsupportedError
from tenfold.ir.op import Array

MOST_EXPANSION = 64
"""A stored array may be so many times larger than the bytes that the file holds of it."""


_UNNAMED = re.compile(r"variable(_\d+)?")


class Weights(Protocol):
    """The variables of one layer, or of a model."""

    @property
    def place(self) -> str:
        """Where they lie in the file; "" where they do not say."""

    def own(self, index: int, name: str) -> Array | None:
        """Variable `index` of the layer itself, which it calls `name`; None if there is none."""

    def child(self, attribute: str) -> Weights:
        """Those of the layer that the layer keeps under an attribute."""

    def listed(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """Those of the layers that it keeps in a list, given as pairs of class and name."""


class NoWeights:
    """What a layer has of which nothing was saved."""

    place = ""

    def own(self, index: int, name: str) -> Array | None:
        """Nothing."""
        return None

    def child(self, attribute: str) -> Weights:
        """Nothing."""
        return self

    def listed(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """Nothing."""
        return [self for _ in layers]


@dataclass(frozen=True)
class Stored:
    """The weights of a `.keras` file: HDF5 groups named by attributes, and lists by their members' classes."""

    group: h5py.Group

    @property
    def place(self) -> str:
        """The group's path."""
        return str(self.group.name)

    def own(self, index: int, name: str) -> Array | None:
        """Data set `vars/index`."""
        variables = entry(self.group, "vars")
        found = None if variables is None else entry(variables, str(index))
        return None if found is None else contents(found)

    def child(self, attribute: str) -> Weights:
        """The group of that name, with or without the underscore of private attributes."""
        found = entry(self.group, attribute) or entry(self.group, f"_{attribute}")
        return NoWeights() if found is None else Stored(found)

    def listed(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """Groups `class`, `class_1`, …, each class counted for itself."""
        folder = entry(self.group, attribute) or entry(self.group, "_layer_checkpoint_dependencies")
        if folder is None:
            return [NoWeights() for _ in layers]
        counts: dict[str, int] = {}
        found: list[Weights] = []
        for kind, _ in layers:
            place = snake_case(kind)
            number = counts[place] = counts.get(place, -1) + 1
            group = entry(folder, f"{place}_{number}" if number else place)
            found.append(NoWeights() if group is None else Stored(group))
        return found


@dataclass
class Flat:
    """A layer's weights as one list of names, inner layers' among them: older files, and models in memory."""

    entries: Sequence[tuple[str, Any]]
    taken: set[int] = field(default_factory=set)
    place: str = ""

    def own(self, index: int, name: str) -> Array | None:
        """The first of that name, or of none that its layer gave it, that nobody has taken."""
        for at, (path, found) in enumerate(self.entries):
            if at not in self.taken and (last_part(path) == name or _UNNAMED.fullmatch(last_part(path))):
                self.taken.add(at)
                return contents(found)
        return None

    def child(self, attribute: str) -> Weights:
        """The same list: inner layers take theirs in order."""
        return self

    def listed(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """Those of the list that bear the names of each of the layers; the list itself where the layers have none."""
        found: list[Weights] = []
        for _, name in layers:
            own = [one for one in self.entries if f"/{name}/" in f"/{one[0]}"] if name else []
            found.append(Flat(own) if own else self)
        return found


@dataclass(frozen=True)
class Grouped:
    """The weights of a whole model in an older file, or in memory: a flat list for each layer, by its name."""

    layers: Mapping[str, Weights]
    place: str = ""

    def own(self, index: int, name: str) -> Array | None:
        """A model has none of its own."""
        return None

    def child(self, attribute: str) -> Weights:
        """A model has no others than its layers."""
        return NoWeights()

    def listed(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """By name."""
        return [self.layers.get(name) or NoWeights() for _, name in layers]


def snake_case(name: str) -> str:
    """A class's name as Keras makes it one of a variable: BatchNormalization, batch_normalization."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def last_part(path: str) -> str:
    """The variable's own name at the end of its path: "dense/kernel:0" is "kernel"."""
    return path.rpartition("/")[2].partition(":")[0]


@contextmanager
def undamaged() -> Iterator[None]:
    """Within it, what HDF5 cannot read is a ModelError."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ModelError(f"the weights are damaged: {error}", remedy="save the model again") from error


@undamaged()
def entry(group: Any, name: str) -> Any:
    """A member of a group, None if it has none of that name; ModelError for a link to somewhere else."""
    if not isinstance(group, h5py.Group):
        raise ModelError(f"{group.name!r} in the weights must be a group", remedy="save the model again")
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ModelError(
            f"{name!r} in {group.name!r} of the weights is a link to somewhere else, which is not followed",
            remedy="save the model again",
        )
    return group[name]


@undamaged()
def contents(found: Any) -> Array:
    """The elements of a data set, or of a variable of a live model; ModelError for more than the file can hold."""
    if not isinstance(found, h5py.Dataset):
        return live_array(found)
    if found.external or found.is_virtual:
        raise ModelError(
            f"weight {found.name!r} lies in another file, which is not read", remedy="save the model again"
        )
    if found.dtype.hasobject or found.shape is None:
        raise ModelError(f"weight {found.name!r} holds no numbers but {found.dtype}", remedy="save the model again")
    if found.nbytes > MOST_EXPANSION * found.id.get_storage_size():
        raise ModelError(
            f"weight {found.name!r} of shape {found.shape} states {found.nbytes} bytes, and the file holds "
            f"{found.id.get_storage_size()} of them",
            remedy="save the model again",
        )
    array = np.asarray(found[()])
    if found.attrs.get("dtype") == "bfloat16" or array.dtype == np.dtype("V2"):
        return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" else array.astype(ml_dtypes.bfloat16)
    return array


def live_array(variable: Any) -> Array:
    """What a variable of a live model holds, whatever the library behind it."""
    value = getattr(variable, "value", variable)
    value = value() if callable(value) else value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return np.asarray(value.float().numpy().astype(ml_dtypes.bfloat16))
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"a variable of type {type(value).__name__}: {error}") from error

"""Other weights for a built engine: recipes are replayed by the reference, with no compiler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import ops
from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.runtime import format
from tenfold.runtime.contents import CONSTANTS, WEIGHTS, constant_in
from tenfold.runtime.format import File

Array = NDArray[Any]
RECIPES, ORIGINALS = "recipes", "originals"


def refit(file: File, given: Mapping[str, Array]) -> format.Bytes:
    """The bytes of an engine file with these weights of the user's model replaced.

    InputError names a weight that is unknown or of another type, one whose value the engine was built round and that
    the new value does not keep, and those that must be given too because they are folded together with a given one.
    """
    recipes = Recipes(file)
    weights = recipes.checked(given)
    recipes.require_decisions(weights)
    contents = file.section(WEIGHTS).copy()
    for recipe in recipes.data["weights"]:
        made = recipes.replayed(recipe, weights)
        if made is not None:
            place = slice(recipe["offset"], recipe["offset"] + recipe["size"])
            contents[place] = np.ascontiguousarray(made).reshape(-1).view(np.uint8)
    sections = {name: file.section(name) for name in file.manifest["sections"]}
    manifest = {name: value for name, value in file.manifest.items() if name != "sections"}
    return format.pack(manifest, sections | {WEIGHTS: contents})


class Recipes:
    """How the weights of an engine file were made. `kept` are the constants that recipes refer to, by their keys."""

    def __init__(self, file: File) -> None:
        self.data: dict[str, Any] = json.loads(file.section(RECIPES).tobytes())
        self._originals, self._weights = file.section(ORIGINALS), file.section(WEIGHTS)
        self._places: Mapping[str, list[Any]] = json.loads(file.section(CONSTANTS).tobytes())
        self.kept = {name: self._kept(*about) for name, about in self.data["kept"].items()}

    def _kept(self, offset: int, dtype: str, shape: list[int]) -> Tensor:
        kind = dt.parse(dtype).numpy
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return Tensor(self._originals[offset : offset + size].view(kind).reshape(shape))

    def checked(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """The given weights that can be replaced; InputError for one that cannot."""
        sources, fixed = self.data["sources"], self.data["fixed"]
        found = {}
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise InputError(f"weights is a {kind}", argument="weights", remedy="give a dict of arrays by name")
        for name, value in given.items():
            array = np.asarray(value)
            if name in sources:
                found[name] = self._typed(name, array, *sources[name])
            elif name not in fixed:
                near = get_close_matches(name, [*sources, *fixed], 1)
                known = ", ".join([*sources][:12]) or "none that can be replaced"
                hint = f"did you mean {near[0]!r}?" if near else f"it has {known}"
                raise InputError(f"the model has no weight {name!r}", argument=name, remedy=hint)
            elif fixed[name] is not None and Tensor(array).digest != fixed[name]:
                raise _refused(name, "its value decided what the graph looks like")
        return found

    def _typed(self, name: str, array: Array, dtype: str, shape: list[int]) -> Array:
        if array.dtype != dt.parse(dtype).numpy or list(array.shape) != shape:
            raise InputError(
                f"weight {name!r} is {array.dtype}{list(array.shape)}, and the model has {dtype}{shape}",
                argument=name,
                remedy="give an array of that type",
            )
        return array

    def require_decisions(self, weights: Mapping[str, Array]) -> None:
        """InputError if something that the build took for granted does not hold with these weights."""
        for decision in self.data["decisions"]:
            array = self.replayed(decision, weights)
            if array is None:
                continue
            number = decision["number"]
            kept = Tensor(array).digest == decision["digest"] if number is None else bool(np.all(array == number))
            if not kept:
                names = ", ".join(name for name in decision["inputs"] if name in weights)
                raise _refused(names, f"the rule {decision['rule']!r} took its value for granted")

    def replayed(self, recipe: Mapping[str, Any], weights: Mapping[str, Array]) -> Array | None:
        """What a recipe makes of these weights; None if it uses none of them."""
        if "parts" in recipe:
            return self._joined(recipe, weights)
        names: list[str] = recipe["inputs"]
        given = [name for name in names if name in weights]
        if not given:
            return None
        missing = [name for name in names if name not in weights and name not in self.kept]
        if missing:
            raise InputError(
                f"{', '.join(given)} is folded with {', '.join(missing)}, which the engine does not hold apart",
                argument=missing[0],
                remedy=f"give {', '.join(missing)} too",
            )
        arrays = {name: weights[name] if name in weights else self.kept[name].array for name in names}
        return self._run(recipe, arrays)

    def _joined(self, recipe: Mapping[str, Any], weights: Mapping[str, Array]) -> Array | None:
        """What these weights make of a concatenation, whose other parts are had back from the file."""
        parts = {key: self.replayed(part, weights) for key, part in recipe["parts"].items()}
        if all(made is None for made in parts.values()):
            return None
        held = {key: constant_in(self._weights, *self._places[key]) for key, made in parts.items() if made is None}
        made = {key: array for key, array in parts.items() if array is not None}
        return self._run(recipe, made | {key: one.array for key, one in held.items()})

    def _run(self, recipe: Mapping[str, Any], arrays: Mapping[str, Array]) -> Array:
        return Interpreter().run(parse(recipe["graph"], ops.ALL, self.kept), arrays)["result"]


def _refused(name: str, reason: str) -> InputError:
    return InputError(
        f"weight {name!r} cannot be replaced by another value: {reason}", argument=name, remedy="build the model again"
    )

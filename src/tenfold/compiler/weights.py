"""The weights section: constants as kernels read them, each stored once, each with its recipe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.recipe import sources
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant

ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class Weight:
    """One stored constant: where it lies, what it was made of, and by which operations in order."""

    offset: int
    tensor: Tensor
    recipe: tuple[Op, ...]
    shape: tuple[int, ...]
    nbytes: int


class WeightStore:
    """Collects constants; those that are equal, and stay so whatever the user's weights become, are stored once."""

    def __init__(self) -> None:
        self.weights: dict[tuple[object, tuple[Op, ...]], Weight] = {}
        self.arrays: list[Array] = []
        self.nbytes = 0

    def plain(self, value: Value) -> int:
        """The byte offset of a constant as it is."""
        return self.packed(value, ())

    def packed(self, value: Value, recipe: tuple[Op, ...]) -> int:
        """The byte offset of a constant after some one-input operations."""
        assert isinstance(value.op, Constant), f"{value} is packed, and is no constant"
        return self.stored(value.op.tensor, recipe)

    def stored(self, tensor: Tensor, recipe: tuple[Op, ...]) -> int:
        """The byte offset of a tensor after some one-input operations."""
        key = (origin(tensor), recipe)
        if key not in self.weights:
            array = apply_recipe(tensor.array, recipe)
            self.weights[key] = Weight(self.nbytes, tensor, recipe, array.shape, array.nbytes)
            self.arrays.append(array)
            self.nbytes += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return self.weights[key].offset

    def contents(self) -> Array:
        """The section's bytes."""
        whole = np.zeros(self.nbytes, np.uint8)
        for weight, array in zip(self.weights.values(), self.arrays, strict=True):
            whole[weight.offset : weight.offset + weight.nbytes] = array.reshape(-1).view(np.uint8)
        return whole


def origin(tensor: Tensor) -> object:
    """What decides a tensor's content, now and after a refit: its weights and folds, or the content itself."""
    if tensor.recipe is None or not sources(tensor):
        return (tensor.source, tensor.digest)
    return (tensor.recipe.op, tensor.recipe.index, tuple(map(origin, tensor.recipe.inputs)))


def apply_recipe(array: Array, recipe: tuple[Op, ...]) -> Array:
    """The array after each operation in order."""
    for op in recipe:
        (array,) = op.results((array,))
    return np.ascontiguousarray(array)

"""The weights section: constants as kernels read them, each stored once, each with its recipe."""

from __future__ import annotations

import math
import mmap
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.recipe import sources
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.ops.window import known
from tenfold.runtime.format import Bytes

ALIGNMENT = 64
SLICE = 1 << 26
_AT_ONCE = 4
"""The most constants that are packed at once, each by a thread: NumPy lets go of Python's lock. Of those larger than a
slice there is one, as each is in memory twice.
"""


@dataclass(frozen=True, eq=False)
class Weight:
    """One stored constant: where it lies, what it was made of, and by which operations in order."""

    offset: int
    tensor: Tensor
    recipe: tuple[Op, ...]
    shape: tuple[int, ...]
    nbytes: int


class WeightStore:
    """Collects constants; those that are equal, and stay so whatever the user's weights become, are stored once.

    Nothing is read or packed before `write` puts it where it belongs, a few constants at a time.
    """

    def __init__(self) -> None:
        self.weights: dict[tuple[object, tuple[Op, ...]], Weight] = {}
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
            kind = Type(tensor.dtype, tensor.shape)
            for op in recipe:
                (kind,) = op.types((kind,))
            shape = known(kind.shape)
            nbytes = math.prod(shape) * kind.dtype.itemsize
            self.weights[key] = Weight(self.nbytes, tensor, recipe, shape, nbytes)
            self.nbytes += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return self.weights[key].offset

    def write(self, into: Bytes) -> None:
        """Put every constant at its offset of the section, which holds zeros."""
        alone = Lock()

        def put(weight: Weight) -> None:
            with alone if weight.nbytes > SLICE else nullcontext():
                place(weight)

        def place(weight: Weight) -> None:
            array = apply_recipe(weight.tensor.array, weight.recipe)
            assert array.nbytes == weight.nbytes, f"{weight.tensor} is packed to {array.nbytes} bytes"
            room = into[weight.offset :][: weight.nbytes]
            if array.flags.c_contiguous:
                _copy(array.reshape(-1).view(np.uint8), room)
            else:
                room.view(array.dtype).reshape(array.shape)[...] = array

        with ThreadPoolExecutor(min(_AT_ONCE, len(os.sched_getaffinity(0)))) as threads:
            deque(threads.map(put, self.weights.values()), maxlen=0)

    def contents(self) -> Bytes:
        """The section's bytes."""
        whole = np.zeros(self.nbytes, np.uint8)
        self.write(whole)
        return whole


def _copy(data: Bytes, into: Bytes) -> None:
    """Copy slice by slice. Of a mapped file, what has been copied leaves this process's memory."""
    mapped: Any = data
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    begin = data.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data if isinstance(mapped, mmap.mmap) else 0
    for start in range(0, data.size, SLICE):
        part = data[start : start + SLICE]
        into[start : start + part.size] = part
        if isinstance(mapped, mmap.mmap):
            page = (begin + start) // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, page, part.size)


def origin(tensor: Tensor) -> object:
    """What decides a tensor's content, now and after a refit: its weights and folds, or the content itself."""
    if tensor.recipe is None or not sources(tensor):
        return (tensor.source, tensor.digest)
    return (tensor.recipe.op, tensor.recipe.index, tuple(map(origin, tensor.recipe.inputs)))


def apply_recipe(array: Array, recipe: tuple[Op, ...]) -> Array:
    """The array after each operation in order, in any order of its axes in memory."""
    for op in recipe:
        (array,) = op.results((array,))
    return array

"""State of a context that lies on the GPU: buffers with room to spare there, read and seeded from the host."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cuda.arrays import DeviceArray, shaped
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.memory import Block
from tenfold.runtime.plan import Carried, Plan, Spec
from tenfold.runtime.state import State

Array = NDArray[Any]


class DeviceState(State):
    """As a `State`, whose arrays are the GPU's. All is done in the order of the stream that `stream` gives, which is
    that of the last call; `arena` is the block that a call takes beside.
    """

    def __init__(self, plan: Plan, arena: Block, driver: Driver, stream: Callable[[], Any]) -> None:
        super().__init__(plan, arena)
        self._driver, self._stream = driver, stream

    def shapes(self, given: Mapping[int, Array]) -> list[Array]:
        """What decides the frame of a call, where the caller gives these: of what lies on the GPU the shape counts."""
        return [
            shaped(one.shape, one.spec.dtype) if isinstance(one, DeviceArray) else one for one in self.complete(given)
        ]

    @property
    def addresses(self) -> dict[int, int]:
        """Where what is kept lies, by the number of the input."""
        return {number: array.address for number, array in self.arrays.items()}

    @property
    def stays(self) -> bool:
        """True if every state is updated where it lies, so that a call leaves all as it was but for the contents."""
        return all(one.in_place for one in self)

    def read(self) -> dict[str, Array]:
        """Copies of the state by name: of the filled rows."""
        found = {}
        for one in self:
            if one.input in self.arrays:
                buffer, rows = self.arrays[one.input], self.filled.get(one.count, 0)
                shape = tuple(rows if axis == one.along else size for axis, size in enumerate(buffer.shape))
                array = found[one.spec.name] = np.empty(shape, one.spec.dtype.numpy)
                for to, source, size in _runs(one, shape, buffer.shape, rows):
                    self._driver.download(array.ctypes.data + to, buffer.address + source, size, self._stream())
        self._driver.synchronize(self._stream())
        return found

    def adopt(self, other: State) -> None:
        """Make a copy of another context's state this one's, which stays on the GPU."""
        assert isinstance(other, DeviceState)
        self._driver.synchronize(other._stream())
        self.reset()
        for number, array in other.arrays.items():
            made = self.arrays[number] = self._empty(array.spec, array.shape)
            self._driver.copy(made.address, array.address, array.nbytes, self._stream())
        self._driver.synchronize(self._stream())
        self.filled = dict(other.filled)
        self.version += 1

    # where it lies

    def _empty(self, spec: Spec, shape: Sequence[int]) -> DeviceArray:
        address = self._driver.allocate(math.prod(shape) * spec.dtype.itemsize, self._stream())
        return DeviceArray(spec, address, tuple(shape), None, _Memory(self._driver, address, self._stream))

    def _zeros(self, spec: Spec, shape: Sequence[int]) -> DeviceArray:
        made = self._empty(spec, shape)
        self._driver.clear(made.address, made.nbytes, self._stream())
        return made

    def _copied(self, spec: Spec, array: Array) -> DeviceArray:
        made, dense = self._empty(spec, array.shape), np.ascontiguousarray(array)
        self._driver.upload(made.address, dense.ctypes.data, dense.nbytes, self._stream())
        self._driver.synchronize(self._stream())
        return made

    def _fill(self, one: Carried, buffer: DeviceArray, rows: Array) -> None:
        dense = np.ascontiguousarray(rows)
        for source, to, size in _runs(one, dense.shape, buffer.shape, dense.shape[one.along]):
            self._driver.upload(buffer.address + to, dense.ctypes.data + source, size, self._stream())
        self._driver.synchronize(self._stream())

    def _move(self, one: Carried, old: DeviceArray, buffer: DeviceArray, rows: int) -> None:
        for source, to, size in _runs(one, old.shape, buffer.shape, rows):
            self._driver.copy(buffer.address + to, old.address + source, size, self._stream())


class _Memory:
    """Memory on the GPU, given back when nothing refers to it any more."""

    def __init__(self, driver: Driver, address: int, stream: Callable[[], Any]) -> None:
        self._driver, self._address, self._stream = driver, address, stream

    def __del__(self, ended: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ended():
            self._driver.enter()
            self._driver.free(self._address, self._stream())


def _runs(one: Carried, first: Sequence[int], second: Sequence[int], rows: int) -> Iterator[tuple[int, int, int]]:
    """The first rows of two arrays that differ in their number of rows, as runs of bytes: where each begins in the one
    and in the other, and its size. Of a state without rows, all of it.
    """
    if not one.grows:
        yield 0, 0, math.prod(first) * one.spec.dtype.itemsize
        return
    row = math.prod(first[one.along + 1 :]) * one.spec.dtype.itemsize
    for number in range(math.prod(first[: one.along]) if rows else 0):
        yield number * first[one.along] * row, number * second[one.along] * row, rows * row

"""Arrays on the GPU: what comes in from PyTorch, CuPy and others in place, results as the kind that came in."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tenfold.errors import InputError
from tenfold.runtime.arrays import too_small
from tenfold.runtime.cuda.dlpack import capsule
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.plan import Spec

ALIGNMENT = 16
"""What kernels take for granted of every address."""


@dataclass(eq=False)
class DeviceArray:
    """A row-major array on the GPU, for whoever speaks DLPack or `__cuda_array_interface__`.

    `stream` is the number of the stream in whose order it may be used, None if it is complete.
    """

    spec: Spec
    address: int
    shape: tuple[int, ...]
    stream: int | None = None
    owner: Any = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.spec.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        dtype = self.spec.dtype.numpy
        return {
            "shape": self.shape,
            "typestr": dtype.str if dtype.kind in "biufc" else f"<V{dtype.itemsize}",
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }

    def __dlpack__(self, **_: Any) -> Any:
        return capsule(self, self.address, self.shape, self.spec.dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


def on_device(spec: Spec, given: Any) -> DeviceArray | None:
    """The given array, if it lies on the GPU. InputError if its element type or its order is another."""
    if given is None or isinstance(given, np.ndarray):
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _of_torch(spec, given, torch) if given.is_cuda else None
    described = getattr(given, "__cuda_array_interface__", None)
    if described is None:
        return None
    if isinstance(given, DeviceArray):
        _require(spec, given.spec.dtype.numpy == spec.dtype.numpy, str(given.spec.dtype))
        return DeviceArray(spec, given.address, given.shape, given.stream, given)
    if hasattr(given, "__dlpack_device__"):
        _require_first(spec, given.__dlpack_device__()[1])
    found = np.dtype(described["typestr"])
    _require(spec, found == spec.dtype.numpy or found.kind == "V", str(found))
    shape, strides = tuple(described["shape"]), described.get("strides")
    _require_row_major(spec, shape, strides, found.itemsize)
    stream = described.get("stream")
    return DeviceArray(spec, int(described["data"][0]), shape, stream, given)


def as_output(spec: Spec, given: Any) -> DeviceArray | None:
    """The given array, if it lies on the GPU, to be written in place; InputError if that cannot be."""
    found = on_device(spec, given)
    if found is None:
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        right = given.is_contiguous()
    else:
        right = not given.__cuda_array_interface__["data"][1]
    if not right or found.address % ALIGNMENT or (found.nbytes and not found.address):
        raise InputError(
            f"output {spec.name!r} is bound to an array that cannot be written in place",
            argument=spec.name,
            remedy=f"bind a writeable row-major array whose address is a multiple of {ALIGNMENT}",
        )
    return found


def part_of(spec: Spec, given: Any, shape: tuple[int, ...], stream: int) -> DeviceArray:
    """An output's first elements in the array that is bound to it; InputError if they find no room there."""
    whole = as_output(spec, given)
    assert whole is not None
    part = DeviceArray(spec, whole.address, shape, stream, given)
    if whole.size < part.size:
        raise too_small(spec, shape, whole.shape)
    return part


def _of_torch(spec: Spec, given: Any, torch: Any) -> DeviceArray:
    name = str(given.dtype).removeprefix("torch.")
    wanted = spec.dtype.numpy.name
    _require(spec, name == wanted, name)
    _require_first(spec, given.get_device())
    tensor = given.detach().contiguous()
    stream = torch.cuda.current_stream(tensor.device).cuda_stream
    return DeviceArray(spec, tensor.data_ptr(), tuple(tensor.shape), stream, tensor)


def _require_first(spec: Spec, number: int) -> None:
    if number != 0:
        raise InputError(
            f"input {spec.name!r} lies on GPU {number}, and engines run on GPU 0",
            argument=spec.name,
            remedy="move it to GPU 0, or let CUDA_VISIBLE_DEVICES name its GPU alone",
        )


def _require(spec: Spec, same: bool, came: str) -> None:
    if not same:
        raise InputError(
            f"input {spec.name!r} is {came}, and the model takes {spec}",
            argument=spec.name,
            remedy=f"convert it to {spec.dtype.numpy.name}",
        )


def _require_row_major(spec: Spec, shape: Sequence[int], strides: Sequence[int] | None, size: int) -> None:
    if strides is None:
        return
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != size:
            raise InputError(
                f"input {spec.name!r} is not row-major", argument=spec.name, remedy="make it contiguous first"
            )
        size *= length


def like(given: Iterable[Any], results: Sequence[Any]) -> Sequence[Any]:
    """Results as arrays of the kind of the first input, if its library takes them by DLPack; else as they are."""
    first = next(iter(given), None)
    home = sys.modules.get(type(first).__module__.partition(".")[0])
    taken = None if isinstance(first, DeviceArray) else getattr(home, "from_dlpack", None)
    return [taken(one) if taken and isinstance(one, DeviceArray) else one for one in results]


class Recycled:
    """Memory of results, given out again once nobody refers to it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._free: list[tuple[int, int]] = []
        self._all: list[tuple[int, int]] = []
        self._closed = False

    def take(self, spec: Spec, shape: tuple[int, ...], stream: Any) -> DeviceArray:
        """An uninitialised array."""
        size = max(math.prod(shape) * spec.dtype.itemsize, 1)
        found = next((one for one in self._free if size <= one[1] <= 2 * size), None)
        if found is None:
            found = (self._driver.allocate(size, stream), size)
            self._all.append(found)
        else:
            self._free.remove(found)
        return DeviceArray(spec, found[0], shape, int(stream), _Held(self, found))

    def back(self, memory: tuple[int, int]) -> None:
        """Nobody refers to this memory any more."""
        if self._closed:
            self._driver.enter()
            self._driver.free(memory[0], self._driver.foreign_stream(0))
        else:
            self._free.append(memory)

    def close(self, stream: Any) -> None:
        """Give back what nobody refers to now, the rest as soon as that is so."""
        self._closed = True
        for address, _ in self._free:
            self._driver.free(address, stream)
        self._free.clear()


class _Held:
    """Memory of a result, as long as something refers to it."""

    def __init__(self, home: Recycled, memory: tuple[int, int]) -> None:
        self._home, self._memory = home, memory

    def __del__(self) -> None:
        self._home.back(self._memory)

"""Arrays on the GPU: what comes in from PyTorch, CuPy and others in place, results as the kind that came in."""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError
from tenfold.ir.dtype import DType
from tenfold.runtime.arrays import too_small
from tenfold.runtime.cuda.dlpack import LEGACY, capsule, described, element
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.plan import Spec

ALIGNMENT = 16
"""What kernels take for granted of every address."""
_SPARE, _MOST = 16, 64
"""Sizes of which memory that is free is kept when more is asked for: of one stream, and of all."""
_UNORDERED = -1
"""What a receiver says by DLPack that takes care of the order itself."""


@dataclass(eq=False)
class DeviceArray:
    """A row-major array on the GPU, for whoever speaks DLPack or `__cuda_array_interface__`.

    `stream` is the number of the stream in whose order it was made, None if it is complete; `order` tells whether that
    is so still. `held`: its owner is to be kept until the GPU has read it. `home`: of whose results it is one.
    """

    spec: Spec
    address: int
    shape: tuple[int, ...]
    stream: int | None = None
    owner: Any = field(default=None, repr=False)
    held: bool = False
    home: Recycled | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.spec.dtype.itemsize

    @property
    def order(self) -> int | None:
        """The stream in whose order it may be used now, by its public number; None if it is complete."""
        if self.stream is None or (self.home is not None and self.home.closed):
            return None
        return self.stream or LEGACY

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        dtype = self.spec.dtype.numpy
        return {
            "shape": self.shape,
            "typestr": dtype.str if dtype.kind in "biufc" else f"<V{dtype.itemsize}",
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.order,
        }

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        order, asked = self.order, stream or LEGACY
        if order is not None and asked not in (order, _UNORDERED) and self.home is not None:
            self.home.follow(asked, order)
        return capsule(self, self.address, self.shape, self.spec.dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


@functools.lru_cache(4096)
def shaped(shape: tuple[int, ...], dtype: DType) -> NDArray[Any]:
    """An array of that shape and type, for those who look at no more."""
    return np.broadcast_to(np.zeros((), dtype.numpy), shape)


@functools.lru_cache(256)
def _named(dtype: Any) -> str:
    """The name of an element type of NumPy or PyTorch."""
    return dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")


def on_device(spec: Spec, given: Any) -> DeviceArray | None:
    """The given array, if it lies on the GPU. InputError if its element type or its order is another."""
    if given is None or isinstance(given, np.ndarray):
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _of_torch(spec, given, torch) if given.is_cuda else None
    if isinstance(given, DeviceArray):
        _require(spec, given.spec.dtype.numpy == spec.dtype.numpy, given.spec.dtype)
        return DeviceArray(spec, given.address, given.shape, given.order, given)
    said = _interface(given)
    if said is None:
        return _of_dlpack(spec, given)
    if hasattr(given, "__dlpack_device__"):
        _require_first(spec, given.__dlpack_device__()[1])
    found = np.dtype(said["typestr"])
    _require(spec, found == spec.dtype.numpy or found.kind == "V", found)
    shape, strides = tuple(said["shape"]), said.get("strides")
    _require_row_major(spec, shape, strides, found.itemsize)
    stream = said.get("stream")
    return DeviceArray(spec, int(said["data"][0]), shape, stream, given)


def as_output(spec: Spec, given: Any) -> DeviceArray | None:
    """The given array, if it lies on the GPU, to be written in place; InputError if that cannot be."""
    found = on_device(spec, given)
    if found is None:
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        right = given.is_contiguous()
    else:
        found_there = _interface(given)
        right = found_there is not None and not found_there["data"][1]
    if not right or found.address % ALIGNMENT or (found.nbytes and not found.address):
        raise InputError(
            f"output {spec.name!r} is bound to an array that cannot be written in place",
            argument=spec.name,
            remedy=f"bind a writeable row-major array whose address is a multiple of {ALIGNMENT}",
        )
    return found


def part_of(spec: Spec, given: Any, shape: tuple[int, ...], stream: int, home: Recycled) -> DeviceArray:
    """An output's first elements in the array that is bound to it; InputError if they find no room there."""
    whole = as_output(spec, given)
    assert whole is not None
    part = DeviceArray(spec, whole.address, shape, stream, given, home=home)
    if whole.size < part.size:
        raise too_small(spec, shape, whole.shape)
    return part


def _of_torch(spec: Spec, given: Any, torch: Any) -> DeviceArray:
    name = _named(given.dtype)
    _require(spec, name == _named(spec.dtype.numpy), name)
    _require_first(spec, given.get_device())
    tensor = given.detach().resolve_neg().contiguous()
    stream = torch.cuda.current_stream(tensor.device).cuda_stream
    return DeviceArray(spec, tensor.data_ptr(), tuple(tensor.shape), stream, tensor)


def _interface(given: Any) -> Any:
    """What an array says by `__cuda_array_interface__`; None if it says nothing, or not of these elements."""
    try:
        return getattr(given, "__cuda_array_interface__", None)
    except (RuntimeError, TypeError, ValueError):
        return None


def _of_dlpack(spec: Spec, given: Any) -> DeviceArray | None:
    found = described(given)
    if found is None:
        return None
    code, bits = found.element
    _require(spec, found.element == element(spec.dtype), f"of DLPack's type {code} of {bits} bits")
    _require_first(spec, found.number)
    _require_row_major(spec, found.shape, found.strides, 1)
    return DeviceArray(spec, found.address, found.shape, LEGACY, found.owner, held=True)


def _require_first(spec: Spec, number: int) -> None:
    if number != 0:
        raise InputError(
            f"input {spec.name!r} lies on GPU {number}, and engines run on GPU 0",
            argument=spec.name,
            remedy="move it to GPU 0, or let CUDA_VISIBLE_DEVICES name its GPU alone",
        )


def _require(spec: Spec, same: bool, came: object) -> None:
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


def like(given: Iterable[Any]) -> Callable[[Any], Any]:
    """What makes a result an array of the first input's kind, if its library takes it by DLPack; else leaves it."""
    first = next(iter(given), None)
    home = sys.modules.get(type(first).__module__.partition(".")[0])
    taken = None if isinstance(first, DeviceArray) else getattr(home, "from_dlpack", None)
    return lambda one: taken(one) if taken and isinstance(one, DeviceArray) else one


class Recycled:
    """Memory of results, given out again once nobody refers to it, first on the stream that wrote it; `closed` once its
    context has ended, and so waited for all that it wrote.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._free: dict[tuple[int, int], list[int]] = {}
        """Addresses by size and by the stream that wrote there; no list is empty."""
        self._returned: deque[tuple[tuple[int, int], int]] = deque()
        """What came back since, from whichever thread let go of it, also in the middle of `take`."""
        self.closed = False

    def take(self, spec: Spec, shape: tuple[int, ...], stream: Any) -> DeviceArray:
        """An uninitialised array."""
        size, order = max(math.prod(shape) * spec.dtype.itemsize, 1), int(stream)
        self._sort()
        kind = size, order
        if kind not in self._free:
            fitting = [one for one in self._free if size <= one[0] <= 2 * size]
            kind = next((one for one in fitting if one[1] == order), fitting[0] if fitting else kind)
        address = self._taken(kind)
        if address is None:
            self._spare(stream)
            address = self._driver.allocate(size, stream)
        elif kind[1] != order:  # that stream may still read it, or be gone by now
            self._driver.synchronize_all()
        return DeviceArray(spec, address, shape, order, _Held(self, address, (kind[0], order)), home=self)

    def _sort(self) -> None:
        """Put what came back where it is looked for."""
        while self._returned:
            kind, address = self._returned.popleft()
            self._free.setdefault(kind, []).append(address)

    def _taken(self, kind: tuple[int, int]) -> int | None:
        """Free memory of a kind, if there is any."""
        free = self._free.get(kind)
        if free is None:
            return None
        address = free.pop()
        if not free:
            del self._free[kind]
        return address

    def _spare(self, stream: Any) -> None:
        """Let the GPU have what this stream wrote and nothing has fitted for longest, but for a few sizes; what others
        wrote, too, once it is of many: some of them may be gone.
        """
        spared = [one for one in self._free if one[1] == int(stream)][:-_SPARE]
        if len(self._free) - len(spared) > _MOST:
            self._driver.synchronize_all()
            spared = [*self._free][:-_SPARE]
        for kind in spared:
            for address in self._free.pop(kind):
                self._driver.free(address, stream)

    def back(self, address: int, kind: tuple[int, int]) -> None:
        """Nobody refers any more to memory of this size, which this stream wrote."""
        if self.closed:
            self._driver.enter()
            self._driver.free(address, self._driver.foreign_stream(0))
        else:
            self._returned.append((kind, address))

    def follow(self, stream: int, order: int) -> None:
        """What comes to the first stream from now on waits for what the second one was given."""
        self._driver.enter()
        self._driver.follow(self._driver.foreign_stream(stream), self._driver.foreign_stream(order))

    def close(self, stream: Any) -> None:
        """Give back what nobody refers to now, the rest as soon as that is so."""
        self.closed = True
        self._sort()
        if any(order != int(stream) for _, order in self._free):
            self._driver.synchronize_all()
        for address in itertools.chain(*self._free.values()):
            self._driver.free(address, stream)
        self._free.clear()


class _Held:
    """Memory of a result, as long as something refers to it."""

    def __init__(self, home: Recycled, address: int, kind: tuple[int, int]) -> None:
        self._home, self._address, self._kind = home, address, kind

    def __del__(self, ended: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ended():
            self._home.back(self._address, self._kind)

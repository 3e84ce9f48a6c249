"""What all contexts of an engine share on a GPU: its functions and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError
from tenfold.runtime.cuda.apart import Apart
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.product import Asked, Convolution, Product
from tenfold.runtime.records import read

_ALIGNMENT = 256


@dataclass(frozen=True)
class Function:
    """A function and how it is launched, `cluster` blocks side by side; `words` say how each argument is passed.
    `product` is what a library is asked for in the place of the `instead` launches that follow, None where that is not
    installed; `apart` is where its blocks are kept apart; `meets`: all blocks wait for each other.
    """

    handle: Any
    threads: int
    shared: int
    cluster: int
    early: bool
    words: tuple[tuple[Any, ...], ...]
    product: Asked | None = None
    instead: int = 0
    apart: Apart | None = None
    meets: bool = False

    def room(self, blocks: int) -> int:
        """The bytes of shared memory that each of so many blocks asks for."""
        return max(self.shared, self.apart.room(blocks)) if self.apart else self.shared


class Weights:
    """Ranges of an engine's weights on the GPU, packed behind one another."""

    def __init__(self, driver: Driver, weights: NDArray[np.uint8], uploaded: Sequence[tuple[int, int]]) -> None:
        ranges = [(begin, min(end, weights.size)) for begin, end in uploaded if 0 <= begin < weights.size]
        ends = np.cumsum([0, *(end - begin + -(end - begin) % _ALIGNMENT for begin, end in ranges)])
        self._begins = np.array([begin for begin, _ in ranges] or [0], np.int64)
        self._starts = ends[: len(self._begins)]
        self._driver, self.nbytes = driver, int(ends[-1])
        self.stream = driver.open_stream()
        self.address = driver.allocate(self.nbytes, self.stream)
        for start, (begin, end) in zip(self._starts.tolist(), ranges, strict=False):
            driver.upload(self.address + start, weights.ctypes.data + begin, end - begin, self.stream)
        driver.synchronize(self.stream)

    def addresses(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where what lies at these bytes of the weights begins on the GPU, if it is there."""
        found = np.maximum(np.searchsorted(self._begins, offsets, "right") - 1, 0)
        found = self._starts[found] - self._begins[found]
        return np.asarray(offsets + found + self.address, np.int64)

    def close(self) -> None:
        """Give the memory back."""
        self._driver.free(self.address, self.stream)
        self._driver.synchronize(self.stream)
        self._driver.close_stream(self.stream)


class Resident:
    """Loaded when made; `close` gives everything back."""

    def __init__(
        self, driver: Driver, code: NDArray[np.uint8], functions: Sequence[Mapping[str, Any]], weights: Weights
    ) -> None:
        self.driver, self.weights = driver, weights
        self._lock, self._closed = Lock(), False
        self._modules: dict[int, Any] = {}
        self.functions = tuple(self._function(code, one) for one in functions)
        self.meets = any(one.meets for one in self.functions)
        """Whether its contexts are among the driver's `meetings`."""

    def _function(self, code: NDArray[np.uint8], one: Mapping[str, Any]) -> Function:
        if "instead" in one:
            product = self._asked(one)
            return Function(None, 0, 0, 1, False, (), product, one["instead"] if product else -1)
        begin, end = one["offset"], one["offset"] + one["size"]
        if not 0 <= begin < end <= code.size:
            raise EngineError("a GPU function lies outside the engine's code", remedy="copy or build the engine again")
        if begin not in self._modules:
            self._modules[begin] = self.driver.load(code[begin:end].tobytes())
        cluster = one.get("cluster", 1)
        apart = self.driver.apart if one["early"] and cluster == 1 else None
        handle = self.driver.function(self._modules[begin], one["name"], max(one["shared"], apart.most if apart else 0))
        words = tuple(tuple(word) for word in one["words"])
        meets = one.get("meets", False)
        return Function(handle, one["threads"], one["shared"], cluster, one["early"], words, apart=apart, meets=meets)

    def _asked(self, one: Mapping[str, Any]) -> Asked | None:
        """What a library is asked for; None if it is not here."""
        if "product" in one:
            return read(Product, one["product"], "functions") if self.driver.cublas else None
        return read(Convolution, one["convolution"], "functions") if self.driver.cudnn else None

    def close(self) -> None:
        """Give code and weights back; no context may use them any more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.driver.enter()
                self.weights.close()
                for module in self._modules.values():
                    self.driver.unload(module)
                self._modules.clear()

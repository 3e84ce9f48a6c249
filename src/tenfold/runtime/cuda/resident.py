"""What all contexts of an engine share on a GPU: its functions and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError
from tenfold.runtime.cuda.driver import Driver


@dataclass(frozen=True)
class Function:
    """A function and how it is launched; `words` say how each argument is passed."""

    handle: Any
    threads: int
    shared: int
    early: bool
    words: tuple[tuple[Any, ...], ...]


class Resident:
    """Loaded when made; `close` gives everything back."""

    def __init__(
        self,
        driver: Driver,
        code: NDArray[np.uint8],
        functions: Sequence[Mapping[str, Any]],
        weights: NDArray[np.uint8],
    ) -> None:
        self.driver = driver
        self._lock = Lock()
        self._modules: dict[int, Any] = {}
        self.functions = tuple(self._function(code, one) for one in functions)
        self.stream = driver.open_stream()
        self.weights = driver.allocate(weights.nbytes, self.stream)
        driver.upload(self.weights, weights.ctypes.data, weights.nbytes, self.stream)
        driver.synchronize(self.stream)

    def _function(self, code: NDArray[np.uint8], one: Mapping[str, Any]) -> Function:
        begin, end = one["offset"], one["offset"] + one["size"]
        if not 0 <= begin < end <= code.size:
            raise EngineError("a GPU function lies outside the engine's code", remedy="copy or build the engine again")
        if begin not in self._modules:
            self._modules[begin] = self.driver.load(code[begin:end].tobytes())
        handle = self.driver.function(self._modules[begin], one["name"], one["shared"])
        words = tuple(tuple(word) for word in one["words"])
        return Function(handle, one["threads"], one["shared"], one["early"], words)

    def close(self) -> None:
        """Give code and weights back; no context may use them any more."""
        with self._lock:
            if self._modules:
                self.driver.enter()
                self.driver.free(self.weights, self.stream)
                self.driver.synchronize(self.stream)
                self.driver.close_stream(self.stream)
                for module in self._modules.values():
                    self.driver.unload(module)
                self._modules.clear()

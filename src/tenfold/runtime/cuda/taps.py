"""Taps on a GPU: launch after launch, and what a launch completes is copied from there before the next."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.calls import Inputs
from tenfold.runtime.context import Array
from tenfold.runtime.cuda.context import DeviceContext
from tenfold.runtime.cuda.launches import Launches
from tenfold.runtime.frame import Frame
from tenfold.runtime.plan import WEIGHTS, Window
from tenfold.runtime.taps import Reading
from tenfold.runtime.windows import view

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine


class TappedDeviceContext(DeviceContext):
    """A context on a GPU alone whose calls are read."""

    def __init__(self, engine: Engine, reading: Reading) -> None:
        self._reading = reading
        super().__init__(engine)

    def _run(self, inputs: Inputs) -> Any:
        found = super()._run(inputs)
        self._reading.end()
        return found

    def _part(self, part: Launches, frame: Frame, stream: Any) -> None:
        """Each launch stands for the steps up to the next one's: a library's product for several."""

        def read(window: Window, slots: NDArray[np.int64], start: int) -> Array:
            return view(window, slots, lambda base, offset: place(base, frame.slots[offset]) + start, downloaded)

        def place(base: int, offset: int) -> int:
            weights = self._resident.weights
            return int(weights.addresses(np.array(offset)) if base == WEIGHTS else self._bases[base] + offset)

        def downloaded(address: int, size: int) -> NDArray[np.uint8]:
            array = np.empty(size, np.uint8)
            self._driver.download(array.ctypes.data, address, size, stream)
            self._driver.synchronize(stream)
            return array

        self._reading.begin(self._frames.sizes(frame), read)
        part.load(self._addressed(frame))
        for step in range(part.span.begin, next(iter(part.steps), part.span.end)):
            self._reading.passed(step)
        for number, (step, after) in enumerate(pairwise([*part.steps, part.span.end])):
            part.launch_one(number, stream)
            for one in range(step, max(step + 1, after)):
                self._reading.passed(one)

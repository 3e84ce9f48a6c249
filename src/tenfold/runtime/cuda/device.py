"""The GPU as engines see it: what they keep there, and contexts that run there."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError
from tenfold.runtime.context import Context
from tenfold.runtime.cuda.context import DeviceContext
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches
from tenfold.runtime.cuda.resident import Resident, Weights
from tenfold.runtime.cuda.shared import SharedContext
from tenfold.runtime.cuda.taps import TappedDeviceContext
from tenfold.runtime.plan import Plan, Span
from tenfold.runtime.records import read
from tenfold.runtime.taps import Reading

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine


class Device:
    """This machine's first GPU."""

    def __init__(self, driver: Driver | None = None) -> None:
        self.driver = driver or Driver()

    @property
    def processors(self) -> int:
        """How many multiprocessors it has."""
        return self.driver.processors

    def resident(self, engine: Engine) -> Resident:
        """The engine's functions and weights on the GPU, as long as the engine lives."""
        code = engine.file.section(engine.entry["code_section"])
        uploaded = read(tuple[tuple[int, int], ...], engine.entry.get("uploaded"), "uploaded")
        made = self.load(code, engine.entry["functions"], engine.weights, uploaded)
        weakref.finalize(engine, made.close).atexit = False
        return made

    def load(
        self,
        code: NDArray[np.uint8],
        functions: Sequence[Mapping[str, Any]],
        weights: NDArray[np.uint8],
        uploaded: Sequence[tuple[int, int]] = (),
    ) -> Resident:
        """Functions on the GPU, and the weights in the ranges `uploaded`, until they are closed."""
        self.driver.enter()
        return Resident(self.driver, code, functions, Weights(self.driver, weights, uploaded))

    def launches(self, resident: Resident, plan: Plan, span: Span, slots: NDArray[np.int64]) -> Launches:
        """The launches of a span of device steps, at the sizes that slots hold."""
        return Launches(self.driver, resident.functions, plan, span, slots)

    def context(self, engine: Engine, threads: int | None = None) -> Context:
        """A running instance of an engine, whose parts on the CPU use at most so many threads."""
        if all(span.place == "cuda" for span in engine.plan.spans):
            return DeviceContext(engine)
        return SharedContext(engine, threads)

    def tapped(self, engine: Engine, reading: Reading) -> Context:
        """A running instance whose calls are read; EngineError for an engine that the GPU and the CPU share."""
        if not all(span.place == "cuda" for span in engine.plan.spans):
            raise EngineError(
                "the values of an engine that a GPU and the CPU share can't be read",
                remedy="build the model for the CPU to look inside; `tenfold compare --no-layers` compares results",
            )
        return TappedDeviceContext(engine, reading)

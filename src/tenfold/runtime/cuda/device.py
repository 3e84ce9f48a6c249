"""The GPU as engines see it: what they keep there, and contexts that run there."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.context import Context
from tenfold.runtime.cuda.context import DeviceContext
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches
from tenfold.runtime.cuda.resident import Resident
from tenfold.runtime.plan import Plan, Span

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
        made = self.load(code, engine.entry["functions"], engine.weights)
        weakref.finalize(engine, made.close).atexit = False
        return made

    def load(
        self, code: NDArray[np.uint8], functions: Sequence[Mapping[str, Any]], weights: NDArray[np.uint8]
    ) -> Resident:
        """Functions and weights on the GPU, until they are closed."""
        self.driver.enter()
        return Resident(self.driver, code, functions, weights)

    def launches(self, resident: Resident, plan: Plan, span: Span, slots: NDArray[np.int64]) -> Launches:
        """The launches of a span of device steps, at the sizes that slots hold."""
        return Launches(self.driver, resident.functions, plan, span, slots)

    def context(self, engine: Engine) -> Context:
        """A running instance of an engine."""
        return DeviceContext(engine)

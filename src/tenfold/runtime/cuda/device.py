"""The GPU as engines see it: what they keep there, and contexts that run there."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from tenfold.runtime.context import Context
from tenfold.runtime.cuda.context import DeviceContext
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.resident import Resident

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
        self.driver.enter()
        code = engine.file.section(engine.entry["code_section"])
        made = Resident(self.driver, code, engine.entry["functions"], engine.weights)
        weakref.finalize(engine, made.close).atexit = False
        return made

    def context(self, engine: Engine) -> Context:
        """A running instance of an engine."""
        return DeviceContext(engine)

"""Alarms: words of the host's memory that kernels of the GPU set whose indices lie outside of their axes.

They are read when a call's results have come, which costs neither a copy nor a wait of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.failures import ALARM, outside
from tenfold.runtime.plan import Label, Plan


class Alarms:
    """A word for each of these steps of a plan, at `address`; 0 where there are none."""

    def __init__(self, driver: Driver, plan: Plan, steps: Sequence[int]) -> None:
        self._driver, self._plan, self._steps = driver, plan, steps
        self.address, size = 0, len(steps) * ALARM
        self._quiet = bytes(size)
        self._words = memoryview(bytearray())
        if size:
            self.address = driver.allocate_pinned(size)
            ctypes.memset(self.address, 0, size)
            self._words = memoryview((ctypes.c_ubyte * size).from_address(self.address)).cast("B")

    def look(self) -> None:
        """ExecutionError if a kernel that has run was given an index outside; the alarm is then off again."""
        found = self._words.tobytes()
        if found == self._quiet:
            return
        self.clear()
        first = next(number for number in range(len(self._steps)) if any(found[number * ALARM :][:ALARM]))
        raise outside(self._label(self._steps[first]))

    def _label(self, step: int) -> Label:
        return self._plan.labels[step] if step < len(self._plan.labels) else Label((), "", "")

    def clear(self) -> None:
        """Put all off."""
        self._words[:] = self._quiet

    def close(self) -> None:
        """Give the memory back; nothing may be under way."""
        if self.address:
            self._words, self._quiet = memoryview(bytearray()), b""
            self._driver.free_pinned(self.address)
            self.address = 0

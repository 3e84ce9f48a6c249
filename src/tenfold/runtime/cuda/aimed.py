"""Launches whose inputs may lie elsewhere in each call: what of a graph follows from where each of them lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Change, Launches, Slots, addressed
from tenfold.runtime.cuda.memory import Staging
from tenfold.runtime.cuda.resident import Resident
from tenfold.runtime.plan import FIRST_INPUT, Plan
from tenfold.runtime.written import Written

REMEMBERED = 16
"""Sets of inputs that move together whose changes are kept."""


class Aimed:
    """The launches of an engine's only span at sizes that stay. `slots` are those of its frame, `bases` the addresses,
    `inputs` the numbers of the inputs that come from the caller, which lie at `places` and take `sizes` bytes.

    A graph is told which kernels read elsewhere. What it cannot be told, since a library's product reads the input or
    loops are unrolled, is copied to memory that stays, and so is what lies where results are `written`.
    """

    def __init__(
        self, driver: Driver, resident: Resident, plan: Plan, slots: Slots, bases: NDArray[np.int64],
        inputs: Sequence[int], places: Sequence[int], sizes: Sequence[int], written: Written, stream: Any,
    ) -> None:  # fmt: skip
        self._driver, self._plan, self._slots, self._weights = driver, plan, slots, resident.weights
        self._bases, self._inputs, self._sizes = bases, inputs, sizes
        self._staging, self._copied = Staging(driver), dict[int, int]()
        self._launches = Launches(driver, resident.functions, plan, plan.spans[0], slots)
        self._cells = [self._launches.cells(self._read(number)) for number in inputs]
        self._fixed = {place for place, cells in enumerate(self._cells) if self._launches.feeds_product(cells)}
        self._follow: dict[tuple[int, ...], Change] = {}
        self._written = written
        self.places = places
        """Where the launches read."""
        self._copy(self._overwritten(range(len(places))), stream)

    def _read(self, number: int) -> dict[int, int]:
        """The slots that an input's address gets into, and what is added to it."""
        rows = self._plan.binds[self._plan.binds[:, 1] == FIRST_INPUT + number] if len(self._plan.binds) else ()
        return {int(to): int(self._slots[offset]) for to, _, offset in rows}

    def _load(self) -> None:
        """Take all addresses."""
        for number, place in enumerate(self.places):
            self._bases[FIRST_INPUT + self._inputs[number]] = self._copied.get(number, place)
        self._launches.load(addressed(self._plan, self._slots, self._bases, self._weights))

    def aim(self, places: Sequence[int], stream: Any) -> None:
        """Let the launches read inputs that lie elsewhere."""
        moved = tuple(number for number, (to, at) in enumerate(zip(places, self.places, strict=True)) if to != at)
        self.places = places
        fixed = self._fixed.intersection(moved) if self._launches.one_by_one else set(moved)
        fixed |= self._overwritten(moved)
        if fixed <= self._copied.keys():
            self._launches.put(self._follows(moved), places)
        else:
            self._copy(fixed - self._copied.keys(), stream)

    def _overwritten(self, numbers: Iterable[int]) -> set[int]:
        """Those of these inputs that lie where results go."""
        return self._written.among(numbers, self.places, self._sizes)

    def _copy(self, numbers: Iterable[int], stream: Any) -> None:
        """Let these be read where copies of them go from now on; take all addresses."""
        for one in numbers:
            self._copied[one] = self._staging.room(one, self._sizes[one], stream)
        self._follow.clear()
        self._load()

    def run(self, stream: Any, home: Any) -> None:
        """Put the launches on a stream; `home` is the stream on which graphs are made."""
        for number, address in self._copied.items():
            self._driver.copy(address, self.places[number], self._sizes[number], stream)
        self._launches.run(stream, home)

    def replayer(self, stream: Any) -> Callable[[], None] | None:
        """What does `run` once more from any thread, until the launches are aimed elsewhere; None where that is more
        than to replay a graph.
        """
        return None if self._copied else self._launches.replayer(stream)

    def _follows(self, moved: tuple[int, ...]) -> Change:
        """What changes when these inputs have moved."""
        found = self._follow.get(moved)
        if found is None:
            if len(self._follow) == REMEMBERED:
                self._follow.clear()
            cells = [(cell, one, more) for one in moved if one not in self._copied for cell, more in self._cells[one]]
            found = self._follow[moved] = self._launches.change(cells)
        return found

    def close(self, stream: Any) -> None:
        """Give graph and memory back."""
        self._launches.close()
        self._staging.close(stream)

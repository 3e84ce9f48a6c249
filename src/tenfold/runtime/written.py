"""Where results go that the caller bound arrays to. An input that lies there is copied first: it is read as it was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError
from tenfold.runtime.cpu.shortcut import address_reader

Array = NDArray[Any]
Range = tuple[int, int]
"""Where memory begins, and where it ends."""


class Written:
    """Ranges of memory by the names of the outputs that are written there; InputError if two of them share any."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        placed = sorted((place, name) for name, place in ranges.items() if place[0] < place[1])
        for ((_, end), one), ((start, _), other) in pairwise(placed):
            if start < end:
                raise InputError(
                    f"outputs {one!r} and {other!r} are bound to the same memory",
                    argument=other,
                    remedy="bind an array of its own to each",
                )
        self._starts, self._ends = [start for (start, _), _ in placed], [end for (_, end), _ in placed]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def over(self, start: int, size: int) -> bool:
        """Whether results go there, or to a part of it."""
        ahead = bisect_left(self._starts, start + size)
        return ahead > 0 and self._ends[ahead - 1] > start

    def among(self, numbers: Iterable[int], places: Sequence[int], sizes: Sequence[int]) -> set[int]:
        """Those of these numbers whose place and size are such."""
        if not self._starts:
            return set()
        least, most, over = self._starts[0], self._ends[-1], self.over
        return {
            one for one in numbers
            if places[one] < most and places[one] + sizes[one] > least and over(places[one], sizes[one])
        }  # fmt: skip

    def over_any(self, arrays: Sequence[Any]) -> bool:
        """Whether that is so for any of these that is a row-major array of NumPy."""
        if not self._starts:
            return False
        place, least, most = address_reader(), self._starts[0], self._ends[-1]
        for one in arrays:
            if type(one) is np.ndarray:
                start = place(one)
                if start < most and start + one.nbytes > least and self.over(start, one.nbytes):
                    return True
        return False

    def apart(self, array: Array) -> Array:
        """The array, row-major; a copy of it where results go."""
        return array.copy() if self and self.over(array.ctypes.data, array.nbytes) else array


def range_of(array: Array) -> Range:
    """Where the memory of a row-major array lies."""
    start: int = array.ctypes.data
    return start, start + array.nbytes

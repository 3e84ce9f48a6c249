"""The sizes of a call, by native code: what `ir.program` computes, in a place that is given."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.program import Program

_SIZES = ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)


class NativeSizes:
    """A program bound to the code at `entry`; `owner` keeps the code alive."""

    def __init__(self, program: Program, entry: int, owner: Any) -> None:
        self._owner = owner
        self._function: Any = _SIZES(entry)
        self._rows = np.ascontiguousarray(program.rows, np.int64)
        self._address, self._first = self._rows.ctypes.data, program.symbols

    def fill(self, slots: NDArray[np.int64], end: int) -> bool:
        """Compute the slots before `end` from those of the symbols, in place. False if a row failed, which may not
        matter: `Program.run` knows.
        """
        return self.filling(slots, end)()

    def filling(self, slots: NDArray[np.int64], end: int) -> Callable[[], bool]:
        """`fill` for this array, which must live as long as it is used."""
        function, arguments = self._function, (self._address, end - self._first, slots.ctypes.data, self._first)
        return lambda: function(*arguments) == 0

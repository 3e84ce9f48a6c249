"""The quick way on: calls like the one before, but for the rows of state that it has appended.

Every such call has other sizes. They are computed natively, straight into the frame, and compared as a whole; the
addresses of what the context keeps stay. Whatever is not as it was is left to the ordinary way, which also says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.cpu.shortcut import address_reader
from tenfold.runtime.cpu.sizes import NativeSizes
from tenfold.runtime.frame import Frame
from tenfold.runtime.plan import FIRST_INPUT, Plan, Symbol
from tenfold.runtime.state import State

Array = NDArray[Any]
_MOST = 2**63 - 1
_USABLE = 0x1 | 0x100
"""NumPy's flags of arrays that are row-major and aligned."""


class Advance:
    """Made after an ordinary call: its inputs in order, and its frame. `result(number, shape)` gives the array that an
    output is written into.
    """

    def __init__(
        self,
        plan: Plan,
        native: NativeSizes,
        invocation: Invocation,
        state: State,
        arena: Arena,
        frame: Frame,
        arrays: Sequence[Array],
        result: Callable[[int, tuple[int, ...]], Array],
    ) -> None:
        self._state, self._version = state, state.version
        self._arena, self._arena_size = arena, plan.arenas[0]
        self._frame, self._slots = invocation.frame, invocation.frame.data
        self._bases, self._address, self._result = invocation.bases.data, address_reader(), result
        self._fill = native.filling(invocation.frame, plan.sections[0])
        self._checks = np.array([check.slot for check in plan.checks], np.int64) if plan.checks else None
        given = [number for number in range(len(plan.inputs)) if number not in plan.hidden]
        self._note_inputs(plan, given, arrays)
        kept = self._note_state(plan, arrays)
        self._kept = [size for _, size in kept]
        self._before = _unchanged(plan, frame, dict(kept))
        sizes = [slot for number in given for slot in plan.shapes[number]]
        self._sizes = np.array([*sizes, *(slot for slot, _ in kept)], np.int64)
        hidden = {one.output for one in state}
        self._outputs = [
            (number, FIRST_INPUT + len(plan.inputs) + number, plan.shapes[len(plan.inputs) + number])
            for number in range(len(plan.outputs))
            if number not in hidden
        ]

    def _note_inputs(self, plan: Plan, given: Sequence[int], arrays: Sequence[Array]) -> None:
        """What the caller's arrays must be, and which symbols are sizes or elements of theirs."""
        self._kinds = [(FIRST_INPUT + number, arrays[number].dtype, arrays[number].ndim) for number in given]
        firsts = dict(zip(given, accumulate((arrays[number].ndim for number in given), initial=0), strict=False))
        own = [(slot, one) for slot, one in enumerate(plan.symbols) if one.input in firsts]
        self._axes = [(slot, firsts[one.input] + one.axis, *_bounds(one)) for slot, one in own if one.entry < 0]
        self._entries = [(slot, given.index(one.input), one.entry) for slot, one in own if one.entry >= 0]

    def _note_state(self, plan: Plan, arrays: Sequence[Array]) -> list[tuple[int, int]]:
        """Which symbols count rows of the state, and how many rows its buffers hold; slots and sizes of these."""
        state = list(self._state)
        counts = {one.count for one in state}
        self._counts = [(slot, one.input) for slot, one in enumerate(plan.symbols) if one.input in counts]
        self._filled = list({(one.count, one.filled): arrays[one.input].shape[one.along] for one in state}.items())
        shapes = [zip(plan.shapes[one.input], arrays[one.input].shape, strict=True) for one in state]
        return list(dict.fromkeys(pair for shape in shapes for pair in shape))

    def prepare(self, given: Sequence[Any]) -> list[Array] | None:
        """The arrays that the call with these inputs will write, once frame and addresses stand ready for it; None if
        it is not like the one before.
        """
        sizes = self._shapes(given) if self._state.version == self._version else None
        if sizes is None or not self._fits(sizes, given):
            return None
        slots, bases, address = self._slots, self._bases, self._address
        for array, (base, _, _) in zip(given, self._kinds, strict=True):
            bases[base] = address(array)
        results = []
        for number, base, shape in self._outputs:
            array = self._result(number, tuple([slots[slot] for slot in shape]))
            bases[base] = address(array)
            results.append(array)
        return results

    def _shapes(self, given: Sequence[Any]) -> list[int] | None:
        """The sizes of all inputs in a row, if they are arrays as they were."""
        if len(given) != len(self._kinds):
            return None
        sizes: list[int] = []
        for array, (_, dtype, rank) in zip(given, self._kinds, strict=True):
            if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != rank:
                return None
            if array.flags.num & _USABLE != _USABLE:
                return None
            sizes += array.shape
        return sizes

    def _fits(self, sizes: list[int], given: Sequence[Array]) -> bool:
        """Compute the sizes of the call; whether all is as it must be."""
        self._frame[:] = self._before
        slots = self._slots
        for slot, place, low, high, multiple in self._axes:
            size = sizes[place]
            if not low <= size <= high or size % multiple:
                return False
            slots[slot] = size
        for slot, position, entry in self._entries:
            slots[slot] = given[position].item(entry)
        for slot, count in self._counts:
            slots[slot] = self._state.filled[count]
        if not self._fill() or self._frame[self._sizes].tolist() != sizes + self._kept:
            return False
        for (_, slot), most in self._filled:
            if slots[slot] > most:
                return False
        checked = self._checks is None or bool(self._frame[self._checks].all())
        return checked and slots[self._arena_size] <= self._arena.size

    def commit(self) -> None:
        """The call has ended: its rows are the state's."""
        for (count, slot), _ in self._filled:
            self._state.filled[count] = self._slots[slot]


def _unchanged(plan: Plan, frame: Frame, kept: Mapping[int, int]) -> NDArray[np.int64]:
    """The frame of a call with those symbols alone that are the same in every one."""
    slots = np.zeros_like(frame.slots)
    for slot, symbol in enumerate(plan.symbols):
        slots[slot] = kept.get(slot, frame.slots[slot] if symbol.input < 0 else 0)
    return slots


def _bounds(symbol: Symbol) -> tuple[int, int, int]:
    low, high = symbol.low, symbol.high
    return -_MOST if low is None else low, _MOST if high is None else high, symbol.multiple

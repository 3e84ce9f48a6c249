"""What a context lends to those who work on one of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tenfold.runtime.plan import ARENA, Label, Span
from tenfold.runtime.profile import Step
from tenfold.runtime.room import machine_memory, too_large

if TYPE_CHECKING:
    from tenfold.runtime.context import Context

Array = NDArray[Any]
BRIEF_ARENA = 64 << 10
"""Bytes of an arena below which a call is over so soon that it keeps Python's global lock."""


class Lent:
    """What a context lends to a call of more than one native span."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.begin, self.end = context._begin, context._end

    def native(self, span: Span) -> None:
        """Run a native span."""
        self._context._native(span, self._context._arena.size < BRIEF_ARENA)

    def grow(self, size: int) -> None:
        """Make the arena at least so large; LimitError if there is not so much memory."""
        context = self._context
        if size > machine_memory():
            slots = context._invocation.frame.tolist()
            raise too_large(context._plan, slots, [0] * len(context._plan.outputs), machine_memory())
        context._bases[ARENA] = context._arena.grow(size)

    def result(self, number: int, shape: tuple[int, ...]) -> Array:
        """The array that an output is written into."""
        return self._context._result(number, shape)

    def is_bound(self, number: int) -> bool:
        """Whether the caller gave the array that an output is written into."""
        return self._context._names[number] in self._context._bound_outputs

    def took(self, label: Label, start: float, seconds: float) -> None:
        """Note how long a host step took."""
        if self._context._host_steps is not None:
            self._context._host_steps.append(Step(label, -1, 1, start, seconds))

"""The steps of a span in the order in which they run: loops turn by turn, as a CPU's dispatcher would take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError
from tenfold.runtime.plan import Plan, Span
from tenfold.runtime.steps import Opcode

_NAMED = {
    Opcode.MOVE: (1, 2),
    Opcode.ADD: (1, 2),
    Opcode.SWAP: (1, 2),
    Opcode.LOOP: (1, 2),
    Opcode.COPY: (1, 2, 3),
    Opcode.STORE: (1, 2),
}


@dataclass(frozen=True)
class Moment:
    """A step that does work: its number, what it does, and the numbers that its slots hold then. A CALL has its
    function, the blocks of its grid and its arguments, a COPY (to, from, bytes), a STORE (to, number).
    """

    step: int
    opcode: Opcode
    numbers: tuple[int, ...]
    function: int = 0
    blocks: int = 0


def turns(plan: Plan, span: Span) -> bool:
    """Whether a span holds more than launches one after the other."""
    rows = plan.steps[span.begin : span.end, 0]
    return bool(np.isin(rows, (Opcode.CALL, Opcode.END), invert=True).any())


def slots_of(plan: Plan, span: Span) -> NDArray[np.int64]:
    """The slots that decide what a span does."""
    found: set[int] = set()
    for row in plan.steps[span.begin : span.end].tolist():
        if row[0] == Opcode.CALL:
            found.update((row[4], *plan.argmap[row[2] : row[2] + row[3]].tolist()))
        else:
            found.update(row[place] for place in _NAMED.get(Opcode(row[0]), ()))
    return np.array(sorted(found), np.int64)


def moments(plan: Plan, span: Span, slots: NDArray[np.int64]) -> Iterator[Moment]:
    """What a span does at these sizes and addresses; EngineError for a step that reads the GPU's memory."""
    changed, at = dict[int, int](), span.begin

    def held(slot: int) -> int:
        return changed[slot] if slot in changed else int(slots[slot])

    while (row := plan.steps[at].tolist())[0] != Opcode.END:
        opcode = Opcode(row[0])
        at += 1
        if opcode is Opcode.CALL:
            given = plan.argmap[row[2] : row[2] + row[3]].tolist()
            if (blocks := held(row[4])) > 0:
                yield Moment(at - 1, opcode, tuple(map(held, given)), row[1], blocks)
        elif opcode in (Opcode.COPY, Opcode.STORE):
            yield Moment(at - 1, opcode, tuple(held(row[place]) for place in _NAMED[opcode]))
        elif opcode is Opcode.JUMP:
            at = row[1]
        else:
            changed |= _counted(opcode, row[1], row[2], held)
            if opcode is Opcode.LOOP and held(row[1]) < held(row[2]):
                at = row[3]


def _counted(opcode: Opcode, one: int, other: int, held: Callable[[int], int]) -> dict[int, int]:
    """The slots that a step of arithmetic changes."""
    match opcode:
        case Opcode.LOOP:
            return {one: held(one) + 1}
        case Opcode.MOVE:
            return {one: held(other)}
        case Opcode.ADD:
            return {one: held(one) + held(other)}
        case Opcode.SWAP:
            return {one: held(other), other: held(one)}
    raise EngineError(f"step {opcode.name} is none of a GPU's", remedy="build the engine again")

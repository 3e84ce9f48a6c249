"""The step table: what a dispatcher walks in one native call. Rows of 8 int32 numbers, checked before use.

A slot is an index into the frame, the call's flat int64 array; a target is an index of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import EngineError

WIDTH = 8
NO_SLOT = -1
Row = tuple[int, ...]


class Opcode(IntEnum):
    """What a step does."""

    END = 0
    CALL = 1
    JUMP = 2
    JUMP_IF = 3
    LOOP = 4
    MOVE = 5
    ADD = 6
    SWAP = 7
    LOAD = 8
    COPY = 9
    STORE = 10


def call(entry: int, start: int, count: int, parts: int = NO_SLOT) -> Row:
    """Run the stage at offset `entry` of the code to its end, on the frame values whose slots are
    `argmap[start : start + count]`, in as many parts as slot `parts` says (1 without one).
    """
    return (Opcode.CALL, entry, start, count, parts)


def jump(target: int) -> Row:
    """Go on at `target`."""
    return (Opcode.JUMP, target)


def jump_if(pointer: int, target: int, sense: bool = True) -> Row:
    """Go on at `target` if the bool byte at the address in slot `pointer` is `sense`."""
    return (Opcode.JUMP_IF, pointer, target, int(sense))


def loop(counter: int, limit: int, target: int) -> Row:
    """Add 1 to slot `counter`; while it is less than slot `limit`, go on at `target`."""
    return (Opcode.LOOP, counter, limit, target)


def move(to: int, source: int) -> Row:
    """Set slot `to` to slot `source`."""
    return (Opcode.MOVE, to, source)


def add(to: int, source: int) -> Row:
    """Add slot `source` to slot `to`."""
    return (Opcode.ADD, to, source)


def swap(one: int, other: int) -> Row:
    """Exchange two slots."""
    return (Opcode.SWAP, one, other)


def load(to: int, pointer: int, width: int) -> Row:
    """Set slot `to` to the integer at the address in slot `pointer`: 1 byte (bool, unsigned), 4 or 8 (signed)."""
    return (Opcode.LOAD, to, pointer, width)


def copy(to: int, source: int, size: int) -> Row:
    """Copy as many bytes as slot `size` says from the address in slot `source` to the one in slot `to`."""
    return (Opcode.COPY, to, source, size)


def store(pointer: int, source: int) -> Row:
    """Write slot `source` as an i64 to the address in slot `pointer`."""
    return (Opcode.STORE, pointer, source)


def end() -> Row:
    """The call is done."""
    return (Opcode.END,)


def table(rows: Sequence[Row]) -> NDArray[np.int32]:
    """The rows as an array of shape (len(rows), 8)."""
    array = np.zeros((len(rows), WIDTH), np.int32)
    for row, numbers in zip(array, rows, strict=True):
        row[: len(numbers)] = numbers
    return array


_SLOTS = {
    Opcode.JUMP_IF: (1,),
    Opcode.LOOP: (1, 2),
    Opcode.MOVE: (1, 2),
    Opcode.ADD: (1, 2),
    Opcode.SWAP: (1, 2),
    Opcode.LOAD: (1, 2),
    Opcode.COPY: (1, 2, 3),
    Opcode.STORE: (1, 2),
}
_TARGETS = {Opcode.JUMP: 1, Opcode.JUMP_IF: 2, Opcode.LOOP: 3}


def verify(
    steps: NDArray[np.int32],
    argmap: NDArray[np.int32],
    slots: int,
    code_size: int,
    binds: NDArray[np.int64] | None = None,
    bases: int = 0,
) -> None:
    """EngineError unless every entry, slot, argument range and target of the table lies in bounds, control cannot
    run off its end, and every bind (slot, base, offset slot) names a slot and one of `bases` addresses.
    """
    if steps.ndim != 2 or steps.shape[1] != WIDTH or not len(steps):
        raise EngineError(f"step table: expected rows of {WIDTH} numbers, got shape {steps.shape}")
    for index, row in enumerate(steps.tolist()):
        problem = _problem(row, len(steps), argmap, slots, code_size)
        if problem:
            raise EngineError(f"step {index}: {problem}")
    if steps[-1, 0] not in (Opcode.END, Opcode.JUMP):
        raise EngineError("the last step must be END or JUMP")
    if ((argmap < 0) | (argmap >= slots)).any():
        raise EngineError(f"an argument lies outside the frame's {slots} slots")
    if binds is not None and len(binds):
        limits = np.array([slots, bases, slots])
        if binds.ndim != 2 or binds.shape[1] != 3 or (binds < 0).any() or (binds >= limits).any():
            raise EngineError("a bind names a slot or a base that does not exist")


def _problem(row: list[int], steps: int, argmap: NDArray[np.int32], slots: int, code_size: int) -> str | None:
    if row[0] not in Opcode.__members__.values():
        return f"unknown opcode {row[0]}"
    opcode = Opcode(row[0])
    outside = [row[place] for place in _SLOTS.get(opcode, ()) if not 0 <= row[place] < slots]
    if outside:
        return f"slot {outside[0]} lies outside the frame's {slots} slots"
    if opcode in _TARGETS and not 0 <= row[_TARGETS[opcode]] < steps:
        return f"target {row[_TARGETS[opcode]]} lies outside the table's {steps} steps"
    if opcode is Opcode.LOAD and row[3] not in (1, 4, 8):
        return f"cannot load {row[3]} bytes"
    return _call_problem(row, len(argmap), slots, code_size) if opcode is Opcode.CALL else None


def _call_problem(row: list[int], arguments: int, slots: int, code_size: int) -> str | None:
    _, entry, start, count, parts, *_ = row
    if not 0 <= entry < code_size:
        return f"entry {entry} lies outside the code's {code_size} bytes"
    if start < 0 or count < 0 or start + count > arguments:
        return f"arguments {start} to {start + count} lie outside the argument map"
    return None if NO_SLOT <= parts < slots else f"parts slot {parts} lies outside the frame's {slots} slots"

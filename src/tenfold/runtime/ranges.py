"""Which sizes a model can take: found by trying a plan's conditions, one named size at a time.

A condition that does not hold says which formula failed. Users think in their own dimensions: "height 23 is not a
multiple of 32". So the sizes for which the conditions hold are tried out, and described.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tenfold.errors import InputError
from tenfold.ir.program import Opcode, Program
from tenfold.runtime.plan import Check, Plan, Symbol

TRIED = 2048
"""The largest size that is tried, or this much beyond the size in question."""
FEW = 128
"""The largest size that is tried to see whether a condition depends on the other sizes."""

_SERIES = 3
"""The fewest sizes that make a series."""


class Sizes(NamedTuple):
    """What a named size may be: between two bounds (`most` None: without end), and a multiple of a number."""

    least: int
    most: int | None
    multiple: int


def ranges(plan: Plan) -> dict[str, Sizes]:
    """For each open size of the inputs, those that the model can take whatever the others are, as far as it was tried:
    every multiple in the range fits; others may.
    """
    found: dict[str, Sizes] = {}
    behind = symbols_behind(plan.program)
    for slot, symbol in enumerate(plan.symbols):
        if symbol.input < 0 or symbol.entry >= 0 or symbol.input in plan.hidden or symbol.section:
            continue
        usual = _usual(plan, 1)
        fitting = _Trial(plan, _own(plan, behind, slot), usual, slot).fitting(TRIED)
        if not fitting:
            found[symbol.name] = Sizes(symbol.low or 0, symbol.high, symbol.multiple)
            continue
        most = symbol.high if symbol.high is not None or fitting[-1] > TRIED - TRIED // 4 else fitting[-1]
        found[symbol.name] = Sizes(fitting[0], most, _multiple(fitting) or 1)
    return found


def misfit(plan: Plan, check: Check, values: Sequence[int]) -> InputError | None:
    """The error for a condition that does not hold, in the words of the size that breaks it; None if no single size of
    an input does. `values` are the slots of the call.
    """
    behind = symbols_behind(plan.program)
    only_empty: InputError | None = None
    for slot in sorted(behind[check.slot]):
        symbol = plan.symbols[slot]
        if symbol.input < 0 or symbol.entry >= 0 or symbol.section or symbol.input in plan.hidden:
            continue
        size = values[slot]
        fitting = _fitting(plan, behind, check, values[: len(plan.symbols)], slot)
        said = _said(size, [one for one in fitting if one] or fitting) if fitting and size not in fitting else None
        if said is not None:
            error = _error(plan, check, symbol, size, *said)
            if any(fitting):
                return error
            only_empty = only_empty or error
    return only_empty


def settle(plan: Plan, symbols: Sequence[int], names: Sequence[str]) -> list[int]:
    """Values for which a plan's conditions hold, if moving the sizes of these names one by one, the first first, each
    to the nearest that fits, leads there.
    """
    found, behind = [*symbols], symbols_behind(plan.program)
    slots = {symbol.name: slot for slot, symbol in enumerate(plan.symbols)}
    for _ in names:
        values = plan.program.run(found, lenient=True)
        broken = (one for one in plan.checks if not values[one.slot] and not plan.section_of((one.slot,)))
        check = next(broken, None)
        if check is None:
            break
        for slot in (slots[name] for name in names if slots[name] in behind[check.slot]):
            fitting = _fitting(plan, behind, check, found, slot)
            if any(fitting):
                found[slot] = min(filter(None, fitting), key=lambda size: abs(size - found[slot]))
                break
    return found


def _fitting(
    plan: Plan, behind: Sequence[frozenset[int]], check: Check, symbols: Sequence[int], slot: int
) -> list[int]:
    """The sizes that meet every condition on a symbol, or else this one, where the others keep their values."""
    every = [one.slot for one in plan.checks if slot in behind[one.slot]]
    most = symbols[slot] + TRIED
    return _Trial(plan, every, symbols, slot).fitting(most) or _Trial(plan, [check.slot], symbols, slot).fitting(most)


def _error(plan: Plan, check: Check, symbol: Symbol, size: int, problem: str, remedy: str) -> InputError:
    name = plan.inputs[symbol.input].name
    shown = f"{symbol.name} {size}"
    if symbol.name == f"{name}.{symbol.axis}":
        shown = f"the size {size} of axis {symbol.axis}"
    needed = f", required by {check.source}" if check.source else ""
    message = f"input {name!r}: {shown} {problem}{needed}"
    return InputError(message, operator=check.source or None, argument=name, remedy=remedy)


def _said(size: int, fitting: Sequence[int]) -> tuple[str, str] | None:
    """What is wrong with a size, and what to do; None if those that fit tell no more than the condition itself."""
    if len(fitting) == 1:
        return f"is not {fitting[0]}", f"give {fitting[0]}"
    nearest = next((one for one in fitting if one > size), fitting[-1])
    multiple = _multiple(fitting) if size <= fitting[-1] else None
    if multiple is not None and size % multiple:
        return f"is not a multiple of {multiple}", f"pad it to {nearest}, or to a multiple of {multiple}"
    if size < fitting[0]:
        return f"is less than {fitting[0]}", f"give {fitting[0]} or more"
    if size > fitting[-1]:
        return f"is more than {fitting[-1]}", f"give {fitting[-1]} or less"
    if len(fitting) < _SERIES:
        return None
    gaps = {b - a for a, b in pairwise(fitting)}
    if len(gaps) == 1:
        (step,) = gaps
        return f"is not {fitting[0] % step} more than a multiple of {step}", f"pad it to {nearest}"
    return "does not fit", f"give {nearest}"


def _multiple(fitting: Sequence[int]) -> int | None:
    """The least number all of whose multiples, from the first fitting size to the last, fit; None if there is none."""
    known = set(fitting)
    for number in range(1, max(len(fitting), fitting[-1] // 2) + 1):
        tried = range(-(-fitting[0] // number) * number, fitting[-1] + 1, number)
        if len(tried) > 1 and known.issuperset(tried):
            return number
    return None


class _Trial:
    """Some conditions as a function of one symbol, the others keeping their values."""

    def __init__(self, plan: Plan, checks: Collection[int], symbols: Sequence[int], slot: int) -> None:
        self._program = _reduced(plan.program, checks)
        self._symbols, self._slot, self._symbol = [*symbols], slot, plan.symbols[slot]

    def fitting(self, most: int) -> list[int]:
        """The sizes up to `most` for which all conditions hold, within the symbol's own bounds."""
        symbol = self._symbol
        low = symbol.low or 0
        high = most if symbol.high is None else min(symbol.high, most)
        first = -(-low // symbol.multiple) * symbol.multiple
        return [size for size in range(first, high + 1, symbol.multiple) if self._holds(size)]

    def _holds(self, size: int) -> bool:
        self._symbols[self._slot] = size
        found = self._program.run(self._symbols, lenient=True)
        return all(found[slot] for slot in self._program.results)


def _reduced(program: Program, slots: Collection[int]) -> Program:
    """The program of these slots alone."""
    needed = sorted(one for one in _behind(program, slots) if one >= program.symbols)
    moved = {one: one for one in range(program.symbols)}
    moved.update({one: program.symbols + number for number, one in enumerate(needed)})
    rows = program.rows[[one - program.symbols for one in needed]].copy()
    for row in rows:
        if row[0] != Opcode.CONST:
            row[1:] = [moved.get(int(one), 0) for one in row[1:]]
    return Program(np.array(rows, np.int64), program.symbols, [moved[one] for one in slots])


def _behind(program: Program, slots: Iterable[int]) -> set[int]:
    """The slots that some slots are computed from, and themselves."""
    operands = list(program.operands())
    found: set[int] = set()
    waiting = list(slots)
    while waiting:
        slot = waiting.pop()
        if slot not in found:
            found.add(slot)
            waiting.extend(operands[slot - program.symbols] if slot >= program.symbols else ())
    return found


def symbols_behind(program: Program) -> list[frozenset[int]]:
    """For each slot, the symbols that it follows from."""
    found = [frozenset((slot,)) for slot in range(program.symbols)]
    for operands in program.operands():
        found.append(frozenset().union(*(found[one] for one in operands)))
    return found


def _own(plan: Plan, behind: Sequence[frozenset[int]], slot: int) -> list[int]:
    """The conditions on one symbol, whatever the others are: tried with two sizes of each."""
    found = []
    for check in plan.checks:
        if slot in behind[check.slot]:
            tried = [_Trial(plan, [check.slot], _usual(plan, count), slot).fitting(FEW) for count in (1, 2)]
            found += [check.slot] if tried[0] == tried[1] else []
    return found


def _usual(plan: Plan, count: int) -> list[int]:
    """A size for each symbol: its multiple so often, within its bounds."""
    return [max(min(one.multiple * count, one.high or TRIED), one.low or 0) for one in plan.symbols]

"""Sizes by native code, against `Program.run`."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tenfold.errors import InputError
from tenfold.ir.program import Opcode, Program
from tenfold.runtime.cpu.sizes import NativeSizes
from tests.runtime.cpu.native import code, entry

SYMBOLS = 3
EDGES = (0, 1, -1, 2, 3, 7, 64, -64, 2**31, 2**62, 2**63 - 1, -(2**63))


def _native(program: Program) -> NativeSizes:
    return NativeSizes(program, code().address + entry("sizes"), code())


def _program(random: random.Random) -> Program:
    rows = []
    for slot in range(SYMBOLS, SYMBOLS + 12):
        opcode = random.choice(list(Opcode))
        known = [random.randrange(slot) for _ in range(3)]
        rows.append((opcode, random.choice(EDGES), 0, 0) if opcode is Opcode.CONST else (opcode, *known))
    return Program(np.array(rows), SYMBOLS, range(SYMBOLS + 12))


def _python(program: Program, symbols: list[int]) -> list[int] | None:
    """What Python computes; None if a row fails, or leaves 64 bits, which native code leaves to Python."""
    try:
        found = program.run(symbols)
    except InputError:
        return None
    return found if all(-(2**63) <= value < 2**63 for value in found) else None


@pytest.mark.parametrize("seed", range(300))
def test_native_sizes(seed: int) -> None:
    chosen = random.Random(seed)
    program = _program(chosen)
    symbols = [chosen.choice(EDGES) for _ in range(SYMBOLS)]
    slots = np.zeros(SYMBOLS + 12, np.int64)
    slots[:SYMBOLS] = symbols
    done = _native(program).fill(slots, len(slots))
    expected = _python(program, symbols)
    assert done == (expected is not None)
    assert not done or slots.tolist() == expected


def test_only_the_slots_before_the_end() -> None:
    program = Program(np.array([(Opcode.ADD, 0, 1, 0), (Opcode.MUL, 0, 1, 0)]), 2, [2, 3])
    slots = np.array([3, 4, 0, 0], np.int64)
    assert _native(program).fill(slots, 3)
    assert slots.tolist() == [3, 4, 7, 0]

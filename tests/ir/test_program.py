from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import EngineError, InputError, LimitError
from tenfold.ir import dim
from tenfold.ir.program import Opcode, Program
from tests.ir.formulas import FORMULAS, SYMBOLS, Formula, bindings_of, value

N = dim.symbol("N", 1)
P = dim.symbol("P")


@given(st.lists(FORMULAS, min_size=1, max_size=4), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_program_computes_its_formulas(formulas: list[Formula], seed: int) -> None:
    names = sorted(SYMBOLS)
    program = Program.compile([formula.size for formula in formulas], names)
    for bindings in bindings_of(seed, 20):
        expected = [value(formula, bindings) for formula in formulas]
        if None in expected:
            continue
        slots = program.run([bindings[name] for name in names])
        assert [slots[slot] for slot in program.results] == expected
        assert len(slots) == len(names) + len(program.rows)
        assert slots[: len(names)] == [bindings[name] for name in names]


def test_it_travels_as_numbers() -> None:
    program = Program.compile([N // 2 + 1, dim.minimum(N, P)], ["N", "P"])
    again = Program(np.frombuffer(program.rows.tobytes(), np.int64), program.symbols, program.results)
    assert again == program
    assert again.rows.dtype == np.int64
    assert again.run([7, 3]) == program.run([7, 3])


def test_common_parts_are_computed_once() -> None:
    shared = N // 3
    program = Program.compile([shared + 1, shared * 2, shared], ["N"])
    assert [row[0] for row in program.rows.tolist()].count(Opcode.FLOORDIV) == 1
    assert Program.compile([N, 7, N], ["N"]).results[::2] == (0, 0)


def test_a_symbol_in_multiples_is_read_as_it_is() -> None:
    height = dim.symbol("H", 32, 640, 32)
    assert len(Program.compile([height], ["H"]).rows) == 0
    program = Program.compile([height // 2], ["H"])
    assert program.run([64])[program.results[0]] == 32


def test_what_is_not_chosen_need_not_exist() -> None:
    program = Program.compile([dim.select(dim.equal(P, 0), 7, N // P)], ["N", "P"])
    assert program.run([3, 0])[program.results[0]] == 7
    assert program.run([3, 2])[program.results[0]] == 1


def test_what_is_needed_must_exist() -> None:
    with pytest.raises(InputError, match="divided by zero"):
        Program.compile([N // P + 1], ["N", "P"]).run([3, 0])
    with pytest.raises(InputError, match="3 and 2 do not broadcast"):
        Program.compile([dim.broadcast(N, P)], ["N", "P"]).run([3, 2])
    with pytest.raises(InputError, match="take as many values"):
        Program.compile([N], ["N"]).run([])


def test_what_cannot_be_compiled_is_named() -> None:
    with pytest.raises(InputError, match="needs P") as caught:
        Program.compile([N + P], ["N"])
    assert caught.value.argument == "P"
    with pytest.raises(LimitError, match="64 bits"):
        Program.compile([N + 2**63], ["N"])


@pytest.mark.parametrize(
    "row", [[99, 0, 0, 0], [Opcode.ADD, 1, 0, 0], [Opcode.MUL, 0, -1, 0], [Opcode.SELECT, 0, 0, 5]]
)
def test_damaged_rows_are_refused(row: list[int]) -> None:
    with pytest.raises(EngineError, match="row 0"):
        Program(np.array([row], dtype=np.int64), 1, (1,))
    with pytest.raises(EngineError, match="results"):
        Program(np.array([[Opcode.ADD, 0, 0, 0]], dtype=np.int64), 1, (2,))

from __future__ import annotations

import pytest

from tenfold.ir import dtype as dt
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent
from tests.codegen.cpu.test_recurrent import case_of
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda import recurrent  # isort: skip

CELLS = [
    LSTM(20),
    LSTM(17, reverse=True, peepholes=True, clip=0.7),
    LSTM(16, input_forget=True, activations=("HardSigmoid", "Relu", "Softsign")),
    GRU(20, reverse=True),
    GRU(24, linear_before_reset=True),
    RNN(70, activations=("Relu",), clip=1.5),
]


@pytest.mark.parametrize("op", CELLS, ids=str)
def test_cells(op: Recurrent) -> None:
    check(recurrent.STRATEGY, case_of(op, 3, 2, 7), [("order", "serial")])
    check(recurrent.STRATEGY, case_of(op, 2, 1, 7), [("order", "steps")])


@pytest.mark.parametrize("op", [LSTM(20, lengths=True), GRU(20, lengths=True, reverse=True)], ids=str)
def test_lengths(op: Recurrent) -> None:
    check(recurrent.STRATEGY, case_of(op, 4, 5, 4), [("order", "steps")])
    check(recurrent.STRATEGY, case_of(op, 4, 17, 4, symbolic=True), [("order", "serial")])


@pytest.mark.parametrize("layout", ["reversed", "spaced"])
def test_views(layout: str) -> None:
    check(recurrent.STRATEGY, case_of(LSTM(20), 2, 3, 5, constant=False, layout=layout), [("order", "serial")])


def test_f16() -> None:
    check(recurrent.STRATEGY, case_of(LSTM(20), 3, 3, 5, dtype=dt.f16), [("order", "serial")], tolerance=2e-3)
    check(recurrent.STRATEGY, case_of(GRU(20), 3, 3, 5, dtype=dt.f16), [("order", "steps")], tolerance=2e-3)


def test_no_step_leaves_the_states() -> None:
    check(recurrent.STRATEGY, case_of(LSTM(20), 0, 3, 5, symbolic=True), [("order", "serial")])


@pytest.mark.parametrize("op", [LSTM(16), GRU(9)], ids=str)
def test_one_block_that_meets_itself(op: Recurrent) -> None:
    check(recurrent.STRATEGY, case_of(op, 4, 3, 5, symbolic=True), [("order", "together")])

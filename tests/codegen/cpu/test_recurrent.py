from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import recurrent
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import Case, Given, check, random, tactics, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated

STRATEGY = recurrent.STRATEGY
T, N = symbol("T", 0), symbol("N", 0)


def case_of(
    op: Recurrent,
    t: int,
    n: int,
    terms: int,
    *,
    dtype: dt.DType = dt.f32,
    constant: bool = True,
    symbolic: bool = False,
    layout: str = "dense",
) -> Case:
    """A cell on random numbers; `layout` is that of everything but constants."""
    h = op.hidden
    shapes = [(op.gates * h, terms), (op.gates * h, h), *[(op.gates * h,)] * op.biases]
    x = random(dtype, t, n, terms)
    weights = [(random(dtype, *shape, seed=k) * dtype.numpy.type(0.3)) for k, shape in enumerate(shapes)]
    states = [random(dtype, n, h, seed=9 + k) for k in range(op.states)]
    more = [random(dtype, *map(int, shape), seed=20) for shape in op.extra()]
    kept = "dense" if constant else layout
    given = [Given(x, layout, shape=(T, N, terms) if symbolic else None)]
    given += [Given(one, kept, constant) for one in weights]
    given += [Given(one, layout, shape=(N, h) if symbolic else None) for one in states]
    given += [Given(one, kept, constant) for one in more]
    if op.lengths:
        lengths = np.random.default_rng(3).integers(0, t + 1, n).astype(np.int32)
        given.append(Given(lengths, shape=(N,) if symbolic else None))
    return Case(op, given, [layout] * 3, {"T": t, "N": n} if symbolic else {})


CELLS = [
    LSTM(20),
    LSTM(16, reverse=True),
    LSTM(33, peepholes=True, clip=0.7),
    LSTM(8, input_forget=True, activations=("HardSigmoid", "Relu", "Softsign")),
    GRU(20),
    GRU(40, linear_before_reset=True, reverse=True),
    RNN(24),
    RNN(70, activations=("Relu",), clip=1.5),
]


@pytest.mark.parametrize("op", CELLS, ids=str)
@pytest.mark.parametrize(("t", "n"), [(1, 1), (5, 1), (3, 4), (2, 9)])
def test_cells(op: Recurrent, t: int, n: int) -> None:
    check(STRATEGY, case_of(op, t, n, 7))


@pytest.mark.parametrize("op", [LSTM(20), GRU(20), RNN(20)], ids=str)
@pytest.mark.parametrize("constant", [True, False])
def test_views_and_unseen_sizes(op: Recurrent, constant: bool) -> None:
    for layout in ("reversed", "spaced"):
        check(STRATEGY, case_of(op, 4, 3, 5, constant=constant, symbolic=True, layout=layout))
    check(STRATEGY, case_of(op, 13, 7, 19, constant=constant, symbolic=True))


@pytest.mark.parametrize("op", [LSTM(20), GRU(20), RNN(20)], ids=str)
def test_lengths(op: Recurrent) -> None:
    for reverse in (False, True):
        cell = dataclasses.replace(op, lengths=True, reverse=reverse)
        check(STRATEGY, case_of(cell, 6, 5, 4, symbolic=True))
        check(STRATEGY, case_of(cell, 6, 1, 4))


@pytest.mark.parametrize(("dtype", "tolerance"), [(dt.f64, 1e-14), (dt.f16, 1e-3), (dt.bf16, 8e-3)], ids=str)
@pytest.mark.parametrize("op", [LSTM(20), GRU(20)], ids=str)
def test_other_types(op: Recurrent, dtype: dt.DType, tolerance: float) -> None:
    check(STRATEGY, case_of(op, 4, 3, 5, dtype=dtype), tolerance=tolerance)
    check(STRATEGY, case_of(op, 4, 3, 5, dtype=dtype, constant=False, layout="spaced"), tolerance=tolerance)


def test_no_step_leaves_the_states() -> None:
    check(STRATEGY, case_of(LSTM(20), 0, 3, 5, symbolic=True))


def test_large_cells_split_each_step() -> None:
    case = case_of(LSTM(260), 3, 1, 260)
    (first, *_) = tactics(STRATEGY, case, jit.V4)
    assert first["order"] == "steps"
    check(STRATEGY, case)


@pytest.mark.parametrize("op", [LSTM(70), GRU(70)], ids=str)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_one_step_of_unknown_sequences(op: Recurrent, n: int) -> None:
    case = case_of(op, 1, n, 9)
    shaped = [Given(one.array, shape=(1, N, 9)) if k == 0 else one for k, one in enumerate(case.inputs)]
    shaped = [Given(one.array, shape=(N, op.hidden)) if one.array.shape == (n, op.hidden) else one for one in shaped]
    case = Case(op, shaped, [], {"N": n})
    assert tactics(STRATEGY, case, jit.V4)[0]["order"] == "steps"
    check(STRATEGY, case)


def test_equal_cells_share_code() -> None:
    sources = []
    for t, n, terms in ((4, 3, 5), (9, 2, 31)):
        case = case_of(LSTM(20), t, n, terms, symbolic=True)
        kernel = STRATEGY.build(case.region, tactics(STRATEGY, case, jit.V4)[0], recurrent.Target("cpu", "x86-64-v4"))
        sources.append([stage.source for stage in kernel.stages])
    assert sources[0] == sources[1]


@pytest.mark.parametrize("op", CELLS[::2], ids=str)
def test_needs_nothing_from_elsewhere(op: Recurrent) -> None:
    assert undefined_symbols(STRATEGY, case_of(op, 2, 1, 7)) == {}


@pytest.mark.parametrize("op", [LSTM(20, lengths=True), GRU(20), RNN(20, reverse=True)], ids=str)
def test_on_another_machine(op: Recurrent, tmp_path: Path) -> None:
    check_emulated(STRATEGY, case_of(op, 4, 3, 5, symbolic=True), tmp_path)
    check_emulated(STRATEGY, case_of(op, 3, 1, 9, constant=False, layout="spaced"), tmp_path)

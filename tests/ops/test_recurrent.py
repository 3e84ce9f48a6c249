"""The cells against ONNX Runtime, which takes their weights stacked by direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import GRU, LSTM, RNN
from tenfold.ops.recurrent import Recurrent
from tests.ops.oracle import close, random, runtime

STEPS, BATCH, SIZE, HIDDEN = 5, 3, 4, 6
LENGTHS = np.array([5, 2, 3], np.int32)


def inputs(gates: int) -> tuple[Any, ...]:
    """x, w, r, b [2 G H], h."""
    shapes = (
        (STEPS, BATCH, SIZE),
        (gates * HIDDEN, SIZE),
        (gates * HIDDEN, HIDDEN),
        (2 * gates * HIDDEN,),
        (BATCH, HIDDEN),
    )
    return tuple(random(*shape, seed=seed) * 0.7 for seed, shape in enumerate(shapes))


def theirs(
    kind: str,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    *states: Any,
    lengths: Any = None,
    peephole: Any = None,
    **attributes: Any,
) -> Any:
    stacked = [one[None] for one in (w, r, b)]
    more = [None if one is None else one[None] for one in (*states, peephole) if kind == "LSTM" or one is not None]
    found = runtime(kind, x, *stacked, lengths, *more, outputs=1 + len(states), hidden_size=HIDDEN, **attributes)
    return found[0][:, 0], *(one[0] for one in found[1:])


def check(op: Recurrent, arrays: tuple[Any, ...], expected: Any) -> None:
    results = op.results(arrays)
    for ours, other in zip(results, expected, strict=True):
        close(ours, other, 2e-6)
    types = op.types(tuple(Type(dt.of(one.dtype), one.shape) for one in arrays))
    assert [one.shape for one in types] == [one.shape for one in results]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm(reverse: bool, lengths: Any, peepholes: bool) -> None:
    x, w, r, b, h = inputs(4)
    c, p = random(BATCH, HIDDEN, seed=7), random(3 * HIDDEN, seed=8)
    way = "reverse" if reverse else "forward"
    expected = theirs("LSTM", x, w, r, b, h, c, lengths=lengths, peephole=p if peepholes else None, direction=way)
    op = LSTM(HIDDEN, reverse, lengths=lengths is not None, peepholes=peepholes)
    both = b[: 4 * HIDDEN] + b[4 * HIDDEN :]
    given = (x, w, r, both, h, c, *([p] if peepholes else []), *([lengths] if lengths is not None else []))
    check(op, given, expected)


def test_lstm_with_its_own_functions() -> None:
    x, w, r, b, h = inputs(4)
    c = random(BATCH, HIDDEN, seed=7)
    attributes = {
        "activations": ["HardSigmoid", "Softsign", "ScaledTanh"],
        "activation_alpha": [0.3, 0.9],
        "activation_beta": [0.4, 0.8],
    }
    expected = theirs("LSTM", x, w, r, b, h, c, clip=0.5, input_forget=1, **attributes)
    functions = ("HardSigmoid", "Softsign", "ScaledTanh")
    op = LSTM(HIDDEN, False, functions, ((0.3, 0.4), (), (0.9, 0.8)), 0.5, input_forget=True)
    check(op, (x, w, r, b[: 4 * HIDDEN] + b[4 * HIDDEN :], h, c), expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gru(reverse: bool, linear: bool, lengths: Any) -> None:
    x, w, r, b, h = inputs(3)
    way = "reverse" if reverse else "forward"
    expected = theirs("GRU", x, w, r, b, h, lengths=lengths, direction=way, linear_before_reset=int(linear))
    op = GRU(HIDDEN, reverse, lengths=lengths is not None, linear_before_reset=linear)
    given = (x, w, r, b[: 3 * HIDDEN], b[3 * HIDDEN :], h, *([lengths] if lengths is not None else []))
    check(op, given, expected)


@pytest.mark.parametrize("function", ["Tanh", "Relu", "Affine"])
def test_rnn(function: str) -> None:
    x, w, r, b, h = inputs(1)
    given = {"activation_alpha": [0.5], "activation_beta": [0.1]} if function == "Affine" else {}
    expected = theirs("RNN", x, w, r, b, h, activations=[function], **given)
    parameters = ((0.5, 0.1),) if function == "Affine" else ((),)
    check(RNN(HIDDEN, False, (function,), parameters), (x, w, r, b[:HIDDEN] + b[HIDDEN:], h), expected)


def test_narrow_types_keep_wide_states() -> None:
    arrays = tuple(one.astype(np.float16) for one in inputs(1))
    x, w, r, b, h = arrays
    y, _ = RNN(HIDDEN).evaluate(x, w, r, b[:HIDDEN], h)
    wide, _ = RNN(HIDDEN).evaluate(*(one.astype(np.float32) for one in (x, w, r, b[:HIDDEN], h)))
    np.testing.assert_array_equal(y, wide.astype(np.float16))


def test_misfits_are_named() -> None:
    shapes = ((5, 3, 4), (24, 4), (24, 5), (24,), (3, 6), (3, 6))
    with pytest.raises(ValueError, match=r"LSTM takes input 2 of shape \(24, 6\)"):
        LSTM(6).infer(*(Type(dt.f32, shape) for shape in shapes))
    with pytest.raises(ValueError, match="LSTM takes 6 inputs, not 5"):
        LSTM(6).infer(*(Type(dt.f32, shape) for shape in shapes[:5]))

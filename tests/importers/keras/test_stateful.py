"""Recurrent layers that go on where the call before has ended."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import tenfold
from tests.importers.keras.running import expected, randomised

pytestmark = pytest.mark.filterwarnings("ignore")
L = keras.layers


@pytest.mark.parametrize("layer", [L.LSTM, L.GRU, L.SimpleRNN])
def test_states_are_kept_by_a_context(layer: Any) -> None:
    x = keras.Input((3, 4), batch_size=2, name="x")
    y = layer(6, stateful=True)(layer(5, stateful=True, return_sequences=True)(x))
    model = randomised(keras.Model(x, L.Dense(2)(y)))
    engine = tenfold.build(model, state=True, cache=False)
    assert len(engine.state) == (4 if layer is L.LSTM else 2) and not engine.report["host_steps"]
    context, random = engine.context(), np.random.default_rng(2)
    for again in range(4):
        given = random.standard_normal((2, 3, 4)).astype("f")
        if again == 2:
            context.reset()
            model.reset_states() if hasattr(model, "reset_states") else [
                one.reset_states() for one in model.layers[1:3]
            ]
        (found,) = context.run([given]).values()
        np.testing.assert_allclose(found, expected(model, [given])[0], atol=2e-6)


def test_without_a_context_states_go_in_and_out() -> None:
    model = keras.Sequential([keras.Input((3, 4), batch_size=1), L.GRU(5, stateful=True, name="gru")])
    engine = tenfold.build(randomised(model), cache=False)
    assert [one.name for one in engine.inputs][1:] == ["gru/state0"]
    assert [one.name for one in engine.outputs][1:] == ["gru/state0"]

"""The catalogue itself: ONNX Runtime gives each model's sample the right answer."""

from __future__ import annotations

import pytest

from tests.models.__main__ import session
from tests.models.catalogue import MODELS, Model


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_onnx_runtime_is_right(model: Model) -> None:
    run = session(model.load())
    outputs = dict(zip((value.name for value in run.get_outputs()), run.run(None, model.inputs(0)), strict=True))
    model.check(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_other_seeds_ask_something_else(model: Model) -> None:
    first, second = model.inputs(0), model.inputs(1)
    assert first.keys() == second.keys()
    assert any(first[name].shape != second[name].shape or (first[name] != second[name]).any() for name in first)
    session(model.load()).run(None, second)


def test_names_are_unique() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)

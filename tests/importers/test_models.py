"""Every model of the catalogue, imported and interpreted, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter
from tests.models.__main__ import session
from tests.models.catalogue import MODELS, Model


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_same_answers(model: Model) -> None:
    path = model.load()
    graph = open_model(path)
    graph.verify()
    sizes = [size for node in graph.nodes for value in node.outputs for size in value.type.shape]
    assert not any(size.data_dependent for size in sizes if not isinstance(size, int))
    inputs = model.inputs(0)
    found = Interpreter().run(graph, inputs)
    run = session(path)
    for output, expected in zip(run.get_outputs(), run.run(None, inputs), strict=True):
        ours = found[output.name]
        assert ours.shape == expected.shape and ours.dtype == expected.dtype
        distance = np.linalg.norm((ours.astype(np.float64) - expected).ravel())
        assert distance <= 1e-4 * max(np.linalg.norm(expected.astype(np.float64).ravel()), 1e-30)
    model.check(found)

"""The light networks get weights that differ, and answers that mean something."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.models import light
from tests.models.__main__ import session

LARGE = {"bvlc_alexnet", "zfnet512", "vgg19"}
"""Hundreds of megabytes of weights, made as those of the others."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in light.NAMES if name not in LARGE])
def test_weights_make_a_network(name: str) -> None:
    path = light.load(name)
    weights = [numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer]
    assert all(np.ptp(weight) > 0 for weight in weights if weight.dtype == np.float32 and weight.size > 1)
    (answer,) = session(path).run(None, light.image(path))
    assert np.isfinite(answer).all()
    assert answer.std() > 0
    probabilities = answer.ravel()
    if abs(probabilities.sum() - 1) < 1e-3:
        assert probabilities.max() < 0.99

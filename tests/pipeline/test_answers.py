"""From a model's numbers to answers."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import pipeline
from tenfold.ir.dim import symbol
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tests.pipeline.joined import answering

N, T, A = symbol("N", 1), symbol("T", 1), symbol("A", 1)


def run(graph: tenfold.Graph, x: Array) -> dict[str, Array]:
    """By the interpreter and by an engine, which must agree, without a host step."""
    engine = tenfold.build(graph, effort=0)
    assert not [one for one in engine.report["regions"] if one["tier"] == "host"]
    found, wanted = engine.run({"x": x}), Interpreter().run(graph, {"x": x})
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
    return found


def test_classes() -> None:
    x = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)
    found = run(answering((N, 10), pipeline.Softmax(), pipeline.TopK(4)), x)
    powers = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    assert found["labels"].tolist() == np.argsort(-x, 1)[:, :4].tolist()
    np.testing.assert_allclose(found["scores"], -np.sort(-powers, 1)[:, :4], rtol=1e-5)
    best = run(answering((N, 10), pipeline.Sigmoid(), pipeline.ArgMax()), x)
    assert best["label"].tolist() == x.argmax(1).tolist()


def test_refusals() -> None:
    with pytest.raises(tenfold.OptionError, match=r"TopK.* of 10 scores"):
        answering((N, 10), pipeline.TopK(11))
    with pytest.raises(tenfold.OptionError, match="asks for 'boxes'"):
        answering((N, 10), pipeline.Suppress())
    with pytest.raises(tenfold.OptionError, match="rank 2"):
        answering((N, 10), pipeline.Softmax(axis=2))
    with pytest.raises(tenfold.OptionError, match="steps, classes"):
        answering((N, 10), pipeline.CollapseCTC())


@pytest.mark.parametrize("blank", [0, 4])
def test_letters(blank: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3, 40, 5)).astype(np.float32)
    x[..., rng.integers(0, 5)] += 0.4
    found = run(answering((N, T, 5), pipeline.CollapseCTC(blank)), x)
    wanted = []
    for row in x.argmax(2):
        merged = [label for at, label in enumerate(row) if at == 0 or row[at - 1] != label]
        wanted.append([label for label in merged if label != blank])
    assert found["lengths"].tolist() == [len(one) for one in wanted]
    assert found["labels"].tolist() == [label for one in wanted for label in one]
    assert found["scores"].shape == found["labels"].shape


def overlap(a: Array, b: Array) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def suppressed(rows: Array, step: pipeline.Suppress) -> list[tuple[float, int, list[float]]]:
    """The definition: best first, each unless it overlaps one of its label that stayed."""
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    scores, labels = rows[:, 4:].max(1), rows[:, 4:].argmax(1)
    stay: list[int] = []
    for at in np.argsort(-scores, kind="stable")[: step.candidates]:
        rivals = [boxes[other] for other in stay if labels[other] == labels[at]]
        if scores[at] > step.score and all(overlap(boxes[at], one) <= step.overlap for one in rivals):
            stay.append(int(at))
    return [(float(scores[at]), int(labels[at]), boxes[at].tolist()) for at in stay[: step.most]]


@pytest.mark.parametrize("step", [pipeline.Suppress(0.3, 0.2), pipeline.Suppress(0.5, 0.4, most=5, candidates=60)])
def test_boxes(step: pipeline.Suppress) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(0, 60, (2, 90, 2)), rng.uniform(5, 40, (2, 90, 2)), rng.random((2, 90, 3))], 2)
    x = x.astype(np.float32)
    found = run(answering((N, 7, A), pipeline.Decode(), step), np.ascontiguousarray(x.transpose(0, 2, 1)))
    wanted = [(image, *one) for image, rows in enumerate(x) for one in suppressed(rows, step)]
    assert found["images"].tolist() == [one[0] for one in wanted]
    assert found["labels"].tolist() == [one[2] for one in wanted]
    np.testing.assert_allclose(found["scores"], [one[1] for one in wanted], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"], [one[3] for one in wanted], rtol=1e-4, atol=1e-4)


def test_heads_with_a_score_for_anything() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((1, 20, 8)).astype(np.float32)
    found = Interpreter().run(answering((1, A, 8), pipeline.Decode("yolov5")), {"x": x})
    np.testing.assert_allclose(found["scores"], x[..., 5:].max(2) * x[..., 4], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"][..., 2:] - found["boxes"][..., :2], x[..., 2:4], atol=1e-6)

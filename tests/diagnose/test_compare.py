"""Comparison: what differs, by how much, and where first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.diagnose import bench, compare, is_installed, open_peer
from tenfold.diagnose.compare import difference, images_of
from tests.face import models


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([3.0, 4.0], [0.0, 4.0], 0.75),
        ([0.5], [0.0], 0.5),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_difference(ours: list[float], theirs: list[float], expected: float) -> None:
    assert difference(np.array(ours, np.float32), np.array(theirs, np.float32)) == expected


@pytest.mark.parametrize(
    ("tap", "value", "images"),
    [("x", "x", None), ("x[2:4]", "x", slice(2, 4)), ("a[0][-1:]", "a[0]", slice(-1, None)), ("x[0]", "x[0]", None)],
)
def test_what_a_tap_shows_of_a_value(tap: str, value: str, images: slice | None) -> None:
    assert images_of(tap) == (value, images)


def test_difference_of_truth_values() -> None:
    assert difference(np.array([True, False]), np.array([True, False])) == 0
    assert difference(np.array([True, True]), np.array([True, False])) == 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.saved(models.perceptron(), tmp_path_factory.mktemp("compare"))


class Faulty:
    """ONNX Runtime, with one layer and all after it wrong."""

    def __init__(self, model: Path, outputs: Sequence[str] | None, wrong: set[str]) -> None:
        self.peer, self.wrong = open_peer("onnxruntime", model, outputs=outputs), wrong

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        found = self.peer.run(inputs)
        return {name: array * (1.01 if name in self.wrong else 1) for name, array in found.items()}


@pytest.mark.parametrize(
    ("wrong", "first", "agrees"), [({"h", "y"}, "h", False), ({"sum"}, "sum", True), (set(), None, True)]
)
def test_the_first_layer_that_departs(
    model: Path, monkeypatch: pytest.MonkeyPatch, wrong: set[str], first: str | None, agrees: bool
) -> None:
    def faulty(name: str, model: Path, *, outputs: Sequence[str] | None = None, **_: Any) -> Faulty:
        return Faulty(model, outputs, wrong)

    monkeypatch.setattr(compare, "open_peer", faulty)
    engine = tenfold.build(model, cache=False)
    inputs = {"x": np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)}
    found = compare.compare(model, engine, inputs, against="onnxruntime", options={"cache": False})
    assert (found.first_departure.value if found.first_departure else None) == first
    assert found.agrees is agrees
    assert [layer.value for layer in found.layers] == ["xw", "sum", "h", "y"]


def test_an_unknown_peer() -> None:
    with pytest.raises(tenfold.OptionError, match="nobody"):
        open_peer("nobody", Path("model.onnx"))


@pytest.mark.parametrize("name", [name for name in ("onnxruntime", "openvino") if is_installed(name)])
def test_what_a_peer_refuses(name: str, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.onnx"
    path.write_text("no model")
    with pytest.raises(tenfold.UnsupportedError, match="does not run this model"):
        open_peer(name, path)
    with pytest.raises(tenfold.UnsupportedError, match="does not run this model"):
        open_peer(name, model).run({"x": np.zeros((2, 7), np.float32)})
    peers, refusals = bench.able([name], model, [{"x": np.zeros((2, 7), np.float32)}], 1)
    assert not peers and "does not run" in refusals[name]

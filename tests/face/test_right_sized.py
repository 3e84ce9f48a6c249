"""Results whose sizes only the data decide are as large as they are, by each route."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import tenfold
from bench.cpu.sketch import INT64, Sketch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BUILD: dict[str, Any] = {"effort": 0, "cache": False}
ROWS = (np.array([0, 3, 0, 5, 0]), np.array([0, 0]), np.arange(1, 40))


def test_non_zero_by_onnx() -> None:
    net = Sketch()
    net.output(net("NonZero", net.input("x", ("n",), INT64)), ("axes", "found"), INT64)
    engine = tenfold.build(net.model(), **BUILD)
    for row in ROWS:
        found = engine(row)
        np.testing.assert_array_equal(found, np.stack(np.nonzero(row)))
        assert found.base is None or found.base.nbytes <= 2 * max(found.nbytes, 8)


def test_boxes_that_are_kept_by_onnx() -> None:
    net = Sketch()
    boxes, scores = net.input("boxes", (1, "n", 4)), net.input("scores", (1, 1, "n"))
    most, overlap, least = net.constant([100]), net.constant([0.5], np.float32), net.constant([0.3], np.float32)
    net.output(net("NonMaxSuppression", boxes, scores, most, overlap, least), ("kept", 3), INT64)
    engine = tenfold.build(net.model(), **BUILD)
    corners = np.array([[0, 0, 4, 4], [0, 0, 4, 3.9], [10, 10, 12, 12], [20, 20, 22, 22]], np.float32)
    for given, kept in (([0.9, 0.8, 0.7, 0.1], [0, 2]), ([0.1, 0.2, 0.1, 0.2], []), ([0.5, 0.6, 0.7, 0.8], [3, 2, 1])):
        found = engine(corners[None], np.array(given, np.float32)[None, None])
        assert found.shape == (len(kept), 3)
        assert found[:, 2].tolist() == kept


def _doubling() -> Any:
    """As often as a number says, the rows so far are joined to themselves."""
    names = (("turn", INT64, ()), ("going", TensorProto.BOOL, ()), ("rows", TensorProto.FLOAT, ("n", 2)))
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in names]
    nodes = [
        helper.make_node("Identity", ["going"], ["still"]),
        helper.make_node("Concat", ["rows", "rows"], ["twice"], axis=0),
    ]
    results = (("still", TensorProto.BOOL, ()), ("twice", TensorProto.FLOAT, ("m", 2)))
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in results]
    return helper.make_graph(nodes, "body", inputs, outputs)


def test_a_loop_by_onnx() -> None:
    net = Sketch()
    turns, rows = net.input("turns", (1,), INT64), net.input("rows", ("n", 2))
    count = net("Squeeze", net("Abs", turns), net.constant([0]))
    net.output(net("Loop", count, "", rows, body=_doubling()), ("all", 2))
    engine = tenfold.build(net.model(), **BUILD)
    given = np.arange(6, dtype=np.float32).reshape(3, 2)
    for count_now in (0, 1, 3):
        np.testing.assert_array_equal(engine(np.array([-count_now]), given), np.tile(given, (2**count_now, 1)))


class Positive(nn.Module):
    """The positive elements, where they stand, and their doubles."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chosen = x[x > 0]
        return chosen, torch.nonzero(x > 0), 2 * chosen


class Classes(nn.Module):
    """The numbers that occur, and how often."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.unique(x, return_counts=True)


@pytest.mark.parametrize("module", [Positive(), Classes()])
def test_by_torch_export(module: nn.Module) -> None:
    engine = tenfold.build(module, example_inputs=(torch.tensor([1, -2, 3]),), shapes={"x": ("n",)}, **BUILD)
    for row in (*ROWS, np.array([-4, 7, 7, -1])):
        for found, wanted in zip(engine(row), module(torch.from_numpy(row)), strict=True):
            np.testing.assert_array_equal(found, wanted.numpy())


def test_by_torchscript() -> None:
    module = torch.jit.trace(Positive(), torch.tensor([1, -2, 3]))
    engine = tenfold.build(module, example_inputs=(torch.tensor([1, -2, 3]),), shapes={"x": ("n",)}, **BUILD)
    for row in ROWS:
        for found, wanted in zip(engine(row), Positive()(torch.from_numpy(row)), strict=True):
            np.testing.assert_array_equal(found, wanted.numpy())

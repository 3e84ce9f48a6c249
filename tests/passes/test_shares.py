"""Some channels at a time between an expanding convolution and one channel by channel."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.clean import DeadCode
from tenfold.passes.shares import ShareChannels
from tenfold.rewrite.pipeline import Pipeline

RNG = np.random.default_rng(5)
IMAGE = 7 * 6 * 4
"""Bytes of a channel."""


def drawn(*shape: int) -> Value:
    value: Value = ops.Constant(Tensor(RNG.standard_normal(shape).astype(np.float32)))()
    return value


def pair(x: Value, channels: int, bias: tuple[int, ...] = (1, 1)) -> Value:
    """A 1x1 convolution and one of each channel, a bias and a Clip or a Relu behind each."""
    y: Value = ops.Add()(ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))(x, drawn(channels, 6, 1, 1)), drawn(channels, *bias))
    y = ops.Clip()(y, drawn(), ops.Constant(Tensor(np.float32(3)))())
    y = ops.Conv((2, 2), (1, 1), (1, 1), (1, 1), channels)(y, drawn(channels, 1, 3, 3))
    found: Value = ops.Relu()(ops.Add()(y, drawn(1, channels, *bias)))
    return found


def convolutions(end: Value, x: Value, most: int) -> int:
    """How many convolutions there are after the pass; the graph must answer as before."""
    graph = Graph([x])
    graph.set_outputs([ops.Reduce("mean", (2, 3), True)(end)], ["y"])
    array = RNG.standard_normal(tuple(map(int, x.type.shape))).astype(np.float32)  # type: ignore[arg-type]
    (wanted,) = Interpreter({}).call(copy(graph), [array])
    Pipeline(ShareChannels(most=most), DeadCode())(graph)
    (found,) = Interpreter({}).call(graph, [array])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    return sum(isinstance(node.op, ops.Conv) for node in graph.nodes)


def image(batch: int = 1) -> Value:
    return Value(Type(dt.f32, (batch, 6, 7, 6)), name="x")


@pytest.mark.parametrize(("most", "shares"), [(96, 1), (95, 2), (48, 2), (47, 3), (31, 6), (1, 1)])
def test_shares_keep_the_limit_and_are_whole_vectors(most: int, shares: int) -> None:
    x = image()
    assert convolutions(pair(x, 96), x, most * IMAGE) == 2 * shares


def test_each_image_counts_by_itself() -> None:
    x = image(batch=3)
    assert convolutions(pair(x, 32), x, 32 * IMAGE) == 2
    x = image(batch=3)
    assert convolutions(pair(x, 32), x, 16 * IMAGE) == 4


def test_results_that_something_else_reads_stay_whole() -> None:
    x = image()
    deep: Value = ops.Relu()(ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))(x, drawn(32, 6, 1, 1)))
    end: Value = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), 32)(deep, drawn(32, 1, 3, 3))
    assert convolutions(ops.Add()(end, deep), x, 16 * IMAGE) == 2

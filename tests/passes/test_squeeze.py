"""Squeeze and excitation: means of told sums, gates that convolutions take, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.narrow import Narrow
from tenfold.passes.squeeze import GatesTaken, MeansTold
from tenfold.rewrite.pipeline import Pipeline

CHANNELS = 4
SIZES = (46, 45)
DEPTHWISE = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), CHANNELS)
POINTWISE = ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))


def weight(*shape: int) -> Value:
    random = np.random.default_rng(sum(shape))
    value: Value = ops.Constant(Tensor((random.standard_normal(shape) * 0.3).astype(np.float32)))()
    return value


def network(
    groups: int = CHANNELS, kind: str = "mean", shown: bool = False, sizes: tuple[int, int] = SIZES, images: int = 2
) -> Graph:
    """A depthwise convolution, its mean, a gate made of that, and what reads the gated image; `shown` is that image."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (images, CHANNELS, *sizes)))
    first = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), groups)(x, weight(CHANNELS, CHANNELS // groups, 3, 3))
    image = ops.Silu()(ops.Add()(first, weight(CHANNELS, 1, 1)))
    squeezed = ops.Reduce(kind, (2, 3))(image)  # type: ignore[arg-type]
    gate = ops.Sigmoid()(POINTWISE(squeezed, weight(CHANNELS, CHANNELS, 1, 1)))
    gated = ops.Mul()(image, gate)
    result = ops.Add()(POINTWISE(gated, weight(8, CHANNELS, 1, 1)), weight(8, 1, 1))
    graph.set_outputs([result, gated] if shown else [result], ["y", "g"][: 1 + shown])
    return graph


def rewritten(graph: Graph) -> Graph:
    Pipeline(Narrow(dtype=dt.f16), MeansTold(dtype=dt.f16), GatesTaken(dtype=dt.f16))(graph)
    passes.TIDY(graph)
    return graph


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_the_numbers_stay() -> None:
    graph = network()
    x = np.random.default_rng(1).standard_normal((2, CHANNELS, *SIZES)).astype(np.float32)
    (wanted,) = Interpreter({}).call(copy(graph), [x])
    rewritten(graph)
    assert names(graph).count("LineSums") == 1 and names(graph).count("Gated") == 1
    (found,) = Interpreter({}).call(graph, [x])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-3 * np.abs(wanted).max())


@pytest.mark.parametrize(("groups", "kind"), [(1, "mean"), (CHANNELS, "max")])
def test_what_tells_no_sums(groups: int, kind: str) -> None:
    assert "LineSums" not in names(rewritten(network(groups, kind)))


@pytest.mark.parametrize(("channels", "told"), [(4, False), (5, True)])
def test_sums_of_an_image_alone(channels: int, told: bool) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (1, channels, 9, 9)))
    image = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1), channels)(x, weight(channels, 1, 3, 3))
    graph.set_outputs([ops.Sub()(image, ops.Reduce("mean", (2, 3), True)(image))], ["y"])
    Pipeline(MeansTold(dtype=dt.f32, alone=True))(graph)
    assert ("LineSums" in names(graph)) == told


def test_a_gated_image_that_is_read_otherwise_is_made() -> None:
    assert "Gated" not in names(rewritten(network(shown=True)))


def test_a_small_gated_image_is_made() -> None:
    assert "Gated" not in names(rewritten(network(sizes=(7, 7))))


@pytest.mark.parametrize(("images", "sizes", "taken"), [(1, (9, 8), True), (1, (7, 9), False), (2, (9, 8), False)])
def test_gates_of_an_image_alone(images: int, sizes: tuple[int, int], taken: bool) -> None:
    graph = network(sizes=sizes, images=images)
    x = np.random.default_rng(1).standard_normal((images, CHANNELS, *sizes)).astype(np.float32)
    (wanted,) = Interpreter({}).call(copy(graph), [x])
    Pipeline(GatesTaken(dtype=dt.f32, alone=True))(graph)
    assert ("Gated" in names(graph)) == taken
    (found,) = Interpreter({}).call(graph, [x])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_gate_is_one_number_a_channel() -> None:
    x, w = Type(dt.f16, (2, 8, 5, 5)), Type(dt.f16, (4, 8, 1, 1))
    with pytest.raises(ValueError, match="one number a channel"):
        ops.Gated().infer(x, w, Type(dt.f16, (2, 8, 5, 5)))
    with pytest.raises(ValueError, match="images"):
        ops.LineSums().infer(Type(dt.f16, (2, 8)))

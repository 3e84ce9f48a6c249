"""Convolutions of one image that become one, and products of one tensor on CPUs."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.branches import MergeConvolutions
from tenfold.passes.clean import DeadCode
from tenfold.passes.merge import MergeProducts
from tenfold.rewrite.pipeline import Pass, Pipeline

RNG = np.random.default_rng(3)


def weight(*shape: int) -> Value:
    drawn = RNG.standard_normal(shape).astype(np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
    value: Value = ops.Constant(Tensor(drawn))()
    return value


def after(change: Pass, x: Value, *outputs: Value) -> Graph:
    """The graph after a pass; it must answer as before."""
    graph = Graph([x])
    graph.set_outputs([ops.Exp()(one) for one in outputs], [f"y{number}" for number in range(len(outputs))])
    array = RNG.standard_normal(tuple(map(int, x.type.shape))).astype(np.float32)  # type: ignore[arg-type]
    wanted = Interpreter({}).call(copy(graph), [array])
    Pipeline(change, DeadCode())(graph)
    for found, exact in zip(Interpreter({}).call(graph, [array]), wanted, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
    return graph


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(node.op, kind) for node in graph.nodes)


def image(batch: int = 1) -> Value:
    return Value(Type(dt.f32, (batch, 6, 5, 4)), name="x")


def branch(x: Value, channels: int, taps: int = 1, relu: bool = True, bias: tuple[int, ...] = (1, 1)) -> Value:
    """A convolution, with `bias` a row of these axes around the channels, and a ReLU."""
    pad = (taps // 2,) * 2
    y: Value = ops.Conv((1, 1), (1, 1), pad, pad)(x, weight(channels, 6, taps, taps))
    y = ops.Add()(y, weight(channels, *bias)) if bias else y
    return ops.Relu()(y) if relu else y


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("bias", [(1, 1), ()])
def test_branches_become_one(taps: int, bias: tuple[int, ...]) -> None:
    x = image()
    graph = after(MergeConvolutions(), x, *(branch(x, channels, taps, bias=bias) for channels in (4, 8, 3)))
    assert (count(graph, ops.Conv), count(graph, ops.Relu), count(graph, ops.Add)) == (1, 1, bool(bias))


def test_branches_that_differ_stay_apart() -> None:
    x = image()
    every = (branch(x, 4), branch(x, 4, taps=3), branch(x, 4, relu=False), branch(x, 4, bias=()))
    assert count(after(MergeConvolutions(), x, *every), ops.Conv) == 4


def test_several_images_stay_apart() -> None:
    x = image(batch=2)
    assert count(after(MergeConvolutions(), x, branch(x, 4), branch(x, 8)), ops.Conv) == 2


def test_what_has_its_place_in_a_concatenation_stays() -> None:
    x = image()
    assert count(after(MergeConvolutions(), x, ops.Concat(1)(branch(x, 4), branch(x, 8))), ops.Conv) == 2


def rows(size: int = 8) -> Value:
    return Value(Type(dt.f32, (3, size)), name="x")


def turned(x: Value, n: int, bias: tuple[int, ...] | None = None) -> Value:
    y: Value = ops.MatMul()(x, weight(8, n))
    y = ops.Add()(y, weight(*bias)) if bias else y
    return ops.Transpose((1, 0))(y)


HERE = MergeProducts(least=8 * 4 * 4)


@pytest.mark.parametrize("bias", [None, lambda n: (n,), lambda n: (1, n)])
def test_neighbours_become_one(bias: object) -> None:
    x = rows()
    graph = after(HERE, x, *(turned(x, n, bias(n) if callable(bias) else None) for n in (4, 6, 5)))
    assert (count(graph, ops.MatMul), count(graph, ops.Add)) == (1, bias is not None)


def test_products_by_small_matrices_stay_apart() -> None:
    x = rows()
    assert count(after(HERE, x, turned(x, 4), turned(x, 3)), ops.MatMul) == 2
    wide = MergeProducts(least=passes.OUTGROWN)
    assert count(after(wide, x, turned(x, 4), turned(x, 4)), ops.MatMul) == 2


def test_products_with_work_of_their_own_stay_apart() -> None:
    x = rows()
    assert count(after(HERE, x, ops.Relu()(ops.MatMul()(x, weight(8, 4))), turned(x, 4)), ops.MatMul) == 2


def test_products_far_from_each_other_stay_apart() -> None:
    """Keys of all layers of a decoder, whose results would be kept for long."""
    x = rows()
    one = turned(x, 4)
    between = ops.Softmax(axis=0)(one)
    graph = Graph([x])
    graph.set_outputs([between, turned(x, 4)], ["a", "b"])
    Pipeline(HERE, DeadCode())(graph)
    assert count(graph, ops.MatMul) == 2

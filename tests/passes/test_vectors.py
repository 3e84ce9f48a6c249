"""Products with a vector are sums over rows, long sums for few results come in stretches, and the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

Shape = tuple[Any, ...]


def random(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def product(a: Shape, b: Shape, fixed: bool = False) -> Graph:
    """relu(a b), b given by the caller or, if `fixed`, by the model."""
    graph = Graph(name="product")
    x = graph.input("a", Type(dt.f32, a))
    w: Value = ops.Constant(Tensor(random(*b)))() if fixed else graph.input("b", Type(dt.f32, b))
    graph.set_outputs([ops.Relu()(ops.MatMul()(x, w))], ["y"])
    return graph


def kinds(engine: tenfold.Engine) -> str:
    return "; ".join(one["tactic"] for one in engine.report["regions"])


@pytest.mark.parametrize(
    ("a", "b", "sums"),
    [((40,), (40,), True), ((3, 40), (40,), True), ((2, 1, 3, 40), (5, 40, 1), True), ((40,), (7, 40, 1), True),
     ((40,), (40, 6), False), ((1, 5), (5, 6), False), ((5,), (3, 5, 6), False), ((2, 1, 5), (2, 5, 6), False),
     ((1, 5), (3, 5, 6), False), ((1, 0), (0, 6), False), ((2, 1, 5), (1, 5, 6), False), ((4, 5), (5, 6), False),
     ((3, 31), (31, 1), False)],
    ids=str,
)  # fmt: skip
def test_products_with_a_vector_are_sums(a: Shape, b: Shape, sums: bool) -> None:
    engine = tenfold.build(product(a, b), cache=False, effort=0)
    x, y = random(*a), random(*b)
    found, wanted = engine.run([x, y])["y"], np.maximum(x @ y, 0)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert ("gemm" not in kinds(engine)) is sums


@pytest.mark.parametrize(
    ("a", "b", "sums"),
    [((40,), (40, 6), True), ((5,), (3, 5, 6), True), ((2, 1, 5), (2, 5, 6), True), ((2, 1, 5), (1, 5, 6), False)],
    ids=str,
)  # fmt: skip
def test_rows_by_matrices_made_element_by_element_are_sums(a: Shape, b: Shape, sums: bool) -> None:
    graph = Graph(name="made")
    x, w = graph.input("a", Type(dt.f32, a)), graph.input("b", Type(dt.f32, b))
    graph.set_outputs([ops.MatMul()(x, ops.Tanh()(w))], ["y"])
    engine, arrays = tenfold.build(graph, cache=False, effort=0), (random(*a), random(*b))
    np.testing.assert_allclose(engine.run(arrays)["y"], arrays[0] @ np.tanh(arrays[1]), rtol=1e-5, atol=1e-5)
    assert ("gemm" not in kinds(engine)) is sums


@pytest.mark.parametrize(("terms", "sums"), [(64, True), (255, True), (256, False)])
def test_rows_by_turned_matrices_of_few_terms_are_sums(terms: int, sums: bool) -> None:
    graph = Graph(name="turned")
    x, w = graph.input("a", Type(dt.f32, (3, 1, terms))), graph.input("b", Type(dt.f32, (3, 40, terms)))
    graph.set_outputs([ops.MatMul()(x, ops.Transpose((0, 2, 1))(w))], ["y"])
    engine, (a, b) = tenfold.build(graph, cache=False, effort=0), (random(3, 1, terms), random(3, 40, terms))
    np.testing.assert_allclose(engine.run([a, b])["y"], a @ b.swapaxes(1, 2), rtol=1e-5, atol=1e-4)
    assert ("gemm" not in kinds(engine)) is sums


def test_constant_matrices_are_packed_at_build_and_stay_products() -> None:
    assert "gemm" in kinds(tenfold.build(product((1, 40), (40, 6), fixed=True), cache=False, effort=0))


def test_what_attends_with_one_query_of_any_number_of_keys() -> None:
    graph = Graph(name="attends")
    keys = graph.input("keys", Type(dt.f32, (2, symbol("t", 1), 48)))
    query = graph.input("query", Type(dt.f32, (2, 1, 48)))
    scores = ops.MatMul()(query, ops.Transpose((0, 2, 1))(keys))
    graph.set_outputs([ops.MatMul()(ops.Softmax(2)(scores), ops.Tanh()(keys))], ["y"])
    engine = tenfold.build(graph, cache=False, effort=0)
    for count in (1, 7, 200):
        k, q = random(2, count, 48), random(2, 1, 48) / 8
        powers = np.exp(q @ k.transpose(0, 2, 1))
        wanted = powers / powers.sum(-1, keepdims=True) @ np.tanh(k)
        np.testing.assert_allclose(engine.run({"keys": k, "query": q})["y"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "fixed", "cut"),
    [((16, 4096), (4096, 12), False, True), ((16, 4096), (4096, 12), True, True),
     ((1, 1, 3, 6000), (6000, 40), False, True), ((20, 8192), (1, 8192, 20), False, True),
     ((1, 65536), (65536, 10), True, True), ((2, 9, 4096), (2, 4096, 9), False, False),
     ((16, 4099), (4099, 12), False, False), ((1, 2048), (2048, 1000), True, False),
     ((9, 512), (512, 9), False, False)],
    ids=str,
)  # fmt: skip
def test_long_products_of_few_results_are_shared(a: Shape, b: Shape, fixed: bool, cut: bool) -> None:
    engine = tenfold.build(product(a, b, fixed), cache=False, effort=0)
    x, y = random(*a), random(*b)
    found = [engine.context(threads=threads).run([x] if fixed else [x, y])["y"] for threads in (1, 2)]
    wanted = np.maximum(x.astype(np.float64) @ y, 0)
    assert found[0].shape == wanted.shape
    assert np.linalg.norm(found[0] - wanted) / np.linalg.norm(wanted) < 3e-6
    np.testing.assert_array_equal(*found)
    assert ("reduce" in kinds(engine)) is cut


@pytest.mark.parametrize(
    ("kind", "shape", "axes"),
    [("sum", (1 << 18,), (0,)), ("mean", (2, 3, 1 << 16), (1, 2)), ("max", (1 << 14, 3, 5), (0,)),
     ("min", (2, 99999, 3), (1,)), ("sum_square", (1 << 18,), (0,)), ("l1", (2, 99999, 3), (1,)),
     ("l2", (1 << 14, 3, 5), (0,))],
)  # fmt: skip
@pytest.mark.parametrize("keepdims", [True, False])
def test_long_sums_for_few_results_are_shared(kind: Any, shape: Shape, axes: Shape, keepdims: bool) -> None:
    graph = Graph(name="summed")
    x, y = graph.input("x", Type(dt.f32, shape)), graph.input("y", Type(dt.f32, shape[-1:]))
    op = ops.Reduce(kind, axes, keepdims)
    graph.set_outputs([op(ops.Sub()(x, y))], ["s"])
    engine = tenfold.build(graph, cache=False, effort=0)
    arrays = random(*shape), random(*shape[-1:])
    one, two = (engine.context(threads=threads).run(arrays)["s"] for threads in (1, 2))
    wanted = op.evaluate(np.subtract(*arrays, dtype=np.float64))
    assert one.shape == wanted.shape
    np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=2e-4)
    np.testing.assert_array_equal(one, two)
    assert len(engine.report["regions"]) == 2, kinds(engine)


def test_a_long_chain_ahead_of_a_sum_builds() -> None:
    graph = Graph(name="deep")
    value = graph.input("x", Type(dt.f32, (1, 131072)))
    for _ in range(500):
        value = ops.Abs()(value)
        value = ops.Add()(value, ops.Constant(Tensor(np.float32(1)))())
    graph.set_outputs([ops.Reduce("sum", (1,), True)(value)], ["y"])
    x = np.random.default_rng(0).random((1, 131072), np.float32)
    found = tenfold.build(graph, cache=False, effort=0)(x)
    np.testing.assert_allclose(found, (x.astype(np.float64) + 500).sum().reshape(1, 1), rtol=1e-6)

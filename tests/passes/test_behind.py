"""Norms behind the products that read them: what is multiplied, what is told, and that the numbers stay."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.behind import NormsBehind
from tenfold.passes.narrow import Narrow
from tenfold.rewrite.pipeline import Pipeline

ROWS, WIDTH = 80, 128


def weight(*shape: int, scale: float = 0.1, start: float = 0.0) -> Value:
    random = np.random.default_rng(sum(shape))
    array = (random.standard_normal(shape) * scale + start).astype(np.float32)
    value: Value = ops.Constant(Tensor(array))()
    return value


def linear(x: Value, n: int) -> Value:
    value: Value = ops.Add()(ops.MatMul()(x, weight(WIDTH, n)), weight(n))
    return value


def network(mean: float, rows: int = ROWS, words: bool = False) -> Graph:
    """A residual product, a norm, two products of it; `words` asks for the norm's results too."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, rows // 2, WIDTH)))
    y = ops.Add()(x, ops.Add()(ops.MatMul()(x, weight(WIDTH, WIDTH)), weight(WIDTH, start=mean)))
    normal = ops.LayerNorm(2, 1e-6)(y, weight(WIDTH, start=1.0), weight(WIDTH))
    results = [ops.Gelu(False)(linear(normal, 64)), linear(normal, 8), *([normal] if words else [])]
    graph.set_outputs(results, [f"y{number}" for number in range(len(results))])
    return graph


def behind(mean: float, rows: int = ROWS, made: bool = True) -> Graph:
    """A layer whose norms lie behind its sums, as BERT's do; `made`: its first sum is a product's."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, rows // 2, WIDTH)))
    y = ops.Add()(x, ops.Add()(ops.MatMul()(x, weight(WIDTH, WIDTH)), weight(WIDTH, start=mean))) if made else x
    normal = ops.LayerNorm(2, 1e-6)(y, weight(WIDTH, start=1.0), weight(WIDTH))
    wide = ops.Gelu(False)(linear(normal, 2 * WIDTH))
    after = ops.Add()(normal, ops.Add()(ops.MatMul()(wide, weight(2 * WIDTH, WIDTH)), weight(WIDTH)))
    last = ops.LayerNorm(2, 1e-6)(after, weight(WIDTH, start=1.0), weight(WIDTH))
    graph.set_outputs([linear(last, 64)], ["y"])
    return graph


def far(graph: Graph, rows: int = ROWS) -> float:
    """How far a rewritten graph's result is from what it was, norm-wise."""
    x = np.random.default_rng(1).standard_normal((2, rows // 2, WIDTH)).astype(np.float32)
    (wanted,) = Interpreter({}).call(copy(graph), [x])
    (found,) = Interpreter({}).call(rewritten(graph), [x])
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def rewritten(graph: Graph) -> Graph:
    Pipeline(Narrow(dtype=dt.f16), NormsBehind(dtype=dt.f16))(graph)
    passes.TIDY(graph)
    return graph


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


@pytest.mark.parametrize("mean", [0.0, 3.0, -20.0])
def test_the_numbers_stay(mean: float) -> None:
    graph = network(mean)
    x = np.random.default_rng(1).standard_normal((2, ROWS // 2, WIDTH)).astype(np.float32)
    wanted = Interpreter({}).call(copy(graph), [x])
    rewritten(graph)
    assert "LayerNorm" not in names(graph) and names(graph).count("Moments") == 1
    for found, exact in zip(Interpreter({}).call(graph, [x]), wanted, strict=True):
        far = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        assert far < 2e-3 + 2e-3 * abs(mean)


@pytest.mark.parametrize("graph", [network(0.0, rows=64), network(0.0, words=True)])
def test_norms_of_few_rows_and_norms_that_are_asked_for_stay(graph: Graph) -> None:
    assert "Moments" not in names(rewritten(graph))


@pytest.mark.parametrize("mean", [0.0, 3.0, -20.0])
def test_a_norm_that_is_a_residual_is_made_where_it_is_added(mean: float) -> None:
    graph = behind(mean)
    assert far(graph) < 2e-3 + 2e-3 * abs(mean)
    assert "LayerNorm" not in names(graph)
    assert names(graph).count("Moments") == 2 and names(graph).count("Standardise") == 3


def test_the_shift_of_a_residual_is_added_with_the_bias() -> None:
    graph = rewritten(behind(0.0))
    rows = [node for node in graph.nodes if isinstance(node.op, ops.Add)
            and any(isinstance(one.op, ops.Constant) for one in node.inputs)]  # fmt: skip
    assert len(rows) == 4


def test_a_residual_of_what_no_product_makes_stays() -> None:
    graph = behind(0.0, made=False)
    rewritten(graph)
    assert names(graph).count("LayerNorm") == 1 and names(graph).count("Standardise") == 1


def test_weights_that_are_multiplied_are_centred() -> None:
    graph = rewritten(network(0.0))
    used = [node.inputs[1].op.tensor.array for node in graph.nodes
            if isinstance(node.op, ops.MatMul) and node.inputs[1].type.shape[1] in (64, 8)]  # fmt: skip
    assert len(used) == 2
    for one in used:
        assert np.abs(one.astype(np.float64).sum(0)).max() < 5e-5


@pytest.mark.parametrize("dtype", [dt.f16, dt.bf16])
def test_what_rounding_leaves_of_a_sum_is_taken_from_few_elements(dtype: DType) -> None:
    x = (np.random.default_rng(5).standard_normal((256, 40)) * np.logspace(-2, 1, 40)).astype(np.float32)
    x[:, 7] = 0
    found = ops.Centred(dtype).evaluate(x)
    wide = (x - x.astype(np.float64).mean(0)).astype(dtype.numpy).astype(np.float64)
    unit = float(ml_dtypes.finfo(dtype.numpy).eps)
    assert (np.abs(found.astype(np.float64).sum(0)) <= np.abs(wide).mean(0) * unit).all()
    changed = found.astype(np.float64) != wide
    assert changed.mean() < 0.2 and (np.abs(found.astype(np.float64) - wide) <= 2 * unit * np.abs(wide)).all()
    with pytest.raises(ValueError, match="a matrix"):
        ops.Centred(dtype).infer(Type(dt.f32, (3, 4, 5)))


@pytest.mark.parametrize("deviations", [0.0, 5.0, 50.0])
def test_what_is_lost_where_a_mean_is_deviations_off(deviations: float) -> None:
    group, count = 64, 12
    x = (np.random.default_rng(3).standard_normal((50, group * count)) + deviations).astype(np.float32)
    sums, squares = ops.Moments(group).evaluate(x)
    z = ops.Standardise(group * count, 0.0).compute(x, *sums[..., None], *squares[..., None])
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    factor = (z / exact)[np.abs(exact) > 1]
    assert np.abs(factor - 1).max() < (group + count) * 2**-24 * (1 + deviations**2)


def test_moments() -> None:
    x = np.random.default_rng(1).standard_normal((3, 5, 64)).astype(np.float16)
    sums, squares = ops.Moments(32).evaluate(x)
    wide = x.astype(np.float32).reshape(3, 5, 2, 32)
    np.testing.assert_allclose(sums, np.moveaxis(wide.sum(-1), -1, 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(squares, np.moveaxis((wide**2).sum(-1), -1, 0), rtol=1e-5)
    with pytest.raises(ValueError, match="do not fill"):
        ops.Moments(48).infer(Type(dt.f16, (3, 64)))

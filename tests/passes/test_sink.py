"""A classifier reads one word of its last layer: only what that word needs is computed."""

from __future__ import annotations

import numpy as np

from tenfold import ops, passes
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

RNG = np.random.default_rng(3)
BATCH, LENGTH, WIDTH, HEADS = 2, 6, 16, 2


def weight(*shape: int) -> Value:
    value: Value = ops.Constant(Tensor(RNG.standard_normal(shape).astype(np.float32)))()
    return value


def linear(x: Value) -> Value:
    value: Value = ops.Add()(ops.MatMul()(x, weight(WIDTH, WIDTH)), weight(WIDTH))
    return value


def apart(x: Value) -> Value:
    value: Value = ops.Transpose((0, 2, 1, 3))(ops.Reshape((BATCH, LENGTH, HEADS, WIDTH // HEADS))(x))
    return value


def layer(x: Value, causal: bool) -> Value:
    normal = ops.LayerNorm(2, 1e-5)(x, weight(WIDTH), weight(WIDTH))
    q, k, v = (apart(linear(normal)) for _ in range(3))
    joined = ops.Transpose((0, 2, 1, 3))(ops.Attention(0.3, causal=causal)(q, k, v))
    x = ops.Add()(x, linear(ops.Reshape((BATCH, LENGTH, WIDTH))(joined)))
    normal = ops.LayerNorm(2, 1e-5)(x, weight(WIDTH), weight(WIDTH))
    hidden = ops.Gelu(False)(ops.Add()(ops.MatMul()(normal, weight(WIDTH, 2 * WIDTH)), weight(2 * WIDTH)))
    value: Value = ops.Add()(x, ops.Add()(ops.MatMul()(hidden, weight(2 * WIDTH, WIDTH)), weight(WIDTH)))
    return value


def classifier(word: int, causal: bool) -> Graph:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (BATCH, LENGTH, WIDTH)))
    y = layer(layer(x, causal), causal)
    taken = ops.Slice((0, word, 0), (BATCH, 1, WIDTH), (1, 1, 1))(
        ops.LayerNorm(2, 1e-5)(y, weight(WIDTH), weight(WIDTH))
    )
    graph.set_outputs([ops.MatMul()(ops.Reshape((BATCH, WIDTH))(taken), weight(WIDTH, 3))], ["scores"])
    return graph


def check(word: int, causal: bool) -> None:
    graph = classifier(word, causal)
    x = np.random.default_rng(1).standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32)
    (wanted,) = Interpreter({}).call(copy(graph), [x])
    passes.PORTABLE(graph)
    (found,) = Interpreter({}).call(graph, [x])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    rows = [node.output.type.shape[1] for node in graph.nodes if isinstance(node.op, ops.MatMul)][:-1]
    assert sorted(rows) == [1] * 4 + [LENGTH] * 8


def test_the_last_layer_computes_the_word_that_is_read() -> None:
    check(0, causal=False)


def test_the_last_word_sees_all_before_it() -> None:
    check(LENGTH - 1, causal=True)

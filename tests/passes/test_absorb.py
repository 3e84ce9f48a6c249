"""Constants absorbed into every kind of contraction, from both sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes import SIMPLIFY
from tenfold.passes.absorb import ABSORB
from tenfold.rewrite.rule import rewrite
from tests.passes.sample import assert_same, run, sample

CONV = {"strides": (2, 1), "dilations": (1, 2), "pads_before": (0, 0), "pads_after": (0, 0)}
CONTRACTIONS = {
    "conv": (ops.Conv(**CONV), (symbol("N", 1), 4, 5, 6), (6, 4, 2, 2)),
    "conv in groups": (ops.Conv(**CONV, groups=2), (symbol("N", 1), 4, 5, 6), (6, 2, 2, 2)),
    "depthwise": (ops.Conv(**CONV, groups=4), (symbol("N", 1), 4, 5, 6), (8, 1, 2, 2)),
    "transposed": (ops.ConvTranspose(**CONV, output_padding=(0, 0)), (symbol("N", 1), 4, 3, 3), (4, 6, 2, 2)),
    "transposed in groups": (
        ops.ConvTranspose(**CONV, output_padding=(0, 0), groups=2),
        (symbol("N", 1), 4, 3, 3),
        (4, 3, 2, 2),
    ),
    "matmul": (ops.MatMul(), (symbol("N", 1), 3, 4), (4, 6)),
    "matmul in batches": (ops.MatMul(), (2, symbol("S", 1), 4), (2, 4, 6)),
}


def weights(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(len(shape)).normal(0, 1, shape).astype(np.float32)


def constant(array: Array, source: str) -> Value:
    value: Value = ops.Constant(Tensor(array, source=source))()
    return value


def vector(op: Op, rank: int, size: int, source: str) -> Value:
    shape = (size,) if isinstance(op, ops.MatMul) else (size, *(1,) * (rank - 2))
    return constant(weights(shape) + 2, source)


def build(name: str, before: bool, joined: Op, whole: bool) -> Graph:
    op, x_shape, w_shape = CONTRACTIONS[name]
    graph = Graph()
    x = graph.input("x", Type(dt.f32, x_shape))
    w = constant(weights(w_shape), "w")
    rank = len(x_shape)
    channels = 4 if before else (8 if name == "depthwise" else 6)
    c = constant(np.float32(3), "c") if whole else vector(op, rank, channels, "c")
    result = op(joined(x, c), w) if before else joined(op(x, w), c)
    graph.set_outputs([result], ["y"])
    return graph


@pytest.mark.parametrize(
    ("name", "before", "joined", "whole"),
    list(itertools.product(CONTRACTIONS, (True, False), (ops.Mul(), ops.Div(), ops.Add()), (True, False))),
)
def test_a_constant_on_either_side(name: str, before: bool, joined: Op, whole: bool) -> None:
    graph, changed = (build(name, before, joined, whole) for _ in range(2))
    rewrite(changed, SIMPLIFY + ABSORB)
    changed.verify()
    inputs = sample(graph)
    assert_same(run(graph, inputs), run(changed, inputs))
    kinds = [node.op.name for node in changed.nodes if node.op.name != "Constant"]
    refused = before and (joined == ops.Div() or (joined == ops.Add() and "transposed" in name))
    stays = joined == ops.Add() and not before
    assert len(kinds) == (2 if refused or stays or joined == ops.Add() else 1), kinds


def test_narrow_floats_keep_their_scale() -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f16, (2, 4)))
    w, c = (ops.Constant(Tensor(array.astype(np.float16)))() for array in (weights((4, 2)), weights((2,))))
    graph.set_outputs([ops.Mul()(ops.MatMul()(x, w), c)], ["y"])
    assert not rewrite(graph, ABSORB).counts


def test_what_others_use_keeps_its_scale() -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, 4)))
    product = ops.MatMul()(x, constant(weights((4, 2)), "w"))
    graph.set_outputs([ops.Mul()(product, constant(np.float32(2), "c")), product], ["y", "z"])
    assert not rewrite(graph, ABSORB).counts


def test_a_shift_before_a_large_weight_is_a_constant() -> None:
    graph = Graph()
    x, w = graph.input("x", Type(dt.f32, (1, 500, 2, 2))), weights((600, 500, 1, 1))
    shifted = ops.Add()(x, constant(weights((500, 1, 1)), "b"))
    graph.set_outputs([ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))(shifted, constant(w, "w"))], ["y"])
    rewrite(graph, SIMPLIFY + ABSORB)
    assert [node.op.name for node in graph.nodes if node.op.name != "Constant"] == ["Conv", "Add"]

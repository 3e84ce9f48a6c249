"""Products of matrices and attention."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from onnx.reference.ops.op_attention import _compute_attention
from onnx.reference.ops.op_rotary_embedding import rotary_embedding

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import Attention, MatMul, RotaryEmbedding
from tests.ops.oracle import close, random

SHAPES = [
    ((4,), (4,)),
    ((4,), (2, 4, 3)),
    ((3, 4), (4,)),
    ((3, 4), (4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((0, 4), (4, 5)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    arrays = random(*a), random(*b, seed=1)
    y = MatMul().evaluate(*arrays)
    close(y, np.matmul(*arrays), 1e-6)
    assert MatMul().infer(Type(dt.f32, a), Type(dt.f32, b)).shape == y.shape


def test_matmul_types() -> None:
    half = np.ones((1, 4096), ml_dtypes.bfloat16)
    assert float(MatMul().evaluate(half, half.T).item()) == 4096
    small = np.full((1, 100), 200, np.uint8)
    assert MatMul().evaluate(small, small.T).item() == 100 * 200 * 200
    assert MatMul().evaluate(small.astype(np.int64), small.T.astype(np.int64)).dtype == np.int64
    with pytest.raises(ValueError, match="one numeric type, not f32 and i8"):
        MatMul().infer(Type(dt.f32, (2, 2)), Type(dt.i8, (2, 2)))
    with pytest.raises(ValueError, match="sums over 3 columns"):
        MatMul().infer(Type(dt.f32, (2, 3)), Type(dt.f32, (2, 2)))


def test_matmul_of_symbolic_sizes() -> None:
    n, m = dim.symbol("n", 1), dim.symbol("m", 1)
    x, w = Type(dt.f32, (n, m, 8)), Type(dt.f32, (8, 3))
    y = MatMul().infer(x, w)
    assert y.shape == (n, m, 3)
    assert MatMul().cost((x, w), (y,)).flops == n * m * 48


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("mask", ["", "bool", "add"])
def test_attention(causal: bool, softcap: float, mask: str) -> None:
    q, k, v = random(2, 6, 5, 8), random(2, 3, 7, 8, seed=1), random(2, 3, 7, 4, seed=2)
    given = {"": (), "bool": (random(5, 7, seed=3) > 0,), "add": (random(2, 1, 5, 7, seed=3),)}[mask]
    y = Attention(0.3, causal, 0, softcap).evaluate(q, k, v, *given)
    theirs = _compute_attention(q, k, v, *given, scale=0.3, is_causal=causal, softcap=softcap)
    close(y, theirs[0].astype(np.float32), 1e-5)


def test_attention_with_earlier_keys() -> None:
    q, k, v = random(1, 2, 3, 8), random(1, 2, 7, 8, seed=1), random(1, 2, 7, 8, seed=2)
    theirs = _compute_attention(q, k[:, :, 4:], v[:, :, 4:], None, k[:, :, :4], v[:, :, :4], is_causal=True)
    close(Attention(1 / math.sqrt(8), True, 4).evaluate(q, k, v), theirs[0].astype(np.float32), 1e-5)


def test_a_query_that_sees_nothing_gives_zeros() -> None:
    q = random(1, 1, 2, 4)
    mask = np.array([[False, False], [True, False]])
    y = Attention(1.0).evaluate(q, q, q, mask)
    np.testing.assert_array_equal(y[0, 0, 0], 0)
    np.testing.assert_allclose(y[0, 0, 1], q[0, 0, 0], rtol=1e-6)


def test_attention_names_misfits() -> None:
    q, k = Type(dt.f32, (1, 4, 5, 8)), Type(dt.f32, (1, 3, 5, 8))
    with pytest.raises(ValueError, match="4 heads do not share 3 heads"):
        Attention(1.0).infer(q, k, k)
    with pytest.raises(ValueError, match="takes a mask of bool or f32"):
        Attention(1.0).infer(q, q, q, Type(dt.i64, (5, 5)))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("turned", [8, 4])
def test_rotary_embedding(interleaved: bool, turned: int) -> None:
    x, angles = random(2, 3, 5, 8), random(2, 5, turned // 2, seed=1)
    cos, sin = np.cos(angles), np.sin(angles)
    expected = rotary_embedding(x, cos, sin, interleaved=interleaved, rotary_embedding_dim=turned)
    close(RotaryEmbedding(interleaved).evaluate(x, cos[:, None], sin[:, None]), expected, 1e-6)

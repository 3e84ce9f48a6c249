"""Softmax and the norms against ONNX Runtime and the definitions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import LRN, GroupNorm, LayerNorm, LogSoftmax, LpNormalize, RMSNorm, Softmax
from tests.ops.oracle import close, random, runtime

X = random(2, 6, 5, 4)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_softmax(axis: int) -> None:
    close(Softmax(axis).evaluate(X), runtime("Softmax", X, axis=axis)[0], 1e-6)
    close(LogSoftmax(axis).evaluate(X), runtime("LogSoftmax", X, axis=axis)[0], 1e-6)


def test_softmax_of_extremes() -> None:
    x = np.array([[1e30, -1e30, 1e30], [-np.inf, 0, -np.inf]], np.float32)
    np.testing.assert_array_equal(Softmax(1).evaluate(x), np.array([[0.5, 0, 0.5], [0, 1, 0]], np.float32))
    assert Softmax(1).evaluate(np.zeros((2, 0), np.float32)).shape == (2, 0)


@pytest.mark.parametrize("axis", [1, 3])
def test_layer_norm(axis: int) -> None:
    scale, bias = random(*X.shape[axis:], seed=1), random(*X.shape[axis:], seed=2)
    close(
        LayerNorm(axis, 1e-3).evaluate(X, scale, bias),
        runtime("LayerNormalization", X, scale, bias, axis=axis, epsilon=1e-3)[0],
    )


@pytest.mark.parametrize("axis", [2, 3])
def test_rms_norm(axis: int) -> None:
    scale = random(*X.shape[axis:], seed=1)
    expected = X / np.sqrt(np.mean(X.astype(np.float64) ** 2, axis=tuple(range(axis, 4)), keepdims=True) + 1e-3) * scale
    close(RMSNorm(axis, 1e-3).evaluate(X, scale), expected.astype(np.float32), 1e-6)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    scale, bias = random(6, seed=1), random(6, seed=2)
    parts = X.astype(np.float64).reshape(2, groups, -1)
    normal = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
    expected = normal.reshape(X.shape) * scale[:, None, None] + bias[:, None, None]
    close(GroupNorm(groups).evaluate(X, scale, bias), expected.astype(np.float32), 1e-6)
    if groups == 6:
        close(GroupNorm(6).evaluate(X, scale, bias), runtime("InstanceNormalization", X, scale, bias)[0])


@pytest.mark.parametrize(("size", "alpha", "beta"), [(3, 1e-4, 0.75), (5, 0.1, 0.5), (7, 2.0, 1.0)])
def test_lrn(size: int, alpha: float, beta: float) -> None:
    expected = runtime("LRN", X, size=size, alpha=alpha, beta=beta, bias=1.5)[0]
    close(LRN(size, alpha, beta, 1.5).evaluate(X), expected)


def test_lrn_of_even_size_sees_one_more_channel_after() -> None:
    y = LRN(2, 2.0, 1.0, 0.0).evaluate(np.array([[[1.0], [2.0], [3.0]]], np.float32))
    np.testing.assert_allclose(y.ravel(), [1 / 5, 2 / 13, 3 / 9], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalize(p: int) -> None:
    x = X.copy()
    x[0, 0, 0] = 0
    y = LpNormalize(3, p).evaluate(x)
    assert not y[0, 0, 0].any()
    close(y[1], runtime("LpNormalization", x, axis=3, p=p)[0][1], 1e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_types_are_rounded_once(dtype: type) -> None:
    x, ones = X.astype(dtype), np.ones(4, dtype)
    wide = x.astype(np.float32)
    for op, others in ((Softmax(3), ()), (LayerNorm(3), (ones, ones)), (RMSNorm(3), (ones,))):
        expected = op.evaluate(wide, *(one.astype(np.float32) for one in others)).astype(dtype)
        np.testing.assert_array_equal(op.evaluate(x, *others), expected)


def test_misfits_are_named() -> None:
    x = Type(dt.f32, (2, 6, 5))
    with pytest.raises(ValueError, match="one floating-point type, not i32"):
        Softmax(0).infer(Type(dt.i32, (2,)))
    with pytest.raises(ValueError, match="does not divide into 4 groups"):
        GroupNorm(4).infer(x, Type(dt.f32, (6,)), Type(dt.f32, (6,)))
    with pytest.raises(ValueError, match="over axes"):
        Softmax(3).infer(x)

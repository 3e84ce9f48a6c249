"""Fourier transforms against the specification's reference."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference.ops.op_dft import _cfft, _cifft

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import DFT, STFT
from tests.ops.oracle import close, random, runtime


@pytest.mark.parametrize("pair", [1, 2])
@pytest.mark.parametrize("length", [8, 5, 11])
@pytest.mark.parametrize("axis", [0, 1])
def test_dft(pair: int, length: int, axis: int) -> None:
    x = random(8, 8, pair)
    for onesided in (False, True):
        expected = _cfft(x, length, axis, onesided, normalize=False).astype(np.float32)
        op = DFT(axis, length, onesided=onesided)
        close(op.evaluate(x), expected, 1e-6)
        assert op.infer(Type(dt.f32, x.shape)).shape == expected.shape


def test_inverse() -> None:
    x = random(4, 9, 2)
    close(DFT(1, 9, inverse=True).evaluate(x), _cifft(x, 9, 1).astype(np.float32), 1e-6)
    close(DFT(1, 16, inverse=True, onesided=True).evaluate(x), _cifft(x, 16, 1, True).astype(np.float32), 1e-6)


def test_round_trip() -> None:
    x = random(3, 10, 1)
    half = DFT(1, 10, onesided=True).evaluate(x)
    close(DFT(1, 10, inverse=True, onesided=True).evaluate(half), x, 1e-6)


@pytest.mark.parametrize("onesided", [False, True])
def test_stft(onesided: bool) -> None:
    x, window = random(2, 40, 1), np.hanning(16).astype(np.float32)
    expected = runtime("STFT", x, np.array(6), window, onesided=int(onesided))[0]
    op = STFT(6, onesided)
    close(op.evaluate(x, window), expected, 1e-5)
    assert op.infer(Type(dt.f32, x.shape), Type(dt.f32, (16,))).shape == expected.shape


def test_symbolic_sizes() -> None:
    size = dim.symbol("L", 400)
    y = STFT(160).infer(Type(dt.f32, (1, size, 1)), Type(dt.f32, (400,)))
    assert y.shape == (1, (size - 400) // 160 + 1, 201, 2)
    assert DFT(1, size, onesided=True).infer(Type(dt.f32, (1, size, 1))).shape[1] == size // 2 + 1
    with pytest.raises(ValueError, match="pairs or single numbers"):
        DFT(0, 4).infer(Type(dt.f32, (4,)))

"""Quantising and back against ONNX Runtime and the definitions."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import Dequantize, Quantize
from tests.ops.oracle import close, random, runtime

X = random(3, 4, 6) * 40


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("axis", [None, 1])
def test_there_and_back(kind: Any, axis: int | None) -> None:
    shape = () if axis is None else (X.shape[axis],)
    scale = np.asarray(np.abs(random(*shape, seed=1)) * 0.2 + 0.05, np.float32)
    zero = np.asarray(np.random.default_rng(2).integers(0, 20, shape)).astype(kind)
    place = {} if axis is None else {"axis": axis}
    levels = runtime("QuantizeLinear", X, scale, zero, **place)[0]
    np.testing.assert_array_equal(Quantize(axis or 0, dt.of(kind)).evaluate(X, scale, zero), levels)
    real = runtime("DequantizeLinear", levels, scale, zero, **place)[0]
    close(Dequantize(axis or 0, dt.f32).evaluate(levels, scale, zero), real, 0)


def test_blocks() -> None:
    scale, zero = np.abs(random(3, 4, 2, seed=1)) + 0.1, np.zeros((3, 4, 2), np.int8)
    levels = runtime("QuantizeLinear", X, scale, zero, axis=2, block_size=3)[0]
    np.testing.assert_array_equal(Quantize(2, dt.i8, 3).evaluate(X, scale, zero), levels)
    real = runtime("DequantizeLinear", levels, scale, zero, axis=2, block_size=3)[0]
    close(Dequantize(2, dt.f32, 3).evaluate(levels, scale, zero), real, 0)


def test_halves_round_to_even_and_extremes_saturate() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, 1e30, -1e30], np.float32)
    y = Quantize(0, dt.i8).evaluate(x, np.array(1, np.float32), np.array(3, np.int8))
    np.testing.assert_array_equal(y, [3, 5, 5, 3, 127, -128])


def test_four_bits_and_eight_bit_floats() -> None:
    x = np.array([-9, -2, 0, 3.4, 99], np.float32)
    zero = np.array(0, ml_dtypes.int4)
    assert Quantize(0, dt.i4).evaluate(x, np.array(1, np.float32), zero).astype(int).tolist() == [-8, -2, 0, 3, 7]
    narrow = Quantize(0, dt.f8e4m3fn).evaluate(x * 100, np.array(1, np.float32), np.array(0, ml_dtypes.float8_e4m3fn))
    assert narrow.astype(float).tolist() == [-448, -192, 0, 352, 448]


def test_large_levels_are_subtracted_exactly() -> None:
    x, zero = np.array([2**30 + 1], np.int32), np.array(2**30, np.int32)
    assert Dequantize(0, dt.f32).evaluate(x, np.array(2, np.float32), zero).item() == 2


def test_misfits_are_named() -> None:
    x, scale = Type(dt.f32, (3, 4)), Type(dt.f32, (5,))
    with pytest.raises(ValueError, match="takes 4 scales, not 5"):
        Quantize(1, dt.i8).infer(x, scale, Type(dt.i8, (5,)))
    with pytest.raises(ValueError, match="takes a zero point of that type"):
        Quantize(1, dt.i8).infer(x, scale, Type(dt.u8, (5,)))

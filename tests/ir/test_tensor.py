"""Element types and constant data."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor


@pytest.mark.parametrize("dtype", dt.ALL, ids=str)
def test_a_dtype_is_found_by_name_and_by_numpy(dtype: dt.DType) -> None:
    assert dt.parse(dtype.name) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert dt.of(dtype.numpy) is dtype


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(dt.i8, -128, 127), (dt.u4, 0, 15), (dt.i2, -2, 1), (dt.boolean, 0, 1), (dt.f8e4m3fn, -448.0, 448.0)],
    ids=str,
)
def test_limits(dtype: dt.DType, low: float, high: float) -> None:
    assert dtype.limits == (low, high)


def test_equality_is_of_contents() -> None:
    a, b = Tensor(np.arange(3)), Tensor(np.arange(3))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Tensor(np.arange(3).astype(np.int32))
    assert a != Tensor(np.arange(3).reshape(3, 1))


def test_a_lazy_tensor_is_read_when_asked() -> None:
    asked = []

    def load() -> np.ndarray:
        asked.append(1)
        return np.ones(4, ml_dtypes.bfloat16)

    tensor = Tensor(load, dtype=dt.bf16, shape=(2, 2))
    assert (tensor.size, tensor.nbytes, asked) == (4, 8, [])
    assert tensor.array.shape == (2, 2)
    assert asked


def test_contents_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Tensor(np.zeros(2)).array[0] = 1

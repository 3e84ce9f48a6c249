"""Tensors of PyTorch in and out, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import tenfold
from tests.face import models

torch: Any = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def pair() -> tenfold.Engine:
    return tenfold.build(models.two_inputs(), cache=False)


def test_tensors_come_back_as_tensors(pair: tenfold.Engine) -> None:
    x = torch.arange(24, dtype=torch.float32).reshape(3, 8)
    for given in (x, x.clone().requires_grad_(), x.T.contiguous().T, torch.nn.Parameter(x)):
        total, product = pair(given, x.numpy())
        assert isinstance(total, torch.Tensor) and not total.requires_grad
        torch.testing.assert_close(total, 2 * x)
        torch.testing.assert_close(product, x * x)
    assert isinstance(pair(x.numpy(), x)[0], np.ndarray)


def test_a_wrong_dtype_is_never_cast(pair: tenfold.Engine) -> None:
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32):
        with pytest.raises(tenfold.InputError):
            pair(torch.zeros(3, 8, dtype=dtype), torch.zeros(3, 8, dtype=dtype))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "int64", "bool"])
def test_element_types_numpy_lacks(name: str) -> None:
    number = {"bfloat16": TensorProto.BFLOAT16, "float16": TensorProto.FLOAT16}.get(name, TensorProto.INT64)
    number = TensorProto.BOOL if name == "bool" else number
    ends = [[helper.make_tensor_value_info(one, number, [4])] for one in ("x", "y")]
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="same")
    engine = tenfold.build(models.model([node], *ends, {"shape": np.array([4])}), cache=False)
    x = torch.tensor([0, 1, 1, 0]).to(getattr(torch, name))
    result = engine(x)
    assert result.dtype == x.dtype and torch.equal(result, x)


def test_tensors_are_bound_in_place(pair: tenfold.Engine) -> None:
    x, into = torch.ones(3, 8), torch.zeros(3, 8)
    with pair.context() as context:
        context.bind(inputs={"a": x, "b": x}, outputs={"sum": into})
        for factor in (1, 2, 3, 4):
            x.fill_(factor)
            context.run()
            assert torch.equal(into, 2 * x)


def test_tensors_on_another_device_are_refused(pair: tenfold.Engine) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    x = torch.zeros(3, 8, device="cuda")
    with pytest.raises(tenfold.InputError, match="another device") as caught:
        pair(x, x)
    assert caught.value.remedy == "move it to the CPU"

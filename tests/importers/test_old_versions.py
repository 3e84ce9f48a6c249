"""What operators meant in operator sets 1 to 8, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.importers.onnx import import_onnx
from tests.importers.single import feeds, interpreted, model, symbolic

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Old:
    kind: str
    opset: int
    inputs: Sequence[Array]
    expected: Callable[..., Array]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()

    def __str__(self) -> str:
        return f"{self.kind}-{self.opset}({','.join(f'{name}={value}' for name, value in self.attributes.items())})"


def f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def flat_softmax(x: Array) -> Array:
    rows = np.exp(x.reshape(x.shape[0], -1))
    return np.asarray((rows / rows.sum(1, keepdims=True)).reshape(x.shape))


SPREAD = {"broadcast": 1}
AT_ONE = {**SPREAD, "axis": 1, "consumed_inputs": [0, 0]}
IMAGE = f(2, 3, 4, 5)
CASES = [
    Old("Add", 1, [IMAGE, f(3, seed=1)], lambda x, y: x + y[:, None, None], AT_ONE),
    Old("Sub", 6, [IMAGE, f(3, 4, seed=1)], lambda x, y: x - y[:, :, None], {**SPREAD, "axis": 1}),
    Old("Mul", 6, [IMAGE, f(4, 5, seed=1)], lambda x, y: x * y, SPREAD),
    Old("Div", 6, [IMAGE, f(2, seed=1)], lambda x, y: x / y[:, None, None, None], {**SPREAD, "axis": 0}),
    Old("Mul", 6, [IMAGE, f(5, seed=1)], lambda x, y: x * y, {**SPREAD, "axis": -1}),
    Old("Pow", 1, [np.abs(IMAGE), f(1, seed=1)], lambda x, y: x**y, SPREAD),
    Old("Greater", 1, [IMAGE, f(3, seed=1)], lambda x, y: x > y[:, None, None], {**SPREAD, "axis": 1}),
    Old("Equal", 1, [np.arange(6).reshape(2, 3), np.arange(3)], lambda x, y: x == y, SPREAD),
    Old("And", 1, [IMAGE > 0, f(3, seed=1) > 0], lambda x, y: x & y[:, None, None], {**SPREAD, "axis": 1}),
    Old("PRelu", 6, [IMAGE, f(3, seed=1)], lambda x, y: np.where(x < 0, y[:, None, None] * x, x)),
    Old("Gemm", 6, [f(2, 3), f(3, 4), f(4)], lambda a, b, c: a @ b * 2 + c, {**SPREAD, "alpha": 2.0}),
    Old("Softmax", 1, [IMAGE], flat_softmax),
    Old("Reshape", 1, [IMAGE], lambda x: x.reshape(2, 12, 5), {"shape": [0, -1, 5], "consumed_inputs": [0]}),
    Old("Pad", 1, [IMAGE], lambda x: np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=1.5),
        {"paddings": [0, 0, 1, 0, 0, 0, 0, 2], "value": 1.5}),
    Old("Slice", 1, [IMAGE], lambda x: x[:, 1:3, :-1], {"axes": [1, 2], "starts": [1, 0], "ends": [3, -1]}),
    Old("Tile", 1, [IMAGE, f(1) * 0 + 2, f(1) * 0 + 1], lambda x, n, a: np.tile(x, (1, 2, 1, 1)), {}, (1, 2)),
    Old("Clip", 1, [IMAGE], lambda x: np.clip(x, -0.5, 3.4e38), {"min": -0.5, "consumed_inputs": [0]}),
    Old("Cast", 1, [IMAGE], lambda x: x.astype(np.int32), {"to": "INT32"}),
    Old("Concat", 1, [IMAGE], lambda x: x),
    Old("Selu", 1, [IMAGE], lambda x: 1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x)).astype(np.float32)),
    Old("Squeeze", 1, [f(1, 3, 1)], lambda x: x[0], {"axes": [0]}),
    Old("Unsqueeze", 1, [f(3)], lambda x: x[None, :, None], {"axes": [0, 2]}),
    Old("ReduceMean", 1, [IMAGE], lambda x: x.mean((1, 3), keepdims=True), {"axes": [1, 3]}),
    Old("Upsample", 1, [IMAGE], lambda x: x.repeat(2, 2).repeat(3, 3), {"height_scale": 2.0, "width_scale": 3.0}),
    Old("Upsample", 7, [IMAGE], lambda x: x.repeat(2, 3), {"scales": [1.0, 1.0, 1.0, 2.0]}),
    Old("Dropout", 6, [IMAGE], lambda x: x, {"is_test": 1, "ratio": 0.3}),
    Old("GlobalLpPool", 1, [IMAGE], lambda x: (np.abs(x) ** 3).sum((2, 3), keepdims=True) ** (1 / 3), {"p": 3.0}),
    Old("LpPool", 1, [np.abs(IMAGE)], lambda x: np.sqrt(x[:, :, :, 1:] ** 2 + x[:, :, :, :-1] ** 2),
        {"p": 2.0, "kernel_shape": [1, 2]}),
    Old("BatchNormalization", 6, [IMAGE, f(3), f(3, seed=1), f(3, seed=2), np.abs(f(3, seed=3))],
        lambda x, s, b, m, v: (x - m[:, None, None]) / np.sqrt(v[:, None, None] + 1e-5) * s[:, None, None]
        + b[:, None, None], {"is_test": 1}),
    Old("BatchNormalization", 7, [f(2, 3, 4), f(3, 4), f(3, 4, seed=1), f(3, 4, seed=2), np.abs(f(3, 4, seed=3))],
        lambda x, s, b, m, v: (x - m) / np.sqrt(v + 1e-5) * s + b, {"spatial": 0}),
    Old("Affine", 1, [IMAGE], lambda x: 2 * x + 0.5, {"alpha": 2.0, "beta": 0.5}),
    Old("ConstantFill", 1, [IMAGE], lambda x: np.full(x.shape, 2.5, np.float32), {"value": 2.5}),
    Old("Crop", 1, [IMAGE], lambda x: x[:, :, 2:, 1:-1], {"border": [1, 2, 1, 0]}),
    Old("Crop", 1, [IMAGE], lambda x: x[:, :, 1:3, 0:4], {"border": [0, 1, 0, 0], "scale": [2, 4]}),
    Old("ImageScaler", 1, [IMAGE], lambda x: 2 * x + np.array([1, 2, 3], np.float32)[:, None, None],
        {"scale": 2.0, "bias": [1.0, 2.0, 3.0]}),
    Old("ParametricSoftplus", 1, [IMAGE], lambda x: 0.5 * np.log1p(np.exp(2 * x)), {"alpha": 0.5, "beta": 2.0}),
    Old("Scale", 1, [IMAGE], lambda x: 3 * x, {"scale": 3.0}),
    Old("ScaledTanh", 1, [IMAGE], lambda x: 2 * np.tanh(0.5 * x), {"alpha": 2.0, "beta": 0.5}),
    Old("MaxRoiPool", 1, [IMAGE, np.array([[1, 0, 0, 3, 3]], np.float32)],
        lambda x, r: np.stack([[c[:2, :2].max(), c[:2, 2:4].max(), c[2:, :2].max(), c[2:, 2:4].max()] for c in x[1]])
        .reshape(1, 3, 2, 2), {"pooled_shape": [2, 2]}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_old_meaning(case: Old) -> None:
    message = model(case.kind, case.inputs, case.constants, 1, case.opset, **case.attributes)
    given = feeds(message, case.inputs)
    expected = case.expected(*case.inputs)
    for graph in (import_onnx(message), symbolic(message)):
        (found,) = interpreted(graph, given)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=1e-5, atol=1e-5)

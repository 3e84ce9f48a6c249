"""Activations: on arrays as ONNX Runtime has them, in primitives as on arrays."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tenfold.ops import activation
from tenfold.ops.activation import Activation
from tests.ops.oracle import close, runtime

SAMPLES = np.concatenate([np.linspace(-12, 12, 241), [-80, -1e-6, 0, 1e-6, 80]]).astype(np.float32)

CASES: list[tuple[Activation, str, dict[str, Any]]] = [
    (activation.Relu(), "Relu", {}),
    (activation.LeakyRelu(0.2), "LeakyRelu", {"alpha": 0.2}),
    (activation.ThresholdedRelu(0.7), "ThresholdedRelu", {"alpha": 0.7}),
    (activation.Sigmoid(), "Sigmoid", {}),
    (activation.HardSigmoid(0.3, 0.4), "HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    (activation.HardSwish(), "HardSwish", {}),
    (activation.Gelu(), "Gelu", {}),
    (activation.Gelu(True), "Gelu", {"approximate": "tanh"}),
    (activation.Elu(1.3), "Elu", {"alpha": 1.3}),
    (activation.Selu(), "Selu", {}),
    (activation.Celu(0.8), "Celu", {"alpha": 0.8}),
    (activation.Softplus(), "Softplus", {}),
    (activation.Softsign(), "Softsign", {}),
    (activation.Mish(), "Mish", {}),
    (activation.Shrink(0.6, 0.2), "Shrink", {"lambd": 0.6, "bias": 0.2}),
]
OTHERS: list[Activation] = [
    activation.LogSigmoid(),
    activation.Silu(),
    activation.Swish(1.702),
    activation.Affine(2, 3),
    activation.ScaledTanh(2, 3),
]


def expanded(op: Activation, *arrays: np.ndarray) -> np.ndarray:
    graph = Graph()
    inputs: list[Value] = [
        graph.input(f"x{number}", Type(dt.of(array.dtype), array.shape)) for number, array in enumerate(arrays)
    ]
    graph.set_outputs([op.expand(*inputs)], ["y"])
    graph.verify()
    assert all(not isinstance(node.op, Activation) for node in graph.nodes)
    return Interpreter().run(graph, {value.name: array for value, array in zip(inputs, arrays, strict=True)})["y"]


@pytest.mark.parametrize(("op", "kind", "attributes"), CASES, ids=lambda case: str(case)[:40])
def test_against_onnxruntime(op: Activation, kind: str, attributes: dict[str, Any]) -> None:
    close(op.evaluate(SAMPLES), runtime(kind, SAMPLES, opset=22, **attributes)[0], 3e-7)


@pytest.mark.parametrize("op", [*(case[0] for case in CASES), *OTHERS], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_expand(op: Activation, dtype: Any) -> None:
    x = SAMPLES.astype(dtype)
    with np.errstate(all="ignore"):
        close(expanded(op, x), op.evaluate(x), {8: 1e-14, 4: 3e-7, 2: 1e-3}[np.dtype(dtype).itemsize])


@pytest.mark.parametrize("op", [*(case[0] for case in CASES), *OTHERS], ids=str)
def test_expand_keeps_nan(op: Activation) -> None:
    x = np.array([np.nan, 1], np.float32)
    both = np.isnan(expanded(op, x)), np.isnan(op.evaluate(x))
    np.testing.assert_array_equal(*both)


def test_prelu_and_clip() -> None:
    x, slope = SAMPLES[:20].reshape(4, 5), np.linspace(-1, 1, 5, dtype=np.float32)
    for op in (activation.PRelu(), activation.Clip()):
        others = (slope,) if isinstance(op, activation.PRelu) else (np.float32(-3.0), np.float32(2.0))
        arrays = (x, *(np.asarray(one) for one in others))
        close(op.evaluate(*arrays), runtime(op.name, *arrays)[0], 0)
        close(expanded(op, *arrays), op.evaluate(*arrays), 0)


def test_integers() -> None:
    x = np.arange(-3, 4, dtype=np.int32)
    np.testing.assert_array_equal(activation.Relu().evaluate(x), np.maximum(x, 0))
    np.testing.assert_array_equal(expanded(activation.Relu(), x), np.maximum(x, 0))
    with pytest.raises(ValueError, match="Sigmoid takes floating-point inputs, not i32"):
        activation.Sigmoid().infer(Type(dt.i32, (2,)))


def test_clip_follows_sizes() -> None:
    low, x, high = (Type(dt.i64, ()).with_entries((value,)) for value in (0, 7, 5))
    assert activation.Clip().infer(x, low, high).entries == (5,)

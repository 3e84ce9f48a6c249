"""One ONNX operator run by ONNX Runtime: what our operations are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

Array = NDArray[Any]


def runtime(
    kind: str, *arrays: Array | None, outputs: int = 1, opset: int = 21, domain: str = "", **attributes: Any
) -> list[Array]:
    """The outputs of one operator on arrays; None stands for an input left out."""
    names = ["" if array is None else f"x{number}" for number, array in enumerate(arrays)]
    results = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(kind, names, results, domain=domain, **attributes)
    given = [(name, array) for name, array in zip(names, arrays, strict=True) if array is not None]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given
    ]
    unknown = [onnx.ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph([node], "one", inputs, unknown)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(given))
    return found


def random(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Seeded normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(ours: Array, theirs: Array, tolerance: float = 1e-5) -> None:
    """Same type and shape, norm-wise near."""
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, (
        ours.dtype,
        ours.shape,
        theirs.dtype,
        theirs.shape,
    )
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    difference = np.linalg.norm(np.nan_to_num(a - b, posinf=0, neginf=0)) / max(np.linalg.norm(np.nan_to_num(b)), 1e-30)
    assert difference <= tolerance, difference

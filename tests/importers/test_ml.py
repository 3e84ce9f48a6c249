"""ai.onnx.ml against ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from tenfold.errors import ExecutionError, ModelError
from tenfold.importers.onnx import import_onnx
from tests.importers.single import interpreted, same

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """One operator of ai.onnx.ml on arrays."""

    kind: str
    arrays: tuple[Array, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 4
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return f"{self.kind}-{self.arrays[0].dtype}-" + "-".join(map(str, self.attributes.values()))[:60]


def message(case: Case, sizes: bool = True) -> onnx.ModelProto:
    """A model of the case; without `sizes` its first axes are open."""
    names = [f"x{at}" for at in range(len(case.arrays))]
    results = [f"y{at}" for at in range(case.outputs)]
    node = helper.make_node(case.kind, names, results, domain="ai.onnx.ml", **case.attributes)
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape if sizes else [None, *one.shape[1:]]
        )
        for name, one in zip(names, case.arrays, strict=True)
    ]
    graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in results])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", case.opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def expected(case: Case) -> list[Array]:
    """What ONNX Runtime gives."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    data = message(case).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {f"x{at}": one for at, one in enumerate(case.arrays)})
    return found


def agree(case: Case) -> None:
    """Our interpreter gives what ONNX Runtime gives, with known and with open sizes."""
    theirs = expected(case)
    feeds = {f"x{at}": one for at, one in enumerate(case.arrays)}
    for sizes in (True, False):
        for ours, other in zip(interpreted(import_onnx(message(case, sizes)), feeds), theirs, strict=True):
            same(ours, other, case.tolerance)


def words(*items: str) -> Array:
    return np.array([*items, None], np.object_)[:-1]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


NUMBERS = np.array([[1, 5, 7], [9, -3, 5]], np.int64)
SPECIAL = np.array([[1.5, np.nan, -2], [0, 3, np.nan]], np.float32)

ENCODERS = [
    Case("LabelEncoder", (NUMBERS,), {"keys_int64s": [5, 1, -3], "values_int64s": [50, 10, -30], "default_int64": 7}),
    Case("LabelEncoder", (NUMBERS,), {"keys_int64s": [5, 1], "values_floats": [5.5, 1.5]}),
    Case("LabelEncoder", (NUMBERS,), {"keys_int64s": [5, 1], "values_strings": ["five", "one"]}),
    Case("LabelEncoder", (NUMBERS,), {"keys_int64s": [4], "values_int64s": [1]}),
    Case("LabelEncoder", (SPECIAL,), {"keys_floats": [np.nan, 1.5, 3.0], "values_int64s": [1, 2, 3]}),
    Case("LabelEncoder", (SPECIAL,), {"keys_floats": [1.5, -2.0, 0.0], "values_strings": ["a", "b", "c"]}),
    Case("LabelEncoder", (words("a", "b", "zz"),), {"keys_strings": ["b", "a"], "values_int64s": [1, 2]}),
    Case("LabelEncoder", (words("a", "b"),), {"keys_strings": ["b"], "values_strings": ["B"], "default_string": "?"}),
    Case("LabelEncoder", (words("a", "b"),), {"classes_strings": ["b", "a"]}, opset=1),
    Case("LabelEncoder", (np.array([0, 1, 2]),), {"classes_strings": ["b", "a"], "default_string": "no"}, opset=1),
    Case(
        "LabelEncoder",
        (np.arange(100, dtype=np.int64),),
        {"keys_int64s": list(range(3, 99, 3)), "values_int64s": list(range(32))},
    ),
    Case("CategoryMapper", (words("x", "y"),), {"cats_strings": ["y", "z"], "cats_int64s": [5, 6]}, opset=1),
    Case("CategoryMapper", (np.array([5, 7]),), {"cats_strings": ["y", "z"], "cats_int64s": [5, 6]}, opset=1),
    Case("OneHotEncoder", (NUMBERS,), {"cats_int64s": [5, 1, 9], "zeros": 1}),
    Case("OneHotEncoder", (NUMBERS[0].astype(np.float32),), {"cats_int64s": [5, 1, 7], "zeros": 0}),
    Case("OneHotEncoder", (words("a", "c"),), {"cats_strings": ["c", "b"], "zeros": 1}),
]

FEATURES = [
    Case("ArrayFeatureExtractor", (normal(3, 5), np.array([[0, 3, 3]])), opset=1),
    Case("ArrayFeatureExtractor", (normal(5), np.array([4, 0])), opset=1),
    Case("Binarizer", (normal(3, 4),), {"threshold": 0.25}, opset=1),
    Case("Scaler", (normal(3, 4),), {"offset": [1.0, 2, 3, 4], "scale": [2.0, 3, 4, 5]}, opset=1),
    Case("Scaler", (NUMBERS,), {"offset": [1.0], "scale": [0.5]}, opset=1),
    Case("Imputer", (SPECIAL,), {"imputed_value_floats": [7.0, 8, 9], "replaced_value_float": np.nan}, opset=1),
    Case("Imputer", (SPECIAL,), {"imputed_value_floats": [7.0], "replaced_value_float": 3.0}, opset=1),
    Case("Imputer", (NUMBERS,), {"imputed_value_int64s": [7, 8, 9], "replaced_value_int64": 5}, opset=1),
    *(Case("Normalizer", (normal(3, 4),), {"norm": kind}, opset=1) for kind in ("MAX", "L1", "L2")),
    *(Case("Normalizer", (np.zeros((2, 3), np.float32),), {"norm": kind}, opset=1) for kind in ("MAX", "L1", "L2")),
    Case("FeatureVectorizer", (normal(2, 3), normal(2, 2, seed=1)), {"inputdimensions": [3, 2]}, opset=1),
]


@pytest.mark.parametrize("case", [*ENCODERS, *FEATURES], ids=str)
def test_features(case: Case) -> None:
    agree(case)


def test_a_category_that_is_none() -> None:
    case = Case("OneHotEncoder", (NUMBERS,), {"cats_int64s": [5], "zeros": 0})
    with pytest.raises(ExecutionError, match="none of the categories"):
        interpreted(import_onnx(message(case)), {"x0": NUMBERS})


def test_keys_without_values() -> None:
    with pytest.raises(ModelError, match="2 keys and 1 values"):
        import_onnx(message(Case("LabelEncoder", (NUMBERS,), {"keys_int64s": [5, 1], "values_int64s": [1]})))

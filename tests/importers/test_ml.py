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

from tenfold.errors import ExecutionError, InputError, ModelError
from tenfold.importers.onnx import import_onnx
from tenfold.ir.interpret import Interpreter
from tenfold.ir.objects import unpack
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


def linear(classes: int, rows: int, **attributes: Any) -> dict[str, Any]:
    weights = normal(rows * 4, seed=3).tolist()
    return {
        "coefficients": weights,
        "intercepts": normal(rows, seed=4).tolist(),
        "classlabels_ints": list(range(7, 7 + classes)),
        **attributes,
    }


X = normal(6, 4, seed=5)
LINEAR = [
    Case(
        "LinearRegressor", (X,), {"coefficients": normal(8).tolist(), "intercepts": [0.5, 1.0], "targets": 2}, opset=1
    ),
    *(
        Case("LinearClassifier", (X,), linear(3, 3, post_transform=kind), outputs=2, opset=1)
        for kind in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    ),
    *(
        Case("LinearClassifier", (X,), linear(2, 2, post_transform=kind), outputs=2, opset=1)
        for kind in ("NONE", "SOFTMAX", "LOGISTIC")
    ),
    Case("LinearClassifier", (X,), linear(2, 1, post_transform="LOGISTIC"), outputs=2, opset=1),
]


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_linear(case: Case) -> None:
    agree(case)


def machine(classes: int, kernel: str, chances: bool) -> dict[str, Any]:
    counts = [3, 2, 4, 2][:classes]
    total, pairs = sum(counts), classes * (classes - 1) // 2
    return {
        "kernel_type": kernel,
        "kernel_params": [0.3, 0.2, 2.0],
        "vectors_per_class": counts,
        "support_vectors": normal(total * 4, seed=6).tolist(),
        "coefficients": normal((classes - 1) * total, seed=7).tolist(),
        "rho": normal(pairs, seed=8).tolist(),
        "classlabels_ints": list(range(classes)),
        **({"prob_a": (-np.abs(normal(pairs))).tolist(), "prob_b": normal(pairs).tolist()} if chances else {}),
    }


def supports(kernel: str, **more: Any) -> dict[str, Any]:
    return {
        "kernel_type": kernel,
        "kernel_params": [0.3, 0.2, 3.0],
        "support_vectors": normal(20).tolist(),
        "n_supports": 5,
        "coefficients": normal(5).tolist(),
        "rho": [0.25],
        **more,
    }


KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
MACHINES = [
    *(Case("SVMRegressor", (X,), supports(kernel), opset=1) for kernel in KERNELS),
    Case("SVMRegressor", (X,), supports("RBF", one_class=1), opset=1),
    *(Case("SVMClassifier", (X,), machine(4, kernel, False), outputs=2, opset=1) for kernel in KERNELS),
    *(Case("SVMClassifier", (X,), machine(n, "RBF", True), outputs=2, opset=1, tolerance=1e-4) for n in (2, 3, 4)),
    Case("SVMClassifier", (X,), machine(2, "RBF", False), outputs=2, opset=1),
]


@pytest.mark.parametrize("case", MACHINES, ids=str)
def test_machines(case: Case) -> None:
    agree(case)


def test_one_machine_without_vectors() -> None:
    case = Case("SVMRegressor", (X,), {"coefficients": [1.0, 2, 3, 4], "rho": [0.5], "kernel_type": "LINEAR"})
    (found,) = interpreted(import_onnx(message(case)), {"x0": X})
    np.testing.assert_allclose(found[:, 0], X @ np.array([1, 2, 3, 4], np.float32) + 0.5, rtol=1e-5)


def test_integers_are_features_too() -> None:
    case = Case("LinearRegressor", (NUMBERS,), {"coefficients": [0.5, 1, 2]})
    (found,) = interpreted(import_onnx(message(case)), {"x0": NUMBERS})
    np.testing.assert_allclose(found[:, 0], NUMBERS @ [0.5, 1, 2])


def in_a_map(kind: str, key: int, value: int, opset: int = 1, **attributes: Any) -> onnx.ModelProto:
    """A model of one operator that takes a map."""
    scalar = helper.make_tensor_type_proto(value, [])
    given = helper.make_value_info("x", helper.make_map_type_proto(key, scalar))
    node = helper.make_node(kind, ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph([node], "one", [given], [onnx.ValueInfoProto(name="y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", opset)], ir_version=10)


@pytest.mark.parametrize("names", [{"classlabels_strings": ["a", "b", "c"]}, {"classlabels_int64s": [7, -1, 2]}])
def test_rows_as_maps(names: dict[str, Any]) -> None:
    case = Case("ZipMap", (normal(2, 3),), names, opset=1)
    (theirs,) = expected(case)
    graph = import_onnx(message(case))
    found = Interpreter().run(graph, {"x0": case.arrays[0]})
    assert unpack(graph.outputs[0].type.dtype, found["y0"]) == theirs


def mapped(model: onnx.ModelProto, given: Any) -> Any:
    return Interpreter().run(import_onnx(model), {"x": given})["y"].tolist()


def test_maps_as_rows() -> None:
    STRING, INT, FLOAT, DOUBLE = 8, 7, 1, 11
    words = in_a_map("DictVectorizer", STRING, DOUBLE, string_vocabulary=["a", "c", "b"])
    assert mapped(words, {"b": 2.5, "a": 1, "z": 9}) == [[1, 0, 2.5]]
    assert mapped(in_a_map("DictVectorizer", INT, STRING, int64_vocabulary=[3, 1]), {1: "x"}) == [["", "x"]]
    assert mapped(in_a_map("CastMap", INT, FLOAT, cast_to="TO_INT64"), {9: 1.5, 2: -2.5}) == [[-2, 1]]
    sparse = in_a_map("CastMap", INT, STRING, cast_to="TO_FLOAT", map_form="SPARSE", max_map=3)
    with pytest.raises(ExecutionError):
        mapped(sparse, {0: "1.5", 2: "x"})
    numbers = in_a_map("CastMap", INT, FLOAT, cast_to="TO_FLOAT", map_form="SPARSE", max_map=3)
    assert mapped(numbers, {0: 1.5, 2: 2.5, 7: 1}) == [[1.5, 0, 2.5]]


def test_what_is_no_such_map() -> None:
    words = in_a_map("DictVectorizer", 8, 1, string_vocabulary=["a"])
    for given in ({1: 2.0}, [1.0], {"a": "1.5"}):
        with pytest.raises(InputError, match="'x'"):
            mapped(words, given)
    assert mapped(words, {"a": 0.5}) == [[0.5]]

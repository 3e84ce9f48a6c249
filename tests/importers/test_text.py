"""ONNX's operators on strings against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from tenfold.errors import ModelError, UnsupportedError
from tenfold.importers import open_model
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter

Array = NDArray[Any]


def model(kind: str, x: Array, outputs: int = 1, axes: tuple[Any, ...] | None = None, **attributes: Any) -> bytes:
    names = [f"y{at}" for at in range(outputs)]
    node = helper.make_node(kind, ["x"], names, **attributes)
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    info = helper.make_tensor_value_info("x", element, x.shape if axes is None else axes)
    graph = helper.make_graph([node], "one", [info], [onnx.ValueInfoProto(name=name) for name in names])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(made.SerializeToString())


def theirs(data: bytes, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {"x": x})
    return found


def ours(data: bytes, x: Array) -> tuple[list[Array], Graph]:
    graph = open_model(data)
    graph.verify()
    return list(Interpreter().run(graph, {"x": x}).values()), graph


POOL = {"ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6], "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]}
X = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int64)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("least", "most", "skip"), [(1, 1, 0), (2, 2, 0), (2, 2, 5), (1, 2, 0), (1, 2, 5)])
def test_n_grams(mode: str, least: int, most: int, skip: int) -> None:
    more = {"weights": [0.5, 1, 2, 3, 4, 5, 6]} if mode != "TF" else {}
    lengths = {"min_gram_length": least, "max_gram_length": most, "max_skip_count": skip}
    for x in (X, X[0], X.astype(np.int32), X[:, :1]):
        data = model("TfIdfVectorizer", x, mode=mode, **POOL, **lengths, **more)
        found, graph = ours(data, x)
        assert "CountGrams" not in {node.op.name for node in graph.nodes}
        assert found[0].tolist() == theirs(data, x)[0].tolist()
        open_axes = model("TfIdfVectorizer", x, axes=(None,) * x.ndim, mode=mode, **POOL, **lengths, **more)
        assert ours(open_axes, x)[0][0].tolist() == found[0].tolist()


def test_n_grams_of_words() -> None:
    x = np.array([["a", "b", "a", "b"]], np.object_)
    pool = {"pool_strings": ["a", "c", "a", "b"], "ngram_counts": [0, 2], "ngram_indexes": [2, 0, 1]}
    data = model("TfIdfVectorizer", x, mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=0, **pool)
    assert ours(data, x)[0][0].tolist() == theirs(data, x)[0].tolist() == [[0, 2, 2]]


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ({"pool_int64s": [1, 2, 3], "ngram_counts": [0, 0], "ngram_indexes": [0, 1]}, "no n-grams of 2"),
        ({"pool_int64s": [1], "ngram_counts": [0, 5], "ngram_indexes": [0]}, "begin at"),
        ({"pool_int64s": [1, 2], "ngram_counts": [0], "ngram_indexes": [0]}, "2 n-grams and 1 places"),
        ({"pool_int64s": [1], "ngram_counts": [0], "ngram_indexes": [-1]}, "1 n-grams and 1 places"),
    ],
)
def test_pools_that_make_no_sense(pool: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        open_model(
            model("TfIdfVectorizer", X, mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=0, **pool)
        )


def test_patterns() -> None:
    x = np.array(["www.a.com", "b@c", ""], np.object_)
    data = model("RegexFullMatch", x, pattern=r"www\.[\w.-]+\.\bcom\b")
    assert ours(data, x)[0][0].tolist() == theirs(data, x)[0].tolist() == [True, False, False]
    with pytest.raises(UnsupportedError, match="no support for the Unicode class 'Greek'"):
        open_model(model("RegexFullMatch", x, pattern=r"\p{Greek}"))


def test_splits() -> None:
    x = np.array(["a,b,,c", ",", "d"], np.object_)
    data = model("StringSplit", x, outputs=2, delimiter=",")
    for one, other in zip(ours(data, x)[0], theirs(data, x), strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("case", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_stop_words(case: str, sensitive: int) -> None:
    x = np.array(["Monday", "tuesday", "monday", "WEDNESDAY"], np.object_)
    for row in (x, x[None], x[[2]]):
        data = model(
            "StringNormalizer",
            row,
            case_change_action=case,
            is_case_sensitive=sensitive,
            stopwords=["monday"],
            locale="C",
        )
        assert ours(data, row)[0][0].tolist() == theirs(data, row)[0].tolist()

"""ONNX's own node tests of every operator that our tables hold."""

from __future__ import annotations

import warnings
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from tenfold.errors import UnsupportedError
from tenfold.importers.onnx import TABLE, import_onnx
from tenfold.ir.interpret import Interpreter
from tests.importers.differences import DIFFERENT


@cache
def cases() -> dict[str, Any]:
    """ONNX's cases by name, those whose operators are all ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {case.name: case for case in collect_testcases(None)}
    return {name: case for name, case in found.items() if _ours(case.model)}


def _ours(model: ModelProto) -> bool:
    kinds = {("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in model.graph.node}
    tensors = all(info.type.WhichOneof("value") == "tensor_type" for info in (*model.graph.input, *model.graph.output))
    return tensors and all(kind in TABLE for kind in kinds)


def _array(given: Any) -> Any:
    return numpy_helper.to_array(given) if isinstance(given, TensorProto) else np.asarray(given)


def _attempt(case: Any) -> str:
    try:
        graph = import_onnx(case.model)
    except UnsupportedError as error:
        return f"refused: {error.message}"
    graph.verify()
    for inputs, expected in case.data_sets:
        feeds = {info.name: _array(one) for info, one in zip(case.model.graph.input, inputs, strict=False)}
        found = Interpreter().run(graph, feeds)
        for ours, theirs in zip(found.values(), map(_array, expected), strict=False):
            if ours.shape != theirs.shape:
                return f"shape {ours.shape}, not {theirs.shape}"
            if not _near(ours, theirs, case.rtol or 1e-3, case.atol or 1e-7):
                return "numbers"
    return "right"


def _near(ours: Any, theirs: Any, relative: float, absolute: float) -> bool:
    if theirs.dtype.kind in "OUST":
        return bool(ours.tolist() == theirs.astype(str).astype(object).tolist())
    if ours.dtype != theirs.dtype:
        return False
    if ours.dtype.itemsize <= 2 and ours.dtype.kind not in "iub":
        relative, absolute = 2e-2, 1e-3
    kind = np.complex128 if ours.dtype.kind == "c" else np.float64
    return bool(np.allclose(ours.astype(kind), theirs.astype(kind), relative, absolute, equal_nan=True))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_operator_that_we_claim() -> None:
    outcomes = {name: _attempt(case) for name, case in cases().items()}
    counts = Counter(outcome.split(":")[0] for outcome in outcomes.values())
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    others = {name: outcome for name, outcome in outcomes.items() if outcome != "right"}
    assert not {name: outcome for name, outcome in others.items() if name not in DIFFERENT}
    assert not {name for name in DIFFERENT if name not in others}, "these are right now: take them off the list"

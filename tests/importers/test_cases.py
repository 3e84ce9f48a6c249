"""Each case, imported and interpreted, against ONNX's reference: sizes known, and every size left open."""

from __future__ import annotations

import pytest

from tenfold.importers.onnx import import_onnx
from tests.importers.cases import CASES, Case
from tests.importers.single import feeds, interpreted, model, reference, runtime, same, symbolic


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    message = model(case.kind, case.arrays, case.constants, case.outputs, case.opset, **case.attributes)
    inputs = feeds(message, case.arrays)
    expected = (runtime if case.by_runtime else reference)(message, inputs)
    graphs = [import_onnx(message)] + ([] if case.static_only else [symbolic(message)])
    for graph in graphs:
        for ours, theirs in zip(interpreted(graph, inputs), expected, strict=True):
            same(ours, theirs)

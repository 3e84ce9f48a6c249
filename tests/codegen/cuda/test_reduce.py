from __future__ import annotations

import pytest

from tests.codegen.cpu import cases
from tests.codegen.cpu.cases import Case
from tests.codegen.cuda.interpreting import check, supported

from tenfold.codegen.cuda import reduce  # isort: skip

_CASES = list(supported(reduce.STRATEGY, cases.ROW))


def test_what_is_refused() -> None:
    refused = {case.name for case in cases.ROW} - {case.name for case in _CASES}
    assert all("arg" in name or name == "sum-everything" for name in refused)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    check(reduce.STRATEGY, case)

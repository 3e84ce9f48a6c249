from __future__ import annotations

import pytest

from tests.codegen.cpu import cases
from tests.codegen.cpu.cases import Case
from tests.codegen.cuda.interpreting import check, supported

from tenfold.codegen.cuda import pointwise  # isort: skip

_CASES = list(supported(pointwise.STRATEGY, cases.POINTWISE))


def test_most_cases_have_generated_code() -> None:
    assert len(_CASES) >= len(cases.POINTWISE) - 1


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    check(pointwise.STRATEGY, case)

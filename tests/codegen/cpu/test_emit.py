from __future__ import annotations

import pytest

from tenfold.codegen.cpu import pointwise
from tenfold.codegen.cpu.isa import Isa
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import check

ROWS = pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)


@ROWS
@pytest.mark.parametrize("case", cases.EMIT, ids=lambda case: case.name)
def test_primitive(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa)


@ROWS
@pytest.mark.parametrize("case", cases.CASTS, ids=lambda case: case.name)
def test_conversion(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa)

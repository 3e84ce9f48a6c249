from __future__ import annotations

import pytest

from tenfold.codegen.cpu import pointwise
from tenfold.codegen.cpu.isa import Isa
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import check

ROWS = pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)


@ROWS
@pytest.mark.parametrize("case", cases.POINTWISE, ids=lambda case: case.name)
def test_case(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa)


@ROWS
@pytest.mark.parametrize("case", [one for one in cases.POINTWISE if "trans" in one.name], ids=lambda case: case.name)
def test_crossed_inputs_by_lines(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa, which=1)

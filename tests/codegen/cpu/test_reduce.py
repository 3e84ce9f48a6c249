from __future__ import annotations

import pytest

from tenfold.codegen.cpu import reduce
from tenfold.codegen.cpu.isa import Isa
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import check

ROWS = pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)


@ROWS
@pytest.mark.parametrize("case", cases.ROW, ids=lambda case: case.name)
def test_case(case: Case, isa: Isa) -> None:
    check(reduce.STRATEGY, case, isa)


@ROWS
@pytest.mark.parametrize(
    "case",
    [one for one in cases.ROW if "f32" in one.name or "soft" in one.name or "norm" in one.name],
    ids=lambda case: case.name,
)
def test_the_other_way_round(case: Case, isa: Isa) -> None:
    check(reduce.STRATEGY, case, isa, which=1)

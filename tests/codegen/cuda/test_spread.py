from __future__ import annotations

import math

import pytest

from tenfold.codegen.strategy import Refusal, Tactic
from tests.codegen.cpu import cases
from tests.codegen.cuda.interpreting import TARGET, bound, compare

from tenfold.codegen.cuda import spread  # isort: skip

_NAMED = {case.name: case for case in cases.ROW}


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("name", ["layer-norm", "softmax-symbolic-f16", "softmax-static"])
def test_slices(name: str, slices: int) -> None:
    case = _NAMED[name]
    bindings = min(case.bindings, key=lambda one: abs(math.prod(one.values()) - 100))
    region = bound(case.region(), bindings)
    tactic = Tactic("spread", (("elements", 16), ("slices", slices), ("warps", 1)))
    compare(region, spread.STRATEGY.build(region, tactic, TARGET), case)


@pytest.mark.parametrize(("rows", "columns", "taken"), [(64, 40960, True), (8192, 40960, False), (64, 1024, False)])
def test_only_few_long_rows(rows: int, columns: int, taken: bool) -> None:
    found = spread.STRATEGY.tactics(cases._layer_norm((rows, columns)), TARGET)
    assert isinstance(found, Refusal) != taken

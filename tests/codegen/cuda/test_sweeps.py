from __future__ import annotations

import math

import pytest

from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.strategy import Tactic
from tests.codegen.cpu import cases
from tests.codegen.cuda.interpreting import TARGET, bound, compare, supported

from tenfold.codegen.cuda import sweeps  # isort: skip
from tenfold.codegen.cuda.triton import function  # isort: skip

_NAMED = {case.name: case for case in cases.ROW}
_SOME = (
    *("sum-f32", "max-f32-special", "argmax-f32-special", "argmin_last-f32-special", "sum-i8", "any-bool"),
    *("sum-columns", "softmax-symbolic-f16", "layer-norm", "weighted", "sum-two-axes-apart", "sum-nothing"),
)


def held(name: str, slices: int = 1) -> None:
    """A case of about 100 elements, in blocks of 16."""
    case = _NAMED[name]
    bindings = min(case.bindings, key=lambda one: abs(math.prod(one.values()) - 100))
    shape = (("rows", 1 if slices > 1 else 2), ("elements", 16), ("warps", 1), ("slices", slices))
    region = bound(case.region(), bindings)
    compare(region, sweeps.STRATEGY.build(region, Tactic("sweeps", shape), TARGET), case)


def test_every_row_has_generated_code() -> None:
    assert len(list(supported(sweeps.STRATEGY, cases.ROW))) == len(cases.ROW)


@pytest.mark.parametrize("name", _SOME)
def test_blocks(name: str) -> None:
    held(name)


@pytest.mark.parametrize("name", ["sum-f32", "prod-f32", "max-f32-special", "sum-i64"])
def test_slices(name: str) -> None:
    held(name, 4)


def test_functions_that_fill_holes_have_names_of_their_own() -> None:
    one, other = (function(Hole(f"def hole():\n    return {number}\n")) for number in (1, 2))
    assert one.__name__ != other.__name__

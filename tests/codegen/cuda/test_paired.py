from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Anchored
from tenfold.codegen.strategy import Refusal
from tests.codegen.cpu.cases import Case
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda import contraction, gemm, paired, plain  # isort: skip
from tenfold.codegen.cuda.conv import boxes, standing  # isort: skip
from tests.codegen.cuda import compiling  # isort: skip

_CASE = Case("paired", lambda: compiling.paired(8, 8, 8), low=-0.5, high=0.5)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_halves_meet_in_the_body(which: int, turned: bool) -> None:
    region = compiling.paired(70, 72, 40, turned=turned)
    compare(region, paired.STRATEGY.build(region, tactics(paired.STRATEGY, region)[which], TARGET), _CASE)


def test_rows_that_are_standardised() -> None:
    region = compiling.paired(33, 40, 64, stands=True)
    found = paired.STRATEGY.build(region, tactics(paired.STRATEGY, region)[2], TARGET)
    compare(region, found, replace(_CASE, low=0.3))


def test_rows_of_several_matrices() -> None:
    region = compiling.paired(15, 24, 16)
    assert isinstance(region, Anchored)
    a, c = (
        replace(one, shape=(3, 4, one.shape[1]), strides=(5 * int(one.shape[1]), one.shape[1], 1))  # type: ignore[call-overload]
        for one in (region.inputs[0], region.outputs[0])
    )
    rows = tuple(replace(one, shape=(3, 4, 24), strides=(0, 0, 1)) for one in region.extra)
    stack = replace(region, domain=(3, 4, 24), inputs=(a, region.inputs[1]), outputs=(c,), extra=rows)
    compare(stack, paired.STRATEGY.build(stack, tactics(paired.STRATEGY, stack)[3], TARGET), _CASE)


def test_nobody_else_takes_them() -> None:
    region = compiling.paired(200, 264, 128)
    for one in (*gemm.STRATEGIES, plain.STRATEGY):
        assert isinstance(one.tactics(region, TARGET), Refusal)
    names = {one.strategy for one in tactics(contraction.STRATEGY, region)}
    assert names == {"boxes", "paired"}
    assert tactics(contraction.STRATEGY, region)[0].strategy == "boxes"


def test_both_halves_are_standardised_by_the_same_numbers() -> None:
    region = compiling.paired(200, 264, 128, stands=True)
    assert isinstance(region, Anchored)
    found = standing.settled(region, (1, 1, 1, 1, 2, 2), region.extra, 200)
    assert found.kept == (4, 5) and found.standing == (2, 128, 1000000) and len(found.body.inputs) == 5


def test_tiles_have_two_parts() -> None:
    every = tactics(boxes.STRATEGY, compiling.paired(200, 264, 128))
    assert every and all(dict(one.parameters)["parts"] == 2 for one in every)

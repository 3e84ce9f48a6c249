"""The moments of rows, told by a launch behind a product of them, and norms done where products end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Anchored, identity
from tenfold.codegen.strategy import Refusal
from tenfold.compiler.tune import choose
from tenfold.ir import dtype as dt
from tenfold.ops.moments import Moments
from tests.codegen.cpu.cases import Case, tensor
from tests.codegen.cuda.interpreting import TARGET, compare, tactics
from tests.codegen.cuda.test_gemm import product

from tenfold.codegen.cuda import contraction, gemm, moments, plain  # isort: skip
from tenfold.codegen.cuda.conv import boxes, standing  # isort: skip
from tests.codegen.cuda import compiling, table  # isort: skip

_CASE = Case("moments", lambda: None, low=-0.9, high=0.9)  # type: ignore[arg-type,return-value]


def test_rows_that_no_product_makes() -> None:
    x, told = tensor(dt.f16, (3, 10, 64)), tensor(dt.f32, (2, 2, 3, 10))
    region = Anchored(told.shape, (told,), Moments(32), (x,), identity(dt.f32))
    compare(region, moments.STRATEGY.build(region, tactics(moments.STRATEGY, region)[0], TARGET), _CASE)


@pytest.mark.parametrize("strategy", ["persistent", "sliced"])
def test_a_launch_behind_a_product(strategy: str) -> None:
    region = replace(product((2, 40, 64), 64), moments=tensor(dt.f32, (2, 2, 2, 40)))
    found = next(one for one in tactics(contraction.STRATEGY, region) if one.strategy == strategy)
    compare(region, contraction.STRATEGY.build(region, found, TARGET), _CASE)


def test_boxes_tell_by_the_way() -> None:
    region = compiling.telling()
    found = [one for one in tactics(contraction.STRATEGY, region) if one.strategy == boxes.STRATEGY.name]
    assert all(len(contraction.STRATEGY.build(region, one, TARGET).launches) == 1 for one in found[:3])
    assert choose(region, (plain.STRATEGY,), TARGET) == [("plain", "more is told than what it makes")]
    apart = replace(region, moments=tensor(dt.f32, (2, 8, 200), (2, 1, 0)))
    assert isinstance(boxes.STRATEGY.tactics(apart, TARGET), Refusal)


def test_a_norm_behind_a_product() -> None:
    region = compiling.standardised()
    for one in gemm.STRATEGIES:
        compare(region, one.build(region, tactics(one, region)[0], TARGET), replace(_CASE, low=0.5))


def test_a_norm_that_is_a_residual() -> None:
    region = replace(table.residual(40, 64, 32), moments=None)
    case = replace(_CASE, low=0.5)
    for strategy in ("persistent", "sliced"):
        found = next(one for one in tactics(contraction.STRATEGY, region) if one.strategy == strategy)
        compare(region, contraction.STRATEGY.build(region, found, TARGET), case)


def test_a_residual_is_standardised_by_two_numbers_a_row() -> None:
    region = table.residual(200, 256, 128)
    kinds = (3, *(1 for _ in range(16)), 2, 2)
    found = standing.settled(region, kinds, region.extra, 200)
    assert found.kept == (0, 17, 18) and found.standing == (8, 256, 1000000)
    assert found.made == (standing.FACTOR, standing.MEAN) and len(found.body.inputs) == 6


def test_parts_of_moments_become_two_numbers_a_row() -> None:
    region = compiling.standardised()
    kinds = (*(1 for _ in range(8)), 2)
    found = standing.settled(region, kinds, region.extra, 200)
    assert found.kept == (8,) and found.standing == (4, 128, 1000000) and found.made == (standing.FACTOR,)
    assert standing.settled(region, kinds, region.extra, 100).kept == tuple(range(9))

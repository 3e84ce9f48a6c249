from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Region, Row
from tenfold.ir import dtype as dt
from tests.codegen.cpu import cases
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda import window  # isort: skip


def windows(combine: str, dtype: dt.DType) -> Region:
    """Two by three elements, a step of two apart, of images of 9 lines and 11 pixels that are stored channels last."""
    region = cases._reduce(combine, dtype, (2, 5, 4, 5, 2, 3), 2)()
    assert isinstance(region, Row)
    strides = (9 * 11 * 5, 1, 2 * 11 * 5, 2 * 5, 11 * 5, 5)
    return replace(region, inputs=(replace(region.inputs[0], strides=strides),))


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("combine, dtype", [("max", dt.f16), ("sum", dt.f32), ("min", dt.i32)])
def test_overlapping_windows(combine: str, dtype: dt.DType, which: int) -> None:
    region = windows(combine, dtype)
    tactic = tactics(window.STRATEGY, region)[which]
    case = cases.Case(combine, lambda: region, tolerance=1e-4)
    compare(region, window.STRATEGY.build(region, tactic, TARGET), case)

from __future__ import annotations

import pytest

from tenfold.ir import dtype as dt
from tenfold.ops.conv import ConvTranspose
from tests.codegen.cpu.anchored import Case, Given, random
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda.conv import transposed  # isort: skip


def case_of(
    op: ConvTranspose, x: tuple[int, ...], w: tuple[int, ...], layout: str = "last", dtype: dt.DType = dt.f32
) -> Case:
    given = [Given(random(dtype, *x), layout), Given(random(dtype, *w, seed=2), constant=True)]
    return Case(op, given, [layout])


PLAIN = ConvTranspose((2, 2), (1, 1), (1, 1), (1, 1), (0, 0))


@pytest.mark.parametrize("layout", ["dense", "last"])
def test_stride_two(layout: str) -> None:
    check(transposed.STRATEGY, case_of(PLAIN, (2, 5, 4, 3), (5, 6, 4, 4), layout), tolerance=1e-5)


@pytest.mark.parametrize(
    ("op", "x", "w"),
    [
        (ConvTranspose((3,), (2,), (2,), (1,), (1,)), (1, 4, 6), (4, 3, 3)),
        (ConvTranspose((3, 2), (1, 1), (0, 0), (0, 0), (0, 1), 2), (1, 4, 3, 3), (4, 2, 2, 3)),
        (ConvTranspose((2, 1, 2), (1, 1, 1), (0, 1, 0), (0, 1, 0), (0, 0, 0)), (1, 2, 2, 3, 2), (2, 3, 2, 3, 2)),
        (ConvTranspose((4,), (2,), (0,), (0,), (0,)), (1, 2, 3), (2, 3, 2)),
    ],
    ids=["dilated", "groups", "three axes", "phases without taps"],
)
def test_forms(op: ConvTranspose, x: tuple[int, ...], w: tuple[int, ...]) -> None:
    check(transposed.STRATEGY, case_of(op, x, w), tolerance=1e-5)


def test_slices_in_f16() -> None:
    case = case_of(PLAIN, (1, 40, 3, 3), (40, 6, 4, 4), dtype=dt.f16)
    sizes = (("m", 64), ("n", 32), ("k", 32), ("slices", 2), ("stages", 3), ("warps", 4))
    check(transposed.STRATEGY, case, sizes, tolerance=3e-3)

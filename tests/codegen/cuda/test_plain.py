from __future__ import annotations

import pytest

from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Relu
from tenfold.ops.matmul import MatMul
from tests.codegen.cpu.anchored import Case, Given, random
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda import plain  # isort: skip


@pytest.mark.parametrize("dtype", [dt.f64, dt.f32, dt.i32, dt.i64, dt.u8, dt.i8], ids=str)
def test_types(dtype: dt.DType) -> None:
    given = [Given(random(dtype, 5, 19)), Given(random(dtype, 19, 7, seed=1))]
    for which in (0, 1):
        check(plain.STRATEGY, Case(MatMul(), given), which=which, tolerance=1e-6 if dtype is dt.f32 else 1e-14)


@pytest.mark.parametrize("layout", ["reversed", "spaced"])
def test_stacks_and_views(layout: str) -> None:
    given = [Given(random(dt.f64, 3, 4, 9), layout), Given(random(dt.f64, 3, 9, 5, seed=1), layout)]
    check(plain.STRATEGY, Case(MatMul(), given, [layout]), tolerance=1e-14)


def test_an_out_site() -> None:
    a, b = random(dt.i32, 6, 9), random(dt.i32, 9, 5, seed=1)
    body = Body((dt.i32,), (Instruction(Relu(), (0,), dt.i32),), (1,))
    check(plain.STRATEGY, Case(MatMul(), [Given(a), Given(b)], body=body), expected=[(a @ b).clip(0)])

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.arithmetic import Add
from tenfold.ops.reduce import Cumulative
from tests.codegen.cpu.anchored import Case, Given, random
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda import scan  # isort: skip

LINES = (("by", "lines"), ("rows", 2), ("elements", 4), ("warps", 1))
BLOCKS = (("by", "blocks"), ("rows", 4), ("elements", 4), ("warps", 1))


def case_of(
    op: Cumulative,
    shape: tuple[int, ...] = (2, 10),
    dtype: dt.DType = dt.f32,
    layouts: tuple[str, str] = ("dense",) * 2,
) -> Case:
    symbols = tuple(symbol(name, 0) for name in "nmk"[: len(shape)])
    bindings = {str(one): size for one, size in zip(symbols, shape, strict=True)}
    return Case(op, [Given(random(dtype, *shape), layouts[0], shape=symbols)], [layouts[1]], bindings)


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("exclusive", [False, True], ids=["", "exclusive"])
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_forms(kind: str, exclusive: bool, reverse: bool) -> None:
    case = case_of(Cumulative(kind, 1, exclusive, reverse))  # type: ignore[arg-type]
    check(scan.STRATEGY, case, BLOCKS if exclusive == reverse else LINES, tolerance=1e-6)


@pytest.mark.parametrize("layouts", [("dense", "reversed"), ("spaced", "dense")])
def test_every_axis_and_view(layouts: tuple[str, str]) -> None:
    for axis in range(3):
        check(scan.STRATEGY, case_of(Cumulative("sum", axis), (2, 5, 3), layouts=layouts), LINES, tolerance=1e-6)


@pytest.mark.parametrize("dtype", [dt.f64, dt.bf16, dt.i8, dt.u64], ids=str)
def test_types(dtype: dt.DType) -> None:
    bits = {dt.f64: 1e-14, dt.bf16: 1e-2}.get(dtype, 0)
    check(scan.STRATEGY, case_of(Cumulative("sum", 1), dtype=dtype), LINES, tolerance=bits)


def test_what_is_no_number_stays() -> None:
    case = case_of(Cumulative("max", 1), (2, 10))
    x = next(iter(case.arrays.values()))
    x[0, 5], x[1, 9] = np.nan, np.inf
    check(scan.STRATEGY, case, LINES, tolerance=0)
    case = dataclasses.replace(case, op=Cumulative("sum", 1, exclusive=True))
    check(scan.STRATEGY, case, BLOCKS, tolerance=1e-6)


def test_an_out_site() -> None:
    body = Body((dt.f32, dt.f32), (Instruction(Add(), (0, 1), dt.f32),), (2,))
    x, y = random(dt.f32, 2, 10), random(dt.f32, 2, 10, seed=4)
    case = Case(Cumulative("sum", 1), [Given(x)], body=body, extra=[Given(y)])
    for shape in (LINES, BLOCKS):
        check(scan.STRATEGY, case, shape, expected=[np.cumsum(x, 1) + y], tolerance=1e-6)

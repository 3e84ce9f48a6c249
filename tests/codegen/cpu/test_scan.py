from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import scan
from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add
from tenfold.ops.reduce import Cumulative
from tests.codegen.cpu.anchored import LAYOUTS, Case, Given, check, random, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated

KINDS = ("sum", "prod", "max", "min")
SHAPE = tuple(symbol(name, 0) for name in "nmk")


def case_of(
    op: Cumulative, dtype: dt.DType, shape: tuple[int, ...], layouts: tuple[str, str] = ("dense", "dense")
) -> Case:
    symbols = SHAPE[: len(shape)]
    bindings = {str(one): size for one, size in zip(symbols, shape, strict=True)}
    return Case(op, [Given(random(dtype, *shape), layouts[0], shape=symbols)], [layouts[1]], bindings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_axis(kind: str, exclusive: bool, reverse: bool) -> None:
    for axis in range(3):
        for shape in ((3, 4, 5), (2, 3, 70), (1, 9, 64), (4, 1, 133)):
            check(scan.STRATEGY, case_of(Cumulative(kind, axis, exclusive, reverse), dt.f32, shape), tolerance=1e-6)


@pytest.mark.parametrize(
    "dtype", [dt.f64, dt.f16, dt.bf16, dt.i8, dt.u8, dt.i16, dt.i32, dt.u32, dt.i64, dt.u64], ids=str
)
def test_types(dtype: dt.DType) -> None:
    for kind in KINDS:
        for axis in (0, 1):
            check(scan.STRATEGY, case_of(Cumulative(kind, axis), dtype, (6, 37)), tolerance=1e-6)


def test_views() -> None:
    for first in LAYOUTS:
        for second in LAYOUTS:
            for axis in range(3):
                check(scan.STRATEGY, case_of(Cumulative("sum", axis, True), dt.f32, (3, 8, 35), (first, second)))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0), (0, 3)])
def test_edges(shape: tuple[int, ...]) -> None:
    for axis in range(len(shape)):
        check(scan.STRATEGY, case_of(Cumulative("sum", axis), dt.f32, shape))


def test_many_parts() -> None:
    check(scan.STRATEGY, case_of(Cumulative("sum", 1), dt.f32, (300, 150)), tolerance=1e-6)
    check(scan.STRATEGY, case_of(Cumulative("sum", 1), dt.f32, (40, 50, 90)), tolerance=1e-6)
    check(scan.STRATEGY, case_of(Cumulative("sum", 0), dt.f32, (30, 1500)), tolerance=1e-6)


def test_not_a_number_stays_and_zeros_keep_their_sign() -> None:
    x = np.array([[-0.0, -0.0, 1, np.nan, 2, np.inf], [0, -0.0, np.inf, -np.inf, 3, 4]], np.float32)
    for kind in KINDS:
        for axis in (0, 1):
            for exclusive in (False, True):
                op = Cumulative(kind, axis, exclusive)
                case = Case(op, [Given(x)])
                check(scan.STRATEGY, case)
    (found,) = Cumulative("sum", 1).results((x,))
    assert np.signbit(found[0, :2]).all()


def test_a_body_follows() -> None:
    for layout in LAYOUTS:
        body = Body((dt.f32, dt.f32), (Instruction(Add(), (0, 1), dt.f32), Instruction(Relu(), (2,), dt.f32)), (3, 0))
        x, more = random(dt.f32, 5, 40), random(dt.f32, 5, 40, seed=1)
        op = Cumulative("sum", 0)
        case = Case(op, [Given(x)], [layout, "dense"], body=body, extra=[Given(more, layout)])
        (total,) = op.results((x,))
        check(scan.STRATEGY, case, [np.maximum(total + more, 0), total])


@pytest.mark.parametrize("dtype", [dt.f32, dt.bf16, dt.f64, dt.u8, dt.i64], ids=str)
def test_needs_nothing_from_elsewhere(dtype: dt.DType) -> None:
    for kind in KINDS:
        for axis in (0, 1):
            assert undefined_symbols(scan.STRATEGY, case_of(Cumulative(kind, axis), dtype, (4, 5))) == {}


def test_on_another_machine(tmp_path: Path) -> None:
    for kind in KINDS:
        for axis in (0, 1):
            check_emulated(scan.STRATEGY, case_of(Cumulative(kind, axis), dt.f32, (5, 37)), tmp_path)
    check_emulated(scan.STRATEGY, case_of(Cumulative("sum", 0), dt.bf16, (5, 37), ("reversed", "spaced")), tmp_path)

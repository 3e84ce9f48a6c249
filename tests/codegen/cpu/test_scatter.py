from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import scatter
from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.dtype import DType
from tenfold.ops.activation import Relu
from tenfold.ops.index import Reduction, ScatterElements, ScatterND
from tenfold.runtime.cpu.block import KERNEL_ERROR
from tenfold.target import Target
from tests.codegen.cpu import anchored, jit
from tests.codegen.cpu.anchored import LAYOUTS, Case, Given, check, random, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated
from tests.codegen.cpu.memory import Guarded

REDUCTIONS: tuple[Reduction, ...] = ("none", "add", "mul", "max", "min")


def positions(size: int, shape: tuple[int, ...], dtype: DType = dt.i64) -> np.ndarray:
    return np.random.default_rng([size, *shape]).integers(-size, size, shape).astype(dtype.numpy)


def elements(op: ScatterElements, shape: tuple[int, ...], inner: tuple[int, ...], dtype: DType = dt.f32,
             layouts: tuple[str, ...] = ("dense",) * 4, places: DType = dt.i64) -> Case:  # fmt: skip
    x, updates = random(dtype, *shape), random(dtype, *inner, seed=1)
    at = positions(shape[op.axis], inner, places)
    symbols = [tuple(symbol(f"{name}{axis}", 0) for axis in range(len(shape))) for name in "xi"]
    bindings = {one.symbol.name: size for one, size in zip(symbols[0] + symbols[1], shape + inner, strict=True)}
    given = [Given(x, layouts[0], shape=symbols[0]), Given(at, layouts[1], shape=symbols[1])]
    return Case(op, [*given, Given(updates, layouts[2], shape=symbols[1])], [layouts[3]], bindings)


def slices(op: ScatterND, shape: tuple[int, ...], batch: tuple[int, ...], depth: int, dtype: DType = dt.f32,
           layouts: tuple[str, ...] = ("dense",) * 4) -> Case:  # fmt: skip
    x, updates = random(dtype, *shape), random(dtype, *batch, *shape[depth:], seed=1)
    at = np.stack([positions(size, batch) for size in shape[:depth]], axis=-1)
    own = tuple(symbol(f"x{axis}", 0) for axis in range(len(shape)))
    lead = tuple(symbol(f"b{axis}", 0) for axis in range(len(batch)))
    bindings = {one.symbol.name: size for one, size in zip(own + lead, shape + batch, strict=True)}
    given = [Given(x, layouts[0], shape=own), Given(at, layouts[1], shape=(*lead, depth))]
    return Case(op, [*given, Given(updates, layouts[2], shape=(*lead, *own[depth:]))], [layouts[3]], bindings)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_elements(reduction: Reduction) -> None:
    for axis in range(3):
        for inner in ((3, 4, 5), (2, 3, 2), (3, 0, 5), (1, 1, 1)):
            check(scatter.STRATEGY, elements(ScatterElements(axis, reduction), (3, 4, 5), inner))
        longer = tuple(40 if other == axis else 2 for other in range(3))
        check(scatter.STRATEGY, elements(ScatterElements(axis, reduction), (3, 4, 5), longer))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_slices(reduction: Reduction) -> None:
    for shape, batch, depth in (
        ((6,), (9,), 1),
        ((4, 37), (7,), 1),
        ((4, 5, 3), (2, 6), 2),
        ((2, 3, 4), (20,), 3),
        ((5, 200), (30,), 1),
        ((3, 2, 2, 50), (4,), 1),
    ):
        check(scatter.STRATEGY, slices(ScatterND(reduction), shape, batch, depth))


@pytest.mark.parametrize("dtype", [dt.f64, dt.f16, dt.bf16, dt.i8, dt.u8, dt.i32, dt.u32, dt.i64, dt.i4], ids=str)
def test_types(dtype: DType) -> None:
    for reduction in REDUCTIONS if dtype is not dt.i4 else REDUCTIONS[:1]:
        check(scatter.STRATEGY, elements(ScatterElements(1, reduction), (3, 7), (3, 9), dtype, places=dt.i32))
        check(scatter.STRATEGY, slices(ScatterND(reduction), (5, 70), (4,), 1, dtype))
    check(scatter.STRATEGY, slices(ScatterND(), (5, 70), (4,), 1, dt.boolean))


def test_views() -> None:
    for first in LAYOUTS:
        for second in LAYOUTS:
            layouts = (first, second, second, first)
            check(scatter.STRATEGY, elements(ScatterElements(1, "add"), (3, 4, 6), (2, 5, 6), layouts=layouts))
            check(scatter.STRATEGY, slices(ScatterND("add"), (4, 3, 20), (6,), 1, layouts=layouts))


def test_many_parts() -> None:
    check(scatter.STRATEGY, elements(ScatterElements(1, "add"), (150, 90), (150, 90)))
    check(scatter.STRATEGY, slices(ScatterND("add"), (5, 1000), (40,), 1))


def test_a_body_follows() -> None:
    body = Body((dt.f32,), (Instruction(Relu(), (0,), dt.f32),), (1,))
    case = elements(ScatterElements(0, "add"), (5, 6), (4, 6))
    changed = Case(case.op, case.inputs, [], case.bindings, body)
    (whole,) = case.op.results(tuple(one.array for one in case.inputs))
    check(scatter.STRATEGY, changed, [np.maximum(whole, 0)])


@pytest.mark.parametrize("nd", [False, True])
def test_a_position_out_of_range_ends_the_call(nd: bool) -> None:
    x, updates = random(dt.f32, 4), random(dt.f32, 3, seed=1)
    for wrong in (4, -5, 1 << 40):
        at = np.array([0, wrong, 1])
        op = ScatterND() if nd else ScatterElements(0)
        case = Case(op, [Given(x), Given(at[:, None] if nd else at), Given(updates)])
        isa = jit.runnable()[0]
        kernel = scatter.STRATEGY.build(
            case.region, anchored.tactics(scatter.STRATEGY, case, isa)[0], Target("cpu", isa.level)
        )
        memory = {one.value: Guarded(anchored.extent(one, {})) for one in (*case.region.inputs, *case.region.outputs)}
        for value, array in case.arrays.items():
            memory[value].bytes()[:] = array.reshape(-1).view(np.uint8)
        addresses = {value: buffer.address for value, buffer in memory.items()}
        calls, _ = anchored.prepare(kernel, isa, addresses, {"threads": 1}, 0)
        statuses = [function(ctypes.addressof(args), 0, 0) for function, args, _ in calls]
        assert statuses[-1] == KERNEL_ERROR
        for buffer in memory.values():
            buffer.close()


@pytest.mark.parametrize("dtype", [dt.f32, dt.bf16, dt.i64, dt.boolean], ids=str)
def test_needs_nothing_from_elsewhere(dtype: DType) -> None:
    for reduction in REDUCTIONS if dtype is not dt.boolean else REDUCTIONS[:1]:
        assert undefined_symbols(scatter.STRATEGY, elements(ScatterElements(1, reduction), (3, 7), (3, 9), dtype)) == {}
        assert undefined_symbols(scatter.STRATEGY, slices(ScatterND(reduction), (5, 70), (4,), 1, dtype)) == {}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_on_another_machine(reduction: Reduction, tmp_path: Path) -> None:
    check_emulated(scatter.STRATEGY, elements(ScatterElements(1, reduction), (3, 7), (3, 9)), tmp_path)
    check_emulated(scatter.STRATEGY, slices(ScatterND(reduction), (5, 70), (4,), 1), tmp_path)

from __future__ import annotations

import numpy as np
import pytest

from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Relu
from tenfold.ops.index import Reduction, ScatterElements, ScatterND
from tests.codegen.cpu.anchored import Case, Given, random
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda import scatter  # isort: skip


def positions(size: int, shape: tuple[int, ...], dtype: dt.DType = dt.i64) -> np.ndarray:
    return np.random.default_rng([size, *shape]).integers(-size, size, shape).astype(dtype.numpy)


def elements(reduction: Reduction, axis: int = 1, dtype: dt.DType = dt.f32, layout: str = "dense") -> Case:
    """Three positions or more a line, some of them the same."""
    shape, inner = (3, 4, 5), (2, 6, 3) if axis == 1 else (7, 3, 2)
    given = [random(dtype, *shape), positions(shape[axis], inner, dt.i32), random(dtype, *inner, seed=1)]
    return Case(ScatterElements(axis, reduction), [Given(one, layout) for one in given], [layout])


def slices(reduction: Reduction, depth: int = 1, dtype: dt.DType = dt.f32, layout: str = "dense") -> Case:
    shape, batch = (4, 5, 6), (3, 3)
    at = np.stack([positions(size, batch) for size in shape[:depth]], axis=-1)
    updates = random(dtype, *batch, *shape[depth:], seed=1)
    return Case(ScatterND(reduction), [Given(random(dtype, *shape), layout), Given(at), Given(updates)], [layout])


@pytest.mark.parametrize("way", ["serial", "marked"])
@pytest.mark.parametrize("layout", ["dense", "reversed"])
def test_the_last_update_stays(way: str, layout: str) -> None:
    check(scatter.STRATEGY, elements("none", layout=layout), [("by", way)])
    check(scatter.STRATEGY, slices("none", layout=layout), [("by", way)])


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("way", ["serial", "ranges"])
def test_in_order(reduction: Reduction, way: str) -> None:
    check(scatter.STRATEGY, elements(reduction, 0), [("by", way)], tolerance=0)
    check(scatter.STRATEGY, slices(reduction, 2), [("by", way)], tolerance=0)


@pytest.mark.parametrize("reduction", ["add", "max", "min"])
@pytest.mark.parametrize("dtype", [dt.i32, dt.i64], ids=str)
def test_in_any_order(reduction: Reduction, dtype: dt.DType) -> None:
    check(scatter.STRATEGY, elements(reduction, dtype=dtype), [("by", "atomic")])
    check(scatter.STRATEGY, slices(reduction, 3, dtype), [("by", "atomic")])


@pytest.mark.parametrize("dtype", [dt.f64, dt.bf16, dt.i8, dt.u64], ids=str)
def test_types(dtype: dt.DType) -> None:
    # The interpreter cuts bf16 off where a GPU rounds.
    bits = 2e-2 if dtype is dt.bf16 else 0
    check(scatter.STRATEGY, elements("add", dtype=dtype), [("by", "serial")], tolerance=bits)
    check(scatter.STRATEGY, slices("none", dtype=dtype), [("by", "marked")])


def test_flags() -> None:
    check(scatter.STRATEGY, slices("none", dtype=dt.boolean), [("by", "marked")])


def test_constant_positions_that_differ() -> None:
    at = np.array([[3], [-4], [1]])
    given = [Given(random(dt.f32, 4, 9)), Given(at, constant=True), Given(random(dt.f32, 3, 9, seed=1))]
    check(scatter.STRATEGY, Case(ScatterND(), given))
    assert [tactic["by"] for tactic in scatter.STRATEGY.tactics(Case(ScatterND(), given).region, None)] == ["apart"]  # type: ignore[arg-type]


def test_an_out_site() -> None:
    case = slices("add")
    expected = np.maximum(case.op.results(tuple(one.array for one in case.inputs))[0], 0)
    body = Body((dt.f32,), (Instruction(Relu(), (0,), dt.f32),), (1,))
    check(scatter.STRATEGY, Case(case.op, case.inputs, body=body), expected=[expected])


def test_nothing_to_place() -> None:
    given = [Given(random(dt.f32, 4, 9)), Given(np.zeros((0, 1), np.int64)), Given(random(dt.f32, 0, 9))]
    for way in ("serial", "marked"):
        check(scatter.STRATEGY, Case(ScatterND(), given), [("by", way)])

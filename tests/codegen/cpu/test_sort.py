from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import sort
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.sort import TopK
from tests.codegen.cpu.anchored import LAYOUTS, Case, Given, check, random, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated

SHAPE = tuple(symbol(name, 0) for name in "nmp")
K = symbol("k", 0)


def check_best(x: np.ndarray, axis: int, k: int, largest: bool, layouts: tuple[str, ...] = ("dense",) * 3) -> None:
    """Compared with the definition, k and all sizes being known only to the call."""
    symbols = SHAPE[: x.ndim]
    bindings = {"k": k} | {str(one): size for one, size in zip(symbols, x.shape, strict=True)}
    case = Case(TopK(K, axis, largest), [Given(x, layouts[0], shape=symbols)], layouts[1:], bindings)
    check(sort.STRATEGY, case, TopK(k, axis, largest).results((x,)), tolerance=0)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 100, 1000])
def test_counts(size: int, largest: bool) -> None:
    for k in {0, 1, 2, 5, size // 2, size}:
        if k <= size:
            check_best(random(dt.f32, 3, size), 1, k, largest)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    "dtype",
    [dt.f32, dt.f64, dt.f16, dt.bf16, dt.i8, dt.u8, dt.i16, dt.u16, dt.i32, dt.u32, dt.i64, dt.u64, dt.boolean],
    ids=str,
)
def test_types(dtype: dt.DType, largest: bool) -> None:
    x = random(dtype, 2, 70)
    if dtype.is_integer:
        low, high = dtype.limits
        x[:, 5], x[:, 40], x[:, 41], x[:, 66] = low, high, high, low
    check_best(x, 1, 20, largest)
    check_best(x, 1, 70, largest)


def test_of_equals_the_first_comes_first() -> None:
    rng = np.random.default_rng(5)
    x = rng.choice(np.array([-0.0, 0.0, 1, -1, np.nan, np.inf, -np.inf], np.float32), (4, 90))
    for largest in (True, False):
        for k in (1, 10, 90):
            check_best(x, 1, k, largest)


def test_axes_and_views() -> None:
    x = random(dt.f32, 5, 37, 3)
    for axis in range(3):
        for first in LAYOUTS:
            for second in LAYOUTS:
                check_best(x, axis, 3, True, (first, second, first))


def test_many_lines() -> None:
    check_best(random(dt.f32, 130, 90), 1, 7, True)
    check_best(np.sort(random(dt.f32, 2, 3000), axis=1), 1, 300, True)


@pytest.mark.parametrize("dtype", [dt.f32, dt.f16, dt.bf16, dt.f64, dt.u8, dt.i64, dt.boolean], ids=str)
def test_needs_nothing_from_elsewhere(dtype: dt.DType) -> None:
    for axis in (0, 1):
        assert undefined_symbols(sort.STRATEGY, Case(TopK(2, axis), [Given(random(dtype, 4, 5))])) == {}


@pytest.mark.parametrize("dtype", [dt.f32, dt.f64, dt.u8, dt.i64], ids=str)
def test_on_another_machine(dtype: dt.DType, tmp_path: Path) -> None:
    for axis, layout in ((0, "dense"), (1, "dense"), (1, "spaced")):
        case = Case(TopK(4, axis, axis == 1), [Given(random(dtype, 19, 43), layout)], [layout])
        check_emulated(sort.STRATEGY, case, tmp_path, tolerance=0)

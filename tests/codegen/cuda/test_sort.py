from __future__ import annotations

import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ops.sort import TopK
from tests.codegen.cpu.anchored import Case, Given, random
from tests.codegen.cuda.anchored import check

from tenfold.codegen.cuda import sort  # isort: skip

WAYS = ("packed", "ranks")


def held(
    x: np.ndarray, k: int, largest: bool, way: str, axis: int = 1, layouts: tuple[str, ...] = ("dense",) * 3
) -> None:
    case = Case(TopK(k, axis, largest), [Given(x, layouts[0])], layouts[1:])
    check(sort.STRATEGY, case, [("by", way)], tolerance=0)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_counts(largest: bool, way: str) -> None:
    for size, k in ((1, 1), (2, 0), (15, 15), (33, 3)):
        held(random(dt.f32, 3, size), k, largest, way)


@pytest.mark.parametrize("dtype", [dt.f16, dt.i8, dt.u16, dt.u32, dt.boolean, dt.f64, dt.i64, dt.u64], ids=str)
def test_types(dtype: dt.DType) -> None:
    x = random(dtype, 2, 20)
    if dtype.is_integer:
        low, high = dtype.limits
        x[:, 5], x[:, 14], x[:, 15], x[:, 16] = low, high, high, low
    held(x, 8, True, "ranks" if dtype.bits == 64 else "packed")
    held(x, 20, False, "ranks")


@pytest.mark.parametrize("way", WAYS)
def test_of_equals_the_first_comes_first(way: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.choice(np.array([-0.0, 0.0, 1, -1, np.nan, np.inf, -np.inf], np.float32), (2, 30))
    for largest in (True, False):
        held(x, 30, largest, way)


@pytest.mark.parametrize("way", WAYS)
def test_axes_and_views(way: str) -> None:
    for axis in range(3):
        held(random(dt.f32, 3, 7, 3), 2, True, way, axis, ("reversed", "spaced", "dense"))


def test_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "_LONGEST", 16)
    held(random(dt.f32, 3, 150), 4, True, "packed")
    held(random(dt.f32, 1, 70), 3, False, "packed")

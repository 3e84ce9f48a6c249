"""Products of few rows by matrices that only the call gives: read where they lie, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu.inplace import blocks_in_place, is_read
from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.region import Operand
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tests.codegen.cpu import jit
from tests.codegen.cpu.contractions import build, compare, operand, random, variable
from tests.codegen.cpu.running import number
from tests.codegen.cpu.test_gemm import product

each_isa = pytest.mark.parametrize("isa", jit.runnable(), ids=lambda isa: isa.level)
each_layout = pytest.mark.parametrize("layout", ["rows", "columns"])


def check(
    isa: Isa,
    layout: str,
    sizes: tuple[int, int, int],
    dtype: dt.DType = dt.f32,
    gaps: tuple[int, int] = (0, 0),
    step: int = 1,
    threads: Sequence[int] = (2,),
    batch: int = 1,
) -> None:
    """A product whose B lies in a larger tensor, `gaps` before each of its lines and behind, A's terms `step` apart:
    right, and the same bit by bit for every number of threads. No number is below zero, so that no sum cancels.
    """
    m, n, k = sizes
    lines, line = (k, n) if layout == "rows" else (n, k)
    first, pitch = gaps[0], line + sum(gaps)
    a, b = np.abs(random(dtype, batch, m, k * step)), np.abs(random(dtype, batch, lines, pitch))
    x, w = variable(dtype, a.shape), variable(dtype, b.shape)
    strides = (pitch, 1) if layout == "rows" else (1, pitch)
    right = b[:, :, first : first + line]
    right = right if layout == "rows" else right.swapaxes(1, 2)
    wanted = (a[:, :, ::step].astype(np.float32) @ right.astype(np.float32)).astype(a.dtype)
    y = variable(dtype, wanted.shape)
    region = product(
        operand(x, (batch, m, k), (m * k * step, k * step, step)),
        operand(w, (batch, k, n), (lines * pitch, *strides), first),
        operand(y, (batch, m, n), (m * n, n, 1)),
    )
    kernel = build(gemm.STRATEGY, region, isa)
    assert len(kernel.stages) == 1 and kernel.workspace == 0, "nothing is packed"
    tolerance = 2e-3 if dtype is dt.f16 else 1e-5
    results = {tuple(compare(region, kernel, isa, {x: a, w: b}, [wanted], tolerance, one)) for one in threads}
    assert len(results) == 1


@each_isa
@each_layout
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 17, 56])
def test_odd_sizes(isa: Isa, layout: str, rows: int) -> None:
    for columns, terms in ((1, 128), (7, 137), (45, 300), (530, 1 if layout == "rows" else 191)):
        check(isa, layout, (rows, columns, terms))


@each_isa
@each_layout
@pytest.mark.parametrize("rows", [1, 4, 13])
def test_sums_in_stretches(isa: Isa, layout: str, rows: int) -> None:
    check(isa, layout, (rows, 70, 2100))
    check(isa, layout, (rows, 70, 1700), step=2)


@each_isa
@each_layout
@pytest.mark.parametrize("dtype", [dt.f64, dt.f16, dt.f32], ids=str)
@pytest.mark.parametrize("gaps", [(1, 0), (16, 0), (4, 12), (5, 6)], ids=str)
def test_matrices_that_start_and_end_anywhere(isa: Isa, layout: str, dtype: dt.DType, gaps: tuple[int, int]) -> None:
    for rows in (1, 6):
        check(isa, layout, (rows, 640, 77), dtype, gaps)


@each_isa
@pytest.mark.parametrize("rows", [1, 8, 16])
@pytest.mark.parametrize("dtype", [dt.f16, dt.f32], ids=str)
def test_narrow_panels_begin_behind_more_of_a_line_than_they_hold(isa: Isa, rows: int, dtype: dt.DType) -> None:
    for columns, first in ((65, 15), (80, 20), (129, 31), (208, 31)):
        check(isa, "rows", (rows, columns, 9), dtype, (first, -(columns + first) % 32), threads=(1, 3))


@each_isa
@each_layout
def test_batches_have_matrices_of_their_own(isa: Isa, layout: str) -> None:
    for rows in (1, 5):
        check(isa, layout, (rows, 130, 64), gaps=(3, 0), batch=6)


@each_isa
@each_layout
def test_more_than_the_last_cache_holds(isa: Isa, layout: str) -> None:
    for rows in (1, 4, 7):
        check(replace(isa, l3=1 << 16), layout, (rows, 600, 70))


@each_isa
@each_layout
def test_results_do_not_depend_on_the_number_of_threads(isa: Isa, layout: str) -> None:
    check(isa, layout, (9, 700, 300), threads=(1, 2, 3, 64))


@pytest.mark.parametrize(
    ("layout", "rows", "columns", "far", "block"),
    [("rows", 1, 3072, False, "1x8x16"), ("rows", 1, 4096, True, "1x4x16"), ("rows", 4, 512, False, "4x4x16"),
     ("rows", 8, 768, True, "8x3x16"), ("rows", 13, 768, False, "7x3x16"), ("columns", 1, 4096, False, "1x1x8"),
     ("columns", 4, 4096, True, "4x1x4"), ("columns", 16, 4096, True, "4x1x4")],
)  # fmt: skip
def test_blocks(layout: str, rows: int, columns: int, far: bool, block: str) -> None:
    assert [str(one) for one in blocks_in_place(layout, ROWS[1], dt.f32, rows, columns, far)] == [block]


@each_isa
@pytest.mark.parametrize("layout", ["rows", "columns", "symbolic columns"])
@pytest.mark.parametrize("sizes", [(45, 300), (131, 64), (530, 137)], ids=str)
def test_calls_of_few_rows_and_of_many_by_one_kernel(isa: Isa, layout: str, sizes: tuple[int, int]) -> None:
    (n, k), rows = sizes, symbol("rows", 0)
    terms = symbol("terms", 0) if layout.startswith("symbolic") else k
    w, x, y = variable(dt.f32, (terms, n)), variable(dt.f32, (rows, terms)), variable(dt.f32, (rows, n))
    region = product(
        Operand(x, dt.f32, (rows, terms), (terms, 1), 0),
        Operand(w, dt.f32, (terms, n), (n, 1) if layout == "rows" else (1, terms), 0),
        Operand(y, dt.f32, (rows, n), (n, 1), 0),
    )
    kernel = build(gemm.STRATEGY, region, isa)
    assert len(kernel.stages) == 4, "packing, then three products"
    for m in (0, 1, 2, 8, 9, 56, 57, 80):
        a, b = random(dt.f32, m, k), random(dt.f32, k, n)
        given = {x: a, w: b if layout == "rows" else b.T}
        compare(region, kernel, isa, given, [a @ b], bindings={"rows": m, "terms": k})


@pytest.mark.parametrize(
    ("layout", "rows", "terms", "read"),
    [("rows", 56, 1, 1), ("rows", 57, 512, 0), ("columns", 8, 64, 1), ("columns", 9, 64, 0), ("columns", 9, 128, 1),
     ("columns", 8, 63, 0), ("", 1, 512, 0)],
)  # fmt: skip
def test_which_are_read(layout: str, rows: int, terms: int, read: int) -> None:
    b = operand(variable(dt.f32, (terms, 40)), (terms, 40), (40, 1))
    assert is_read(b, layout, rows) == read
    assert number(is_read(b, layout, symbol("rows", 0)), {"rows": rows}) == read

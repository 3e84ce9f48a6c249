"""Which block of registers the guess takes: by columns, terms and instruction set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.cpu.microkernel import fitting, quickest
from tenfold.ir.dtype import f32

ZEN4 = replace(ROWS[1], halves=True)


def _first(columns: int, terms: int, far: bool = False) -> str:
    return str(quickest(ZEN4, f32, columns, terms, far)[0])


@pytest.mark.parametrize(
    ("columns", "terms", "block"),
    [(192, 32, "14x1x16"), (184, 80, "14x1x16"), (24, 96, "8x3x8"), (40, 120, "4x5x8"), (32, 192, "14x1x16")],
)
def test_idle_lanes_weigh_what_they_cost(columns: int, terms: int, block: str) -> None:
    assert _first(columns, terms) == block


@pytest.mark.parametrize(
    ("columns", "terms", "far", "block"),
    [(96, 16, False, "4x6x16"), (64, 16, False, "6x4x16"), (72, 16, False, "8x3x8"), (128, 16, False, "14x1x16"),
     (48, 48, True, "8x3x16"), (96, 96, True, "14x1x16"), (32, 192, True, "14x2x16")],
)  # fmt: skip
def test_one_panel_holds_all_columns_where_results_come_fast_or_go_far(
    columns: int, terms: int, far: bool, block: str
) -> None:
    assert _first(columns, terms, far) == block


@pytest.mark.parametrize(
    ("columns", "terms", "block"),
    [(240, 240, "8x3x16"), (192, 576, "8x3x16"), (96, 384, "14x1x16"), (240, 80, "14x1x16")],
)
def test_long_sums_for_many_columns_take_three_vectors(columns: int, terms: int, block: str) -> None:
    assert _first(columns, terms) == block


@pytest.mark.parametrize(
    ("rows", "terms", "columns", "block"),
    [(1500, 384, 1536, "6x4x16"), (384, 384, 1536, "8x3x16"), (1500, 1536, 384, "8x3x16"), (128, 1024, 512, "6x4x16"),
     (64, 2048, 1024, "6x4x16"), (512, 96, 288, "8x3x16")],
)  # fmt: skip
def test_products_of_many_rows_take_three_or_four_vectors(rows: int, terms: int, columns: int, block: str) -> None:
    assert str(fitting(ZEN4, f32, columns, rows, terms)[0]) == block


@pytest.mark.parametrize(("rows", "block"), [(49, "7x3x16"), (35, "7x3x16"), (37, "19x1x16"), (30, "30x1x16")])
def test_few_rows_are_shared_with_the_fewest_in_vain(rows: int, block: str) -> None:
    assert str(fitting(ZEN4, f32, 768, rows)[0]) == block


def test_products_take_three_vectors_and_then_two_where_vectors_are_worked_off_whole() -> None:
    assert [one.vectors for one in fitting(ROWS[1], f32, 192, 1500, 384)[:2]] == [3, 2]


@pytest.mark.parametrize("isa", ROWS, ids=lambda one: one.level)
def test_other_machines_keep_their_order(isa: Isa) -> None:
    assert quickest(isa, f32, 96, 16, far=True) == fitting(isa, f32, 96)


@pytest.mark.parametrize("columns", range(1, 200, 7))
def test_every_block_fits_the_registers(columns: int) -> None:
    for block in quickest(ZEN4, f32, columns, 8, far=True):
        assert block.rows * block.vectors + block.vectors + 1 <= ZEN4.vector_registers

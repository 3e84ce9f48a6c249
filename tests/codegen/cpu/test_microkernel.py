"""Which block of registers the guess takes: by columns, terms and instruction set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.cpu.microkernel import fitting, quickest
from tenfold.ir.dtype import f32

ZEN4 = replace(ROWS[1], halves=True)


def _first(columns: int, terms: int) -> str:
    return str(quickest(ZEN4, f32, columns, terms)[0])


@pytest.mark.parametrize(
    ("columns", "terms", "block"),
    [(192, 32, "14x1x16"), (184, 80, "14x1x16"), (24, 96, "8x3x8"), (40, 120, "4x5x8"), (80, 480, "14x1x16")],
)
def test_idle_lanes_weigh_what_they_cost(columns: int, terms: int, block: str) -> None:
    assert _first(columns, terms) == block


@pytest.mark.parametrize(("columns", "block"), [(96, "4x6x16"), (64, "6x4x16"), (16, "14x1x16"), (128, "14x1x16")])
def test_few_terms_take_one_panel_where_it_holds_all(columns: int, block: str) -> None:
    assert _first(columns, 16) == block


@pytest.mark.parametrize("isa", ROWS, ids=lambda one: one.level)
def test_other_machines_keep_their_order(isa: Isa) -> None:
    assert quickest(isa, f32, 96, 16) == fitting(isa, f32, 96)


@pytest.mark.parametrize("columns", range(1, 200, 7))
def test_every_block_fits_the_registers(columns: int) -> None:
    for block in quickest(ZEN4, f32, columns, 8):
        assert block.rows * block.vectors + block.vectors + 1 <= ZEN4.vector_registers

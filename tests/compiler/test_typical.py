"""Guesses of sizes: usual numbers, also where no call could have them."""

from __future__ import annotations

from tenfold.compiler.typical import USUAL, typical
from tenfold.ir import dim


def test_usual_numbers_within_bounds() -> None:
    assert typical(dim.symbol("N", 1, 8) * 3) == 24


def test_numbers_that_no_call_has() -> None:
    start = dim.symbol("start[0]", low=None)
    cut = dim.maximum(5 - start, 0)
    assert typical(dim.broadcast(cut, dim.symbol("M"))) == USUAL

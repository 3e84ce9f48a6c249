"""Sizes as one would guess them: for ordering axes, predicting costs and planning memory before a size is known."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from tenfold.errors import InputError
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.substitute import evaluate

USUAL = 64


@functools.lru_cache(maxsize=65536)
def typical(size: Size) -> int:
    """The size where every symbol takes a usual value within its bounds."""
    if isinstance(size, int):
        return size
    return guessed(size, {})


def guessed(size: Dim, names: Mapping[str, int]) -> int:
    """The size where the symbols take these numbers, the others usual ones; USUAL if no call has such numbers."""
    known = (one.symbol for one in dim.declared(size))
    usual = {symbol.name: symbol.nearest(USUAL) for symbol in known if symbol}
    try:
        return evaluate(size, {**usual, **names})
    except InputError:
        return USUAL

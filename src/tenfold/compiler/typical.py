"""Sizes as one would guess them: for ordering axes, predicting costs and planning memory before a size is known."""

from __future__ import annotations

import functools

from tenfold.ir import dim
from tenfold.ir.dim import Size

USUAL = 64


@functools.lru_cache(maxsize=65536)
def typical(size: Size) -> int:
    """The size where every symbol takes a usual value within its bounds."""
    if isinstance(size, int):
        return size
    known = (one.symbol for one in dim.declared(size))
    return dim.evaluate(size, {symbol.name: symbol.nearest(USUAL) for symbol in known if symbol})

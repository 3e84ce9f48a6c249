"""The shorthand of all importers, under its first address."""

from __future__ import annotations

from tenfold.importers.shorthand import (
    apply,
    axis_of,
    cast,
    filled,
    measure,
    number,
    part,
    per_channel,
    reshaped,
    transposed,
)

__all__ = ("apply", "axis_of", "cast", "filled", "measure", "number", "part", "per_channel", "reshaped", "transposed")

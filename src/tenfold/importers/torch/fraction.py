"""A fraction of two sizes: what a program's floating-point number is that follows from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.importers.shorthand import apply, cast, measure
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Div


@dataclass(frozen=True)
class Quotient:
    """top / bottom, exactly, as long as only sizes are made of it."""

    top: Size
    bottom: Size = 1

    def value(self, dtype: DType) -> Value:
        """The number as a tensor of rank 0, rounded once in f64 as Python does."""
        return cast(apply(Div(), measure(self.top, dt.f64), measure(self.bottom, dt.f64)), dtype)

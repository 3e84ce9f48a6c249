"""Which attention has a kernel of its own; the rest is taken apart. Triton is not needed to know."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

WIDEST = 256
"""The longest vector of a head."""


def refusal(dtypes: Sequence[DType], widths: Sequence[Size]) -> str | None:
    """Why queries, keys and values of such elements and lengths have no kernel."""
    if dtypes[0] not in (dt.f16, dt.bf16, dt.f32) or any(one is not dtypes[0] for one in dtypes):
        return f"attention of {', '.join(map(str, dtypes))} has no generated code for GPUs yet"
    if not all(isinstance(one, int) and 0 < one <= WIDEST for one in widths):
        return f"heads of {' and '.join(map(str, widths))} elements; {WIDEST} stay in registers"
    return None

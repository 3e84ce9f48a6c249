"""The strategies for NVIDIA GPUs, best first."""

from __future__ import annotations

from tenfold.codegen.cuda import attention, columns, contraction, pointwise, reduce, sweeps, window
from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = (
    pointwise.STRATEGY,
    columns.STRATEGY,
    window.STRATEGY,
    reduce.STRATEGY,
    sweeps.STRATEGY,
    contraction.STRATEGY,
    attention.STRATEGY,
)

"""The strategies for NVIDIA GPUs, best first."""

from __future__ import annotations

from tenfold.codegen.cuda import gemm, pointwise, reduce
from tenfold.codegen.cuda.conv import implicit
from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = (
    pointwise.STRATEGY,
    reduce.STRATEGY,
    *gemm.STRATEGIES,
    implicit.STRATEGY,
)

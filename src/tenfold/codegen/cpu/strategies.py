"""The CPU's strategies, best first."""

from __future__ import annotations

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu.conv import depthwise, direct
from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = (gemm.STRATEGY, depthwise.STRATEGY, direct.STRATEGY)

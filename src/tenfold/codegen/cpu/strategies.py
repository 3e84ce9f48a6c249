"""The CPU's strategies, best first."""

from __future__ import annotations

from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = ()

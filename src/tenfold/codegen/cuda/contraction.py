"""Products and convolutions: the tactics of all who can build one, the best guess first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tenfold.codegen.cuda import gemm, stream, vector, vendor
from tenfold.codegen.cuda.conv import boxes, depthwise, implicit, kept, lines, spanned
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Strategy, Tactic
from tenfold.target import Target


class Guessing(Strategy, Protocol):
    """A strategy that says how long its tactics might take."""

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""


class Contraction:
    """Whichever strategy's tactic promises most."""

    name = "contraction"

    def __init__(self, *strategies: Guessing) -> None:
        self._strategies = {one.name: one for one in strategies}

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """All tactics, the best guess first; or the reasons of all."""
        found: list[tuple[float, Tactic]] = []
        reasons: list[str] = []
        for one in self._strategies.values():
            tactics = one.tactics(region, target)
            if isinstance(tactics, Refusal):
                reasons.append(f"{one.name}: {tactics.reason}")
            else:
                found += [(one.guess(region, tactic, target), tactic) for tactic in tactics]
        if not found:
            return Refusal("; ".join(reasons))
        return [tactic for _, tactic in sorted(found, key=lambda pair: pair[0])]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """The kernel of the strategy that the tactic names."""
        kernel = self._strategies[tactic.strategy].build(region, tactic, target)
        assert isinstance(kernel, CudaKernel)
        return kernel


STRATEGY = Contraction(
    *gemm.STRATEGIES,
    vector.STRATEGY,
    stream.STRATEGY,
    boxes.STRATEGY,
    depthwise.STRATEGY,
    kept.STRATEGY,
    lines.STRATEGY,
    spanned.STRATEGY,
    implicit.STRATEGY,
    vendor.STRATEGY,
)

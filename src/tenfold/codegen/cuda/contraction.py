"""Products and convolutions: the tactics of all who can build one, the best guess first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tenfold.codegen.cuda import gemm, moments, paired, stream, vector, vendor
from tenfold.codegen.cuda.conv import boxes, depthwise, gated, implicit, kept, library, lines, spanned, wave
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Strategy, Tactic
from tenfold.target import Target


class Guessing(Strategy, Protocol):
    """A strategy that says how long its tactics might take."""

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""


class Contraction:
    """Whichever strategy's tactic promises most. Where moments of its rows or sums of its lines are asked for, and the
    strategy does not tell them itself, a launch behind it does.
    """

    name = "contraction"
    tells = True

    def __init__(self, *strategies: Guessing) -> None:
        self._strategies = {one.name: one for one in strategies}

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """All tactics, the best guess first; or the reasons of all."""
        found: list[tuple[float, Tactic]] = []
        reasons: list[str] = []
        for one in self._strategies.values():
            tactics = one.tactics(_asked(one, region), target)
            if isinstance(tactics, Refusal):
                reasons.append(f"{one.name}: {tactics.reason}")
            else:
                found += [(_guess(one, region, tactic, target), tactic) for tactic in tactics]
        if not found:
            return Refusal("; ".join(reasons))
        return [tactic for _, tactic in sorted(found, key=lambda pair: pair[0])]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """The kernel of the strategy that the tactic names."""
        strategy = self._strategies[tactic.strategy]
        asked = _asked(strategy, region)
        kernel = strategy.build(asked, tactic, target)
        assert isinstance(kernel, CudaKernel)
        if asked is region:
            return kernel
        assert isinstance(region, Anchored)
        return moments.behind(kernel, region, target)


def _asked(strategy: Guessing, region: Region) -> Region:
    """What a strategy is asked for: only what it tells."""
    if not isinstance(region, Anchored) or all(
        one is None or name == _TELLS.get(strategy.name)
        for name, one in (("moments", region.moments), ("sums", region.sums))
    ):
        return region
    return replace(region, moments=None, sums=None)


def _guess(strategy: Guessing, region: Region, tactic: Tactic, target: Target) -> float:
    asked = _asked(strategy, region)
    return strategy.guess(asked, tactic, target) + (0.0 if asked is region else _BEHIND)


_TELLS = {boxes.STRATEGY.name: "moments", wave.STRATEGY.name: "moments", depthwise.STRATEGY.name: "sums"}
"""What strategies tell themselves."""
_BEHIND = 2000.0
"""Nanoseconds of a launch that tells what is asked for besides."""

STRATEGY = Contraction(
    *gemm.STRATEGIES,
    vector.STRATEGY,
    stream.STRATEGY,
    boxes.STRATEGY,
    wave.STRATEGY,
    depthwise.STRATEGY,
    kept.STRATEGY,
    lines.STRATEGY,
    spanned.STRATEGY,
    implicit.STRATEGY,
    gated.STRATEGY,
    paired.STRATEGY,
    vendor.STRATEGY,
    library.STRATEGY,
)

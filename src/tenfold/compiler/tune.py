"""Choosing a kernel for each region: the first strategy that takes it, with its best guess.

Every refusal keeps its reason. (Measuring candidates against each other takes this place.)
"""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.region import Anchored, Pointwise, Region, Row
from tenfold.codegen.strategy import Refusal, Strategy
from tenfold.compiler.items import Piece
from tenfold.runtime.plan import Label
from tenfold.target import Target


def choose(region: Region, strategies: Sequence[Strategy], target: Target) -> Piece | list[tuple[str, str]]:
    """The piece for a region; or, where no strategy takes it, each one's reason."""
    refused: list[tuple[str, str]] = []
    for strategy in strategies:
        tactics = strategy.tactics(region, target)
        if isinstance(tactics, Refusal):
            refused.append((strategy.name, tactics.reason))
            continue
        tactic = tactics[0]
        kernel = strategy.build(region, tactic, target)
        return Piece(region, kernel, str(tactic), label_of(region, str(tactic)), tuple(refused))
    return refused


def label_of(region: Region, tactic: str) -> Label:
    """What reports and profiles call a region."""
    return Label(region.source, kind_of(region), tactic)


def kind_of(region: Region) -> str:
    """The operations of a region, anchor first, in a few words."""
    match region:
        case Pointwise(body=body):
            return " ".join(dict.fromkeys(one.op.name for one in body.code)) or "Copy"
        case Row(phases=phases):
            return "Row " + " ".join(phase.combine for phase in phases)
        case Anchored(anchor=anchor, body=body):
            return " ".join([anchor.name, *dict.fromkeys(one.op.name for one in body.code)])
    return type(region).__name__

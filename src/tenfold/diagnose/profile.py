"""Profiles of an engine's calls: where the time goes, region by region, and what the machine's limits explain of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tenfold.diagnose.roofline import Ceiling, work
from tenfold.runtime.engine import Engine
from tenfold.runtime.profile import Profile

Array = NDArray[Any]
Region = tuple[tuple[str, ...], str, str]
"""The operators of the user's model, what they compute, and the tactic."""
WARM_UP = 3


def profiled(engine: Engine, inputs: Mapping[str, Array], runs: int = 11) -> list[Profile]:
    """Profiles of several calls, after a few that warm up, the fastest call first."""
    with engine.context() as context:
        for _ in range(WARM_UP):
            context.run(inputs)
        return sorted((context.profile(inputs) for _ in range(runs)), key=lambda profile: profile.seconds)


def least_seconds(engine: Engine, inputs: Mapping[str, Array], profile: Profile, top: Ceiling) -> dict[Region, float]:
    """The least time that the machine's ceiling allows each region of a call whose steps are all native."""
    steps = [step for step in profile.steps if step.number >= 0]
    labels = [step.label for step in steps]
    found: dict[Region, float] = defaultdict(float)
    for label, (flops, moved) in zip(labels, work(engine, inputs, labels), strict=True):
        found[label.source, label.kind, label.tactic] += top.seconds(flops, moved)
    return found


def as_data(profiles: Sequence[Profile], least: Mapping[Region, float] | None = None) -> dict[str, Any]:
    """Some calls of one kind as JSON-ready data: the median time of each region, the slowest first, and the part of its
    roofline that it reaches (null without `least`, or where it does no work that counts).
    """
    middle = profiles[len(profiles) // 2]
    times: dict[Region, list[float]] = defaultdict(list)
    for profile in profiles:
        for total in profile.operators():
            times[total.source, total.kind, total.tactic].append(total.seconds)
    seconds = {region: statistics.median(found) for region, found in times.items()}
    whole = sum(seconds.values()) or 1.0
    rows: list[dict[str, Any]] = []
    for total in middle.operators():
        source, kind, tactic = region = (total.source, total.kind, total.tactic)
        row: dict[str, Any] = {"operators": list(source), "kind": kind, "tactic": tactic, "steps": total.steps}
        row |= {"seconds": seconds[region], "share": seconds[region] / whole}
        bound = least.get(region) if least else None
        rows.append(row | {"roofline": bound / seconds[region] if bound and seconds[region] else None})
    rows.sort(key=lambda row: -row["seconds"])
    return {"seconds": middle.seconds, "steps": len(middle.steps), "lost_steps": middle.lost, "operators": rows}

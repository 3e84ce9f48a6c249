"""Profiles of an engine's calls: the one whose time is the median of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tenfold.runtime.engine import Engine
from tenfold.runtime.profile import Profile

Array = NDArray[Any]
WARM_UP = 3


def profiled(engine: Engine, inputs: Mapping[str, Array], runs: int = 11) -> Profile:
    """The profile of the call that took the median time of `runs`, after a few that warm up."""
    with engine.context() as context:
        for _ in range(WARM_UP):
            context.run(inputs)
        found = sorted((context.profile(inputs) for _ in range(runs)), key=lambda profile: profile.seconds)
    return found[len(found) // 2]


def as_data(profile: Profile) -> dict[str, Any]:
    """A profile as JSON-ready data, the slowest region first."""
    return {
        "seconds": profile.seconds,
        "steps": len(profile.steps),
        "lost_steps": profile.lost,
        "operators": [
            {
                "operators": list(total.source),
                "kind": total.kind,
                "tactic": total.tactic,
                "steps": total.steps,
                "seconds": total.seconds,
                "share": total.share,
            }
            for total in profile.operators()
        ],
    }

"""The least time a call could take: for each region the greater of work by peak and bytes by bandwidth."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tenfold import settings
from tenfold.runtime.arrays import as_input
from tenfold.runtime.engine import Engine
from tenfold.runtime.plan import Label

Array = NDArray[Any]
_PROGRAM = "tenfold.diagnose.ceiling"
_ROOT = Path(__file__).parents[2]
_log = logging.getLogger("tenfold")


@dataclass(frozen=True)
class Ceiling:
    """Operations in f32, and bytes from memory, that this machine manages in a second."""

    flops: float
    bandwidth: float

    def seconds(self, flops: float, moved: float) -> float:
        """The least time of some work: that of its operations or of its bytes, whichever takes longer."""
        return max(flops / self.flops, moved / self.bandwidth)


def ceiling(threads: int) -> Ceiling | None:
    """This machine's ceiling on so many threads, measured now; None, and a line in the log, where it cannot be."""
    command = [sys.executable, "-m", _PROGRAM, str(threads)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=settings.child_environment(_ROOT))
    if ran.returncode:
        _log.warning("the machine's ceiling could not be measured: %s", ran.stderr.strip().splitlines()[-1:])
        return None
    return Ceiling(**json.loads(ran.stdout))


@dataclass(frozen=True)
class Demand:
    """What the regions of a call must do at least: operations, bytes read and written, and the seconds that these take
    one region after the other, each bound by the greater of the two.
    """

    flops: float
    bytes: float
    seconds: float


def demand(engine: Engine, inputs: Mapping[str, Array], top: Ceiling) -> Demand | None:
    """The demand of a call, over the regions that it runs; None if one of them does not say what work it does."""
    with engine.context() as context:
        steps = context.profile(inputs).steps
    if any(step.number < 0 for step in steps):
        return None
    found = work(engine, inputs, [step.label for step in steps])
    seconds = sum(itertools.starmap(top.seconds, found))
    return Demand(sum(flops for flops, _ in found), sum(moved for _, moved in found), seconds)


def work(engine: Engine, inputs: Mapping[str, Array], labels: Sequence[Label]) -> list[tuple[float, float]]:
    """Operations and bytes of each step of a call; none of one whose work another step of its kernel holds."""
    slots = engine.first_frame([as_input(spec, inputs[spec.name]) for spec in engine.inputs])[0].slots
    return [(float(slots[one.flops]), float(slots[one.bytes])) if one.flops >= 0 else (0.0, 0.0) for one in labels]


def ideal_seconds(engine: Engine, inputs: Mapping[str, Array], top: Ceiling) -> float | None:
    """The least time of a call; None if a region does not say what work it does."""
    found = demand(engine, inputs, top)
    return found.seconds if found else None

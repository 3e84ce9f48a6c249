"""A profile: what each step of one call took, by the operators of the user's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tenfold.runtime.plan import Label

Array = NDArray[Any]
_MICRO = 1e6


@dataclass(frozen=True)
class Step:
    """One executed step: what it stands for, its number in the step table (-1 for a host step), into how many parts it
    was cut, and its start and length in seconds.
    """

    label: Label
    number: int
    parts: int
    start: float
    seconds: float

    @property
    def name(self) -> str:
        """The operators of the user's model that it stands for; the kind of step if there are none."""
        return ", ".join(self.label.source) or self.label.kind or "copy"


@dataclass(frozen=True)
class Total:
    """The steps of one region: how often they ran, how long in all, and which share of the call that is."""

    source: tuple[str, ...]
    kind: str
    tactic: str
    steps: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """The steps of one call in order, the call's outputs, and how many steps were too many to be recorded."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Array]
    lost: int = 0

    @property
    def seconds(self) -> float:
        """From the start of the first step to the end of the last."""
        return max((step.start + step.seconds for step in self.steps), default=0.0)

    def operators(self) -> list[Total]:
        """Each region's steps together, the slowest first."""
        groups: dict[tuple[tuple[str, ...], str, str], list[float]] = {}
        for step in self.steps:
            label = step.label
            groups.setdefault((label.source, label.kind, label.tactic), []).append(step.seconds)
        whole = sum(map(sum, groups.values())) or 1.0
        totals = [Total(*key, len(times), sum(times), sum(times) / whole) for key, times in groups.items()]
        return sorted(totals, key=lambda total: -total.seconds)

    def chrome_trace(self) -> dict[str, Any]:
        """The steps as Chrome's trace viewer and Perfetto read them: durations in microseconds."""
        return {"traceEvents": [_event(step) for step in self.steps], "displayTimeUnit": "ns"}


def _event(step: Step) -> dict[str, Any]:
    label = step.label
    about = {"source": list(label.source), "kind": label.kind, "tactic": label.tactic, "parts": step.parts}
    tier = "host" if step.number < 0 else "native"
    return {
        "name": step.name,
        "cat": tier,
        "ph": "X",
        "ts": step.start * _MICRO,
        "dur": step.seconds * _MICRO,
        "pid": 1,
        "tid": 1,
        "args": {**about, "step": step.number},
    }


def in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps by their start, the first at 0."""
    ordered = sorted(steps, key=lambda step: step.start)
    origin = ordered[0].start if ordered else 0.0
    return tuple(Step(s.label, s.number, s.parts, s.start - origin, s.seconds) for s in ordered)

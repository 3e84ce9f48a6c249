"""What the clock had said of an engine that is tuned anew: it stays where nothing is timed this time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold.compiler.timings import Entry

_WAYS = "ways"
Key = tuple[str, tuple[str, ...]]
"""A kind of region, or `_WAYS`, and the operators of the user's model."""


@dataclass(frozen=True)
class Before:
    """The choices of one target of an engine file that were timed, by what they are for."""

    known: Mapping[Key, Entry] = field(default_factory=dict)

    @staticmethod
    def of(report: Mapping[str, Any]) -> Before:
        """Those that a report tells of."""
        found: dict[Key, Entry] = {}
        for kind, rows in ((None, report.get("regions", ())), (_WAYS, report.get(_WAYS, ()))):
            for row in rows:
                entry = Entry("", dict(row.get("candidates", ())), row["tactic"], row.get("effort", 0))
                if is_timed(entry) and not row.get("shipped"):
                    found[kind or row["kind"], tuple(row["source"])] = entry
        return Before(found)

    def region(self, kind: str, source: Sequence[str], candidates: Iterable[str]) -> Entry | None:
        """What was chosen for a region, if it is still a candidate."""
        entry = self.known.get((kind, tuple(source)))
        return entry if entry and entry.choice in candidates else None

    def way(self, source: Sequence[str], ways: Iterable[str]) -> Entry | None:
        """What was chosen for a stretch that may run in several ways."""
        return self.region(_WAYS, source, ways)


def is_timed(entry: Entry | None) -> bool:
    """Whether a machine's clock, not what is shipped, has said something."""
    return entry is not None and not entry.shipped and any(isinstance(one, float) for one in entry.times.values())

"""The tests that do not pass, each with its reason: gaps.txt, one reason a line, its tests indented below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).with_name("gaps.txt")


def read(path: Path = FILE) -> dict[str, str]:
    """Reason by test."""
    found: dict[str, str] = {}
    reason = ""
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            found[line.strip()] = reason
        else:
            reason = line.strip()
    return found


def write(reasons: Mapping[str, str], path: Path = FILE) -> None:
    """Keep these tests as known gaps, and no others."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(" ".join(reason.split()), []).append(name)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    path.write_text(
        "".join(f"{reason}\n" + "".join(f"  {name}\n" for name in sorted(names)) for reason, names in ordered)
    )


def surprises(found: Mapping[str, str], expected: Mapping[str, str], ran: set[str]) -> list[str]:
    """What differs from the list, in words: failures that it lacks, and tests on it that pass."""
    new = [f"{name} fails: {reason}" for name, reason in found.items() if name not in expected]
    gone = [f"{name} passes: take it off gaps.txt" for name in sorted(expected.keys() & ran - found.keys())]
    return new + gone

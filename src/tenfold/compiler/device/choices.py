"""What was fastest on GPUs that Tenfold was measured on: tactics by the content of their problems, shipped with it.

A choice is known by the region alone, not by the versions of those who built and timed it: it holds as long as a
candidate has its name. So a first build, on a machine with no GPU too, has the kernels that a tuned one had.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tenfold.compiler.timings import Entry

FOLDER = Path(__file__).with_name("choices")
EFFORT = 1
"""The effort of a build up to which a shipped choice is as good as a measured one."""
_DIGITS = 20


def about(target: str, *versions: str) -> list[str]:
    """The lines of a problem that name the machine, and the versions that a shipped choice does not ask for."""
    return [target, "; ".join(versions)]


def key_of(problem: str) -> str:
    """The address of a problem's choice: its text without versions and candidates."""
    target, _, *region, _ = problem.split("\n")
    return hashlib.sha256("\n".join((target, *region)).encode()).hexdigest()[:_DIGITS]


def find(problem: str, candidates: Iterable[str]) -> Entry | None:
    """The entry of a problem whose shipped choice is among these candidates."""
    found = _shipped(problem.split("\n", 1)[0]).get(key_of(problem))
    if found is None or found[0] not in candidates:
        return None
    choice, microseconds = found
    return Entry(problem, {choice: microseconds * 1e-6}, choice, EFFORT)


def write(path: Path, entries: Iterable[Entry]) -> int:
    """Add what entries of a timing cache found to a file of choices; how many it holds then."""
    known = dict(_read(path)) if path.exists() else {}
    for entry in entries:
        seconds = entry.times[entry.choice]
        if entry.problem.startswith("cuda") and isinstance(seconds, float):
            known[key_of(entry.problem)] = (entry.choice, round(seconds * 1e6, 2))
    lines = (f"{json.dumps(key)}: {json.dumps(known[key])}" for key in sorted(known))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return len(known)


@functools.cache
def _shipped(target: str) -> Mapping[str, tuple[str, float]]:
    path = FOLDER / f"{target.replace(':', '-')}.json"
    return _read(path) if path.exists() else {}


def _read(path: Path) -> Mapping[str, tuple[str, float]]:
    return {key: (choice, float(time)) for key, (choice, time) in json.loads(path.read_bytes()).items()}

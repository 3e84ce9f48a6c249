"""What was fastest on machines that Tenfold was measured on: choices by the content of their problems, shipped with it.

A choice is known by the region alone, not by the versions of those who built and timed it: it holds as long as a
candidate has its name. So a first build has the kernels that a tuned one had: for a GPU on a machine with none too, for
a CPU on those of its kind.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tenfold.compiler.timings import Entry

FOLDER = Path(__file__).with_name("choices")
EFFORT = 1
"""The effort of a build up to which a shipped choice is as good as a measured one."""
_DIGITS = 20
_INSIDE = " | "


def about(kind: str, *versions: str, inside: str = "") -> list[str]:
    """The lines of a problem that name the machine, by its kind and what of it is used, and the versions that a shipped
    choice does not ask for.
    """
    return [f"{kind}{_INSIDE}{inside}" if inside else kind, "; ".join(versions)]


def key_of(problem: str) -> str:
    """The address of a problem's choice: its text without versions and candidates."""
    machine, _, *region, _ = problem.split("\n")
    return hashlib.sha256("\n".join((machine, *region)).encode()).hexdigest()[:_DIGITS]


def file_for(problem: str) -> str:
    """The name of the file that has the choices of a problem's kind of machine."""
    kind = problem.partition("\n")[0].partition(_INSIDE)[0]
    return re.sub(r"\W+", "-", kind).lower() + ".json"


def find(problem: str, candidates: Iterable[str]) -> Entry | None:
    """The entry of a problem whose shipped choice is among these candidates."""
    found = _shipped(file_for(problem)).get(key_of(problem))
    if found is None or found[0] not in candidates:
        return None
    choice, microseconds = found
    return Entry(problem, {choice: microseconds * 1e-6}, choice, EFFORT, shipped=True)


def are_there(problem: str) -> bool:
    """Whether anything is shipped for a problem's kind of machine."""
    return bool(_shipped(file_for(problem)))


def write(path: Path, entries: Iterable[Entry]) -> int:
    """Add what entries of a timing cache found to the file of their kind of machine; how many choices it holds then."""
    known = dict(_read(path)) if path.exists() else {}
    for entry in entries:
        seconds = entry.times[entry.choice]
        if file_for(entry.problem) == path.name and isinstance(seconds, float):
            known[key_of(entry.problem)] = (entry.choice, round(seconds * 1e6, 2))
    lines = (f"{json.dumps(key)}: {json.dumps(known[key])}" for key in sorted(known))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return len(known)


@functools.cache
def _shipped(file: str) -> Mapping[str, tuple[str, float]]:
    path = FOLDER / file
    return _read(path) if path.exists() else {}


def _read(path: Path) -> Mapping[str, tuple[str, float]]:
    return {key: (choice, float(time)) for key, (choice, time) in json.loads(path.read_bytes()).items()}

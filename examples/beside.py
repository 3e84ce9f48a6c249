"""Two works by turns: how long each takes. Pauses let the threads of one fall asleep before the other begins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

THREADS, ROUNDS, PAUSE = 2, 9, 0.06


def medians(*works: Callable[[], object]) -> list[float]:
    """Milliseconds of each work, the median of rounds by turns."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, spent, strict=True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
    return [statistics.median(times[2:]) for times in spent]


def report(ours: Callable[[], object], theirs: Callable[[], object], name: str) -> None:
    """Print how fast both are."""
    mine, other = medians(ours, theirs)
    print(f"Tenfold {mine:.2f} ms, {name} {other:.2f} ms ({other / mine:.1f} times as long), {THREADS} threads")


def folder(package: str) -> Path:
    """Where a package's files lie, without importing it; SystemExit if it is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: see examples/README.md")
    return Path(found.submodule_search_locations[0])

"""How often Python looks for cyclic garbage while an engine is built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_RARE = 300
"""Looks at the middle generation between two at the oldest: some two million new objects."""
_lock = Lock()
_builds: list[tuple[int, int, int]] = []
"""For each build under way, the thresholds of before the first."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look at the oldest objects rarely, until the last of those inside leaves: what a build makes lives about as long
    as it does, and Python's own thresholds look through all of that, and of the whole process, again and again.
    """
    with _lock:
        before = _builds[0] if _builds else gc.get_threshold()
        _builds.append(before)
        gc.set_threshold(*before[:2], max(before[2], _RARE))
    try:
        yield
    finally:
        with _lock:
            _builds.pop()
            if not _builds:
                gc.set_threshold(*before)

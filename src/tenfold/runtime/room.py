"""How much memory there is for calls, and which operator of the model asks for most of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from tenfold.errors import LimitError
from tenfold.runtime.plan import Plan

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def machine_memory() -> int:
    """The bytes of memory that this process may use at most: the machine's, or its control group's if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUPS):
        text = path.read_text().strip() if path.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def too_large(plan: Plan, slots: Sequence[int], results: Sequence[int], limit: int) -> LimitError:
    """The error for a call of too many bytes; it names the operator whose result is the largest.

    `slots` holds the sizes of the call, `results` the bytes of its outputs.
    """
    sizes = [*(slots[size] for _, _, size, _, _ in plan.buffers), *results]
    most = max(range(len(sizes)), key=sizes.__getitem__, default=-1)
    needed = max(slots[slot] for slot in plan.arenas) + sum(results)
    part = f", {sizes[most]} of them for one result" if most >= 0 else ""
    return LimitError(
        f"the call needs {needed} bytes{part}, and {limit} is the most",
        operator=plan.makers[most] or None if most >= 0 else None,
        remedy="give smaller inputs",
    )

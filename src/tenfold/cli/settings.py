"""tenfold settings"""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console

from tenfold import settings as environment
from tenfold.cli import arguments
from tenfold.cli.shell import answer
from tenfold.diagnose import tables
from tenfold.runtime.cpu.team import machine_share
from tenfold.target import Target


def verb(json: arguments.Json = False) -> None:
    """List the environment variables that are read, and what they make of this machine."""
    share = machine_share()
    machine: dict[str, Any] = {
        "target": str(Target.host().portable),
        "cpus": list(share.cpus),
        "threads": share.threads,
    }
    reason = share.reason or _affinity_refusal()
    machine |= {"pinned": not reason, "why_not_pinned": reason or None}
    variables = [
        {"variable": s.variable, "value": _plain(s.value()), "default": _plain(s.default()), "meaning": s.meaning}
        for s in environment.TABLE
    ]

    def show(console: Console) -> None:
        for part in tables.settings(variables, machine):
            console.print(part)

    answer({"settings": variables, "machine": machine}, as_json=json, show=show)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _affinity_refusal() -> str:
    """Why the system lets no thread be pinned; nothing if it lets them."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError as error:
        return f"the system refused: {error.strerror}"
    return ""

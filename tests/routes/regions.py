"""What an engine is made of, as far as two that came by different routes should agree."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import tenfold

Region = tuple[str, str, tuple[str, ...]]


def regions(engine: tenfold.Engine) -> Counter[Region]:
    """How often each anchor with its body, its tactic and its domain occurs."""
    found = ((one["kind"], one["tactic"], tuple(one["domain"])) for one in engine.report["regions"])
    return Counter(found)


def kernels(engine: tenfold.Engine) -> str:
    """A digest of all machine code, in order."""
    sections = [name for name in engine.manifest["sections"] if name.endswith("/code")]
    return sha256(b"".join(bytes(engine.file.section(name)) for name in sections)).hexdigest()[:12]


def apart(one: Counter[Region], other: Counter[Region]) -> list[str]:
    """What one has more of than the other, each way."""
    ways = (("+", one - other), ("-", other - one))
    return [
        f"{sign} {count} x {kind} {tactic} {list(domain)}"
        for sign, more in ways
        for (kind, tactic, domain), count in more.items()
    ]

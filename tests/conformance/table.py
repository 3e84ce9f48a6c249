"""The suite's outcomes as tables: by kind for the README, failures by reason for whoever mends them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.run import Outcome, by_name
from tests.conformance.suite import KINDS

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- conformance -->", "<!-- /conformance -->"
HEAD = (
    "| kind | passed | failed | tests | native only | with host steps | refused |\n|---|---:|---:|---:|---:|---:|---:|"
)


def by_kind(outcomes: Mapping[str, Outcome]) -> str:
    """Passed, failed and total, and where they ran, by kind of test, in Markdown."""
    rows = [HEAD]
    kinds = [kind for kind in KINDS if any(by_name()[name].kind == kind for name in outcomes)]
    for kind in (*kinds, "all"):
        of_kind = [one for name, one in outcomes.items() if kind in ("all", by_name()[name].kind)]
        passed, tiers = sum(one.status == "passed" for one in of_kind), Counter(one.tier for one in of_kind)
        numbers = (passed, len(of_kind) - passed, len(of_kind), tiers["native"], tiers["host"], tiers["refused"])
        rows.append(f"| {kind} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return "\n".join(rows)


def by_reason(outcomes: Mapping[str, Outcome]) -> str:
    """Failures grouped by what they say, the largest groups first, in Markdown."""
    groups: dict[str, list[str]] = {}
    for name, one in outcomes.items():
        if one.status != "passed":
            groups.setdefault(gist(one.reason), []).append(name)
    parts = []
    for reason, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        lines = "\n".join(f"- {name}: {outcomes[name].reason}" for name in sorted(names))
        parts.append(f"## {len(names)}: {reason}\n{lines}")
    return "\n\n".join(parts)


def gist(reason: str) -> str:
    """A reason without the names and numbers that differ from test to test."""
    if reason.startswith("numbers"):
        return "numbers"
    reason = re.sub(r"^refused: \S+: ", "refused: ", reason)
    return re.sub(r"\d+", "N", re.sub(r"'[^']*'", "'…'", reason))[:160]


def native_share(outcomes: Mapping[str, Outcome]) -> float:
    """The part of the tests that ran without a host step."""
    return sum(one.tier == "native" for one in outcomes.values()) / max(1, len(outcomes))


def host_tier(outcomes: Mapping[str, Outcome]) -> str:
    """How many tests have which operation on the host."""
    kinds = Counter(kind for one in outcomes.values() for kind in one.host)
    return "\n".join(f"{count:5} {kind}" for kind, count in kinds.most_common())


def into_readme(table: str, path: Path = README) -> bool:
    """Put the table between its markers in the README; whether it has them."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        return False
    before, rest = text.split(BEGIN, 1)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}")
    return True

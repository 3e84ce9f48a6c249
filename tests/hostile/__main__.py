"""`python -m tests.hostile`: every hostile case, and what it gets.

    -k PATTERN   only cases whose name holds PATTERN (a regular expression)
    --jobs N     children at work at once (default: the CPUs)
    --json       one JSON object instead of tables
    --markdown   write docs/hostile.md, too (all cases only)

Each runs in a child with a limit on its memory; exit status 0 if each gets what it is to get.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.children import Limits, Lost, answers
from tests.conformance.run import shared_workers
from tests.hostile import calls, files, numbers, sizes, structure
from tests.hostile.case import Case, Outcome, attempt

GROUPS: Mapping[str, tuple[Case, ...]] = {
    "Damaged, endless and deep models": structure.CASES,
    "Weights in files": files.CASES,
    "Sizes that are enormous, negative or contradictory": sizes.CASES,
    "Numbers out of range": numbers.CASES,
    "Calls, endless loops, engine files": calls.CASES,
}
CASES: tuple[Case, ...] = tuple(case for cases in GROUPS.values() for case in cases)
NAMES = {case.name: case for case in CASES}
LIMITS = Limits(seconds=120, memory=3 << 30)
PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
MOST_WORDS = 160
HEAD = """# What hostile input gets

Written by `python -m tests.hostile --markdown`; the default test suite runs every case. Each is done in a process with
a limit of memory, and must end in the exception or the answer that its table in `tests/hostile` states, within its
seconds of CPU (10 unless it says otherwise) and its memory (256 MiB unless it says otherwise). An exception is one of
`tenfold.errors`, and names the operator it is about; an answer is what the specification gives. Times are seconds of
CPU; memory is what the process grew by at its peak.

{count} cases, {wrong} wrong.

"""


def _attempt(task: tuple[str, Path]) -> Outcome:
    name, folder = task
    with shared_workers(folder), tempfile.TemporaryDirectory() as own:
        return attempt(NAMES[name], Path(own))


def outcomes(pattern: str, jobs: int) -> dict[str, Outcome]:
    """The cases whose names match, done."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        tasks = [(case.name, Path(folder)) for case in CASES if re.search(pattern, case.name)]
        for (name, _), answer in answers(_attempt, tasks, jobs=jobs, limits=LIMITS):
            found[name] = Outcome(answer.reason, answer.reason, 0, 0) if isinstance(answer, Lost) else answer
    return {case.name: found[case.name] for case in CASES if case.name in found}


def table(found: Mapping[str, Outcome]) -> str:
    """What each case got, group after group, in Markdown."""
    parts = []
    for title, cases in GROUPS.items():
        rows = [_row(case.name, found[case.name]) for case in cases if case.name in found]
        if rows:
            parts.append("\n".join((f"## {title}", "", "| case | gets | s | MiB |", "|---|---|---:|---:|", *rows)))
    return "\n\n".join(parts)


def _row(name: str, one: Outcome) -> str:
    got = one.got if one.wrong is None else f"**{one.got}** (wanted {NAMES[name].gets}: {one.wrong})"
    cells = (name, re.sub(r"/\S*/", "…/", got)[:MOST_WORDS], f"{one.seconds:.1f}", f"{one.mebibytes:.0f}")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main() -> int:
    """Do what the arguments ask for; the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    found = outcomes(options.k, options.jobs)
    wrong = sum(one.wrong is not None for one in found.values())
    if options.json:
        print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))
    else:
        print(f"{table(found)}\n\n{len(found)} cases, {wrong} wrong")
    if options.markdown and not options.k:
        PAGE.write_text(HEAD.format(count=len(found), wrong=wrong) + table(found) + "\n")
    return wrong > 0


if __name__ == "__main__":
    assert len(NAMES) == len(CASES), "two cases have one name"
    sys.exit(main())

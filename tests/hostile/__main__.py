"""`python -m tests.hostile [-k PATTERN] [--json]`: every hostile case, and what it gets.

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
from pathlib import Path

from tests.children import Limits, Lost, answers
from tests.conformance.run import shared_workers
from tests.hostile import calls, numbers, sizes, structure
from tests.hostile.case import Case, Outcome, attempt

CASES: tuple[Case, ...] = (*structure.CASES, *sizes.CASES, *numbers.CASES, *calls.CASES)
NAMES = {case.name: case for case in CASES}
LIMITS = Limits(seconds=120, memory=3 << 30)


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


def main() -> int:
    """Do what the arguments ask for; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("-k", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = outcomes(options.k, options.jobs)
    if options.json:
        print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))
    else:
        print("| case | gets | s | MiB |\n|---|---|---:|---:|")
        for name, one in found.items():
            got = one.got if one.wrong is None else f"**{one.got}** (wanted {NAMES[name].gets}: {one.wrong})"
            print(f"| {name} | {got} | {one.seconds:.1f} | {one.mebibytes:.0f} |".replace("\n", " "))
        print(f"\n{len(found)} cases, {sum(one.wrong is not None for one in found.values())} wrong")
    return any(one.wrong is not None for one in found.values())


if __name__ == "__main__":
    assert len(NAMES) == len(CASES), "two cases have one name"
    sys.exit(main())

"""`python -m tests.conformance`: onnx's own backend tests on engines that are built and run.

    -k PATTERN      only tests whose name holds PATTERN (a regular expression)
    --kind KIND     only node, simple, pytorch-converted, pytorch-operator or real (may be repeated)
    --sample N      only every Nth test
    --jobs N        children at work at once (default: the CPUs)
    --failures      print each failure with its reason, not only the groups
    --json          one JSON object instead of tables
    --accept        make tests/conformance/gaps.txt what fails now (whole runs only)
    --report FILE   write failures grouped by reason there, too
    --cache DIR     where compiled objects are kept between runs

Exit status: 0 if exactly the tests on gaps.txt fail, else 1. A whole run writes its table into the README.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path

from tests.children import Limits, Lost, answers
from tests.conformance import gaps, table
from tests.conformance.run import Outcome, attempt, by_name
from tests.conformance.suite import KINDS, Case, cases
from tests.models.packages import CACHE

LEAST_NATIVE = 0.85
"""The part of the suite that must run without a host step."""
LIMITS = Limits(seconds=120, memory=8 << 30)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--sample", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--failures", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--cache", type=Path, default=CACHE / "conformance")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Case]:
    kinds = options.kind or KINDS
    found = [case for case in cases() if case.kind in kinds and re.search(options.k, case.name)]
    return found[:: options.sample]


def _outcomes(chosen: list[Case], options: argparse.Namespace) -> dict[str, Outcome]:
    tasks = [(case.name, options.cache) for case in chosen]
    found: dict[str, Outcome] = {}
    for (name, _), answer in answers(attempt, tasks, jobs=options.jobs, limits=LIMITS):
        found[name] = Outcome("failed", "refused", answer.reason) if isinstance(answer, Lost) else answer
        if sys.stderr.isatty():
            print(f"\r{len(found)} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    return {case.name: found[case.name] for case in chosen}


def main() -> int:
    """Run what the arguments ask for; the process's exit status."""
    options = _arguments()
    start = time.monotonic()
    chosen = _chosen(options)
    outcomes = _outcomes(chosen, options)
    whole = len(chosen) == len(cases())
    failures = {name: one.reason for name, one in outcomes.items() if one.status != "passed"}
    if options.report:
        options.report.write_text(f"{table.by_kind(outcomes)}\n\n{table.by_reason(outcomes)}\n")
    if options.accept and whole:
        gaps.write(failures)
    found = gaps.surprises(failures, gaps.read(), set(outcomes))
    if whole:
        table.into_readme(table.by_kind(outcomes))
        share = table.native_share(outcomes)
        found += [f"only {share:.1%} run without a host step"] if share < LEAST_NATIVE else []
    if options.json:
        kinds = {name: {"kind": by_name()[name].kind, **dataclasses.asdict(one)} for name, one in outcomes.items()}
        print(json.dumps({"tests": kinds, "surprises": found}))
        return bool(found)
    _print(outcomes, options.failures, found, time.monotonic() - start)
    return bool(found)


def _print(outcomes: dict[str, Outcome], each: bool, surprises: list[str], seconds: float) -> None:
    print(table.by_kind(outcomes))
    print(f"\nwithout a host step: {table.native_share(outcomes):.1%} (at least {LEAST_NATIVE:.0%} of a whole run)")
    print("\non the host, tests by operation:\n" + table.host_tier(outcomes))
    reasons = table.by_reason(outcomes)
    heads = [line for line in reasons.splitlines() if each or line.startswith("##")]
    print("\n" + "\n".join(heads) if heads else "\nnothing failed")
    print(f"\n{len(outcomes)} tests in {seconds:.0f} s")
    for line in surprises[:50]:
        print(line)
    if surprises:
        print(f"{len(surprises)} outcomes differ from tests/conformance/gaps.txt")


if __name__ == "__main__":
    sys.exit(main())

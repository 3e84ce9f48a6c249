"""`python -m tests.conformance.device`: onnx's backend tests on engines for GPUs, built everywhere, run where a GPU is.

    --target T      cuda:sm_90 (default), cuda/cpu; where there is a GPU, answers are compared
    --sample N      only every Nth test
    --jobs J        processes at once

Every test must build, and on a GPU give the suite's answers. Exit status: 0 if all do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

import tenfold
from tenfold.target import machine_gpu
from tests.conformance.run import by_name, disagreement, first_line
from tests.conformance.suite import cases


@dataclass(frozen=True)
class Outcome:
    """What became of a test: a reason where it failed, and where its regions run."""

    name: str
    reason: str = ""
    places: tuple[tuple[str, str], ...] = ()


def attempt(task: tuple[str, str]) -> Outcome:
    """Build a test for a target; run and compare it, if this machine can."""
    name, target = task
    case = by_name()[name]
    try:
        with np.errstate(all="ignore"):
            engine = tenfold.build(case.model(), target=target, effort=0)
            reason = disagreement(case, engine) if machine_gpu() else None
    except Exception as error:
        return Outcome(name, f"{type(error).__name__}: {first_line(error)}")
    return Outcome(name, reason or "", tuple((one["place"], one["kind"]) for one in engine.report["regions"]))


def main() -> int:
    """Print what failed and what runs where; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.device", description=__doc__)
    parser.add_argument("--target", default="cuda:sm_90")
    parser.add_argument("--sample", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    begin = time.monotonic()
    names = [case.name for case in cases() if case.kind != "real"][:: given.sample]
    with ProcessPoolExecutor(given.jobs) as pool:
        found = list(pool.map(attempt, [(name, given.target) for name in names]))
    failed = [one for one in found if one.reason]
    for one in failed:
        print(f"{one.name}: {one.reason[:200]}")
    regions = [pair for one in found for pair in one.places]
    print("regions by place:", dict(Counter(place for place, _ in regions)))
    elsewhere = Counter(f"{place}: {kind}" for place, kind in regions if place != "cuda")
    for kind, count in elsewhere.most_common(40):
        print(f"{count:5} {kind}")
    print(f"{len(found) - len(failed)} of {len(found)} passed, {time.monotonic() - begin:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.fuzz TARGET… --count N --seed S`: mutants against the loaders and the builder.

Targets: onnx (models are imported), engine (engine files are loaded), builder (models are built and run). Each mutant
ends in an answer or in one of Tenfold's exceptions, within 20 seconds and 2 GiB, in a child that a crash replaces.
All mutants that failed once (failed.txt) are run first. Exit status 0 if nothing failed.

    --count N    mutants of each target (default 1000)
    --seed S     another seed, other mutants (default 0)
    --jobs N     children at work at once (default: the CPUs)
    --keep       add what fails to failed.txt
    --json       one JSON object instead of words
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from tenfold.settings import CALL_SECONDS
from tests.children import Limits, Lost, answers
from tests.fuzz import corpus, mutate
from tests.fuzz.targets import TARGETS, Found, Task, attempt, kept, packed

LIMITS = Limits(seconds=20, memory=2 << 30)


def tasks(target: str, options: argparse.Namespace, folder: str) -> Iterator[Task]:
    """What failed once, then new mutants."""
    yield from (task for task in kept(folder) if task.target == target)
    for index in range(options.count):
        yield Task(target, options.seed, index, folder)


def again(task: Task) -> bytes:
    """The mutant of a task whose child was lost with it."""
    if task.kept is not None or task.target == "engine":
        return task.kept or b""
    return mutate.mutant(corpus.models(), Random(f"{task.target} {task.seed} {task.index}"))


def fuzz(target: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Run a target: its counters, and the failures."""
    start, outcomes, failures = time.monotonic(), Counter[str](), []
    for task, answer in answers(attempt, tasks(target, options, folder), jobs=options.jobs, limits=LIMITS):
        found = answer
        if isinstance(answer, Lost):
            found = Found("lost", f"{answer.reason} {' '.join(answer.trace.split()[:60])}", again(task))
        outcomes[found.outcome] += 1
        if found.outcome in ("failed", "lost"):
            failures.append({"seed": task.seed, "index": task.index, "problem": found.problem})
            if options.keep and task.kept is None:
                with corpus.FAILED.open("a") as file:
                    file.write(packed(task, found.mutant) + "\n")
        if not options.json and sum(outcomes.values()) % 500 == 0:
            print(f"{target} {dict(outcomes)}", file=sys.stderr, flush=True)
    return {"outcomes": dict(outcomes.most_common()), "failures": failures, "seconds": time.monotonic() - start}


def main() -> int:
    """Do what the arguments ask for; the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    corpus.models()
    os.environ[CALL_SECONDS.variable] = "5"
    with tempfile.TemporaryDirectory() as folder:
        found = {target: fuzz(target, options, folder) for target in options.targets}
    if options.json:
        print(json.dumps(found))
    for target, one in found.items() if not options.json else ():
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in one["outcomes"].items())
        print(f"{target}: {sum(one['outcomes'].values()):,} mutants in {one['seconds']:.0f} s: {outcomes}")
        groups = Counter(failure["problem"][:120] for failure in one["failures"])
        for problem, count in groups.most_common():
            example = next(f for f in one["failures"] if f["problem"].startswith(problem))
            print(f"  {count} × {problem}  (seed {example['seed']}, index {example['index']})")
    return any(one["failures"] for one in found.values())


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.differential {routes,peers} --count N --seed S`: counters, and every disagreement.

routes: random graphs with passes and without, on every tier, with sizes known or open, on one thread and two, against
the interpreter. peers: the interpreter against onnx's reference evaluator and ONNX Runtime on mutated node tests. Exit
status 0 if every road is right, and every operator on which a peer stands alone is in upstream.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from typing import Any

from tests.children import Limits, Lost, answers
from tests.differential import peers, routes

LIMITS = Limits(seconds=60, memory=4 << 30)


def by_routes(options: argparse.Namespace) -> dict[str, Any]:
    """Outcomes by road, and the seeds that differ."""
    seeds = range(options.seed, options.seed + options.count)
    counts: dict[str, Counter[str]] = {name: Counter() for name in routes.ROUTES}
    wrong, graphs = [], 0
    for seed, answer in answers(routes.disagreements, seeds, jobs=options.jobs, limits=LIMITS):
        found = dict.fromkeys(routes.ROUTES, f"lost: {answer.reason}") if isinstance(answer, Lost) else answer
        graphs += bool(found)
        for name, outcome in found.items():
            counts[name][outcome.split(":")[0]] += 1
            if outcome != "right":
                wrong.append(f"seed {seed}, {name}: {outcome}")
    return {"graphs": graphs, "outcomes": {name: dict(count) for name, count in counts.items()}, "wrong": sorted(wrong)}


def by_peers(options: argparse.Namespace) -> dict[str, Any]:
    """Verdicts, and the mutants on which ours stands alone, or a peer on an operator that upstream.txt lacks."""
    known = {(peer, operator) for peer, operator, _ in peers.upstream()}
    counts, wrong, seen = Counter[str](), [], set[tuple[str, str]]()
    peers.corpus()
    for seed, answer in answers(
        peers.verdict, range(options.seed, options.seed + options.count), jobs=options.jobs, limits=LIMITS
    ):
        verdict, words = ("lost", f"{peers.kind_of(seed)}: {answer.reason}") if isinstance(answer, Lost) else answer
        counts[verdict] += 1
        kind = words.split(":")[0]
        if verdict in peers.PEERS:
            seen.add((verdict, kind))
        apart = {verdict} if verdict in ("lost", *peers.PEERS) else {*peers.PEERS}
        listed = {(one, kind) for one in apart} <= known
        if verdict in ("ours", "unclear", "lost", *peers.PEERS) and not listed:
            wrong.append(f"{verdict} {words} (seed {seed})")
    return {"outcomes": dict(counts), "seen": sorted(map(list, seen)), "wrong": sorted(wrong)}


def main() -> int:
    """Do what the arguments ask for; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("which", choices=("routes", "peers"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {"routes": by_routes, "peers": by_peers}[options.which](options)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}" if not isinstance(value, list) else "\n".join(map(str, [f"{name}:", *value])))
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())

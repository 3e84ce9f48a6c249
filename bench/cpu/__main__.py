"""The speed table of this machine.

    python -m bench cpu [--rows NAME,GROUP,…] [--against onnxruntime,…] [--threads 2] [--effort 1] [--fresh]

Each row is measured in a process of its own and written at once to bench/results, in the file of this kind of CPU:
JSON, a table and a plot. Rows that the file has are left out unless `--rows` names them or `--fresh` asks for all; so a
run that was broken off goes on where it was. A row that can't be measured (a model that pip can't download, say) tells
why, the next one follows, and figures that it had before stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cpu.promises import BY_PROMISE
from bench.cpu.results import FOLDER, Results
from bench.cpu.rows import BY_ROW, GROUPS
from tenfold.diagnose.roofline import Ceiling, ceiling

PEERS = "onnxruntime,openvino,torch,torch.compile"


def chosen(words: str | None) -> list[str]:
    """The rows that the words name: rows, groups, "promises"; all without a word."""
    every = [*BY_ROW, *BY_PROMISE]
    if words is None:
        return every
    found: list[str] = []
    for word in words.split(","):
        names = [name for name in every if name == word]
        names += [name for name, row in BY_ROW.items() if row.group == word]
        names += BY_PROMISE if word == "promises" else []
        if not names:
            sys.exit(f"there is no row {word!r}; groups are {', '.join(GROUPS)}, promises; rows {', '.join(every)}")
        found += names
    return list(dict.fromkeys(found))


def child(module: str, *arguments: str) -> str:
    """What a module, run as a program, printed last; RuntimeError with its last words if it failed."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": arguments[-1]} if module.endswith("promises") else None
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = (ran.stdout if ran.returncode == 0 else ran.stderr).strip().splitlines()
    if ran.returncode:
        raise RuntimeError(lines[-1] if lines else f"it ended with status {ran.returncode}")
    return lines[-1]


def highest(threads: int) -> Ceiling:
    """The best of two measurements of what this machine can do, as a disturbed one tells too little."""
    found = [one for one in (ceiling(threads), ceiling(threads)) if one]
    if not found:
        raise RuntimeError("the machine's ceiling could not be measured")
    return Ceiling(max(one.flops for one in found), max(one.bandwidth for one in found))


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The result of a row or a promise; an error in its place if it could not be measured."""
    try:
        if name in BY_PROMISE:
            return {"value": float(child("bench.cpu.promises", name, str(options.threads)))}
        top = highest(options.threads)
        numbers = (
            "--threads",
            str(options.threads),
            "--effort",
            str(options.effort),
            "--seconds",
            str(options.seconds),
        )
        words = (name, "--against", options.against, *numbers, "--top", json.dumps(asdict(top)))
        return {"effort": options.effort, "ceiling": asdict(top), **json.loads(child("bench.cpu.turns", *words))}
    except RuntimeError as error:
        return {"error": str(error)[:400]}


def main() -> None:
    """Measure the rows asked for, and say each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows")
    parser.add_argument("--against", default=PEERS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=25.0, help="about how long the turns of a row take")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    results = Results(options.out)
    for name in chosen(options.rows):
        known = results.measured(name, options.threads)
        if options.rows or options.fresh or known is None or "error" in known:
            try:
                found = measured(name, options)
            except KeyboardInterrupt:
                sys.exit(
                    f"\nbroken off at {name}; the same command goes on there, with --rows and --fresh from the start"
                )
            results.add(name, options.threads, found)
            print(f"{name:24} {said(found)}", flush=True)


def said(found: dict[str, Any]) -> str:
    """A result in a line."""
    if "error" in found:
        return str(found["error"])
    if "value" in found:
        return f"{found['value']:.4g}"
    peers = "  ".join(f"{name} {time:.3f}" for name, time in found["peers"].items())
    ratio = f"{found['ratio']:.2f}" if found["ratio"] else "–"
    share = f"{found['share']:.0%} of {found['roofline_ms']:.3f}" if "share" in found else "–"
    far = f"{found['distance']:.0e}" if found["distance"] is not None else "–"
    return f"{found['ours']['median_ms']:.3f} ms  {peers}  ratio {ratio}  roofline {share}  distance {far}"


if __name__ == "__main__":
    main()

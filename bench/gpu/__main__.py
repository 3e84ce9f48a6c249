"""Whole networks on this machine's GPU: `python -m bench gpu [--rows resnet50:1,…] [--out FOLDER]`.

Each row builds an engine in f16, checks it against float64, and times replays of its graph between events, inputs on
the GPU; then the same network in PyTorch by torch.compile, max-autotune. Rows run in a process that is started anew
after one that failed; what stands in FOLDER/gpu.jsonl is not measured again, but for the anchor, which every run
measures first. With --jobs several processes compile beside each other, one at a time has the GPU, and a row is timed
beside its peer while none compiles, since calls of PyTorch's compiled modules wait for busy CPUs. With --merge the
results' table, JSON and plot are written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.gpu import results

ANCHOR = "bert:8"
ROWS = (
    *(f"{name}:{batch}" for name in ("resnet50",) for batch in (1, 8, 128)),
    *(f"{name}:{b}" for name in ("efficientnet_b0", "mobilenet_v2", "convnext_t", "bert", "vit") for b in (1, 8, 64)),
    *("bert384:8", "bert-large:8", "bert-large384:64", "vit-large:8", "swin:8", "unet:2", "whisper:1", "gpt2-512:1"),
    *("llama-512:1", "llama-decode:1"),
)

UNPROFILED = {"TEARDOWN_CUPTI": "1"}
"""PyTorch's profiler lets go of the driver when done: a launch that it watches takes the CPU ten times as long."""


def measured(path: Path) -> list[str]:
    """The rows that stand in a file, with all peers that were asked for."""
    lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    return [f"{row['network']}:{row['batch']}" for row in map(json.loads, lines) if row.get("complete", True)]


def since(path: Path, start: int, rows: Sequence[str]) -> int:
    """How many of some rows were measured after the first `start` lines; other processes may write there too."""
    return sum(row in rows for row in measured(path)[start:])


def run(rows: Sequence[str], path: Path, options: Sequence[str], seconds: float) -> list[str]:
    """Measure rows in a process, which need not end by itself behind the last; the rows that it did not come to, the
    one with which it failed first.
    """
    command = [sys.executable, "-m", "bench.gpu.row", "--rows", ",".join(rows), "--out", str(path), *options]
    start, done = len(measured(path)), 0
    process = subprocess.Popen(command, env=os.environ | UNPROFILED)
    until = time.monotonic() + seconds
    try:
        while process.poll() is None and done < len(rows) and time.monotonic() < until:
            time.sleep(0.2)
            if (now := since(path, start, rows)) > done:
                done, until = now, time.monotonic() + seconds
    finally:
        process.kill()
        process.wait()
    return list(rows[since(path, start, rows) :])


def every(rows: Sequence[str], path: Path, options: Sequence[str], seconds: float) -> None:
    """Measure rows one after the other, in a new process behind one that fails."""
    left = list(rows)
    while left and (left := run(left, path, options, seconds)):
        print(f"{left.pop(0)}: not completed", flush=True)


def main() -> None:
    """Measure the rows that are missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--effort", default="1")
    parser.add_argument("--peers", default="torch.compile", help="torch.compile, eager, both with a comma, or none: ''")
    parser.add_argument("--own", action=argparse.BooleanOptionalAction, default=True,
                        help="measure again without cuBLASLt, where it was taken")  # fmt: skip
    parser.add_argument("--anchor", default=ANCHOR, help="the row that is measured in every run; '' for none")
    parser.add_argument("--again", action="store_true", help="measure also what is known")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that compile beside each other, and measure in turns"
    )
    parser.add_argument("--seconds", type=float, default=600, help="the most a row may take")
    parser.add_argument("--top", default="0", help="how many of a row's longest kernels are shown")
    parser.add_argument("--merge", action="store_true", help="write bench/results anew")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "gpu.jsonl"
    known = [] if given.again else measured(path)
    rows = [*filter(None, [given.anchor]), *(row for row in given.rows.split(",") if row not in known)]
    options = ["--effort", given.effort, "--peers", given.peers, "--top", given.top, *(["--own"] if given.own else [])]
    options += ["--again", given.anchor if given.anchor in known else ""]
    options += ["--turns", str(given.out / "turns")] if given.jobs > 1 else []
    rows = list(dict.fromkeys(rows))
    with ThreadPoolExecutor(given.jobs) as jobs:
        for job in [jobs.submit(every, rows[n :: given.jobs], path, options, given.seconds) for n in range(given.jobs)]:
            job.result()
    if given.merge:
        results.merge([path])


if __name__ == "__main__":
    main()

"""Whole networks on this machine's GPU: `python -m bench gpu [--rows resnet50:1,…] [--out FOLDER]`.

Each row builds an engine in f16, checks it against f32 or float64, and times replays of its graph between events,
inputs on the GPU; then the same network in PyTorch, where `--peers` asks for it. Rows run in a process that is started
anew after one that failed; what stands in FOLDER/gpu.jsonl is not measured again, but for the anchor, which every run
measures first. With --merge the results' table, JSON and plot are written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
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
    lines = path.read_text().splitlines() if path.exists() else []
    return [f"{row['network']}:{row['batch']}" for row in map(json.loads, lines) if row.get("complete", True)]


def run(rows: Sequence[str], path: Path, options: Sequence[str], seconds: float) -> list[str]:
    """Measure rows in a process; the rows that it did not come to, the one with which it failed first."""
    command = [sys.executable, "-m", "bench.gpu.row", "--rows", ",".join(rows), "--out", str(path), *options]
    start, done = len(measured(path)), 0
    process = subprocess.Popen(command, env=os.environ | UNPROFILED)
    until = time.monotonic() + seconds
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
            if len(measured(path)) - start > done:
                done, until = len(measured(path)) - start, time.monotonic() + seconds
    finally:
        process.kill()
        process.wait()
    return list(rows[len(measured(path)) - start :])


def main() -> None:
    """Measure the rows that are missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--effort", default="1")
    parser.add_argument("--peers", default="", help="torch.compile, eager, or both with a comma")
    parser.add_argument("--own", action="store_true", help="measure again without cuBLASLt, where it was taken")
    parser.add_argument("--anchor", default=ANCHOR, help="the row that is measured in every run; '' for none")
    parser.add_argument("--again", action="store_true", help="measure also what is known")
    parser.add_argument("--seconds", type=float, default=240, help="the most a row may take")
    parser.add_argument("--top", default="0", help="how many of a row's longest kernels are shown")
    parser.add_argument("--merge", action="store_true", help="write bench/results anew")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "gpu.jsonl"
    known = [] if given.again else measured(path)
    rows = [*filter(None, [given.anchor]), *(row for row in given.rows.split(",") if row not in known)]
    options = ["--effort", given.effort, "--peers", given.peers, "--top", given.top, *(["--own"] if given.own else [])]
    left = list(dict.fromkeys(rows))
    while left and (left := run(left, path, options, given.seconds)):
        print(f"{left.pop(0)}: not completed", flush=True)
    if given.merge:
        results.merge([path])


if __name__ == "__main__":
    main()

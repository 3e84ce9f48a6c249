"""Generated GPU kernels against cuBLAS, PyTorch and torch.compile on this machine's GPU, all in one run.

    PYTHONPATH=src:. python -m bench cuda [--only gemm,few,rows,pointwise] [--out FOLDER]

Every variant is checked against float64 with poisoned outputs, then timed: CUDA-graph replays between events, inputs
rotating through sets that do not fit the L2 cache together, the median of the replays. Each group of work runs in a
process of its own, so that a fault ends only its group. Prints one table; writes JSON, a line for each measurement.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import triton

from bench.cuda.measuring import Device, built, ceilings, compiled, loaded, measure
from bench.cuda.works import GROUPS, Work


def group(name: str, out: Path) -> None:
    """One group of work; its measurements are appended to a file."""
    started = time.time()
    device = Device()
    file = (out / f"{name}.jsonl").open("w")

    def emit(work: Work, variant: str, us: float | None, error: float | None, why: str = "") -> None:
        row = {"work": work.name, "variant": variant, "us": us, "error": error}
        if us:
            row |= {"tflops": work.flops / us / 1e6, "gb_s": work.bytes / us / 1e3}
        file.write(json.dumps(row | ({"why": why} if why else {})) + "\n")
        file.flush()

    works = [(work, list(built(work))) for work in GROUPS[name]()]
    programs = {one.program for _, variants in works for _, kernel in variants for one in kernel.launches}
    with concurrent.futures.ProcessPoolExecutor(14, multiprocessing.get_context("spawn")) as pool:
        made = dict(zip(programs, pool.map(compiled, programs), strict=True))
    print(f"# {name}: {len(programs)} programs compiled by {time.time() - started:.0f} s", flush=True)
    functions = {program: one if isinstance(one, str) else loaded(one) for program, one in made.items()}
    file.write(json.dumps(ceilings(device)) + "\n")
    for work, variants in works:
        measure(device, work, variants, functions, emit)
    print(f"# {name}: done by {time.time() - started:.0f} s", flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Of each work: every peer, and our best variants."""
    lines = [f"{'work':28} {'variant':100} {'µs':>8} {'TFLOP/s':>8} {'GB/s':>6} {'ratio':>6} {'error':>8}"]
    for name in dict.fromkeys(row["work"] for row in rows):
        found = [row for row in rows if row["work"] == name]
        timed = sorted((row for row in found if row["us"] and "why" not in row), key=lambda row: row["us"])
        peers = [row for row in timed if "(" not in row["variant"]]
        best = min((row["us"] for row in peers), default=0)
        ours = [row for row in timed if "(" in row["variant"]]
        for row in (*peers, *ours):
            lines.append(
                f"{name:28} {row['variant'][:100]:100} {row['us']:8.2f} {row['tflops']:8.1f} {row['gb_s']:6.0f} "
                f"{best / row['us']:6.3f} {row['error'] or 0:8.1e}"
            )
        failed = [row for row in found if not row["us"]]
        if failed:
            lines.append(f"{name:28} {len(failed)} of {len(found) - len(peers)} failed: {failed[0]['why'][:160]}")
    return "\n".join(lines)


def main() -> None:
    """Measure the groups, each in its own process; write the results and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="gemm,few,rows,pointwise,fused")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--group")
    parser.add_argument("--seconds", type=int, default=150)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.group:
        group(options.group, options.out)
        return
    rows, ceiling = [], {}
    for name in options.only.split(","):
        command = [sys.executable, __file__, "--group", name, "--out", str(options.out)]
        try:
            code = subprocess.run(command, timeout=options.seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
        file = options.out / f"{name}.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        rows += [line for line in lines if "work" in line]
        ceiling |= {f"{key} ({name})": line[key] for line in lines if "work" not in line for key in line}
        if code:
            print(f"# {name} ended with {code}", flush=True)
    about = {
        "gpu": torch.cuda.get_device_name(),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "ceilings": ceiling,
    }
    text = table(rows)
    (options.out / "all.json").write_text(json.dumps(about | {"rows": rows}, indent=1))
    (options.out / "table.txt").write_text(json.dumps(about) + "\n" + text + "\n")
    print(json.dumps(about))
    print(text)


if __name__ == "__main__":
    main()

"""Whole networks on this machine's GPU: `python -m bench gpu [--rows resnet50:1,…] [--out FOLDER]`.

Each row builds an engine in f16, checks it against f32, and times replays of its graph between events, inputs on the
GPU. Writes a line of JSON for each row, and the time of each kernel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tenfold
from bench.gpu import networks

REPLAYS = 60


def timed(run: Any) -> float:
    """Milliseconds of one call: the median over blocks of calls between events."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(7):
        start.record()
        for _ in range(REPLAYS):
            run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / REPLAYS)
    return statistics.median(found)


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Norm-wise."""
    difference = np.linalg.norm(found.astype(np.float64) - exact.astype(np.float64))
    return float(difference / np.linalg.norm(exact.astype(np.float64)))


def kernels(context: Any, arrays: Any) -> list[dict[str, Any]]:
    """What each launch took, the least of a few runs, with its tactic."""
    runs = [context.profile(arrays).steps for _ in range(5)]
    return [
        {
            "us": min(steps[number].seconds for steps in runs) * 1e6,
            "kind": step.label.kind,
            "tactic": step.label.tactic,
            "source": step.label.source[-1] if step.label.source else "",
        }
        for number, step in enumerate(runs[0])
    ]


def measure(name: str, batch: int, effort: int) -> dict[str, Any]:
    """One row."""
    network = networks.NETWORKS[name](batch)
    begin = time.perf_counter()
    engine = tenfold.build(network.model, target="cuda", precision="f16", effort=effort, **network.options)
    built = time.perf_counter() - begin
    with engine.context() as context:
        host = context.run(network.inputs)
        pairs = zip(host.values(), network.exact(), strict=False)
        error = max(distance(found[: len(exact)], exact) for found, exact in pairs)
        arrays = [torch.from_numpy(array).cuda() for array in network.inputs]
        here = context.run(arrays)
        torch.cuda.synchronize()
        error = max(error, *(distance(b.cpu().numpy(), a) for a, b in zip(host.values(), here.values(), strict=True)))
        milliseconds = timed(lambda: context.call(arrays))
        begin = time.perf_counter()
        for _ in range(100):
            context.call(arrays)
        cpu = (time.perf_counter() - begin) / 100
        torch.cuda.synchronize()
        parts = kernels(context, arrays)
        memory = engine.memory({spec.name: array.shape for spec, array in zip(engine.inputs, arrays, strict=True)})
    return {
        "network": name, "batch": batch, "ms": milliseconds, "error": error, "build_s": built,
        "call_us": cpu * 1e6, "kernels": len(parts), "memory": memory, "parts": parts,
    }  # fmt: skip


def main() -> None:
    """Measure the rows; write them as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="mlp:8,resnet50:1,resnet50:8,resnet50:128")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--effort", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "gpu.jsonl").open("a") as file:
        for row in options.rows.split(","):
            name, _, batch = row.partition(":")
            try:
                found = measure(name, int(batch), options.effort)
            except Exception:
                print(f"{row}: failed\n{traceback.format_exc()[-3000:]}", flush=True)
                continue
            file.write(json.dumps(found) + "\n")
            file.flush()
            print(
                f"{row:16} {found['ms']:8.3f} ms  error {found['error']:.1e}  build {found['build_s']:5.1f} s  "
                f"call {found['call_us']:6.1f} us  {found['kernels']} kernels, sum "
                f"{sum(part['us'] for part in found['parts']) / 1e3:.3f} ms",
                flush=True,
            )
            for part in sorted(found["parts"], key=lambda part: -part["us"])[:12]:
                print(f"    {part['us']:8.1f} us  {part['kind'][:40]:40} {part['tactic']}", flush=True)


if __name__ == "__main__":
    main()

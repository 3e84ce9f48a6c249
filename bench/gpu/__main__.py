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
from bench.gpu import networks, peers
from tenfold.compiler.device import tune

REPLAYS, PROFILED = 60, 12


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
    """What each launch of a replayed graph took, the median over replays, with its tactic."""
    steps = context.profile(arrays).steps
    labels = [step.label for step in steps]
    alone = [{"us": step.seconds * 1e6, "kind": step.label.kind, "tactic": step.label.tactic} for step in steps]
    for _ in range(3):
        context.call(arrays)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED):
            context.call(arrays)
        torch.cuda.synchronize()
    on_gpu = (one for one in profiler.events() if str(one.device_type).endswith("CUDA"))
    events = sorted((one for one in on_gpu if "Mem" not in one.name[:3]), key=lambda one: one.time_range.start)
    if len(events) != PROFILED * len(labels):
        print(f"# {len(events)} events for {PROFILED} calls of {len(labels)} launches", flush=True)
        return alone
    rows = [events[start :: len(labels)] for start in range(len(labels))]
    begins = [statistics.median(one.time_range.start - events[call * len(labels)].time_range.start
                                for call, one in enumerate(row)) for row in rows]  # fmt: skip
    return [
        {
            "us": statistics.median(one.device_time for one in row),
            "begin": begin,
            "kind": label.kind,
            "tactic": label.tactic,
            "source": label.source[-1] if label.source else "",
        }
        for label, row, begin in zip(labels, rows, begins, strict=True)
    ]


def call_time(context: Any, arrays: Any) -> float:
    """Seconds of the CPU for one call of ten in a row, the GPU idle when they begin."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(10):
        context.call(arrays)
    return (time.perf_counter() - begin) / 10


def without_vendor(name: str, batch: int, effort: int) -> float:
    """Milliseconds of the same row by our kernels alone."""
    network, chosen = networks.NETWORKS[name](batch), tune.vendor_here
    tune.vendor_here = lambda: False
    try:
        engine = tenfold.build(network.model, target="cuda", precision="f16", effort=effort, **network.options)
    finally:
        tune.vendor_here = chosen
    with engine.context() as context:
        arrays = [torch.from_numpy(array).cuda() for array in network.inputs]
        return timed(lambda: context.call(arrays))


def measure(name: str, batch: int, effort: int) -> dict[str, Any]:
    """One row."""
    network = networks.NETWORKS[name](batch)
    begin = time.perf_counter()
    engine = tenfold.build(network.model, target="cuda", precision="f16", effort=effort, **network.options)
    built = time.perf_counter() - begin
    for region in engine.report["regions"]:
        for tactic, outcome in region.get("candidates", ()):
            if isinstance(outcome, str) and "results" in outcome:
                print(f"# {region['kind']} {region['domain']}: {tactic}: {outcome}", flush=True)
    with engine.context() as context:
        host = context.run(network.inputs)
        pairs = zip(host.values(), network.exact(), strict=False)
        error = max(distance(found[: len(exact)], exact) for found, exact in pairs)
        arrays = [torch.from_numpy(array).cuda() for array in network.inputs]
        here = context.run(arrays)
        torch.cuda.synchronize()
        error = max(error, *(distance(b.cpu().numpy(), a) for a, b in zip(host.values(), here.values(), strict=True)))
        milliseconds = timed(lambda: context.call(arrays))
        cpu = statistics.median(call_time(context, arrays) for _ in range(100))
        parts = kernels(context, arrays)
        memory = engine.memory({spec.name: array.shape for spec, array in zip(engine.inputs, arrays, strict=True)})
    return {
        "network": name, "batch": batch, "ms": milliseconds, "error": error, "build_s": built,
        "call_us": cpu * 1e6, "kernels": len(parts), "memory": memory, "parts": parts,
    }  # fmt: skip


def beside(name: str, batch: int, compiled: bool) -> dict[str, float | str]:
    """Milliseconds of the same network in PyTorch."""
    found: dict[str, float | str] = {}
    makers = {"eager": peers.eager} | ({"torch.compile": peers.compiled} if compiled else {})
    for peer, make in makers.items():
        try:
            found[peer] = timed(make(name, batch))
        except Exception as failure:
            found[peer] = f"{type(failure).__name__}: {failure}"[:300]
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    return found


def main() -> None:
    """Measure the rows; write them as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="mlp:8,resnet50:1,resnet50:8,resnet50:128")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--peers", default="", help="rows that PyTorch runs too: eager in a graph, and compiled")
    parser.add_argument("--eager", default="", help="rows that PyTorch runs too, eager in a graph alone")
    parser.add_argument("--own", action="store_true", help="measure again without cuBLASLt, where it was taken")
    parser.add_argument("--top", type=int, default=8)
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
            if options.own and any(part["tactic"].startswith("cublas") for part in found["parts"]):
                found["own_ms"] = without_vendor(name, int(batch), options.effort)
            if row in (*options.peers.split(","), *options.eager.split(",")):
                found["peers"] = beside(name, int(batch), row in options.peers.split(","))
            file.write(json.dumps(found) + "\n")
            file.flush()
            vendor = sum(part["us"] for part in found["parts"] if part["tactic"].startswith("cublas"))
            print(
                f"{row:16} {found['ms']:8.3f} ms  error {found['error']:.1e}  build {found['build_s']:5.1f} s  "
                f"call {found['call_us']:6.1f} us  {found['kernels']} kernels, sum "
                f"{sum(part['us'] for part in found['parts']) / 1e3:.3f} ms  "
                f"vendor {vendor / 1e3:.3f} ms  "
                f"own {found.get('own_ms', '')} {found.get('peers', '')}",
                flush=True,
            )
            for part in sorted(found["parts"], key=lambda part: -part["us"])[: options.top]:
                print(f"    {part['us']:8.1f} us  {part['kind'][:40]:40} {part['tactic']}", flush=True)


if __name__ == "__main__":
    main()

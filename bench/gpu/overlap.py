"""Queued calls on one context: what overlaps, by the clock and by a trace of the GPU.

`python -m bench.gpu.overlap [--out FOLDER]` prints how long calls take one after another and queued, with the host's
arrays in and out, and how much of the copies' time launches run beside; the trace is written for Chrome's viewer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

CALLS = 8
ROWS = ("HtoD", "kernels", "DtoH")
"""The rows of a trace: copies to the GPU, kernels, copies from it."""


def wide(products: int) -> tenfold.Engine:
    """32 MB in, so many products of 17 GFLOP in tf32, 32 MB out."""
    random = np.random.default_rng(0)
    graph = Graph(name="wide")
    y = graph.input("x", Type(dt.f32, (8192, 1024)))
    w = ops.Constant(Tensor((random.standard_normal((1024, 1024)) / 32).astype(np.float32)))()
    for _ in range(products):
        y = ops.MatMul()(y, w)
    graph.set_outputs([y], ["y"])
    return tenfold.build(graph, target="cuda", precision="tf32", effort=0, cache=False)


def alone(context: Any, array: Any) -> float:
    """Seconds of a call, one after another."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        context.run([array])
    return (time.perf_counter() - begin) / CALLS


def queued(context: Any, array: Any, kept: int) -> float:
    """Seconds of a call, so many on their way at once; each result is let go when the next is there."""
    begin = time.perf_counter()
    waiting = [context.submit([array]) for _ in range(kept)]
    for number in range(CALLS):
        if number + kept < CALLS:
            waiting.append(context.submit([array]))
        waiting.pop(0).result()
    return (time.perf_counter() - begin) / CALLS


def trace(context: Any, array: Any) -> list[dict[str, Any]]:
    """What the GPU did during queued calls, as Chrome's events, a row for each stream."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        queued(context, array, 3)
        torch.cuda.synchronize()
    found = [one for one in profiler.events() if str(one.device_type).endswith("CUDA")]
    origin = min(one.time_range.start for one in found)
    return [
        {"name": one.name[:60], "ph": "X", "pid": 1, "tid": _row(one.name),
         "ts": one.time_range.start - origin, "dur": one.time_range.end - one.time_range.start}
        for one in sorted(found, key=lambda one: one.time_range.start)
    ]  # fmt: skip


def _row(name: str) -> int:
    return next((number for number, row in enumerate(ROWS) if row in name), ROWS.index("kernels"))


def chrome(events: Sequence[dict[str, Any]], rows: Sequence[str] = ROWS) -> dict[str, Any]:
    """The events with the names of their rows."""
    named = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": row}}
        for number, row in enumerate(rows)
    ]
    return {"traceEvents": [*named, *events]}


def beside(events: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds of each row, and of those in which a copy and a kernel run at once."""
    spans = {row: union(one for one in events if one["tid"] == number) for number, row in enumerate(ROWS)}
    copies = union(one for one in events if one["tid"] != ROWS.index("kernels"))
    both = common(copies, spans["kernels"])
    return {row: sum(b - a for a, b in found) / 1e3 for row, found in spans.items()} | {"both": both / 1e3}


def common(some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float:
    """How long one of the first and one of the others go on at once."""
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in some for c, d in others)


def union(events: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
    """When any of these events goes on."""
    found: list[tuple[float, float]] = []
    for one in sorted(events, key=lambda one: float(one["ts"])):
        begin, end = one["ts"], one["ts"] + one["dur"]
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def main() -> None:
    """Print the figures; write the trace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--products", default="6,60")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(1).standard_normal((8192, 1024)).astype(np.float32)
    for products in map(int, given.products.split(",")):
        with wide(products).context() as context:
            expected = context.run([array])["y"].copy()
            same = all(np.array_equal(context.submit([array]).result()["y"], expected) for _ in range(3))
            for kept in (2, 3, CALLS):
                queued(context, array, kept)
            found = {f"queued, {kept} on their way": queued(context, array, kept) for kept in (2, 3, CALLS)}
            found = {"one after another": alone(context, array)} | found
            events = trace(context, array)
        print(f"{products} products, same answers: {same}")
        for name, seconds in found.items():
            print(f"  {name:24} {seconds * 1e3:6.2f} ms a call")
        print("  ms in the trace:", {name: round(ms, 2) for name, ms in beside(events).items()}, flush=True)
        (given.out / f"overlap-{products}.json").write_text(json.dumps(chrome(events)) + "\n")


if __name__ == "__main__":
    main()

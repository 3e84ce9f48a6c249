"""`python -m bench.gpu.row --rows NAME:BATCH,… --out FILE`: measures rows in this process, a line of JSON for each, and
another with each peer.

A row's peers run in the same process, after ours, on the same GPU; each is held against float64 before it is timed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._inductor.runtime.benchmarking import benchmarker

import tenfold
from bench.gpu import networks, peers
from bench.gpu.own import left_out
from bench.gpu.results import compared, vendor_share
from bench.gpu.turns import Turns
from tenfold.diagnose.roofline import Ceiling, demand
from tenfold.importers import open_model
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.version import __version__

REPLAYS, BLOCKS, PROFILED, IN_A_ROW = 60, 7, 12, 10
ROUNDS, LEAST, ENOUGH = 100, 10, 1.0
"""A call's CPU time is the median of so many; of at least the least, once it took enough seconds."""
DRIVER = Path("/proc/driver/nvidia/version")
LIMIT = 0.05
"""The largest error with which a row is timed; f16's own is below 0.01."""
Run = Callable[[], object]


def timed(run: Run) -> float:
    """Milliseconds of one call: the median over blocks of calls between events."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(BLOCKS):
        start.record()
        for _ in range(REPLAYS):
            run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / REPLAYS)
    return statistics.median(found)


def ceilings() -> Ceiling:
    """What this GPU does now: a product of 8192 in f16 by PyTorch, and a copying kernel."""
    a, b, c = (torch.randn(8192, 8192, dtype=torch.float16, device="cuda") for _ in range(3))
    x, y = (torch.randn(1 << 29, dtype=torch.float16, device="cuda") for _ in range(2))
    product = _seconds(lambda: torch.mm(a, b, out=c))
    return Ceiling(2 * 8192.0**3 / product, 4.0 * x.numel() / _seconds(lambda: torch.neg(x, out=y)))


def _seconds(run: Run) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(12):
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return statistics.median(found[2:])


def versions() -> dict[str, str]:
    """What rows are measured with."""
    return {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": version("triton"),
        "driver": driver(), "tenfold": __version__, "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def driver() -> str:
    """The version of the GPU's driver, as its kernel module tells it."""
    told = re.search(r"Module.*? (\d+\.[\d.]+)", DRIVER.read_text()) if DRIVER.exists() else None
    return told[1] if told else "unknown"


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Norm-wise."""
    difference = np.linalg.norm(found.astype(np.float64) - exact.astype(np.float64))
    return float(difference / np.linalg.norm(exact.astype(np.float64)))


def kernels(engine: tenfold.Engine, arrays: Any) -> list[dict[str, Any]]:
    """What each launch of a replayed graph took, the median over replays, with its tactic. It is a context of its own
    that is watched: a graph that ran beside PyTorch's profiler writes where that kept times, even when it has let go.
    """
    with engine.context() as context:
        return watched(context, arrays)


def watched(context: Any, arrays: Any) -> list[dict[str, Any]]:
    """As `kernels`, of a context that is closed behind it."""
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


def call_times(context: Any, arrays: Any) -> dict[str, float]:
    """Microseconds of the CPU for one call: of ten in a row that begin with the GPU idle, and of one with it idle."""

    def row(calls: int) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            context.call(arrays)
        return (time.perf_counter() - begin) / calls * 1e6

    def median(calls: int) -> float:
        found: list[float] = []
        until = time.perf_counter() + ENOUGH
        while len(found) < ROUNDS and (len(found) < LEAST or time.perf_counter() < until):
            found.append(row(calls))
        return statistics.median(found)

    return {"call_us": median(IN_A_ROW), "call_alone_us": median(1)}


def built(network: networks.Network, effort: int) -> tenfold.Engine:
    """Its engine in f16, which takes and gives what its peers do."""
    graph = network.model if isinstance(network.model, Graph) else open_model(network.model, **network.options)
    ends = [*graph.inputs, *graph.outputs]
    names = [*(value.name for value in graph.inputs), *graph.output_names]
    formats = {name: "f16" for name, value in zip(names, ends, strict=True) if value.type.dtype is dt.f32}
    return tenfold.build(graph, target="cuda", precision="f16", effort=effort, formats=formats)


def given(network: networks.Network, engine: tenfold.Engine) -> list[np.ndarray]:
    """Its inputs as the engine takes them."""
    pairs = zip(network.inputs, engine.inputs, strict=True)
    return [array.astype(spec.dtype.numpy, copy=False) for array, spec in pairs]


def without_vendor(network: networks.Network, effort: int, turns: Turns) -> float:
    """Milliseconds of the same row by our kernels alone."""
    with turns, left_out():
        engine = built(network, effort)
    with turns, engine.context() as context:
        arrays = [torch.from_numpy(array).cuda() for array in given(network, engine)]
        return timed(lambda: context.call(arrays))


Times = Callable[[], dict[str, float]]


@contextmanager
def measured(name: str, batch: int, options: argparse.Namespace, top: Ceiling, turns: Turns,
             ) -> Iterator[tuple[dict[str, Any], Times]]:  # fmt: skip
    """One row of ours, held against float64 before it is timed; within it what follows times it again."""
    network = networks.NETWORKS[name](batch)
    with turns if options.effort else nullcontext():
        begin = time.perf_counter()
        engine = built(network, options.effort)
        seconds = time.perf_counter() - begin
    for region in engine.report["regions"]:
        for tactic, outcome in region.get("candidates", ()):
            if isinstance(outcome, str) and "results" in outcome:
                print(f"# {region['kind']} {region['domain']}: {tactic}: {outcome}", flush=True)
    with engine.context() as context:
        inputs = given(network, engine)

        def times() -> dict[str, float]:
            return {"ms": timed(lambda: context.call(arrays)), **call_times(context, arrays)}

        with turns:
            host = context.run(inputs)
            errors = [
                distance(found[: len(one)], one) for found, one in zip(host.values(), network.exact(), strict=False)
            ]
            arrays = [torch.from_numpy(array).cuda() for array in inputs]
            here = context.run(arrays)
            torch.cuda.synchronize()
            errors += (distance(b.cpu().numpy(), a) for a, b in zip(host.values(), here.values(), strict=True))
            error = float(np.max(errors))
            if not error < LIMIT:
                raise ArithmeticError(f"{name}:{batch} is {error:.1e} from float64")
            found, parts = times(), kernels(engine, arrays)
        found |= {
            "network": name, "batch": batch, "effort": options.effort, "error": error, "build_s": seconds,
            "kernels": len(parts), "vendor_share": vendor_share(parts), "parts": parts,
            "memory": engine.memory({one.name: a.shape for one, a in zip(engine.inputs, arrays, strict=True)}),
        }  # fmt: skip
        needed = demand(engine, {one.name: array for one, array in zip(engine.inputs, inputs, strict=True)}, top)
        if needed:
            found |= {"flops": needed.flops, "bytes": needed.bytes, "roofline_ms": needed.seconds * 1e3}
        yield found, times


def beside(name: str, batch: int, peer: str, turns: Turns, ours: Times) -> dict[str, Any]:
    """Milliseconds of the same network in PyTorch, how far it is from float64, and ours just before, all while no
    process compiles; or why there are none.
    """
    begin = time.perf_counter()
    try:
        with turns.compiling():
            run, error = peers.PEERS[peer](name, batch, turns)
        ready = time.perf_counter() - begin
        with turns.quiet():
            return {"ours": ours(), "ms": timed(run), "error": error, "ready_s": ready}
    except Exception as failure:
        return {"failure": f"{type(failure).__name__}: {failure}"[:300]}
    finally:
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def keep(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line to a file, at once: others may write there too."""
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(row) + "\n").encode())


def said(row: Mapping[str, Any], top: int) -> str:
    """A row in a few lines, with its longest kernels."""
    ms = row["ms"]
    words = (
        f"{row['network']}:{row['batch']:<4} {ms:8.3f} ms",
        f"{row.get('flops', 0.0) / ms / 1e9:4.0f} TFLOP/s {row.get('bytes', 0.0) / ms / 1e6:5.0f} GB/s",
        f"roofline {row.get('roofline_ms', 0) / ms:4.0%}  error {row['error']:.1e}  build {row['build_s']:5.1f} s",
        f"call {row['call_us']:.1f} / {row['call_alone_us']:.1f} us  {row['kernels']} kernels",
        f"vendor {row['vendor_share']:.0%}  own {row.get('own_ms', 0):.3f}",
    )
    lines = ["  ".join(words)]
    longest = sorted(row["parts"], key=lambda part: -part["us"])[:top]
    return "\n".join([*lines, *(f"    {one['us']:8.1f} us  {one['kind'][:40]:40} {one['tactic']}" for one in longest)])


def main() -> None:
    """Measure the rows; write them as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--peers", default="")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--again", default="", help="a row that is known: only ours is measured, as the run's anchor")
    parser.add_argument("--turns", type=Path, help="a file that the processes share which measure in turns")
    parser.add_argument("--top", type=int, default=0)
    options = parser.parse_args()
    turns = Turns(options.turns)
    with turns:
        top = ceilings()
    about = {"about": versions(), "ceilings": {"tflops": top.flops / 1e12, "gb_s": top.bandwidth / 1e9}}
    print(f"# ceilings: {top.flops / 1e12:.0f} TFLOP/s, {top.bandwidth / 1e9:.0f} GB/s", flush=True)
    with turns.among_choices(type(benchmarker)):
        for row in options.rows.split(","):
            record(row, options, top, turns, about)


def record(row: str, options: argparse.Namespace, top: Ceiling, turns: Turns, about: Mapping[str, Any]) -> None:
    """Write a line for ours, and another with each peer."""
    name, batch = row.split(":")
    again = row == options.again
    wanted = [one for one in options.peers.split(",") if one and not again]
    with measured(name, int(batch), options, top, turns) as (found, times):
        if options.own and not again and found["vendor_share"]:
            found["own_ms"] = without_vendor(networks.NETWORKS[name](int(batch)), options.effort, turns)
        found |= about | ({"anchor": True} if again else {})
        print(said(found | {"peers": {}}, options.top), flush=True)
        keep(options.out, found | {"peers": {}, "complete": not wanted})
        for peer in wanted:
            one = beside(name, int(batch), peer, turns, times)
            found |= one.pop("ours", {})
            found.setdefault("peers", {})[peer] = one
            print(compared(found, peer), flush=True)
            keep(options.out, found | {"complete": peer == wanted[-1]})


if __name__ == "__main__":
    main()

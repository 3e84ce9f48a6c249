"""Queued calls of an engine that a GPU and the CPU share: what overlaps, by the clock and by a trace of both.

`python -m bench.gpu.mixed [--out FOLDER]`: products on the GPU, then rows that the data choose and a product of them on
the CPU. Prints how long calls take one after another and queued, and how long the CPU, the GPU and copies work at once;
the trace is written for Chrome's viewer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from bench.gpu.overlap import CALLS, alone, chrome, common, queued, union
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.runtime import open_device
from tenfold.runtime.context import Context
from tenfold.runtime.cuda.driver import Driver

ROWS = ("to the GPU", "kernels", "to the CPU", "CPU")
WIDTH, HEIGHT, KEPT = 1024, 4096, 128


def shared(products: int) -> tuple[tenfold.Engine, Callable[[Any], Any]]:
    """So many products [HEIGHT, WIDTH] on the GPU; on the CPU a product of those rows whose input begins with a
    positive number; and what it gives.
    """
    random = np.random.default_rng(0)
    square, last = ((random.standard_normal((WIDTH, n)) / 32).astype(np.float32) for n in (WIDTH, KEPT))
    graph = Graph(name="shared")
    x = y = graph.input("x", Type(dt.f32, (HEIGHT, WIDTH)))
    w, end = (ops.Constant(Tensor(one))() for one in (square, last))
    for _ in range(products):
        y = ops.MatMul()(y, w)
    first = ops.Reshape((HEIGHT,))(ops.Slice((0, 0), (HEIGHT, 1), (1, 1))(x))
    kept = ops.Compress(0)(y, ops.Greater()(first, ops.Constant(Tensor(np.float32(0)))()))
    graph.set_outputs([ops.MatMul()(kept, end)], ["y"])

    def expected(x: Any) -> Any:
        y = x[x[:, 0] > 0]
        for _ in range(products):
            y = y @ square.astype(np.float64)
        return y @ last

    return tenfold.build(graph, target="cuda", precision="tf32", effort=0, cache=False), expected


@contextlib.contextmanager
def watched(found: list[dict[str, Any]]) -> Iterator[None]:
    """Within it, copies, graphs and native spans are noted, as Chrome's events."""
    driver = open_device().driver
    marks: list[tuple[str, int, Any, Any]] = []
    beginning = driver.open_event()
    own = driver.open_stream()
    driver.record(beginning, own)
    driver.synchronize(own)
    origin = time.perf_counter()
    replay, upload, download, native = Driver.replay, Driver.upload, Driver.download, Context._native

    def note(name: str, row: int, stream: Any, work: Callable[[], None]) -> None:
        pair = driver.open_event(), driver.open_event()
        driver.record(pair[0], stream)
        work()
        driver.record(pair[1], stream)
        marks.append((name, row, *pair))

    def native_noted(self: Context, span: Any, brief: bool) -> None:
        start = time.perf_counter() - origin
        native(self, span, brief)
        found.append(_event("span", 3, start, time.perf_counter() - origin))

    Driver.replay = lambda self, graph, s: note("graph", 1, s, lambda: replay(self, graph, s))  # type: ignore[method-assign]
    Driver.upload = lambda self, a, b, n, s: note(f"{n} bytes", 0, s, lambda: upload(self, a, b, n, s))  # type: ignore[method-assign]
    Driver.download = lambda self, a, b, n, s: note(f"{n} bytes", 2, s, lambda: download(self, a, b, n, s))  # type: ignore[method-assign]
    Context._native = native_noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Driver.replay, Driver.upload, Driver.download = replay, upload, download  # type: ignore[method-assign]
        Context._native = native  # type: ignore[method-assign]
        for name, row, start, end in marks:
            driver.reached(end)
            found.append(_event(name, row, driver.seconds(beginning, start), driver.seconds(beginning, end)))


def _event(name: str, row: int, start: float, end: float) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": 1, "tid": row, "ts": start * 1e6, "dur": (end - start) * 1e6}


def shares(events: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds of each row; of those in which the CPU and the GPU work at once, and copies beside either."""
    spans = {row: union(one for one in events if one["tid"] == number) for number, row in enumerate(ROWS)}
    copies = union(one for one in events if ROWS[one["tid"]].startswith("to "))
    work = union(one for one in events if not ROWS[one["tid"]].startswith("to "))
    both = {"CPU and kernels": common(spans["CPU"], spans["kernels"]), "copies beside": common(copies, work)}
    return {row: sum(b - a for a, b in found) / 1e3 for row, found in spans.items()} | {
        name: one / 1e3 for name, one in both.items()
    }


def main() -> None:
    """Print the figures; write the trace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--products", type=int, default=60)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(1).standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    engine, expected = shared(given.products)
    print("spans:", [span.place for span in engine.plan.spans], "transfers:", engine.report["transfers"])
    with engine.context() as context:
        wanted, events = expected(array.astype(np.float64)), list[dict[str, Any]]()
        results = [context.run([array])["y"], *(context.submit([array]).result()["y"] for _ in range(3))]
        for one in results:
            same = one.shape == wanted.shape
            print(
                "error:", np.linalg.norm(one - wanted) / np.linalg.norm(wanted) if same else (one.shape, wanted.shape)
            )
        for kept in (1, 2, 4, CALLS):
            queued(context, array, kept)
        figures = {"one after another": alone(context, array)}
        figures |= {f"queued, {kept} on their way": queued(context, array, kept) for kept in (1, 2, 4, CALLS)}
        with watched(events):
            queued(context, array, 4)
    for name, seconds in figures.items():
        print(f"  {name:24} {seconds * 1e3:6.2f} ms a call")
    print(
        f"  ms in the trace of {CALLS} calls:", {name: round(ms, 2) for name, ms in shares(events).items()}, flush=True
    )
    text = json.dumps(chrome(sorted(events, key=lambda one: float(one["ts"])), ROWS))
    (given.out / "gpu-h200-mixed.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

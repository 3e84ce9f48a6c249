"""Many threads, many contexts, a crowded machine.

    python -m bench scale [--rows resnet50,…] [--threads 16] [--seconds 0.6] [--effort 1] [--out FOLDER] [--table]

For each row: the latency of one call on 1, 2, 4, … threads; the calls a second of 1, 2, 4, … contexts of one thread
each, of as many contexts of all threads, and of four times as many callers as there are CPUs; the latency of one call
while another process keeps one CPU busy. `--table` first measures these rows beside ONNX Runtime on all threads, as
`python -m bench cpu` does. Writes JSON and a page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

import tenfold
from bench.cpu.results import Results, machine
from bench.cpu.rows import BY_ROW, Inputs, Row

ROWS = ("resnet50", "mobilenet_v2", "bert-128", "silero-vad-op15")
BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def powers(most: int) -> list[int]:
    """1, 2, 4, … and `most` itself."""
    return [*(one for one in (1, 2, 4, 8, 16, 32, 64, 128) if one < most), most]


def latency(engine: tenfold.Engine, asked: list[Inputs], threads: int | None, seconds: float) -> float:
    """The median milliseconds of a call."""
    times: list[float] = []
    with engine.context(threads=threads) as context:
        for inputs in asked * 2:
            context.run(inputs)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 8:
            start = time.perf_counter()
            context.run(asked[len(times) % len(asked)])
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def throughput(engine: tenfold.Engine, asked: list[Inputs], contexts: int, threads: int, seconds: float) -> float:
    """Calls a second of so many contexts, each called from a thread of its own; calls that were begun are ended."""
    counts = [0] * contexts
    ready, stop = threading.Barrier(contexts + 1), threading.Event()

    def work(number: int) -> None:
        with engine.context(threads=threads) as context:
            for inputs in asked:
                context.run(inputs)
            ready.wait()
            while not stop.is_set():
                context.run(asked[counts[number] % len(asked)])
                counts[number] += 1

    callers = [threading.Thread(target=work, args=(number,)) for number in range(contexts)]
    for one in callers:
        one.start()
    ready.wait()
    start = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for one in callers:
        one.join()
    return sum(counts) / (time.perf_counter() - start)


@contextmanager
def crowded() -> Iterator[None]:
    """Within it another process keeps a CPU busy."""
    cpu = max(os.sched_getaffinity(0))
    other = subprocess.Popen([sys.executable, "-c", BUSY, str(cpu)])
    time.sleep(0.3)
    try:
        yield
    finally:
        other.kill()
        other.wait()


def measured(row: Row, most: int, seconds: float, effort: int) -> dict[str, Any]:
    """The figures of a row."""
    engine = tenfold.build(onnx.load(row.model()), threads=most, effort=effort)
    asked = [row.inputs(seed) for seed in range(4)]
    found: dict[str, Any] = {"ms by threads": {n: latency(engine, asked, n, seconds) for n in powers(most)}}
    with crowded():
        found["ms beside a busy process"] = latency(engine, asked, most, seconds)
    found["calls/s by contexts of 1 thread"] = {
        n: throughput(engine, asked, n, 1, seconds) for n in [*powers(most), 4 * most]
    }
    found["calls/s by contexts of all threads"] = {
        n: throughput(engine, asked, n, most, seconds) for n in (1, most, 4 * most)
    }
    return found


def page(about: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The figures as a page."""
    yield f"# Scaling: {about['model']}, {about['cpus']} CPUs, {about['isa']}\n"
    for name, figures in found.items():
        yield f"## {name}\n"
        for title, values in figures.items():
            if isinstance(values, Mapping):
                yield f"| {title} | {' | '.join(map(str, values))} |"
                yield "|---" + "|---:" * len(values) + "|"
                yield f"| | {' | '.join(f'{value:.3g}' for value in values.values())} |\n"
            else:
                yield f"{title}: {values:.3g}\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.table:
        words = (
            "--rows",
            options.rows,
            "--against",
            "onnxruntime",
            "--threads",
            str(options.threads),
            "--seconds",
            "6",
        )
        subprocess.run([sys.executable, "-m", "bench", "cpu", *words, "--out", str(options.out)], check=False)
    about, found = machine(), {}
    for name in options.rows.split(","):
        try:
            found[name] = measured(BY_ROW[name], options.threads, options.seconds, options.effort)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            continue
        print(name, json.dumps(found[name]), flush=True)
        stem = options.out / f"{Results(options.out).path.stem.replace('cpu', 'scale', 1)}-{options.threads}"
        stem.with_suffix(".json").write_text(json.dumps({"machine": about, "rows": found}, indent=1) + "\n")
        stem.with_suffix(".md").write_text("\n".join(page(about, found)) + "\n")


if __name__ == "__main__":
    main()

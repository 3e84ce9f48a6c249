"""The catalogue's real models in Tenfold beside ONNX Runtime, in one process by turns: times, answers, memory.

    python -m bench models [NAME …] [--threads 2] [--rounds 15] [--markdown]

A row a model: the medians of both, their ratio, the distance of the answers (norm-wise relative), host steps, native
calls, and the arena's bytes beside the sum of all tensors and the lower bound, for the sizes of the sample.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

import tenfold
from tests.models.catalogue import BY_NAME, Model
from tests.models.samples import Array

PAUSE = 0.06


def peer(path: Any, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime on that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def medians(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The median milliseconds of each call; the calls alternate in blocks, with a pause between them."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            time.sleep(PAUSE)
            for turn in range(5):
                start = time.perf_counter()
                call()
                if turn:
                    found.append(1000 * (time.perf_counter() - start))
                if time.perf_counter() - start > 0.2 and turn:
                    break
    return [statistics.median(found) for found in times]


def distance(ours: Array, theirs: Array) -> float:
    """|ours - theirs| / |theirs|"""
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))


def row(model: Model, threads: int, rounds: int) -> tuple[str, ...]:
    """One line of the table."""
    path = model.load()
    start = time.perf_counter()
    engine = tenfold.build(path, threads=threads, cache=False)
    built = time.perf_counter() - start
    session = peer(path, threads)
    inputs = model.inputs(0)
    answer, expected = engine.run(inputs), session.run(None, inputs)
    far = max(distance(a, b) for a, b in zip(answer.values(), expected, strict=True))
    context = engine.context()
    ours, theirs = medians([lambda: context.run(inputs), lambda: session.run(None, inputs)], rounds)
    memory = engine.memory({name: array.shape for name, array in inputs.items()}) if not valued(engine) else {}
    return (
        model.name,
        f"{built:.1f}",
        f"{ours:.3f}",
        f"{theirs:.3f}",
        f"{theirs / ours:.2f}",
        f"{far:.1e}",
        str(sum(not span.is_native for span in engine.plan.spans)),
        str(context.native_calls),
        *(f"{memory[key] / 2**20:.2f}" if key in memory else "" for key in ("arena", "alive", "buffers")),
    )


def valued(engine: tenfold.Engine) -> bool:
    """True where sizes depend on what an input holds."""
    return any(symbol.entry >= 0 for symbol in engine.plan.symbols)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(BY_NAME))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--markdown", action="store_true", help="rows for a page instead of a table")
    arguments = parser.parse_args()
    times = ("model", "build s", "ours ms", "onnxruntime ms", "ratio", "distance", "host steps", "native calls")
    heads = (*times, "arena MiB", "alive MiB", "all MiB")
    table = Table(*heads)
    if arguments.markdown:
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name in arguments.names:
        try:
            found = row(BY_NAME[name], arguments.threads, arguments.rounds)
        except Exception as error:
            found = (name, "", "", "", "", f"{type(error).__name__}: {str(error)[:400]}")
        table.add_row(*found)
        print("| " + " | ".join(found) + " |", flush=True)
    if not arguments.markdown:
        Console(width=160).print(table)


if __name__ == "__main__":
    main()

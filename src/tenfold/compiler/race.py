"""A race: engines timed against each other on made-up inputs, in a process of its own.

`python -m tenfold.compiler.race THREADS SECONDS ENGINE…` prints the seconds of a call of each, a JSON list: the least
of several rounds, in each of which every engine runs once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import numpy as np

from tenfold.compiler.stopwatch import fill
from tenfold.ir.dtype import Kind
from tenfold.ir.op import Array
from tenfold.runtime.engine import Engine, from_file

WARM_UPS, LEAST_ROUNDS = 1, 3


def made_up(engine: Engine) -> list[Array]:
    """An array for each input of an engine of fixed sizes."""
    found = []
    for spec in engine.inputs:
        memory = np.zeros(tuple(map(int, spec.shape)), spec.dtype.numpy)
        fill(memory.reshape(-1).view(np.uint8), spec.dtype.kind is Kind.FLOAT, spec.dtype.itemsize)
        found.append(memory)
    return found


def race(engines: Sequence[Engine], threads: int, seconds: float) -> list[float]:
    """The least seconds of a call of each engine."""
    contexts = [engine.context(threads=threads) for engine in engines]
    inputs = [made_up(engine) for engine in engines]
    times: list[list[float]] = [[] for _ in engines]
    end = float("inf")
    while len(times[-1]) < WARM_UPS + LEAST_ROUNDS or time.perf_counter() < end:
        if len(times[-1]) == WARM_UPS:
            end = time.perf_counter() + seconds * len(engines)
        for context, given, taken in zip(contexts, inputs, times, strict=True):
            start = time.perf_counter()
            context.run(given)
            taken.append(time.perf_counter() - start)
    return [min(taken[WARM_UPS:]) for taken in times]


if __name__ == "__main__":
    threads, seconds, *paths = sys.argv[1:]
    sys.stdout.write(json.dumps(race([from_file(path) for path in paths], int(threads), float(seconds))))

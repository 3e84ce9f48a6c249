"""A race: engines timed against each other on made-up inputs, in a process of its own.

`python -m tenfold.compiler.race THREADS ENGINE…` prints a line for each round, in which every engine runs once: the
seconds of a call of each, a JSON list. The first round finds caches and memory cold. It goes on until it is ended.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tenfold.compiler.stopwatch import fill
from tenfold.ir.dtype import Kind
from tenfold.ir.op import Array
from tenfold.runtime.engine import Engine, from_file


def made_up(engine: Engine) -> list[Array]:
    """An array for each input of an engine of fixed sizes."""
    found = []
    for spec in engine.inputs:
        memory = np.zeros(tuple(map(int, spec.shape)), spec.dtype.numpy)
        fill(memory.reshape(-1).view(np.uint8), spec.dtype.kind is Kind.FLOAT, spec.dtype.itemsize)
        found.append(memory)
    return found


def race(engines: Sequence[Engine], threads: int) -> Iterator[list[float]]:
    """The seconds of a call of each engine, round by round, without end."""
    contexts = [engine.context(threads=threads) for engine in engines]
    inputs = [made_up(engine) for engine in engines]
    while True:
        times = []
        for context, given in zip(contexts, inputs, strict=True):
            start = time.perf_counter()
            context.run(given)
            times.append(time.perf_counter() - start)
        yield times


if __name__ == "__main__":
    threads, *paths = sys.argv[1:]
    for times in race([from_file(path) for path in paths], int(threads)):
        sys.stdout.write(json.dumps(times) + "\n")
        sys.stdout.flush()

"""How long loading an engine of about 100 MB takes, with its checks.

    python -m bench load [--megabytes 100] [--rounds 9]

The file is in the page cache. Each round maps it, checks manifest, plan and code by SHA-256 and the weights by their
sums, and is ready to run; "first call" adds the call itself. The last line is the full check of `verify="sha256"`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

WIDTH = 1024


def model(megabytes: int) -> tenfold.Graph:
    """Layers of 4 MiB each, with different weights."""
    rng = np.random.default_rng(0)
    graph = tenfold.Graph(name="layers")
    value = graph.input("x", Type(dt.f32, (1, WIDTH)))
    for _ in range(max(1, megabytes * 10**6 // (WIDTH * WIDTH * 4))):
        weights = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH
        value = ops.Relu()(ops.MatMul()(value, ops.Constant(Tensor(weights))()))
    graph.set_outputs([value], ["y"])
    return graph


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    """The median time of `work`."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        kept = work()
        times.append(1000 * (time.perf_counter() - start))
        del kept
    return statistics.median(times)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    x = np.zeros((1, WIDTH), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.tenfold"
        tenfold.build(model(arguments.megabytes), cache=False).save(path)
        print(f"engine file   {path.stat().st_size / 1e6:.1f} MB")
        print(f"load          {milliseconds(lambda: tenfold.load(path), arguments.rounds):.1f} ms")
        print(f"+ first call  {milliseconds(lambda: tenfold.load(path)(x), arguments.rounds):.1f} ms")
        print(f"load, sha256  {milliseconds(lambda: tenfold.load(path, verify='sha256'), arguments.rounds):.1f} ms")


if __name__ == "__main__":
    main()

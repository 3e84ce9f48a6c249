"""`python -m tests.runtime.cuda.leaks`: on a GPU, what contexts give back, what fails readably.

A thousand random shapes and a hundred contexts, twice: after the second round as much memory must be free as after the
first. Then an error by name.
"""

from __future__ import annotations

import gc
import sys

import numpy as np

import tenfold
from tenfold import ops
from tenfold.errors import DeviceError, OutOfMemory
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.runtime import open_device

RNG = np.random.default_rng(0)


def network() -> Graph:
    """Two products and a softmax over rows of any number; on the CPU, those rows that begin with a positive number."""
    graph = Graph(name="leaks")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 256)))
    w, v = (ops.Constant(Tensor((RNG.standard_normal((256, 256)) / 16).astype(np.float32)))() for _ in range(2))
    y = ops.Softmax(1)(ops.MatMul()(ops.Relu()(ops.MatMul()(x, w)), v))
    first = ops.Reshape((x.type.shape[0],))(ops.Slice((0, 0), (x.type.shape[0], 1), (1, 1))(x))
    kept = ops.Compress(0)(y, ops.Greater()(first, ops.Constant(Tensor(np.float32(0)))()))
    graph.set_outputs([y, kept], ["y", "kept"])
    return graph


def one_round(engine: tenfold.Engine, shapes: int, contexts: int) -> None:
    """Random shapes in one context, then many contexts."""
    with engine.context() as context:
        for n in RNG.integers(1, 4096, shapes).tolist():
            context.run([np.ones((n, 256), np.float32)])
        for one in [context.submit([np.ones((n, 256), np.float32)]) for n in RNG.integers(1, 4096, 50).tolist()]:
            one.result()
    held = [engine.context() for _ in range(contexts)]
    for one in held:
        one.run([np.ones((64, 256), np.float32)])
        one.close()


def free() -> int:
    """Bytes that the driver has after all pools are trimmed."""
    gc.collect()
    driver = open_device().driver
    driver.enter()
    driver.trim()
    return driver.free_bytes()


def main() -> int:
    """Print what was found; 1 if memory is lost."""
    start = free()
    engine = tenfold.build(network(), target="cuda", effort=0, cache=False)
    levels = []
    for _ in range(2):
        one_round(engine, 1000, 100)
        levels.append(free())
    print(
        f"free after build-and-round {levels[0] - start:+} bytes, after the second round {levels[1] - levels[0]:+} more"
    )
    del engine
    print(f"after the engine is gone {free() - start:+} bytes")
    live = open_device().driver.live
    print(f"live bytes of our allocator: {live}")
    try:
        open_device().driver.allocate(1 << 42, 0)
    except OutOfMemory as error:
        print("out of memory:", error)
    except DeviceError as error:
        print("NOT out of memory:", error)
    return int(levels[1] < levels[0] or live != 0)


if __name__ == "__main__":
    sys.exit(main())

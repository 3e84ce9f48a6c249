"""What Tenfold promises itself: time to build, first calls at new shapes, open sizes, memory, the floor from Python."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import tenfold
from bench.cpu import language, operators, vision
from bench.cpu.rows import drawn
from bench.cpu.sketch import stored
from tenfold.diagnose import bench
from tests.models import light
from tests.models.catalogue import BY_NAME


@dataclass(frozen=True)
class Promise:
    """A figure of our own: what is measured, in which unit, and what is wanted of it."""

    name: str
    meaning: str
    unit: str
    wanted: str
    measure: Callable[[int], float]


def build_seconds(effort: int, threads: int) -> float:
    """Seconds to build ResNet-50 with nothing remembered from before."""
    path = light.load("resnet50")
    start = time.perf_counter()
    tenfold.build(path, threads=threads, effort=effort, cache=False)
    return time.perf_counter() - start


def arena_ratio(threads: int) -> float:
    """The arena of ResNet-50 over the most that is alive at one step."""
    memory = tenfold.build(light.load("resnet50"), threads=threads, effort=0, cache=False).memory({})
    return memory["arena"] / memory["alive"]


def floor_us(threads: int) -> float:
    """Microseconds of a call of a small perceptron from Python."""
    engine = tenfold.build(operators.mlp(784, 128, 10), threads=threads, cache=False)
    arrays = [np.random.default_rng(seed).standard_normal((1, 784), np.float32) for seed in range(bench.BUFFERS)]
    times = []
    for turn in range(20_000):
        x = arrays[turn % bench.BUFFERS]
        start = time.perf_counter_ns()
        engine(x)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e3


def open_sizes(
    fixed: tuple[str, Callable[[], bytes]],
    free: tuple[str, Callable[[], bytes]],
    sizes: Mapping[str, int],
    threads: int,
) -> float:
    """The time of the build for fixed sizes over that of the build for open ones, by turns, at the same sizes."""
    paths = [stored(*one) for one in (fixed, free)]
    engines = [tenfold.build(onnx.load(path), threads=threads) for path in paths]
    asked = [drawn(paths[1], seed, sizes) for seed in range(bench.BUFFERS)]
    times: list[list[float]] = [[], []]
    contexts = [engine.context() for engine in engines]
    for _ in range(12):
        for context, found in zip(contexts, times, strict=True):
            for inputs in asked:
                start = time.perf_counter()
                context.run(inputs)
                found.append(time.perf_counter() - start)
    static, dynamic = (statistics.median(found[len(asked) :]) for found in times)
    return static / dynamic


_UNSEEN = """
import sys, time, statistics
sys.modules["llvmlite"] = None
import numpy as np, tenfold
engine = tenfold.load(sys.argv[1], threads=int(sys.argv[2]))
def asked(batch, length):
    shape = batch, length
    return {"input_ids": np.ones(shape, np.int64), "attention_mask": np.ones(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64)}
with engine.context() as context:
    for _ in range(5):
        context.run(asked(2, 256))
    worst = 0.0
    for length in (17, 33, 64, 100, 128):
        inputs, times = asked(1, length), []
        for _ in range(30):
            start = time.perf_counter()
            context.run(inputs)
            times.append(1e3 * (time.perf_counter() - start))
        worst = max(worst, times[0] / (2 * statistics.median(times[1:]) + 1))
print(worst)
"""


def unseen_shape(threads: int) -> float:
    """The first call at an unseen length over twice the later median plus 1 ms: the worst of several, no compiler."""
    model = BY_NAME["minilm-l6"].load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.tenfold"
        tenfold.build(onnx.load(model), threads=threads).save(path)
        command = [sys.executable, "-c", _UNSEEN, str(path), str(threads)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _open(
    name: str, make: Callable[..., bytes], fixed: tuple[Any, ...], free: tuple[Any, ...], **sizes: int
) -> Promise:
    pair = (f"{name}-fixed", partial(make, *fixed)), (f"{name}-open", partial(make, *free))
    meaning = f"{name} with open {', '.join(sizes)}: fixed build's time / open build's"
    return Promise(f"open-{name}", meaning, "", "≥ 0.9", partial(open_sizes, *pair, sizes))


PROMISES: tuple[Promise, ...] = (
    Promise("build-effort-0", "build of ResNet-50, effort 0, nothing cached", "s", "≤ 5", partial(build_seconds, 0)),
    Promise("build-effort-2", "build of ResNet-50, effort 2, nothing cached", "s", "≤ 120", partial(build_seconds, 2)),
    Promise("unseen-shape", "first call at an unseen length / (2 × later median + 1 ms)", "", "≤ 1", unseen_shape),
    _open("resnet50", vision.resnet50, (8,), ("N",), N=8),
    _open("mobilenet_v2", vision.mobilenet_v2, (1, 224), (1, ("H", "W")), H=224, W=224),
    _open("bert", language.bert, (1, 128), ("N", "L"), N=1, L=128),
    Promise("arena", "peak arena of ResNet-50 / lower bound", "", "≤ 1.05", arena_ratio),
    Promise("python-floor", "MLP 784-128-10 through Engine.__call__", "µs", "≤ 8", floor_us),
)
BY_PROMISE: Mapping[str, Promise] = {promise.name: promise for promise in PROMISES}


def main() -> None:
    """Measure the promise that the arguments name on so many threads; print the figure."""
    name, threads = sys.argv[1:]
    sys.stdout.write(f"\n{BY_PROMISE[name].measure(int(threads))}\n")


if __name__ == "__main__":
    main()

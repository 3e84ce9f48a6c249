"""What a repeated call on a GPU takes of the CPU's time: the launch of a graph, and what Python adds for each tensor.

Run as `PYTHONPATH=src:. python -m bench calls [--tensors 17]`. Where there is no GPU an emulated one takes its place,
whose driver takes no time, and tensors lie on the CPU: what PyTorch and Python take is the same. Each figure is the
least of many rounds, in microseconds, all kinds of calls by turns; results are let go at once. Fresh tensors lie where
none of the calls before them had any.
"""

from __future__ import annotations

import argparse
import itertools
import json
import timeit
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.target import machine_gpu
from tests.runtime.cuda.emulated import emulate
from tests.runtime.cuda.pretended import pretend

ROUNDS, CALLS, FRESH = 150, 100, 20
Run = Callable[[], object]


def doubled(tensors: int) -> Graph:
    """Each input twice: as many outputs as inputs, a decoding step's keys and values among them."""
    graph = Graph(name="calls")
    found = [graph.input(f"x{number}", Type(dt.f16, (1, 16, 8, 64))) for number in range(tensors)]
    graph.set_outputs([ops.Add()(x, x) for x in found], [f"y{number}" for number in range(tensors)])
    return graph


def by_turns(runs: dict[str, Run]) -> dict[str, float]:
    """Microseconds of one of each."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            found[name] = min(found[name], timeit.timeit(run, number=CALLS) / CALLS * 1e6)
    return found


def kinds(engine: tenfold.Engine, device: str, stack: ExitStack) -> dict[str, Run]:
    """Ways to call an engine on tensors that lie on the GPU."""
    shape = engine.inputs[0].shape
    given = [torch.zeros(shape, dtype=torch.float16, device=device) for _ in engine.inputs]
    named = {spec.name: one for spec, one in zip(engine.inputs, given, strict=True)}
    context, bound, moving, moving_in = (stack.enter_context(engine.context()) for _ in range(4))
    for one in (bound, moving_in):
        one.bind(outputs={spec.name: torch.zeros_like(given[0]) for spec in engine.outputs})
    others = itertools.cycle([[torch.zeros_like(one) for one in given] for _ in range(FRESH)])
    return {
        "context.call of a list": lambda: context.call(given),
        "context.call, outputs bound": lambda: bound.call(given),
        "context.call of fresh tensors": lambda: moving.call(next(others)),
        "context.call of fresh tensors, outputs bound": lambda: moving_in.call(next(others)),
        "context.run of a dict": lambda: context.run(named),
        "engine": lambda: engine(*given),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tensors", type=int, default=17)
    options = parser.parse_args()
    with ExitStack() as stack:
        gpu = machine_gpu() is not None
        if not gpu:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            driver = emulate(patch)
            pretend(patch)
        found: dict[str, object] = {"gpu": gpu, "tensors": options.tensors}
        for tensors in (1, options.tensors):
            engine = tenfold.build(doubled(tensors), target="cuda", cache=False, effort=0)
            runs = kinds(engine, "cuda" if gpu else "cpu", stack)
            for run in runs.values():
                for _ in range(3):
                    run()
            if not gpu:
                patch.setattr(driver, "replay", lambda graph, stream: None)
                patch.setattr(driver, "change", lambda graph, numbers, launches: None)
            found[f"us of {tensors} in and out"] = {name: round(us, 2) for name, us in by_turns(runs).items()}
            if not gpu:
                patch.delattr(driver, "replay")
                patch.delattr(driver, "change")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

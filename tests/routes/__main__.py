"""`python -m tests.routes`: the same networks by every route: regions, machine code, distance, time."""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import tenfold
from tests.routes.networks import engines, networks
from tests.routes.regions import apart, kernels, regions

ROUNDS, CALLS = 15, 40


def times(built: dict[str, tenfold.Engine], given: np.ndarray) -> dict[str, float]:
    """Microseconds a call, medians of rounds by turns."""
    contexts = {name: engine.context() for name, engine in built.items()}
    spent: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(ROUNDS):
        for name, context in contexts.items():
            inputs = {built[name].inputs[0].name: given}
            start = time.perf_counter()
            for _ in range(CALLS):
                context.run(inputs)
            spent[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return {name: statistics.median(one[2:]) for name, one in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.routes", description=__doc__)
    parser.add_argument("effort", type=int, nargs="?", choices=range(4), default=0, help="how long builds may tune")
    effort = parser.parse_args().effort
    print("| network | route | regions | others than the first's | code | distance | µs | of the first |")
    print("|---|---|---:|---:|---|---:|---:|---:|")
    notes = []
    for title, network in networks().items():
        with torch.no_grad():
            wanted = network.module(network.example).numpy()
        given = network.example.numpy()
        built = engines(network, effort)
        found = {name: regions(engine) for name, engine in built.items()}
        first = next(iter(found))
        spent = times(built, given)
        for name, engine in built.items():
            others = apart(found[name], found[first])
            distance = np.linalg.norm(engine(given) - wanted) / np.linalg.norm(wanted)
            row = [title, name, found[name].total(), len(others), kernels(engine)]
            row += [f"{distance:.1e}", f"{spent[name]:.1f}", f"{spent[name] / spent[first]:.3f}"]
            print("|", " | ".join(map(str, row)), "|")
            notes += [f"{title}, {name}: {one}" for one in others]
    print(*notes, sep="\n")


main()

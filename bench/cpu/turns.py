"""One row measured in a process of its own: our engine and its peers by turns. Prints the result as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

import tenfold
from bench.cpu.rows import BY_ROW, Inputs, Row
from tenfold.diagnose import Peer, bench, is_installed, open_peer
from tenfold.diagnose.roofline import Ceiling, demand

Result = dict[str, Any]


def measured(row: Row, peers: Mapping[str, Peer], threads: int, effort: int, seconds: float, top: Ceiling) -> Result:
    """Milliseconds of ours and of each peer, the ratio, distances from the first peer's answer, shares of what the
    machine can do.
    """
    start = time.perf_counter()
    engine = tenfold.build(onnx.load(row.model()), threads=threads, effort=effort, **row.options)
    built = time.perf_counter() - start
    asked = [row.inputs(seed) for seed in range(bench.BUFFERS)]
    found = bench.measure(engine, asked, peers, threads=threads, seconds=seconds)
    ours = found["ours"]["median_ms"]
    result: Result = {
        "ours": found["ours"],
        "peers": {name: times["median_ms"] for name, times in found["peers"].items()},
        "ratio": found["ratio"],
        "build_s": built,
        "distance": distance(engine.run(asked[0]), peers, asked[0]),
    }
    needed = demand(engine, asked[0], top)
    if needed:
        result |= {"gflop": needed.flops / 1e9, "mbytes": needed.bytes / 1e6, "roofline_ms": 1e3 * needed.seconds}
        result |= {"gflops": needed.flops / ours / 1e6, "share": 1e3 * needed.seconds / ours}
        result |= {"of_peak": needed.flops / top.flops / ours * 1e3}
        result |= {"of_bandwidth": needed.bytes / top.bandwidth / ours * 1e3}
    return result


def distance(ours: Mapping[str, Any], peers: Mapping[str, Peer], inputs: Inputs) -> float | None:
    """The greatest norm of a difference by the norm of what the first peer answers; None without a peer."""
    for peer in peers.values():
        theirs = peer.run(inputs).values()
        return max(_far(np.asarray(a), np.asarray(b)) for a, b in zip(ours.values(), theirs, strict=True))
    return None


def _far(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))


def opened(row: Row, names: tuple[str, ...], threads: int) -> dict[str, Peer]:
    """The row's peers of these names that are installed."""
    names = tuple(name for name in row.peers if name in names and is_installed(name.partition(".")[0]))
    return {name: _opened(row, name, threads) for name in names}


def _opened(row: Row, name: str, threads: int) -> Peer:
    if name.startswith("torch"):
        peer: Peer = importlib.import_module("bench.cpu.torch_peer").TorchPeer(row, threads, name == "torch.compile")
        return peer
    return open_peer(name, row.model(), threads=threads)


def main() -> None:
    """Measure the row that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("row")
    parser.add_argument("--against", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--effort", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--top", type=json.loads, required=True)
    options = parser.parse_args()
    row = BY_ROW[options.row]
    peers = opened(row, tuple(options.against.split(",")), options.threads)
    result = measured(row, peers, options.threads, options.effort, options.seconds, Ceiling(**options.top))
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

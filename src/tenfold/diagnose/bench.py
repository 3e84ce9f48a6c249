"""Honest clocks: an engine and its peers by turns in one process, on as many threads, each call on other inputs."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.diagnose import Peer, open_peer
from tenfold.diagnose.roofline import Ceiling, ideal_seconds
from tenfold.errors import UnsupportedError
from tenfold.runtime.engine import Engine

Array = NDArray[Any]
Inputs = Mapping[str, Array]
Work = Callable[[Inputs], object]
BUFFERS, ROUNDS, LEAST_ROUNDS, WARM_UP = 4, 15, 3, 3
PAUSE = 0.06
"""Seconds between two works: ONNX Runtime's threads spin for 40 ms after a call."""
BURST = 0.02
"""The least time, in seconds, that the calls of one turn take together."""


def able(
    names: Sequence[str], model: Path, inputs: Sequence[Inputs], threads: int
) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that run a model on some inputs, and why the others do not."""
    peers, refusals = {}, {}
    for name in names:
        try:
            peer = open_peer(name, model, threads=threads)
            for one in inputs:
                peer.run(one)
            peers[name] = peer
        except UnsupportedError as error:
            refusals[name] = str(error)
    return peers, refusals


def measure(
    engine: Engine,
    inputs: Sequence[Inputs],
    peers: Mapping[str, Peer],
    *,
    threads: int | None = None,
    top: Ceiling | None = None,
    rounds: int = ROUNDS,
    seconds: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Times of an engine and its peers in milliseconds, as `tenfold bench --json` gives them.

    Each turn runs one of them on each of `inputs`, after a pause that lets the threads of the one before fall asleep.
    After `seconds` no new round is begun, but there are LEAST_ROUNDS of them.
    `roofline_ms` is the least time that `top` allows the first of `inputs`, and `share` the part of that speed which
    the engine reaches; both are null without `top`, and where the engine does not say what its regions do.
    """
    with engine.context(threads=threads) as context:
        works: dict[str, Work] = {"tenfold": context.run} | {name: peer.run for name, peer in peers.items()}
        bursts = {name: _warmed_up(work, inputs) for name, work in works.items()}
        times: dict[str, list[float]] = {name: [] for name in works}
        start = time.perf_counter()
        for turn in range(rounds):
            if seconds and turn >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
                break
            for name, work in works.items():
                time.sleep(PAUSE)
                times[name] += _timed(work, inputs, bursts[name])
            if progress:
                progress("measure", turn + 1, rounds)
    ours, *others = (summary(found) for found in times.values())
    theirs = dict(zip(peers, others, strict=True))
    fastest = min((one["median_ms"] for one in theirs.values()), default=None)
    ideal = ideal_seconds(engine, inputs[0], top) if top else None
    return {
        "threads": engine.frames(threads).threads,
        "ours": ours,
        "peers": theirs,
        "ratio": None if fastest is None else fastest / ours["median_ms"],
        "roofline_ms": None if ideal is None else 1000 * ideal,
        "share": None if ideal is None else 1000 * ideal / ours["median_ms"],
    }


def _warmed_up(work: Work, inputs: Sequence[Inputs]) -> int:
    """Run a few times; how many calls make a turn."""
    for number in range(WARM_UP):
        work(inputs[number % len(inputs)])
    (seconds,) = _timed(work, inputs[:1], 1)
    return max(len(inputs), min(1000, int(BURST / max(seconds, 1e-7))))


def _timed(work: Work, inputs: Sequence[Inputs], calls: int) -> list[float]:
    found = []
    for number in range(calls):
        chosen = inputs[number % len(inputs)]
        start = time.perf_counter()
        work(chosen)
        found.append(time.perf_counter() - start)
    return found


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 10th and 90th percentile of some times, in milliseconds."""
    p10, p90 = np.percentile(seconds, [10, 90])
    return {
        "median_ms": 1000 * statistics.median(seconds),
        "p10_ms": 1000 * float(p10),
        "p90_ms": 1000 * float(p90),
    }


def machine_name() -> str:
    """What this machine's CPU calls itself."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="ascii", errors="replace").splitlines() if path.exists() else []
    names = (
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == "model name"
    )
    return next(names, platform.machine())

"""What the native bottom costs by itself: a step, a barrier, an empty call from Python. Prints one JSON object.

Run as `PYTHONPATH=src:. python -m bench floor`; each figure is the best of nine runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from tenfold.runtime import steps
from tenfold.runtime.cpu.shortcut import Replay
from tests.runtime.cpu.native import entry, invocation, team


def best(action: Callable[[], object], count: int) -> float:
    """Seconds that one of `count` things took that the action does in all."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times) / count


def looped(body: list[steps.Row], turns: int, threads: int = 1, parts: int = 1) -> float:
    """Seconds that one turn of a loop over the body takes."""
    out = np.zeros(64, np.int64)
    rows = [*body, steps.loop(0, 1, 0), steps.end()]
    call = invocation(rows, {1: turns, 3: parts, 4: out.ctypes.data, 6: 1}, argmap=[4], threads=threads)

    def run() -> None:
        call.frame[0] = 0
        call.run()

    return best(run, turns)


def repeated(action: Callable[[], object], count: int = 20_000) -> float:
    """Seconds that one of many calls from Python takes."""

    def run() -> None:
        for _ in range(count):
            action()

    return best(run, count)


def main() -> None:
    """Measure and print."""
    stage = steps.call(entry("increment"), 0, 1, parts=3)
    empty = invocation([steps.end()], bases=[0, 0])
    x, y = np.zeros((1, 784), np.float32), np.zeros((1, 10), np.float32)
    replay = Replay(empty, empty.frame, [x], [y], first=0, brief=True)
    figures = {
        "threads": team().threads,
        "ns_a_call_step": looped([stage] * 64, 2000) * 1e9 / 65,
        "ns_an_add_step": looped([steps.add(2, 6)] * 64, 2000) * 1e9 / 65,
        "us_a_two_part_stage_on_two_threads": looped([stage], 20_000, threads=2, parts=2) * 1e6,
        "us_an_empty_run": repeated(lambda: empty.run(brief=True)) * 1e6,
        "us_an_empty_run_without_the_global_lock": repeated(empty.run) * 1e6,
        "us_a_replay_of_one_input_and_one_fresh_output": repeated(lambda: replay.run((x,))) * 1e6,
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()

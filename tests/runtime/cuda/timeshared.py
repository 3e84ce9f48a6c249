"""`python -m tests.runtime.cuda.timeshared [--seconds S] [NAME:BATCH …]`: on a GPU, results of the table's rows while
another process uses it, so that the driver takes launches off in their midst and puts them back: bit for bit those of a
call that had the GPU alone. A line for each, with "WRONG" where something is. Launches of milliseconds show most.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from typing import Any

import torch

from bench.gpu import networks
from bench.gpu.row import built, given

ROWS = ("bert-large384:64", "bert:64", "vit:64", "resnet50:128", "convnext_t:64", "swin:8", "llama-512:1")
OTHER = """
import torch
a = torch.randn(8192, 8192, dtype=torch.float16, device="cuda")
a @ a
torch.cuda.synchronize()
print("ready", flush=True)
while True:
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
"""


class Other:
    """A process that multiplies matrices within `with`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """It is not needed any more."""
        self._process.kill()
        self._process.wait()


def apart(found: torch.Tensor, wanted: torch.Tensor) -> list[int]:
    """The rows that are not equal, NaNs being so."""
    same = (found == wanted) | (found.isnan() & wanted.isnan()) if found.is_floating_point() else found == wanted
    rows = (~same.reshape(-1, same.shape[-1])).any(1) if same.ndim else ~same.reshape(1)
    return [int(one) for one in rows.nonzero().flatten().tolist()]


def shared(row: str, other: Other, seconds: float) -> None:
    """One row, alone and beside the other process."""
    name, batch = row.split(":")
    network = networks.NETWORKS[name](int(batch))
    engine = built(network, 0)
    with engine.context() as context:
        arrays = [torch.from_numpy(one).cuda() for one in given(network, engine)]

        def results() -> list[Any]:
            found = [*context.call(arrays)]
            torch.cuda.synchronize()
            return found

        time.sleep(0.2)
        wanted = [one.clone() for one in results()]
        right = all(not apart(a, b) for a, b in zip(results(), wanted, strict=True))
        calls, wrong, first = 0, 0, ""
        with other:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                rows = [apart(a, b) for a, b in zip(results(), wanted, strict=True)]
                calls, wrong = calls + 1, wrong + any(rows)
                if any(rows) and not first:
                    first = f": {sum(map(len, rows))} rows, first {next(filter(None, rows))[:8]}"
    said = "right" if right and not wrong else "WRONG"
    print(
        f"{row:20} {said}  {'alone alike' if right else 'alone not alike'}, {wrong} of {calls} calls{first}", flush=True
    )


def main() -> None:
    """The rows that are named, or those with the longest launches of each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    other = Other()
    try:
        for row in options.rows:
            shared(row, other, options.seconds)
            torch.cuda.empty_cache()
    finally:
        other.end()


if __name__ == "__main__":
    main()

"""A stopwatch without a GPU whose kernels do what their code says; measure starts it in the place of the real one."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from tenfold.compiler.device import stopwatch
from tenfold.compiler.device.job import Contestant
from tenfold.errors import DeviceError, ExecutionError


def timed(one: Contestant, *_: Any) -> tuple[float, Any]:
    match one.code.decode().split():
        case ["crash"]:
            os._exit(7)
        case ["hang"]:
            time.sleep(60)
        case ["fault"]:
            raise ExecutionError("a kernel failed on the GPU: illegal address")
        case ["refuse"]:
            raise DeviceError("the GPU's driver refused")
        case ["wrong", seconds]:
            return float(seconds), np.full(4, 2.0, np.float32)
        case [seconds]:
            return float(seconds), np.ones(4, np.float32)
    raise AssertionError(one.code)


if __name__ == "__main__":
    stopwatch._timed = timed
    driver = SimpleNamespace(
        enter=lambda: None, open_stream=lambda: 1, synchronize=lambda stream: None, close_stream=lambda stream: None
    )
    stopwatch.serve(sys.stdin.buffer, sys.stdout.buffer, SimpleNamespace(driver=driver))

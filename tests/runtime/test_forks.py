"""What a fork's child can do with contexts and sessions whose threads stay with the parent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

import tenfold
import tenfold.onnxruntime as onnxruntime
from tests.face import models

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
SECONDS = 30
"""After which a child that hangs is killed."""


def good_in_child(work: Callable[[], bool]) -> bool:
    """Whether a fork's child finds it so, in time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def turns(number: int) -> dict[str, np.ndarray]:
    return {"turns": np.array(number, np.int64), "x": np.zeros(4, np.float32)}


def test_a_child_submits_after_its_parent_did() -> None:
    context = tenfold.build(models.endless(), cache=False, effort=0).context()

    def right(number: int) -> bool:
        return bool((context.submit(turns(number)).result(SECONDS)["y"] == number).all())

    assert right(3)
    assert good_in_child(lambda: right(4) and right(5) and context.close() is None)
    assert right(6)
    context.close()


def test_calls_that_are_pending_stay_the_parents() -> None:
    context = tenfold.build(models.endless(), cache=False, effort=0).context()
    done = context.submit(turns(2))
    done.result(SECONDS)
    running = context.submit(turns(2**40))
    waiting = context.submit(turns(3))
    while not running.running():
        time.sleep(0.001)

    def free() -> bool:
        ran = context.run(turns(4))["y"]
        submitted = context.submit(turns(5)).result(SECONDS)["y"]
        context.cancel()
        theirs = all(isinstance(one.exception(0), tenfold.ExecutionError) for one in (running, waiting))
        return bool((ran == 4).all() and (submitted == 5).all()) and theirs and (done.result(0)["y"] == 2).all()

    assert good_in_child(free)
    assert running.running()
    assert not waiting.done()
    context.cancel()
    for one in (running, waiting):
        with pytest.raises(tenfold.Cancelled):
            one.result(SECONDS)
    context.close()


def test_a_child_calls_back_after_its_parent_did() -> None:
    session = onnxruntime.InferenceSession(models.perceptron().SerializeToString())
    x = np.ones((3, 8), np.float32)

    def right() -> bool:
        found: list[tuple[list[np.ndarray], str]] = []
        session.run_async(["y"], {"x": x}, lambda results, _, error: found.append((results, error)), None)
        end = time.monotonic() + SECONDS
        while not found and time.monotonic() < end:
            time.sleep(0.001)
        return bool(found) and not found[0][1] and found[0][0][0].shape == (3, 4)

    assert right()
    time.sleep(0.05)
    assert good_in_child(right)
    assert right()

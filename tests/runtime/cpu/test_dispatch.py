"""Each kind of step, alone and in one thread; what `dispatch` returns; the profile."""

from __future__ import annotations

import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from tenfold.runtime import steps
from tenfold.runtime.cpu.block import Denormals, Status

from .native import entry, invocation


def test_empty_call_is_done() -> None:
    call = invocation([steps.end()])
    assert call.run() == Status.DONE
    assert call.run(brief=True) == Status.DONE
    assert call.entries == 1


def test_call_gathers_its_arguments_in_order() -> None:
    out = np.zeros(3, np.int64)
    call = invocation(
        [steps.call(entry("mix"), 1, 3, parts=9), steps.end()],
        {0: -1, 4: out.ctypes.data, 5: 7, 6: 42, 9: 3},
        argmap=[0, 4, 5, 6],
    )
    assert call.run() == Status.DONE
    assert out.tolist() == [7042] * 3


@pytest.mark.parametrize("parts", [0, 1, 2, 7])
def test_call_runs_each_part_once(parts: int) -> None:
    out = np.zeros(8, np.int64)
    call = invocation(
        [steps.call(entry("increment"), 0, 1, parts=1), steps.end()], {0: out.ctypes.data, 1: parts}, argmap=[0]
    )
    assert call.run() == Status.DONE
    assert out.tolist() == [1] * parts + [0] * (8 - parts)


def test_jump_and_start() -> None:
    rows = [steps.jump(2), steps.end(), steps.move(0, 1), steps.end()]
    call = invocation(rows, {1: 5})
    assert call.run() == Status.DONE
    assert call.frame[0] == 5
    call.frame[0] = 0
    assert call.run(start=1) == Status.DONE
    assert call.frame[0] == 0
    assert call.step == 1


@pytest.mark.parametrize("byte", [0, 1, 255])
@pytest.mark.parametrize("sense", [False, True])
def test_jump_if(byte: int, sense: bool) -> None:
    flag = np.array([byte], np.uint8)
    rows = [steps.jump_if(0, 2, sense), steps.end(), steps.move(1, 2), steps.end()]
    call = invocation(rows, {0: flag.ctypes.data, 2: 9})
    assert call.run() == Status.DONE
    assert call.frame[1] == (9 if bool(byte) == sense else 0)


@pytest.mark.parametrize("limit", [-1, 0, 1, 5])
def test_loop_runs_its_body_at_least_once(limit: int) -> None:
    call = invocation([steps.add(2, 3), steps.loop(0, 1, 0), steps.end()], {1: limit, 3: 10})
    assert call.run() == Status.DONE
    assert call.frame[2] == 10 * max(1, limit)
    assert call.frame[0] == max(1, limit)


def test_move_add_swap() -> None:
    call = invocation([steps.move(0, 1), steps.add(0, 2), steps.swap(3, 4), steps.end()], {1: 5, 2: -7, 3: 30, 4: 40})
    assert call.run() == Status.DONE
    assert call.frame[:5].tolist() == [-2, 5, -7, 40, 30]


@pytest.mark.parametrize(
    ("dtype", "value", "width"), [("uint8", 255, 1), ("bool", True, 1), ("int32", -3, 4), ("int64", -(2**40), 8)]
)
def test_load(dtype: str, value: int, width: int) -> None:
    memory = np.array([value], dtype)
    call = invocation([steps.load(1, 0, width), steps.end()], {0: memory.ctypes.data})
    assert call.run() == Status.DONE
    assert call.frame[1] == int(value)


def test_store() -> None:
    memory = np.array([1, 2, 3], np.int64)
    call = invocation([steps.store(0, 1), steps.end()], {0: memory.ctypes.data + 8, 1: -(2**40)})
    assert call.run() == Status.DONE
    assert memory.tolist() == [1, -(2**40), 3]


@pytest.mark.parametrize("size", [0, 1, 15, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("shift", [-70, -3, 0, 3, 70])
def test_copy_also_where_it_overlaps(size: int, shift: int) -> None:
    memory = np.random.default_rng(size).integers(0, 255, 400).astype(np.uint8)
    expected = memory.copy()
    expected[100 + shift : 100 + shift + size] = memory[100 : 100 + size]
    start = memory.ctypes.data + 100
    call = invocation([steps.copy(0, 1, 2), steps.end()], {0: start + shift, 1: start, 2: size})
    assert call.run() == Status.DONE
    np.testing.assert_array_equal(memory, expected)


def test_binds_are_set_at_each_call() -> None:
    out = np.zeros(4, np.int64)
    call = invocation(
        [steps.call(entry("increment"), 0, 1), steps.end()],
        {3: 16},
        argmap=[7],
        binds=[(7, 1, 3)],
        bases=[0, out.ctypes.data],
    )
    assert call.run() == Status.DONE
    call.bases[1] += 8
    assert call.run() == Status.DONE
    assert out.tolist() == [0, 0, 1, 1]


def test_a_kernels_error_ends_the_call_and_names_the_step() -> None:
    statuses = np.array([0, 21, 33, 0], np.int64)
    rows = [steps.move(2, 3), steps.call(entry("status"), 0, 1, parts=1), steps.move(4, 3), steps.end()]
    call = invocation(rows, {0: statuses.ctypes.data, 1: 4, 3: 1}, argmap=[0])
    assert call.run() == 33
    assert call.error_step == 1
    assert call.frame[4] == 0


def test_a_set_flag_cancels() -> None:
    cancel = np.ones(1, np.int64)
    call = invocation([steps.end()], cancel=cancel)
    assert call.run() == Status.CANCELLED
    cancel[0] = 0
    assert call.run() == Status.DONE


ENDLESS = [steps.add(0, 1), steps.jump(0), steps.end()]


def test_an_endless_loop_is_cancelled_by_another_thread_and_reentered_before() -> None:
    call = invocation(ENDLESS, {1: 1})
    timer = threading.Timer(0.2, call.cancel.fill, [1])
    timer.start()
    assert call.run() == Status.CANCELLED
    timer.join()
    assert call.entries >= 2
    assert call.frame[0] > 1000


def test_reentry_goes_on_where_it_stopped_and_does_not_bind_again() -> None:
    rows = [steps.move(2, 7), steps.add(7, 3), steps.loop(0, 1, 1), steps.end()]
    call = invocation(rows, {1: 40_000_000, 3: 1, 8: 0}, binds=[(7, 0, 8)], bases=[1000])
    assert call.run() == Status.DONE
    assert call.entries >= 2
    assert call.frame[7] == 1000 + 40_000_000


def test_control_c_stops_an_endless_loop_and_the_call_can_be_used_again() -> None:
    call = invocation(ENDLESS, {1: 1})
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call.run()
    timer.join()
    assert call.run(start=2) == Status.DONE


def test_denormals_are_kept_or_flushed_and_the_callers_mode_comes_back() -> None:
    tiny = np.float32(1e-40)
    for mode, kept in ((Denormals.KEEP, True), (Denormals.FLUSH, False)):
        value = np.array([tiny], np.float32)
        call = invocation(
            [steps.call(entry("halve"), 0, 1), steps.end()], {0: value.ctypes.data}, argmap=[0], denormals=mode
        )
        assert call.run() == Status.DONE
        assert (value[0] != 0) == kept
        assert np.float32(tiny) * np.float32(0.5) != 0


def test_profile_times_each_stage_and_counts_what_did_not_fit() -> None:
    out = np.zeros(4, np.int64)
    rows = [steps.call(entry("linger"), 0, 2, parts=3), steps.loop(0, 1, 0), steps.end()]
    call = invocation(rows, {1: 5, 3: 4, 4: out.ctypes.data, 5: 10_000}, argmap=[4, 5])
    call.start_profile(3)
    before = time.perf_counter()
    assert call.run() == Status.DONE
    whole = time.perf_counter() - before
    timings, lost = call.stop_profile()
    assert [(timing.step, timing.parts) for timing in timings] == [(0, 4)] * 3
    assert lost == 2
    assert timings[0].start == 0
    assert all(first.start + first.seconds <= second.start for first, second in pairwise(timings))
    assert 0 < timings[-1].start + timings[-1].seconds < whole * 1.1
    assert call.stop_profile() == ([], 0)
    assert call.run() == Status.DONE

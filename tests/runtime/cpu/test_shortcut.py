"""The native way into a call: what it accepts, what it leaves to Python, and that it leaks nothing."""

from __future__ import annotations

import gc
import sys

import ml_dtypes
import numpy as np
import pytest

from tenfold.runtime import steps
from tenfold.runtime.cpu import shortcut as module
from tenfold.runtime.cpu.block import Status
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.cpu.shortcut import MISS, Argument, Replay, make_shortcut, supported

from .native import entry, invocation

pytestmark = pytest.mark.skipif(not supported(), reason="this interpreter has no shortcut")


class Subclass(np.ndarray):
    pass


def adder(parts: int = 6) -> Invocation:
    """Adds 1 to each element of base 1 and counts its turns in slot 2."""
    rows = [steps.add(2, 3), steps.call(entry("increment"), 0, 1, parts=1), steps.end()]
    return invocation(rows, {1: parts, 3: 1}, argmap=[4], binds=[(4, 1, 0)], bases=[0, 0])


@pytest.mark.parametrize("brief", [False, True])
def test_a_call_runs_with_its_frame_restored(brief: bool) -> None:
    call, out = adder(), np.zeros((2, 3), np.int64)
    enter = make_shortcut(call, call.frame, [Argument(out, 1, written=True)], brief=brief)
    assert enter is not None
    other = np.zeros_like(out)
    for _ in range(3):
        assert enter(out) == Status.DONE
        assert call.frame[2] == 1
    assert enter(other) == Status.DONE
    assert out.tolist() == [[3] * 3] * 2
    assert other.tolist() == [[1] * 3] * 2
    assert call.bases[1] == other.ctypes.data


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.int32),
        lambda a: a.astype(">i8"),
        lambda a: a.astype(np.uint64),
        lambda a: a.reshape(3, 2),
        lambda a: a.reshape(6),
        lambda a: a.reshape(1, 2, 3),
        lambda a: np.asfortranarray(a),
        lambda a: np.zeros((4, 3), np.int64)[::2],
        lambda a: a.view(Subclass),
        lambda a: a.tolist(),
        lambda a: None,
        lambda a: 3,
        misaligned,
        read_only,
    ],
)
def test_whatever_differs_is_a_miss(change) -> None:
    call, out = adder(), np.zeros((2, 3), np.int64)
    enter = make_shortcut(call, call.frame, [Argument(out, 1, written=True)])
    assert enter is not None
    assert enter(change(out)) == MISS
    assert enter() == MISS
    assert enter(out, out) == MISS
    assert not out.any()


def test_an_input_may_be_read_only() -> None:
    call = adder(0)
    array = read_only(np.zeros((2, 3), np.int64))
    enter = make_shortcut(call, call.frame, [Argument(array, 1)])
    assert enter is not None
    assert enter(array) == Status.DONE


def test_watched_contents_decide_too() -> None:
    call, sizes = adder(0), np.array([3, 4, 5], np.int32)
    enter = make_shortcut(call, call.frame, [Argument(sizes, 1, watched=True)])
    assert enter is not None
    assert enter(sizes.copy()) == Status.DONE
    for index in range(3):
        other = sizes.copy()
        other[index] += 1
        assert enter(other) == MISS


@pytest.mark.parametrize("dtype", [np.bool_, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 2, 3, 4, 5)])
def test_every_dtype_and_rank(dtype: type, shape: tuple[int, ...]) -> None:
    call, array = adder(0), np.zeros(shape, dtype)
    enter = make_shortcut(call, call.frame, [Argument(array, 1)])
    assert enter is not None
    assert enter(array.copy()) == Status.DONE
    assert enter(array.astype(np.int8)) == MISS


def test_a_long_call_yields_and_goes_on() -> None:
    call = invocation([steps.add(2, 3), steps.loop(0, 1, 0), steps.end()], {1: 60_000_000, 3: 1})
    enter = make_shortcut(call, call.frame, [])
    assert enter is not None
    assert enter() == Status.YIELD
    assert call.resume() == Status.DONE
    assert call.frame[2] == 60_000_000


def test_an_error_comes_back_as_its_status() -> None:
    statuses = np.array([0, 300, 20], np.int64)
    rows = [steps.call(entry("status"), 0, 1, parts=1), steps.end()]
    call = invocation(rows, {1: 3}, argmap=[4], binds=[(4, 0, 0)], bases=[0])
    enter = make_shortcut(call, call.frame, [Argument(statuses, 0)])
    assert enter is not None
    assert enter(statuses) == 300


def test_nothing_leaks() -> None:
    call, out = adder(), np.zeros((2, 3), np.int64)
    enter = make_shortcut(call, call.frame, [Argument(out, 1, written=True)])
    assert enter is not None
    wrong = out.T
    before = [sys.getrefcount(thing) for thing in (out, wrong, out.dtype, None, np.ndarray)]
    for _ in range(1000):
        enter(out)
        enter(wrong)
    assert [sys.getrefcount(thing) for thing in (out, wrong, out.dtype, None, np.ndarray)] == before
    store = enter.__self__
    assert sys.getrefcount(store) <= 4
    del enter, store
    gc.collect()


@pytest.mark.parametrize("size", [6, 300_000])
def test_replay_gives_fresh_results(size: int) -> None:
    rows = [steps.copy(4, 5, 6), steps.call(entry("increment"), 0, 1, parts=1), steps.end()]
    call = invocation(rows, {1: 6, 6: 8 * size}, argmap=[4], binds=[(4, 2, 0), (5, 1, 0)], bases=[0, 0, 0])
    given, kind = np.arange(size), np.empty(size, np.int64)
    replay = Replay(call, call.frame, [given], [kind], first=1)
    kept = []
    for turn in range(4):
        results = replay.run([given + turn])
        assert results is not None
        assert replay.status == Status.DONE
        kept.append(results[0])
    for turn, result in enumerate(kept):
        assert result[:6].tolist() == [turn + 1 + index for index in range(6)]
        assert (result[6:] == given[6:] + turn).all()
    assert replay.run([given[:5]]) is None
    assert replay.run([given, given]) is None


def test_another_layout_means_no_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "supported", lambda: False)
    assert make_shortcut(adder(), np.zeros(16, np.int64), []) is None
    supported.cache_clear()
    monkeypatch.setitem(module.ARRAY, "flags", 60)
    assert not supported()
    supported.cache_clear()

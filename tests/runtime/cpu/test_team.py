"""The team under load: stages in parts, several contexts at once, forks, exits, cancellation."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tenfold import settings
from tenfold.codegen.cpu.isa import isa_of
from tenfold.runtime import steps
from tenfold.runtime.cpu import block
from tenfold.runtime.cpu import team as team_module
from tenfold.runtime.cpu.block import Status
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.target import Target

from .native import entry, image, invocation, team

ROOT = Path(__file__).parents[3]
KEPT: list[object] = []  # the code of a team is never freed
several = pytest.mark.skipif(team_module.machine_share().threads < 2, reason="this process may use one CPU only")


def repeated(
    out: np.ndarray, parts: int, turns: int, spin: int, threads: int, cancel: np.ndarray | None = None
) -> Invocation:
    """A call that runs "linger" in `parts` parts, `turns` times."""
    return invocation(
        [steps.call(entry("linger"), 0, 2, parts=3), steps.loop(0, 1, 0), steps.end()],
        {1: turns, 3: parts, 4: out.ctypes.data, 5: spin},
        argmap=[4, 5],
        threads=threads,
        cancel=cancel,
    )


def nine_workers() -> team_module.Team:
    """A team that is pinned nowhere."""
    crew = image(isa_of(Target.host())).crew
    share = team_module.Share(tuple(os.sched_getaffinity(0)), 9, False, "for this test")
    crowd = team_module.Team(Code.from_bytes(crew.code), crew.entries, share)
    KEPT.append(crowd)
    return crowd


@several
@pytest.mark.parametrize("parts", [2, 3, 8, 61])
@pytest.mark.parametrize("spin", [1, 2000])
def test_every_part_of_every_stage_runs_once(parts: int, spin: int) -> None:
    out = np.zeros(parts, np.int64)
    turns = 40_000_000 // (parts * (spin + 400))
    call = repeated(out, parts, turns, spin, threads=2)
    assert call.run() == Status.DONE
    assert (out == turns).all()
    call.close()


@several
def test_both_threads_work() -> None:
    out = np.zeros(64, np.int64)
    call = repeated(out, 64, 50, 100_000, threads=2)
    places = team()._places
    assert call.run() == Status.DONE
    assert all(place.started for place in places)
    assert all(place.inbox in (0, 1) for place in places)


@several
def test_stages_of_many_lengths_with_sleeps_between_calls() -> None:
    random = np.random.default_rng(0)
    out = np.zeros(16, np.int64)
    call = repeated(out, 16, 1, 1, threads=2)
    for turn in range(300):
        call.frame[0], call.frame[5] = 0, random.integers(1, 30_000)
        assert call.run(brief=bool(turn % 2)) == Status.DONE
        if turn % 7 == 0:
            time.sleep(float(random.uniform(0, 2e-3)))
    assert (out == 300).all()


@several
def test_contexts_of_many_threads_share_the_team() -> None:
    counts = [0] * 6
    wrong: list[object] = []

    def work(index: int) -> None:
        out = np.zeros(9, np.int64)
        call = repeated(out, 9, 20, 50 * (index + 1), threads=2)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            call.frame[0] = 0
            status = call.run()
            counts[index] += 1
            if status != Status.DONE or not (out == 20 * counts[index]).all():
                wrong.append((index, status, out.copy()))
                break
        call.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(counts) > 0


@pytest.mark.parametrize("spin", ["0", "50"])
def test_more_threads_than_cpus(spin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SPIN.variable, spin)
    crowd = nine_workers()
    wrong: list[object] = []

    def work(index: int) -> None:
        out = np.zeros(23, np.int64)
        made = repeated(out, 23, 1, 300 * index + 1, threads=9)
        call = Invocation(made.executable, threads=9 - 3 * index, team=lambda: crowd)
        kept = made.frame.copy()
        for turn in range(1, 400):
            call.frame[:] = kept
            if call.run() != Status.DONE or not (out == turn).all():
                wrong.append((index, turn, out.copy()))
                break

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_workers_of_the_callers_node_come_first() -> None:
    crowd = nine_workers()
    block.Team.from_address(crowd.address).nodes = 2
    for place in crowd._places[:5]:
        place.node = 1
    first, out = ctypes.addressof(crowd._places[0]), np.zeros(23, np.int64)
    for threads, wanted in ((3, [5, 6]), (7, [5, 6, 7, 8, 0, 1])):
        made = repeated(out, 23, 1, 1, threads=9)
        call = Invocation(made.executable, threads=threads, team=lambda: crowd)
        call.frame[:] = made.frame
        assert call.run() == Status.DONE
        lanes = (call._call.job + block.JOB_SIZE + number * block.LANE_SIZE for number in range(1, threads))
        taken = [block.Lane.from_address(lane).worker for lane in lanes]
        assert [(place - first) // block.WORKER_SIZE for place in taken] == wanted
    assert (out == 2).all()


def test_nodes_are_what_the_system_lists(tmp_path: Path) -> None:
    for name, cpus in {"node0": "0-3,8", "node1": "4-7\n", "nodes": "9", "node2": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cpus + "\n" * (not cpus.endswith("\n")))
    assert team_module.nodes_of((0, 3, 4, 8, 9), tmp_path) == [0, 0, 1, 0, 0]
    assert team_module.nodes_of((0, 1), tmp_path / "missing") == [0, 0]


@several
def test_a_closed_calls_job_is_used_again() -> None:
    out = np.zeros(4, np.int64)
    seen = set()
    for _ in range(200):
        call = repeated(out, 4, 3, 10, threads=2)
        assert call.run() == Status.DONE
        seen.add(call._call.job)
        call.close()
    assert len(seen) == 1
    assert (out == 600).all()


@several
def test_an_error_in_one_part_is_the_stages_status() -> None:
    statuses = np.zeros(12, np.int64)
    statuses[[3, 7]] = 18, 40
    rows = [steps.call(entry("status"), 0, 1, parts=1), steps.end()]
    call = invocation(rows, {0: statuses.ctypes.data, 1: 12}, argmap=[0], threads=2)
    for _ in range(50):
        assert call.run() == 40
    statuses[:] = 0
    assert call.run() == Status.DONE


@several
def test_another_thread_cancels_parallel_work_without_end() -> None:
    out = np.zeros(8, np.int64)
    call = repeated(out, 8, 2**62, 500, threads=2)
    timer = threading.Timer(0.15, call.cancel.fill, [1])
    timer.start()
    assert call.run() == Status.CANCELLED
    timer.join()
    assert call.entries >= 2
    assert len(set(out.tolist())) == 1


@several
def test_control_c_stops_parallel_work_without_end() -> None:
    out = np.zeros(8, np.int64)
    call = repeated(out, 8, 2**62, 500, threads=2)
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call.run()
    timer.join()
    assert len(set(out.tolist())) == 1


@several
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forks_child_makes_a_team_of_its_own() -> None:
    out = np.zeros(8, np.int64)
    call = repeated(out, 8, 10, 1000, threads=2)
    assert call.run() == Status.DONE
    time.sleep(0.01)
    parents = team()
    child = os.fork()
    if child == 0:
        call.frame[0] = 0
        good = call.run() == Status.DONE and (out == 20).all() and team() is not parents and call._call.threads == 2
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    call.frame[0] = 0
    assert call.run() == Status.DONE
    assert team() is parents
    assert (out == 20).all()


def python(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh process that finds the package and these tests."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


_PROGRAM = """
import numpy as np, threading, time
from tests.runtime.cpu.test_team import repeated
out = np.zeros(8, np.int64)
call = repeated(out, 8, {turns}, 1000, threads=2)
"""


@pytest.mark.parametrize("pause", ["0", "0.01"])
def test_the_interpreter_exits_with_workers_spinning_or_asleep(pause: str) -> None:
    done = python(
        _PROGRAM.format(turns=10) + f"assert call.run() == 0\ntime.sleep({pause})\nprint(call._call.threads)",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_exits_while_a_daemon_thread_is_in_a_call() -> None:
    done = python(
        _PROGRAM.format(turns=2**62) + "threading.Thread(target=call.run, daemon=True).start()\ntime.sleep(0.1)"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_limit_and_unpin_the_team() -> None:
    text = _PROGRAM.format(turns=10) + (
        "from tests.runtime.cpu.native import team\nassert call.run() == 0\nassert (out == 10).all()\n"
        "print(team().threads, team().lanes, team().pinning())"
    )
    alone = python(text, TENFOLD_THREADS="1")
    assert (alone.stdout, alone.stderr) == ("1 1 no workers: one thread\n", "")
    loose = python(text, TENFOLD_PIN="off", TENFOLD_SPIN_US="0")
    assert loose.stderr == ""
    assert "TENFOLD_PIN is off" in loose.stdout or loose.stdout.startswith("1 ")


def test_the_share_of_the_machine_follows_mask_quota_and_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(team_module.os, "sched_getaffinity", lambda _: {1, 2, 5, 7})
    monkeypatch.setattr(team_module, "_quota", lambda: float("inf"))
    for variable in (settings.THREADS.variable, settings.PIN.variable):
        monkeypatch.delenv(variable, raising=False)
    assert team_module.machine_share() == team_module.Share((1, 2, 5, 7), 4, True)
    monkeypatch.setenv("TENFOLD_PIN", "0-2,7")
    assert team_module.machine_share() == team_module.Share((1, 2, 7), 3, True)
    monkeypatch.setenv("TENFOLD_THREADS", "2")
    assert team_module.machine_share() == team_module.Share((1, 2, 7), 2, True)
    monkeypatch.setattr(team_module, "_quota", lambda: 1.5)
    share = team_module.machine_share()
    assert (share.threads, share.pinned) == (2, False)
    assert "quota is 1.5 of 3" in share.reason


def test_the_quota_is_the_least_on_the_way_up(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/self/cgroup": ["4:cpu,cpuacct:/a/b", "0::/x/y"],
        "/sys/fs/cgroup/x/y/cpu.max": ["max 100000"],
        "/sys/fs/cgroup/x/cpu.max": ["250000 100000"],
        "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": ["150000"],
        "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": ["100000"],
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": ["-1"],
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": ["100000"],
    }
    monkeypatch.setattr(team_module, "_lines", lambda path: files.get(str(path), []))
    assert team_module._quota() == 1.5


@several
def test_a_call_with_workers_gives_its_thread_its_cpus_back() -> None:
    before = os.sched_getaffinity(0)
    stage = steps.call(entry("increment"), 0, 1, parts=3)
    out = np.zeros(64, np.int64)
    call = invocation([stage, steps.end()], {1: 0, 3: 64, 4: out.ctypes.data}, argmap=[4], threads=2)
    for _ in range(20):
        assert call.run() == Status.DONE
        assert os.sched_getaffinity(0) == before

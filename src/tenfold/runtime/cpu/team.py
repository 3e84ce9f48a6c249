"""The team: the process's worker threads, shared by all engines of one ABI version.

The threads run generated code and nothing else: no Python, no library. Their code, their places and the jobs they look
at lie in memory that is never freed, so they may be left sleeping at exit. After a fork the child has none of them,
and makes a team of its own when it first needs one.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold import settings
from tenfold.errors import DeviceError
from tenfold.runtime.cpu import block
from tenfold.runtime.cpu.arena import fresh_pages, system
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.forks import enlist

_log = logging.getLogger("tenfold")
_SYSCALL = ctypes.cast(system.syscall, ctypes.c_void_p).value
_JOBS_AT_ONCE = 64
_BETWEEN_STAGES = 20


@dataclass(frozen=True)
class Share:
    """The part of the machine this process may use: its CPUs, how many threads to run, whether to pin them to CPUs, and
    why if not.
    """

    cpus: tuple[int, ...]
    threads: int
    pinned: bool
    reason: str = ""


def machine_share() -> Share:
    """The CPUs of the affinity mask, capped by the control group's quota and by the settings."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    pin = settings.PIN.value()
    if isinstance(pin, tuple):
        cpus = tuple(cpu for cpu in cpus if cpu in pin) or cpus
    wanted: int = settings.THREADS.value() or len(cpus)
    quota = _quota()
    threads = max(1, math.ceil(min(len(cpus), wanted, quota)))
    if quota < len(cpus):
        return Share(cpus, threads, False, f"the control group's quota is {quota:g} of {len(cpus)} CPUs")
    if pin is False:
        return Share(cpus, threads, False, f"{settings.PIN.variable} is off")
    return Share(cpus, threads, True)


def nodes_of(cpus: Sequence[int], folder: Path = Path("/sys/devices/system/node")) -> list[int]:
    """The NUMA node of each CPU, 0 where the system does not say."""
    node = {
        cpu: int(file.parent.name.removeprefix("node"))
        for file in folder.glob("node[0-9]*/cpulist")
        for cpu in _listed(*_lines(file))
    }
    return [node.get(cpu, 0) for cpu in cpus]


def _listed(text: str = "") -> list[int]:
    """The numbers of a list as the kernel writes it: 0-3,8."""
    ranges = [part.split("-") for part in text.split(",") if part]
    return [cpu for ends in ranges for cpu in range(int(ends[0]), int(ends[-1]) + 1)]


def _quota() -> float:
    """How many CPUs the control group grants: version 2's cpu.max, version 1's cfs pair; infinite without a limit."""
    found = math.inf
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, group = line.split(":", 2)
        root = Path("/sys/fs/cgroup")
        if not controllers:
            pairs = [_lines(folder / "cpu.max") for folder in _upwards(root, group)]
            found = min([found, *(_ratio(*pair[0].split()) for pair in pairs if pair)])
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "cpu", group):
                values = _lines(folder / "cpu.cfs_quota_us") + _lines(folder / "cpu.cfs_period_us")
                found = min(found, _ratio(*values)) if len(values) == 2 else found
    return found


def _upwards(root: Path, group: str) -> list[Path]:
    folder = root / group.lstrip("/")
    return [path for path in (folder, *folder.parents) if path.is_relative_to(root)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []


def _ratio(quota: str, period: str) -> float:
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


class Team:
    """Worker threads and the jobs they serve. `lanes` is how many threads a call can have, the caller included."""

    def __init__(self, code: Code, entries: Mapping[str, int], share: Share) -> None:
        self._lock = threading.Lock()
        self._jobs: list[int] = []
        self._code = code
        self._rate = code.tick_rate(entries["ticks"])
        self.threads = share.threads
        self._reason = share.reason
        self.holds = share.pinned
        """Whether calls keep their own thread on its CPU while workers help: else it may come to share one's."""
        size = 0 if share.threads == 1 else share.threads
        self.lanes = size + 1
        self.address = fresh_pages(ctypes.sizeof(block.Team) + size * (block.WORKER_SIZE + block.MASK_BYTES) + 64)
        workers = self.address + 64
        spin: int = 0 if "quota" in share.reason else settings.SPIN.value()
        team = block.Team.from_address(self.address)
        team.version, team.size, team.workers = block.ABI_VERSION, size, workers
        team.system = _SYSCALL
        team.spin_after = self.ticks(spin * 1e-6)
        team.spin_between = self.ticks(min(spin, _BETWEEN_STAGES) * 1e-6)
        nodes = nodes_of(share.cpus[:size]) if share.pinned else [0] * size
        team.nodes = len(set(nodes))
        self._places = [block.Worker.from_address(workers + index * block.WORKER_SIZE) for index in range(size)]
        for index, place in enumerate(self._places):
            place.team, place.index, place.cpu = self.address, index, -1
            if share.pinned:
                place.cpu, place.node = share.cpus[index], nodes[index]
                place.mask = workers + size * block.WORKER_SIZE + index * block.MASK_BYTES
                ctypes.c_uint8.from_address(place.mask + place.cpu // 8).value = 1 << place.cpu % 8
            _start(code.address + entries["worker"], ctypes.addressof(place))

    def ticks(self, seconds: float) -> int:
        """That time in ticks of the dispatcher's clock."""
        return int(seconds * self._rate)

    def pinning(self) -> str:
        """How the workers run, in words."""
        if not self._places:
            return "no workers: one thread"
        refused = sum(place.affinity < 0 for place in self._places)
        reason = self._reason or ("the system refused" if refused else "")
        pinned = 0 if self._reason else len(self._places) - refused
        return f"{len(self._places)} workers, {pinned} pinned" + (f" ({reason})" if reason else "")

    def open_job(self) -> int:
        """The address of a job for one context's calls; give it back with `close_job`."""
        with self._lock:
            if not self._jobs:
                size = block.JOB_SIZE + self.lanes * block.LANE_SIZE
                start = fresh_pages(_JOBS_AT_ONCE * size)
                self._jobs += [start + index * size for index in range(_JOBS_AT_ONCE)]
                for job in self._jobs:
                    self._lay_out(job)
            return self._jobs.pop()

    def _lay_out(self, job: int) -> None:
        block.Job.from_address(job).system = _SYSCALL
        for number in range(self.lanes):
            lane = block.Lane.from_address(job + block.JOB_SIZE + number * block.LANE_SIZE)
            lane.job, lane.number = job, number

    def close_job(self, job: int) -> None:
        """Take a job back, when no call of its context is running."""
        with self._lock:
            self._jobs.append(job)


def _start(entry: int, place: int) -> None:
    """Start a thread on generated code, with every signal blocked in it."""
    thread = ctypes.c_ulong()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        number = system.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(entry), ctypes.c_void_p(place))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if number:
        raise DeviceError(
            f"the system started no worker thread: {os.strerror(number)}",
            remedy=f"raise the limit of threads, or set {settings.THREADS.variable}=1",
        )
    system.pthread_detach(thread)


class _Process:
    """What belongs to this process and not to its forks: its team."""

    def __init__(self) -> None:
        self.forget()
        enlist(self, _Process.forget)

    def forget(self) -> None:
        """Start anew, without a team."""
        self.lock = threading.Lock()
        self.team: Team | None = None


_process = _Process()
_codes: list[Code] = []


def team_of(crew: Callable[[], bytes], entries: Mapping[str, int]) -> Team:
    """The process's team, made on first use. `crew` gives the blob of its code, from any engine of this version."""
    with _process.lock:
        if _process.team is None:
            _codes.append(Code.from_bytes(crew()))
            _process.team = Team(_codes[-1], entries, machine_share())
            _log.debug("team: %s", _process.team.pinning())
        return _process.team

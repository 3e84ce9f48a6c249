"""Children: forked processes with limits of memory and time that do one task after another.

What a task does to its process (a crash, a hang, unbounded memory) is that task's outcome and no other's: a child that
is lost is replaced. Fork from a process without threads.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("fork")
_GLANCE = 0.5
"""Seconds between looks at the clocks. A longer pause is one of the whole machine, and not counted."""
_PATIENCE = 8
"""Seconds of the clock that count as one of a CPU: a task that waits for nothing must end, too."""
_TICK = os.sysconf("SC_CLK_TCK")
Work = Callable[[Any], Any]


@dataclass(frozen=True)
class Limits:
    """What a task may use: seconds of CPU, of its process and of those that this one started; bytes of writable memory
    of its process. How busy the machine is does not matter.
    """

    seconds: float = 60.0
    memory: int = 4 << 30


@dataclass(frozen=True)
class Lost:
    """A task without an answer: its process died (`reason` names the signal or status) or was ended for its time."""

    reason: str
    trace: str = ""


class Child:
    """One forked process that answers `work(task)` for each task sent to it."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self.limits = limits
        self.task: Any = None
        self._waited = 0.0
        self._before = 0.0
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self.pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=_serve, args=(work, theirs, limits, self._words), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, task: Any) -> None:
        """Begin a task."""
        self.task, self._waited, self._before = task, 0.0, _cpu_seconds(self._process.pid)
        with suppress(BrokenPipeError):
            self.pipe.send(task)

    def late(self, waited: float) -> bool:
        """Whether the task has used up its time, now that so many more seconds have passed."""
        self._waited += waited
        used = _cpu_seconds(self._process.pid) - self._before if self._waited > self.limits.seconds else 0.0
        return max(used, self._waited / _PATIENCE) > self.limits.seconds

    def receive(self) -> Any:
        """The answer, Lost if the process died; call it when `pipe` is ready."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return Lost(_ending(self._process.exitcode or 0), self._trace())

    def end(self) -> Lost:
        """Kill the process, whose task has used up its time."""
        if self._process.pid and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGABRT)
            self._process.join(2)
        self.close()
        return Lost(f"no answer within {self.limits.seconds:g} s", self._trace())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _trace(self) -> str:
        self._words.seek(0)
        return self._words.read()


def _cpu_seconds(process: int | None) -> float:
    """What a process and those that it started have used of CPUs until now."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK + sum(_cpu_seconds(int(one)) for one in started)


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _serve(work: Work, pipe: Connection, limits: Limits, words: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(words, all_threads=False)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(work(task))


def answers(work: Work, tasks: Iterable[Any], *, jobs: int, limits: Limits) -> Iterator[tuple[Any, Any]]:
    """(task, work(task) or Lost) for each task, as they end. `work` runs in up to `jobs` children."""
    waiting = iter(tasks)
    busy: dict[Any, Child] = {}
    idle: list[Child] = []
    try:
        while True:
            while len(busy) < jobs and (task := next(waiting, None)) is not None:
                child = idle.pop() if idle else Child(work, limits)
                child.send(task)
                busy[child.pipe] = child
            if not busy:
                return
            before = time.monotonic()
            ready = wait(list(busy), _GLANCE)
            waited = min(time.monotonic() - before, 2 * _GLANCE)
            for pipe in ready:
                child = busy.pop(pipe)
                answer = child.receive()
                child.close() if isinstance(answer, Lost) else idle.append(child)
                yield child.task, answer
            for child in [child for child in busy.values() if child.late(waited)]:
                del busy[child.pipe]
                yield child.task, child.end()
    finally:
        for child in (*idle, *busy.values()):
            child.close()

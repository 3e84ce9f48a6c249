"""Several processes beside each other on one GPU, each with a row: while one chooses by measuring, or builds and checks
ours, the peers of the others compile; none is timed before all that began to compile are ready.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


class Turns:
    """`with turns:` has the GPU alone among the processes that share a file; a process that has it may enter again.
    `with turns.compiling():` uses the CPUs beside others, `with turns.quiet():` has the GPU while nobody does.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._held = path, ExitStack()
        self._lock, self.depth = threading.RLock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.depth += 1
        if self._path and self.depth == 1:
            file = self._held.enter_context(self._path.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
            self._held.callback(fcntl.flock, file, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        if not self.depth:
            self._held.close()
        self._lock.release()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Within it no process is `quiet`."""
        with self._compilers(fcntl.LOCK_SH):
            yield

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Within it this process has the GPU, and none compiles. Not to be entered where one of both is had."""
        with self._compilers(fcntl.LOCK_EX), self:
            yield

    @contextmanager
    def _compilers(self, how: int) -> Iterator[None]:
        if not self._path:
            yield
            return
        with self._path.with_suffix(".compilers").open("w") as file:
            fcntl.flock(file, how)
            yield

    def taken(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, in turns."""

        def called(*given: Any, **named: Any) -> Any:
            with self:
                return function(*given, **named)

        return called

    @contextmanager
    def among_choices(self, clock: Any) -> Iterator[None]:
        """Within it a class that has `benchmark_gpu`, torch.compile's clock, times candidates in turns."""
        with patch.object(clock, "benchmark_gpu", self.taken(clock.benchmark_gpu)):
            yield

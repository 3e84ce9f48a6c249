"""Several processes beside each other on one GPU, each with a row: while one measures, chooses by measuring, or builds
ours within its seconds, the peers of the others compile.
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
    """`with turns:` has the GPU alone among the processes that share a file; a process that has it may enter again."""

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

"""Several processes beside each other on one GPU, each with a row: while one measures, or chooses by measuring, the
others compile.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tenfold.compiler.device.measure import Stopwatch


class Turns:
    """`with turns:` has the GPU alone among the processes that share a file; a process that has it may enter again."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._held = path, ExitStack()
        self._lock, self._depth = threading.RLock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._path and self._depth == 1:
            file = self._held.enter_context(self._path.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
            self._held.callback(fcntl.flock, file, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._held.close()
        self._lock.release()

    def taken(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, in turns."""

        def called(*given: Any, **named: Any) -> Any:
            with self:
                return function(*given, **named)

        return called

    @contextmanager
    def among_choices(self, clock: type) -> Iterator[None]:
        """Within it our builds and torch.compile's, which measure by `clock`, time their candidates in turns."""
        with (
            patch.object(clock, "benchmark_gpu", self.taken(clock.benchmark_gpu)),
            patch.object(Stopwatch, "time", self.taken(Stopwatch.time)),
        ):
            yield

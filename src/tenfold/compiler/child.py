"""A program of ours in a process of its own: what crashes, or never ends, costs that process alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from select import select
from types import TracebackType
from typing import Self

from tenfold import settings

_ROOT = Path(__file__).parents[2]
_ENDING = 1.0
"""Seconds that a process which says nothing any more gets to be seen to have ended: its pipes close before the system
tells its status.
"""
_CHUNK = 1 << 16


class Child:
    """A running `python -m program`, which Ctrl-C in a terminal does not reach. Use it as a context manager, or `close`
    it.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        self._unread = b""
        self.has_ended = False
        """Whether it was seen to write no more."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=settings.child_environment(_ROOT),
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout

    def send(self, *parts: bytes) -> None:
        """Write to its standard input; a process that is gone shows when it is read from."""
        with suppress(BrokenPipeError):
            for part in parts:
                self._input.write(part)
            self._input.flush()

    def line(self, patience: float) -> bytes:
        """The next line that it writes; nothing if it has ended, or none comes in so many seconds."""
        until = time.monotonic() + patience
        while b"\n" not in self._unread:
            ready, _, _ = select([self._output], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._output.fileno(), _CHUNK) if ready else b""
            if not part:
                self.has_ended = bool(ready)
                return b""
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def last_words(self) -> str:
        """How it ended, or that it has not."""
        try:
            status = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return "it does not end"
        return f"it ends its process with status {status}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._input, self._output):
            with suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

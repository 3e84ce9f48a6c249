"""A program of ours in a process of its own: what crashes, or never ends, costs that process alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from select import select
from types import TracebackType
from typing import IO, Self

from tenfold import settings

_ROOT = Path(__file__).parents[2]
_ENDING = 1.0
"""Seconds that a process which says nothing any more gets to be seen to have ended: its pipes close before the system
tells its status.
"""
_CHUNK = 1 << 20


class Closing(ABC):
    """What is used as a context manager, or closed."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Child(Closing):
    """A running `python -m program`, which Ctrl-C in a terminal does not reach. What it writes to standard error is
    kept if it is to be `heard`.
    """

    def __init__(
        self, program: str, *arguments: str, environment: Mapping[str, str] | None = None, heard: bool = False
    ) -> None:
        self._unread = bytearray()
        self.has_ended = False
        """Whether it was seen to write no more."""
        self._errors: IO[bytes] | None = tempfile.TemporaryFile() if heard else None  # noqa: SIM115 - as long as it runs
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors or subprocess.DEVNULL,
            env={**settings.child_environment(_ROOT), **(environment or {})},
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self.output = self._process.stdin, self._process.stdout

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
            if not self._read(until):
                return b""
        line, _, self._unread = self._unread.partition(b"\n")
        return bytes(line)

    def message(self, prefix: int, patience: float | None = None) -> bytes | None:
        """The next bytes that it writes, as many as the `prefix` bytes before them say, little-endian; None if it has
        ended, or they do not come in so many seconds.
        """
        until = None if patience is None else time.monotonic() + patience
        if not self._holds(prefix, until):
            return None
        end = prefix + int.from_bytes(self._unread[:prefix], "little")
        if not self._holds(end, until):
            return None
        found, self._unread = bytes(self._unread[prefix:end]), self._unread[end:]
        return found

    def _holds(self, count: int, until: float | None) -> bool:
        while len(self._unread) < count:
            if not self._read(until):
                return False
        return True

    def _read(self, until: float | None) -> bool:
        """Take more of what it writes; False if it has ended, or the time is up."""
        left = None if until is None else max(0.0, until - time.monotonic())
        ready, _, _ = select([self.output], [], [], left)
        part = os.read(self.output.fileno(), _CHUNK) if ready else b""
        self.has_ended = bool(ready) and not part
        self._unread += part
        return bool(part)

    def last_words(self) -> str:
        """How it ended, or that it has not."""
        status = self.status()
        return "it does not end" if status is None else f"it ends its process with status {status}"

    def status(self) -> int | None:
        """The status with which it ended; None if it has not."""
        try:
            return self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return None

    def complaints(self) -> list[str]:
        """The lines that it wrote to standard error."""
        if self._errors is None:
            return []
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip().splitlines()

    def kill(self) -> None:
        """End the process; whoever reads from it sees that."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and forget what it wrote."""
        self.kill()
        self._process.wait()
        for stream in (self._input, self.output, self._errors):
            with suppress(BrokenPipeError):
                if stream:
                    stream.close()

"""The builder's side of the compile workers for GPUs: processes, and the cache of what they made."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import tenfold.codegen.cuda
from tenfold.codegen.child import Child, Closing
from tenfold.codegen.cuda.program import Binary, Failure, Program

Told = Callable[[int, int], None]
_WORKER = "tenfold.codegen.cuda.worker"
_LENGTH = 4


class Store(Protocol):
    """Remembers bytes by key."""

    def get(self, key: str) -> bytes | None:
        """What was put under a key."""

    def put(self, key: str, data: bytes) -> None:
        """Remember."""


class _Worker(Child):
    """One running compile worker."""

    def __init__(self, sm: int, folder: str) -> None:
        environment = {"TRITON_CACHE_DIR": folder, "TRITON_INTERPRET": "0"}
        super().__init__(_WORKER, str(sm), environment=environment, heard=True)

    def compile(self, program: Program) -> Binary | Failure | None:
        """The answer to a program; None if the worker died of it."""
        payload = pickle.dumps(program)
        self.send(len(payload).to_bytes(_LENGTH, "little"), payload)
        data = self.message(_LENGTH)
        found: Binary | Failure | None = pickle.loads(data) if data else None
        return found

    def last_words(self) -> str:
        """How it died, and what it wrote last."""
        said = " ".join(self.complaints()[-1:])
        return f"the compile worker ended with status {self.status()}: {said or 'no message'}"


class GpuPool(Closing):
    """Up to `size` compile workers for one compute capability, started when first needed."""

    def __init__(self, size: int, sm: int, store: Store) -> None:
        self._size, self._sm, self._store = max(1, size), sm, store
        self._folder = tempfile.TemporaryDirectory(prefix="tenfold-triton-")
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(self._size):
            self._idle.put(None)

    def compile(
        self, programs: Sequence[Program], tell: Told | None = None, until: float = math.inf
    ) -> dict[Program, Binary | Failure]:
        """The machine code of each program, or why Triton refused it; `tell(done, total)` hears of those made anew.
        Nothing of those whose turn comes later than `until`, by the monotonic clock.
        """
        wanted = list(dict.fromkeys(programs))
        found: dict[Program, Binary | Failure] = {}
        for program in wanted:
            known = self._remembered(program)
            if known is not None:
                found[program] = known
        missing = [program for program in wanted if program not in found]
        with ThreadPoolExecutor(self._size) as threads:
            for done, made in enumerate(threads.map(self._compile, missing, itertools.repeat(until)), 1):
                program = missing[done - 1]
                if made is not None:
                    found[program] = made
                if isinstance(made, Binary):
                    self._store.put(self._key(program), pickle.dumps(made))
                if tell:
                    tell(done, len(missing))
        return found

    def _key(self, program: Program) -> str:
        said = repr((version("triton"), self._sm, program, _sources()))
        return hashlib.sha256(said.encode()).hexdigest()

    def _remembered(self, program: Program) -> Binary | None:
        data = self._store.get(self._key(program))
        found: Binary | None = pickle.loads(data) if data else None
        return found

    def _compile(self, program: Program, until: float) -> Binary | Failure | None:
        if time.monotonic() > until:
            return None
        worker = self._idle.get() or _Worker(self._sm, self._folder.name)
        made = worker.compile(program)
        if made is None:
            made = Failure(worker.last_words())
            worker.close()
            self._idle.put(None)
        else:
            self._idle.put(worker)
        return made

    def close(self) -> None:
        """End the workers."""
        while not self._idle.empty():
            worker = self._idle.get()
            if worker:
                worker.close()
        self._folder.cleanup()


@functools.cache
def _sources() -> str:
    """A digest of the kernels' own sources, which a program names but does not hold."""
    root = Path(tenfold.codegen.cuda.__path__[0])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(root.rglob("*.py")))).hexdigest()

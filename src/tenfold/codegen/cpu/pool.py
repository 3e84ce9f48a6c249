"""The builder's side of the compile workers: a pool of processes, and the cache of what they made."""

from __future__ import annotations

import hashlib
import json
import logging
import selectors
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tenfold import files
from tenfold.codegen.child import Child, Closing
from tenfold.codegen.cpu.isa import Isa

Told = Callable[[int, int], None]
_log = logging.getLogger("tenfold")
_WORKER = "tenfold.codegen.cpu.worker"
_LENGTH = 4
_COMPILER = f"llvmlite {version('llvmlite')}"


@dataclass(frozen=True)
class Request:
    """One LLVM module in textual form, to compile for `isa`; `optimise` runs LLVM's IR pipeline first."""

    source: str
    isa: Isa
    optimise: bool = False

    @property
    def options(self) -> dict[str, str | bool]:
        """What the worker must know beside the source."""
        isa = self.isa
        return {"triple": isa.triple, "cpu": isa.cpu, "features": isa.features, "optimise": self.optimise}

    @property
    def key(self) -> str:
        """The content address of the object this request makes."""
        text = json.dumps([_COMPILER, self.options, self.source], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Failure:
    """Why a request made no object: LLVM's words."""

    reason: str


class ObjectCache:
    """Objects by the content of their request: in memory, and in `folder` if one is given and can be written.

    Files are written whole and renamed into place, so that processes may share the folder (mode 0700).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._memory: dict[str, bytes] = {}
        self._folder = files.folder(folder / "objects") if folder else None

    def get(self, key: str) -> bytes | None:
        """The object of that key, or None."""
        if key not in self._memory and self._folder:
            try:
                data = (self._folder / key).read_bytes()
            except OSError:
                return None
            digest, data = data[:32], data[32:]
            if hashlib.sha256(data).digest() == digest:
                self._memory[key] = data
        return self._memory.get(key)

    def put(self, key: str, data: bytes) -> None:
        """Remember an object."""
        self._memory[key] = data
        if not self._folder:
            return
        try:
            with files.whole(self._folder / key) as file:
                file.write(hashlib.sha256(data).digest() + data)
        except OSError as error:
            _log.warning("objects are not cached on disk: %s", error)
            self._folder = None


class _Worker(Child):
    """One running compile worker and the request it is busy with."""

    def __init__(self) -> None:
        super().__init__(_WORKER, heard=True)
        self.index = -1

    def ask(self, index: int, request: Request) -> None:
        """Hand over a request; a worker that is gone shows when its answer is read."""
        self.index = index
        for part in (json.dumps(request.options).encode(), request.source.encode()):
            self.send(len(part).to_bytes(_LENGTH, "little"), part)

    def receive(self) -> bytes | Failure | None:
        """The answer to the request at hand; None if the worker has died."""
        payload = self.message(_LENGTH)
        if not payload:
            return None
        return payload[1:] if payload[0] == 0 else Failure(payload[1:].decode())

    def last_words(self) -> str:
        """How it died, and what it wrote on standard error."""
        lines = self.complaints()
        reason = next((line for line in lines if "LLVM ERROR" in line or "rror:" in line), " ".join(lines[-1:]))
        return f"the compile worker ended with status {self.status()}: {reason or 'no message'}"


class CompilePool(Closing):
    """Up to `size` compile workers, started when first needed (or by `start`), and a cache in front of them.

    One thread at a time may call `compile`.
    """

    def __init__(self, size: int, cache: ObjectCache | None = None) -> None:
        self.size = max(1, size)
        self.cache = cache or ObjectCache()
        self._idle: list[_Worker] = []

    def start(self) -> None:
        """Start all workers now, so that they are ready when the first request comes."""
        self._idle += [_Worker() for _ in range(self.size - len(self._idle))]

    def compile(self, requests: Sequence[Request], tell: Told | None = None) -> list[bytes | Failure]:
        """The object of each request, in order, or why LLVM refused it. Equal requests are compiled once.

        `tell(done, total)` is called as objects that the cache lacks are made.
        """
        keys = [request.key for request in requests]
        found: dict[str, bytes | Failure] = {}
        missing: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            data = self.cache.get(key)
            if data is None:
                missing[key] = request
            else:
                found[key] = data
        for key, answer in zip(missing, self._run(list(missing.values()), tell), strict=True):
            found[key] = answer
            if isinstance(answer, bytes):
                self.cache.put(key, answer)
        return [found[key] for key in keys]

    def _run(self, requests: list[Request], tell: Told | None) -> list[bytes | Failure]:
        answers: list[bytes | Failure] = [Failure("not compiled")] * len(requests)
        done = 0
        waiting = deque(enumerate(requests))
        with self._busy(min(self.size, len(requests))) as selector:
            while waiting or selector.get_map():
                while waiting and len(selector.get_map()) < self.size:
                    worker = self._idle.pop() if self._idle else _Worker()
                    worker.ask(*waiting.popleft())
                    selector.register(worker.output, selectors.EVENT_READ, worker)
                for ready, _ in selector.select():
                    worker = ready.data
                    answer = worker.receive()
                    selector.unregister(worker.output)
                    if answer is None:
                        answers[worker.index] = Failure(worker.last_words())
                        worker.close()
                    else:
                        answers[worker.index] = answer
                        self._idle.append(worker)
                    done += 1
                    if tell:
                        tell(done, len(requests))
        return answers

    @contextmanager
    def _busy(self, wanted: int) -> Iterator[selectors.BaseSelector]:
        """A selector over the busy workers; those still busy when an exception leaves are ended."""
        self._idle += [_Worker() for _ in range(wanted - len(self._idle))]
        with selectors.DefaultSelector() as selector:
            try:
                yield selector
            finally:
                for key in selector.get_map().values():
                    key.data.close()

    def close(self) -> None:
        """End the workers; a later `compile` starts new ones."""
        while self._idle:
            self._idle.pop().close()

"""The builder's side of the compile workers: a pool of processes, and the cache of what they made."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
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
    """One running compile worker."""

    def __init__(self) -> None:
        super().__init__(_WORKER, heard=True)

    def ask(self, request: Request) -> None:
        """Hand over a request; a worker that is gone shows when its answer is read."""
        for part in (json.dumps(request.options).encode(), request.source.encode()):
            self.send(len(part).to_bytes(_LENGTH, "little"), part)

    def receive(self) -> bytes | Failure | None:
        """The answer to the request at hand; None if the worker has died."""
        payload = self.message(_LENGTH)
        if not payload:
            return None
        return payload[1:] if payload[0] == 0 else Failure(payload[1:].decode())

    def died(self) -> Failure:
        """How it died, and what it wrote on standard error."""
        lines = self.complaints()
        reason = next((line for line in lines if "LLVM ERROR" in line or "rror:" in line), " ".join(lines[-1:]))
        return Failure(f"the compile worker ended with status {self.status()}: {reason or 'no message'}")


class CompilePool(Closing):
    """Up to `size` compile workers, started when first needed (or by `start`), and a cache in front of them. A thread
    for each worker hands it one request after the other, so that the builder goes on meanwhile.

    One thread at a time may call `begin` and `compile`.
    """

    def __init__(self, size: int, cache: ObjectCache | None = None) -> None:
        self.size = max(1, size)
        self.cache = cache or ObjectCache()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._threads = ThreadPoolExecutor(self.size)
        self._begun: dict[str, Future[bytes | Failure]] = {}

    def start(self) -> None:
        """Start all workers now, so that they are ready when the first request comes."""
        self._idle += [_Worker() for _ in range(self.size - len(self._idle))]

    def begin(self, requests: Iterable[Request]) -> None:
        """Have the objects made that the cache lacks, for a later `compile` to take."""
        for request in requests:
            self._begin(request.key, request)

    def compile(self, requests: Sequence[Request], tell: Told | None = None) -> list[bytes | Failure]:
        """The object of each request, in order, or why LLVM refused it. Equal requests are compiled once.

        `tell(done, total)` is called as objects that the cache lacks are made.
        """
        keys = [request.key for request in requests]
        try:
            found = dict(zip(keys, map(self._begin, keys, requests), strict=True))
            missing = {self._begun[key]: key for key in found if key in self._begun}
            for done, future in enumerate(as_completed(missing), 1):
                answer, key = future.result(), missing[future]
                found[key] = answer
                if isinstance(answer, bytes):
                    self.cache.put(key, answer)
                if tell:
                    tell(done, len(missing))
        except BaseException:
            self.close()
            raise
        for key in missing.values():
            del self._begun[key]
        return [one for key in keys if (one := found[key]) is not None]

    def _begin(self, key: str, request: Request) -> bytes | Failure | None:
        """The object, if the cache has it; else it is under way."""
        made = None if key in self._begun else self.cache.get(key)
        if made is None and key not in self._begun:
            self._begun[key] = self._threads.submit(self._made, request)
        return made

    def _made(self, request: Request) -> bytes | Failure:
        """What a worker answers, in a thread of the pool's."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        self._busy.add(worker)
        answer = None
        try:
            worker.ask(request)
            answer = worker.receive()
            return worker.died() if answer is None else answer
        finally:
            self._busy.remove(worker)
            if answer is None:
                worker.close()
            else:
                self._idle.append(worker)

    def close(self) -> None:
        """End the workers, those at work too; a later `compile` starts new ones."""
        for worker in tuple(self._busy):
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        self._threads = ThreadPoolExecutor(self.size)
        self._begun.clear()
        while self._idle:
            self._idle.pop().close()

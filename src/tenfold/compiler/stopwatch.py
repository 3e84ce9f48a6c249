"""The stopwatch: a process that runs kernels on made-up data and says how long they take.

Run as `python -m tenfold.compiler.stopwatch`; measure.py starts it and speaks its protocol. A request on standard input
is a frame of JSON, a frame of machine code and a frame of the workers' code; the answers on standard output are lines
of JSON: {"begun": n} before a kernel first runs, then {"seconds": [...]} for all. A kernel that crashes ends the
process. A frame is a 4-byte little-endian length and that many bytes.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from tenfold.runtime import steps
from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.invoke import Executable, Invocation
from tenfold.runtime.cpu.team import team_of

LENGTH = struct.Struct("<I")
WORKSPACE = -1
LEAST_ROUNDS, MOST_ROUNDS, WARM_UPS, LONG = 3, 25, 4, 0.02
WAKING = 0.003
"""Seconds in which a team wakes up."""
FAR, NEAR = 4.0, 1.5
"""How many times as slow as the best one may be after its first turns, and after its first rounds."""
_ALIGNMENT, _PATTERN = 64, 1 << 16
Word = int | list[int]


@dataclass(frozen=True)
class Buffers:
    """Memory for a problem's operands, each in as many copies as it is to be rotated through: addresses by number."""

    places: Sequence[Sequence[int]]
    arena: Arena

    @staticmethod
    def of(about: Sequence[Sequence[Any]]) -> Buffers:
        """The buffers described by rows of (bytes, whether it holds floats, of what width, copies)."""
        places: list[list[int]] = []
        end = 0
        for size, _, _, copies in about:
            step = size + -size % _ALIGNMENT
            places.append([end + step * copy for copy in range(copies)])
            end += step * copies
        arena = Arena()
        start = arena.reserve(end + _ALIGNMENT)
        for (size, floats, width, _), offsets in zip(about, places, strict=True):
            for offset in offsets:
                fill(arena.view(offset, size), floats, width)
        return Buffers([[start + offset for offset in offsets] for offsets in places], arena)

    def address(self, buffer: int, offset: int, turn: int) -> int:
        """The address `offset` bytes after the start of the copy of a buffer that a turn uses."""
        places = self.places[buffer]
        return places[turn % len(places)] + offset


def fill(memory: np.ndarray, floats: bool, width: int) -> None:
    """Numbers between 1/2 and 3/2 for floats; zeros, which are places within any tensor, for the rest."""
    if not floats or not memory.size:
        return
    kind = np.dtype({2: np.uint16, 4: np.float32, 8: np.float64}.get(width, np.uint8))
    view = memory[: memory.size // kind.itemsize * kind.itemsize].view(kind)
    pattern = np.random.default_rng(0).uniform(0.5, 1.5, _PATTERN).astype(np.float32)
    pattern = (pattern.view(np.uint32) >> 16).astype(kind) if kind.kind == "u" else pattern.astype(kind)
    for start in range(0, view.size, _PATTERN):
        part = view[start : start + _PATTERN]
        part[:] = pattern[: part.size]


class Contestant:
    """One kernel, its stages written into a step table once for each turn of the buffers."""

    def __init__(
        self, code: Code, entries: Mapping[str, int], crew: bytes, job: Mapping[str, Any], number: int
    ) -> None:
        self._job, self._kernel = job, job["kernels"][number]
        self.times: list[float] = []
        self.turns: int = job["turns"]
        self._code, self._entries, self._crew = code, entries, crew
        self._workspaces = Arena()
        size = self._kernel["workspace"]
        self._workspace = self._workspaces.reserve(size + _ALIGNMENT) if size else 0

    def prepare(self, buffers: Buffers) -> None:
        """Write the table."""
        frame: list[int] = []
        rows: list[steps.Row] = []
        for turn in range(self.turns):
            for entry, parts, words in self._kernel["stages"]:
                start = len(frame)
                frame += [self._word(word, turn, buffers) for word in words]
                frame.append(parts)
                rows.append(steps.call(entry, start, len(words), start + len(words)))
        rows.append(steps.end())
        places = np.arange(len(frame), dtype=np.int32)
        no_binds = np.zeros((0, 3), np.int64)
        scratch = self._kernel["scratch"]
        program = Executable(
            self._code,
            self._entries,
            steps.table(rows),
            places,
            no_binds,
            slots=len(frame),
            bases=1,
            scratch=scratch,
        )
        entries = self._job["crew"]
        self._call = Invocation(
            program, threads=self._job["threads"], team=lambda: team_of(lambda: self._crew, entries)
        )
        self._call.frame[:] = frame
        self._steps = len(rows)
        self._last_turn = len(rows) - 1 - len(self._kernel["stages"])

    def _word(self, word: Word, turn: int, buffers: Buffers) -> int:
        if isinstance(word, int):
            return word
        buffer, offset = word
        return self._workspace + offset if buffer == WORKSPACE else buffers.address(buffer, offset, turn)

    def run(self, all_turns: bool = True) -> float:
        """Seconds a turn, over a round of all turns or over the last alone."""
        self._call.start_profile(self._steps)
        status = self._call.run(start=0 if all_turns else self._last_turn)
        timings, _ = self._call.stop_profile()
        if status:
            raise RuntimeError(f"the kernel ended with status {status}")
        seconds = (timings[-1].start + timings[-1].seconds) / (self.turns if all_turns else 1)
        self.times.append(seconds)
        return seconds

    def wake(self) -> None:
        """Run until threads that sleep, or are only being made, take part."""
        start = time.perf_counter()
        while time.perf_counter() - start < WAKING:
            self.run(all_turns=False)
        self.times.clear()

    def warm_up(self, best: float) -> float:
        """The best seconds of a few single turns: no more of them once one is not far from the best, or too long."""
        for _ in range(WARM_UPS):
            if self.run(all_turns=False) > LONG or (min(self.times) < FAR * best and len(self.times) > 1):
                break
        return min(self.times)

    def close(self) -> None:
        """Give the memory back."""
        self._call.close()
        self._workspaces.close()


def contest(contestants: Sequence[Contestant], limit: float) -> list[float]:
    """Seconds of each, the least of several rounds by turns; one that is far behind at first runs no more."""
    rivals = nearest(contestants, FAR)
    for one in rivals:
        one.times.clear()
    for _ in range(2):
        for one in rivals:
            one.run()
    rivals = nearest(rivals, NEAR)
    spent = 0.0
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and spent > limit * len(rivals):
            break
        spent += rivals[0].turns * sum(one.run() for one in rivals)
    duel(contestants[0], min(contestants, key=lambda one: min(one.times)))
    return [min(one.times) for one in contestants]


def duel(standing: Contestant, best: Contestant) -> None:
    """Some rounds more of the first one, which may have been disturbed, against the best."""
    if best is not standing:
        for _ in range(LEAST_ROUNDS):
            standing.run()
            best.run()


def nearest(contestants: Sequence[Contestant], ratio: float) -> list[Contestant]:
    """Those whose best time is within a ratio of the best of all."""
    best = min(min(one.times) for one in contestants)
    return [one for one in contestants if min(one.times) <= ratio * best]


def answer(job: Mapping[str, Any], code: bytes, crew: bytes) -> Iterator[Mapping[str, Any]]:
    """The answers to a request."""
    mapped = Code.from_bytes(code)
    buffers = Buffers.of(job["buffers"])
    contestants: list[Contestant] = []
    best = math.inf
    for number in range(len(job["kernels"])):
        yield {"begun": number}
        one = Contestant(mapped, job["entries"], crew, job, number)
        one.prepare(buffers)
        if not number:
            one.wake()
        best = min(best, one.warm_up(best))
        contestants.append(one)
    yield {"seconds": contest(contestants, job["seconds"])}
    for one in contestants:
        one.close()
    buffers.arena.close()


def read_frame(stream: BinaryIO) -> bytes:
    """One frame; EOFError where the stream ends."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    return stream.read(size)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the stream of them ends."""
    while True:
        try:
            job, code, crew = json.loads(read_frame(requests)), read_frame(requests), read_frame(requests)
        except EOFError:
            return
        for said in answer(job, code, crew):
            answers.write(json.dumps(said).encode() + b"\n")
            answers.flush()


def copies_of(size: int, cache: int, most: int) -> int:
    """How many copies of a buffer are more than a cache holds; 2 at least."""
    return max(2, min(most, math.ceil(1.5 * cache / max(1, size))))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)

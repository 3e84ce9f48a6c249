"""The stopwatch for GPUs: a process that runs kernels on made-up data and says how long they take.

Run as `python -m tenfold.compiler.device.stopwatch`; measure.py starts it and speaks its protocol: an 8-byte
little-endian length and that many bytes of a pickled `Job` on standard input, answers the same way on standard output.
A kernel that loses the GPU's state ends the process. Constants lie in several copies, as cold as the weights of a
network, the rest is as warm as what the kernel before has just written; launches follow one another in a graph, as
they do in an engine.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tenfold.compiler.device.job import Answer, Buffer, Contestant, Job, Word
from tenfold.errors import DeviceError, ExecutionError
from tenfold.runtime import open_device, steps
from tenfold.runtime.plan import Span

LENGTH = 8
TOLERANCE = 2e-3
"""How far, by norm, the results of two kernels may lie apart."""
_ROUNDS, _REPLAYS = 4, 4
_FAR = 3.0
"""How many times as slow as the best so far a first replay may be: one that is slower is not timed further."""
_ALIGNMENT = 256
_SAMPLE = 8 << 20
_PATTERN = 1 << 19


class Buffers:
    """The memory of a job, on the GPU."""

    def __init__(self, device: Any, job: Job, stream: Any) -> None:
        self._driver, self._stream = device.driver, stream
        self._random = np.random.default_rng(0)
        self.places: list[list[int]] = []
        self._written = [(number, one) for number, one in enumerate(job.buffers) if one.written]
        try:
            for one in job.buffers:
                self.places.append([])
                for _ in range(one.copies):
                    self.places[-1].append(self._filled(one))
        except DeviceError:
            self.close()
            raise

    def _filled(self, one: Buffer) -> int:
        """Its content; random numbers; zeros, where elements are no floats."""
        size = one.nbytes + _ALIGNMENT
        address = int(self._driver.allocate(size, self._stream))
        self._driver.clear(address, size, self._stream)
        if one.content is not None:
            self._upload(address, np.ascontiguousarray(one.content))
        elif one.kind is not None and one.kind.itemsize >= 2 and one.kind.kind in "fV":
            count = min(one.nbytes // one.kind.itemsize, _PATTERN)
            array = (self._random.standard_normal(max(count, 1)) / 4).astype(one.kind)
            for start in range(0, one.nbytes, array.nbytes):
                self._upload(address + start, array[: (one.nbytes - start) // one.kind.itemsize])
        return address

    def _upload(self, address: int, array: NDArray[Any]) -> None:
        self._driver.upload(address, array.ctypes.data, array.nbytes, self._stream)
        self._driver.synchronize(self._stream)

    def number(self, word: Word, turn: int) -> int:
        """What stands for an argument in a turn."""
        if isinstance(word, int):
            return word
        buffer, offset = word
        places = self.places[buffer]
        return places[turn % len(places)] + offset

    def poison(self) -> None:
        """Fill what is written with what no kernel gives."""
        for number, one in self._written:
            self._upload(self.places[number][0], np.full(min(one.nbytes, _SAMPLE), 0x7F, np.uint8))

    def results(self) -> NDArray[np.float32]:
        """What the last run wrote, or the beginning of it."""
        found = [np.zeros(0, np.float32)]
        for number, one in self._written:
            assert one.kind is not None
            array = np.empty(min(one.nbytes, _SAMPLE) // one.kind.itemsize, one.kind)
            self._driver.download(array.ctypes.data, self.places[number][0], array.nbytes, self._stream)
            self._driver.synchronize(self._stream)
            found.append(array.astype(np.float32))
        return np.concatenate(found)

    def close(self) -> None:
        """Give the memory back."""
        for places in self.places:
            for address in places:
                self._driver.free(address, self._stream)


def answer(job: Job, device: Any) -> Iterator[Answer]:
    """The answers to a job, on a GPU."""
    device.driver.enter()
    stream = device.driver.open_stream()
    try:
        buffers = Buffers(device, job, stream)
        found: list[float | str] = []
        results: list[NDArray[np.float32]] = []
        for number, one in enumerate(job.contestants):
            yield {"begun": number}
            best = min((seconds for seconds in found if isinstance(seconds, float)), default=np.inf)
            try:
                seconds, result = _timed(one, job, device, buffers, stream, best)
            except ExecutionError as error:
                yield {"ended": error.message}
                raise
            except DeviceError as error:
                found.append(error.message)
            else:
                found.append(seconds)
                results.append(result)
        buffers.close()
    finally:
        device.driver.synchronize(stream)
        device.driver.close_stream(stream)
    yield {"found": agreed(found, results)}


def agreed(found: Sequence[float | str], results: Sequence[NDArray[np.float32]]) -> list[float | str]:
    """The times of those whose results agree with the rest, words for the others."""
    apart = iter(disagreement(results))
    return [
        one if isinstance(one, str) else f"its results are {far:.1e} from the others'"
        if (far := next(apart)) > TOLERANCE else one
        for one in found
    ]  # fmt: skip


def _timed(
    one: Contestant, job: Job, device: Any, buffers: Buffers, stream: Any, best: float
) -> tuple[float, NDArray[np.float32]]:
    """Seconds of one run, and what it gave."""
    resident = device.load(np.frombuffer(one.code, np.uint8), one.functions, np.zeros(1, np.uint8))
    slots, rows, argmap = [0], [], list[int]()
    for turn in range(job.turns):
        for call in one.calls:
            rows.append((steps.Opcode.CALL, call.function, len(argmap), len(call.words), len(slots)))
            argmap += range(len(slots) + 1, len(slots) + 1 + len(call.words))
            slots += [call.grid, *(buffers.number(word, turn) for word in call.words)]
    plan = SimpleNamespace(steps=steps.table(rows), argmap=np.array(argmap, np.int32))
    frame = np.array(slots, np.int64)
    launches = device.launches(resident, plan, Span(0, len(rows)), frame)
    try:
        launches.load(frame)
        seconds = _clock(launches, device.driver, stream, best * job.turns) / job.turns
        buffers.poison()
        launches.run(stream, stream)
        return seconds, buffers.results()
    finally:
        launches.close()
        resident.close()


def _clock(launches: Any, driver: Any, stream: Any, best: float) -> float:
    """Seconds of one replay, the least of some rounds; of the first one, where that is far behind the best."""
    start, end = driver.open_event(), driver.open_event()

    def round_of(replays: int) -> float:
        driver.record(start, stream)
        for _ in range(replays):
            launches.run(stream, stream)
        driver.record(end, stream)
        driver.synchronize(stream)
        return float(driver.seconds(start, end)) / replays

    launches.run(stream, stream)
    driver.synchronize(stream)
    found = [round_of(1)]
    if found[0] < _FAR * best:
        found += [round_of(_REPLAYS) for _ in range(_ROUNDS)]
    for one in (start, end):
        driver.close_event(one)
    return min(found)


def disagreement(results: Sequence[NDArray[np.float32]]) -> list[float]:
    """How far each result lies from the median of all, by norm: what only one kernel gives is wrong."""
    if not results:
        return []
    with np.errstate(all="ignore"):
        stacked = np.stack(results)
        middle = np.median(stacked, axis=0)
        written = np.isfinite(middle)
        size = max(float(np.linalg.norm(middle[written])), 1e-30)
        found = [float(np.linalg.norm(one[written] - middle[written])) / size for one in stacked]
        return [far if np.isfinite(far) else np.inf for far in found]


def framed(data: Any) -> bytes:
    """A message: its length, and itself."""
    payload = pickle.dumps(data, pickle.HIGHEST_PROTOCOL)
    return len(payload).to_bytes(LENGTH, "little") + payload


def serve(requests: BinaryIO, answers: BinaryIO, device: Any) -> None:
    """Answer jobs until the stream of them ends."""
    while len(size := requests.read(LENGTH)) == LENGTH:
        for said in answer(pickle.loads(requests.read(int.from_bytes(size, "little"))), device):
            answers.write(framed(said))
            answers.flush()


if __name__ == "__main__":
    output, sys.stdout = sys.stdout, sys.stderr
    serve(sys.stdin.buffer, output.buffer, open_device())

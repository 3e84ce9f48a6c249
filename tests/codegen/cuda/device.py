"""Kernels on this machine's GPU against the operations' own definitions: poisoned buffers between guards, real sizes.

    python -m tests.codegen.cuda.device [--tight] [--share I/N] [word …]

runs the cases whose names hold one of the words (all without any), or every Nth of them from the Ith on, and prints of
each tactic: the greatest error, microseconds in a graph, what its bytes would take at 4.2 TB/s, and whether all guards
stand. Exit status 1 if one is wrong. With --tight one tactic of each case runs, without guards, so that
compute-sanitizer sees every access outside of a buffer. Kernels are kept in TENFOLD_CACHE (`--compile` makes them where
no GPU is), so that a run before leaves the sanitizer nothing to compile:

    compute-sanitizer --target-processes application-only python -m tests.codegen.cuda.device --tight …
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.codegen.cpu.pool import ObjectCache
from tenfold.codegen.cuda.arch import PROCESSORS
from tenfold.codegen.cuda.launch import Alarm, Counters, CudaKernel, Descriptor, GpuArgument
from tenfold.codegen.cuda.pool import GpuPool
from tenfold.codegen.cuda.program import Binary, Failure, Program
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Address, Packed, Refusal, Workspace
from tenfold.compiler.cache import cache_folder
from tenfold.compiler.device.functions import binary_of, functions_of, refusal
from tenfold.compiler.device.job import Call, Contestant, Job
from tenfold.compiler.device.stopwatch import _timed
from tenfold.compiler.weights import apply_recipe
from tenfold.ir import substitute
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant
from tenfold.runtime import open_device
from tests.codegen.cpu.reference import evaluate, extent, operands, view
from tests.codegen.cuda.recast import RECAST
from tests.codegen.cuda.rounded import ROUNDED
from tests.codegen.cuda.staples import STAPLES
from tests.codegen.cuda.table import TABLE, Entry

_GUARD = 1 << 12
_POISON = 0xA7
_BANDWIDTH = 4.2e12
_TACTICS = 3


class Buffers:
    """The buffers of a region, each between guards in memory of its own; what a stopwatch asks of them."""

    def __init__(self, device: Any, region: Region, memory: Mapping[Value, np.ndarray], kernel: CudaKernel,
                 guard: int) -> None:  # fmt: skip
        self._guard, self._device, self._driver, self._memory = guard, device, device.driver, memory
        self._stream = self._driver.open_stream()
        self._writes = [one.value for one in operands(region)[1]]
        self._places = {value: self._room(array.nbytes) for value, array in memory.items()}
        self._spare = self.at(kernel.workspace)
        self._workspace = self._room(self._spare)
        counted = max(self.at(kernel.zeroed), 8)
        self._counters, self._alarm = (self._room(counted) for _ in range(2))
        self._driver.clear(self._counters, counted, self._stream)
        self._packed: dict[tuple[Value, tuple[Any, ...]], int] = {}
        self.found: dict[Value, np.ndarray] = {}
        self.faults: list[str] = []
        self.poison()

    def at(self, size: Size) -> int:
        """A size on this GPU."""
        return size if isinstance(size, int) else substitute.evaluate(size, {str(PROCESSORS): self._driver.processors})

    def seconds(self, kernel: CudaKernel, binaries: Mapping[Program, Binary]) -> float:
        """Seconds of one run; what it wrote is in `found` then."""
        programs = list(dict.fromkeys(one.program for one in kernel.launches))
        code, functions = functions_of([(program, binary_of(binaries, program)) for program in programs])
        calls = tuple(
            Call(programs.index(one.program), self.at(one.grid), tuple(n for a in one.arguments for n in self.words(a)))
            for one in kernel.launches
        )
        made = Contestant(code, functions, calls)
        best = np.inf if self._guard else 0.0
        seconds, _ = _timed(made, Job((), (made,), 1), self._device, self, self._stream, best)  # type: ignore[arg-type]
        return seconds

    def number(self, word: int, turn: int) -> int:
        """An argument is its number."""
        return word

    def words(self, argument: GpuArgument) -> list[int]:
        """The numbers that stand for an argument."""
        match argument:
            case Counters():
                return [self._counters]
            case Alarm():
                return [self._alarm]
            case Workspace(offset):
                return [self._workspace + self._guard + self.at(offset)]
            case Address(value, offset):
                return [self._places[value] + self._guard + self.at(offset)]
            case Packed(value, recipe):
                return [self._constant(value, recipe)]
            case Descriptor(address, _, shape, strides):
                return [*self.words(address), *map(self.at, (*shape, *strides))]
        return [self.at(argument)]

    def poison(self) -> None:
        """Inputs as they are, all else poison: outputs, the workspace, guards."""
        for value, array in self._memory.items():
            whole = np.full(array.nbytes + 2 * self._guard, _POISON, np.uint8)
            whole[self._guard : self._guard + array.nbytes] = array.view(np.uint8).reshape(-1)
            self._upload(self._places[value], whole)
        self._upload(self._workspace, np.full(self._spare + 2 * self._guard, _POISON, np.uint8))

    def results(self) -> np.ndarray:
        """Note what was written, and every guard that fell."""
        for value, array in self._memory.items():
            whole = self._download(self._places[value], array.nbytes + 2 * self._guard)
            self._look(whole, array.nbytes, "an output" if value in self._writes else "an input")
            inside = whole[self._guard : self._guard + array.nbytes]
            self.found[value] = inside.view(array.dtype)
            if value not in self._writes and inside.tobytes() != array.tobytes():
                self.faults.append("an input was written")
        self._look(self._download(self._workspace, self._spare + 2 * self._guard), self._spare, "the workspace")
        return np.zeros(0, np.float32)

    def close(self) -> None:
        """Give memory back."""
        for place in (*self._places.values(), *self._packed.values(), self._workspace, self._counters, self._alarm):
            self._driver.free(place, self._stream)
        self._driver.synchronize(self._stream)
        self._driver.close_stream(self._stream)

    def _constant(self, value: Value, recipe: tuple[Any, ...]) -> int:
        if (value, recipe) not in self._packed:
            assert isinstance(value.op, Constant)
            array = np.ascontiguousarray(apply_recipe(value.op.tensor.array, recipe))
            self._packed[value, recipe] = self._driver.allocate(array.nbytes + self._guard, self._stream)
            self._upload(self._packed[value, recipe], array)
        return self._packed[value, recipe]

    def _room(self, size: int) -> int:
        return int(self._driver.allocate(max(size, 1) + 2 * self._guard, self._stream))

    def _look(self, whole: np.ndarray, size: int, name: str) -> None:
        if (whole[: self._guard] != _POISON).any() or (whole[self._guard + size :] != _POISON).any():
            self.faults.append(f"a guard of {name} fell")

    def _upload(self, place: int, array: np.ndarray) -> None:
        self._driver.upload(place, array.ctypes.data, array.nbytes, self._stream)
        self._driver.synchronize(self._stream)

    def _download(self, place: int, size: int) -> np.ndarray:
        array = np.empty(size, np.uint8)
        self._driver.download(array.ctypes.data, place, size, self._stream)
        self._driver.synchronize(self._stream)
        return array


@dataclass(frozen=True)
class Line:
    """A row of the table: a case's tactic, and what came of it."""

    name: str
    tactic: str
    error: float
    seconds: float
    bound: float
    faults: tuple[str, ...]
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether it is right."""
        return not self.faults and self.error <= self.tolerance

    def __str__(self) -> str:
        words = ", ".join(self.faults) or ("ok" if self.good else "WRONG")
        micro, bound = self.seconds * 1e6, self.bound * 1e6
        return f"{self.name:32} {self.tactic:64} {self.error:9.1e} {micro:9.1f} us {bound:8.1f} us  {words}"


def memory_of(entry: Entry, region: Region) -> dict[Value, np.ndarray]:
    """What lies in each buffer before a kernel runs."""
    rng = np.random.default_rng(11)
    reads, writes = operands(region)
    found: dict[Value, np.ndarray] = {}
    for one in (*reads, *writes):
        if one.value in found:
            continue
        if isinstance(one.value.op, Constant):
            found[one.value] = np.ascontiguousarray(one.value.op.tensor.array).reshape(-1)
            continue
        size = max(extent(other, {}) for other in (*reads, *writes) if other.value is one.value)
        poison = np.full(max(size, 1) * one.dtype.itemsize, _POISON, np.uint8).view(one.dtype.numpy)
        read = any(other.value is one.value for other in reads)
        found[one.value] = entry.fill(one.dtype, max(size, 1), rng) if read else poison
    for one in reads:
        if one.value in entry.arrays:
            given, whole = entry.arrays[one.value], found[one.value]
            seen = view(one, found, {})
            (seen if seen.shape == given.shape else whole[: given.size].reshape(given.shape))[...] = given
    return found


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """The greatest difference over the greatest size; infinite where what is no number or an integer differs."""
    if found.dtype.kind in "iub":
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    return float(np.abs(a[finite] - b[finite]).max(initial=0) / max(np.abs(b[finite]).max(initial=0), 1e-30))


def lines_of(entry: Entry, made: Mapping[Program, Any], device: Any, tight: bool) -> Iterator[Line]:
    """The rows of a case."""
    region, built = entry.region, kernels_of(entry, tight)
    memory = memory_of(entry, region)
    expected = {value: array.copy() for value, array in memory.items()}
    with np.errstate(all="ignore"):
        evaluate(region, expected, {})
    moved = sum(memory[one].nbytes for one in {one.value for side in operands(region) for one in side})
    for tactic, kernel in built:
        programs = [one.program for one in kernel.launches if isinstance(one.program, Program)]
        problems = [why for one in programs if (why := refusal(made[one], 227 << 10))]
        if problems:
            yield Line(entry.name, tactic, float("inf"), 0.0, 0.0, (problems[0][:200],), entry.tolerance)
            continue
        buffers = Buffers(device, region, memory, kernel, 0 if tight else _GUARD)
        binaries = {one: made[one] for one in programs if isinstance(made[one], Binary)}
        seconds = buffers.seconds(kernel, binaries)
        written = [one.value for one in operands(region)[1]]
        error = max(error_of(buffers.found[value], expected[value]) for value in written)
        yield Line(
            entry.name,
            tactic,
            error,
            seconds,
            moved / _BANDWIDTH,
            tuple(dict.fromkeys(buffers.faults)),
            entry.tolerance,
        )
        buffers.close()


def kernels_of(entry: Entry, tight: bool = False) -> list[tuple[str, CudaKernel]]:
    """The first tactics of a case, and those that it names; the first alone if `tight`."""
    found = entry.strategy.tactics(entry.region, entry.target)
    if isinstance(found, Refusal):
        return []
    chosen = [*list(found)[: entry.most or _TACTICS], *entry.more]
    return [
        (str(one), entry.strategy.build(entry.region, one, entry.target)) for one in (chosen[:1] if tight else chosen)
    ]


def chosen(words: Sequence[str], share: str) -> list[Entry]:
    """The cases whose names hold one of the words; of these a share."""
    first, _, step = share.partition("/")
    every = (*STAPLES(), *RECAST(), *ROUNDED(), *TABLE())
    table = [one for one in every if not words or any(word in one.name for word in words)]
    return table[int(first) :: int(step)]


def compiled(table: Sequence[Entry], tight: bool) -> Mapping[Program, Binary | Failure]:
    """The machine code of the cases' kernels, from the cache or new."""
    programs = [
        one.program for entry in table for _, kernel in kernels_of(entry, tight) for one in kernel.launches
        if isinstance(one.program, Program)
    ]  # fmt: skip
    with GpuPool(len(os.sched_getaffinity(0)), 90, ObjectCache(cache_folder(True))) as pool:
        return pool.compile(programs)


def main() -> int:
    """Print the table; how many rows are wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.codegen.cuda.device")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--share", default="0/1")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    table = chosen(given.words, given.share)
    if given.compile:
        refused = [one for one in compiled(table, given.tight).values() if isinstance(one, Failure)]
        print(f"{len(refused)} kernels of {len(table)} cases refused", *refused, sep="\n")
        return len(refused)
    device, wrong = open_device(), 0
    device.driver.enter()
    made = compiled(table, given.tight)
    for entry in table:
        for line in lines_of(entry, made, device, given.tight):
            wrong += not line.good
            print(line, flush=True)
    print(f"{wrong} wrong of {len(table)} cases")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main()))

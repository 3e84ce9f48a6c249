"""Kernels of one region timed against each other on this machine's GPU, in a process of their own: one that faults or
does not end costs that process, and is refused; the rest are timed by the next.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tenfold.codegen.child import Child, Closing
from tenfold.codegen.cuda.arch import PROCESSORS
from tenfold.codegen.cuda.launch import Alarm, Counters, CudaKernel, Descriptor, GpuArgument
from tenfold.codegen.cuda.program import Binary, Program
from tenfold.codegen.region import Operand, Region
from tenfold.codegen.strategy import Address, Packed, Workspace
from tenfold.compiler.device.functions import binary_of, functions_of
from tenfold.compiler.device.job import Answer, Buffer, Call, Contestant, Job, Word
from tenfold.compiler.device.stopwatch import LENGTH, framed
from tenfold.compiler.items import operands
from tenfold.compiler.typical import USUAL
from tenfold.compiler.weights import apply_recipe
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.substitute import evaluate
from tenfold.ops.constant import Constant

_PROGRAM = "tenfold.compiler.device.stopwatch"
_STARTING, _PATIENCE = 120.0, 20.0
"""Seconds that a process may take to start, and a kernel to be timed."""
_COLD = 128 << 20
_COPIES = (2, 32)


class Stopwatch(Closing):
    """A clock for kernels."""

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._process: Process | None = None

    def start(self) -> Process:
        """The process that times, which takes a while to start."""
        if self._process is None:
            self._process = Process()
        return self._process

    def time(
        self, region: Region, built: Sequence[CudaKernel], binaries: Mapping[Program, Binary]
    ) -> list[float | str]:
        """Seconds of each kernel of a region, or why it may not be taken."""
        job = job_of(region, built, binaries, self._processors)
        found: list[float | str] = ["it was not timed"] * len(built)
        left = list(range(len(built)))
        while left:
            said, culprit, reason = self._ask(replace(job, contestants=tuple(job.contestants[n] for n in left)))
            for number, one in zip(left, said, strict=False):
                found[number] = one
            if culprit is None:
                break
            found[left.pop(culprit)] = reason
        return found

    def _ask(self, job: Job) -> tuple[list[float | str], int | None, str]:
        """The times; or none, the number of the kernel with which the process ended, and how."""
        begun = 0
        for said in self.start().answers(job):
            if "found" in said:
                return said["found"], None, ""
            if "ended" in said:
                self.close()
                return [], begun, said["ended"]
            begun = said["begun"]
        words = self._process.last_words() if self._process else ""
        self.close()
        return [], begun, words

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None


class Process(Child):
    """A running stopwatch."""

    def __init__(self, program: str = _PROGRAM) -> None:
        super().__init__(program)
        self._waited = False

    def answers(self, job: Job) -> Iterator[Answer]:
        """What it says of a job, until it is done, ends, or says nothing for too long."""
        self.send(framed(job))
        patience = _PATIENCE if self._waited else _STARTING
        while (data := self.message(LENGTH, patience)) is not None:
            self._waited, patience = True, _PATIENCE
            said: Answer = pickle.loads(data)
            yield said
            if "found" in said:
                return


def job_of(region: Region, built: Sequence[CudaKernel], binaries: Mapping[Program, Binary], processors: int) -> Job:
    """Kernels of a region with made-up operands, at the sizes that one would guess."""
    sheet = _Sheet(region, built, processors)
    contestants = tuple(_contestant(one, binaries, sheet) for one in built)
    return Job(tuple(sheet.buffers), contestants, sheet.copies)


def _contestant(kernel: CudaKernel, binaries: Mapping[Program, Binary], sheet: _Sheet) -> Contestant:
    programs = list(dict.fromkeys(one.program for one in kernel.launches))
    code, functions = functions_of([(program, binary_of(binaries, program)) for program in programs])
    calls = (
        Call(programs.index(one.program), sheet.at(one.grid), tuple(w for a in one.arguments for w in sheet.words(a)))
        for one in kernel.launches
    )
    return Contestant(code, functions, tuple(calls))


class _Sheet:
    """The buffers of a region's kernels, and where arguments lie in them."""

    def __init__(self, region: Region, built: Sequence[CudaKernel], processors: int) -> None:
        self._processors = processors
        reads, writes = operands(region)
        every: dict[Value, Operand] = {one.value: one for one in (*writes, *reads)}
        read = {one.value for one in reads}
        cold = sum(self._bytes(value) for value in every if isinstance(value.op, Constant))
        self.copies = max(_COPIES[0], min(_COPIES[1], -(-_COLD // max(cold, 1))))
        self._constants: dict[tuple[Value, tuple[Op, ...]], int] = {}
        self.buffers: list[Buffer] = []
        self._places = {
            value: self._add(Buffer(self._bytes(value), one.dtype.numpy, written=value not in read))
            for value, one in every.items()
            if not isinstance(value.op, Constant)
        }
        self._workspace = self._add(Buffer(max(self.at(one.workspace) for one in built)))
        self._counters = self._add(Buffer(max(self.at(one.zeroed) for one in built)))
        self._alarm = self._add(Buffer(4))

    def _add(self, buffer: Buffer) -> int:
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def at(self, size: Size) -> int:
        """A size as one would guess it on this machine."""
        if isinstance(size, int):
            return size
        known = {one.symbol.name: one.symbol.nearest(USUAL) for one in dim.declared(size) if one.symbol}
        return evaluate(size, known | dict.fromkeys(dim.symbols(PROCESSORS), self._processors))

    def _bytes(self, value: Value) -> int:
        size = 1
        for one in value.type.shape:
            size *= self.at(one)
        return size * value.type.dtype.itemsize

    def _constant(self, value: Value, recipe: tuple[Op, ...]) -> int:
        if (value, recipe) not in self._constants:
            assert isinstance(value.op, Constant)
            array = np.ascontiguousarray(apply_recipe(value.op.tensor.array, recipe))
            self._constants[value, recipe] = self._add(Buffer(array.nbytes, None, self.copies, array))
        return self._constants[value, recipe]

    def words(self, argument: GpuArgument) -> list[Word]:
        """The words that stand for an argument."""
        match argument:
            case Alarm():
                return [(self._alarm, 0)]
            case Counters():
                return [(self._counters, 0)]
            case Workspace(offset):
                return [(self._workspace, self.at(offset))]
            case Address(value, offset):
                held = isinstance(value.op, Constant)
                return [(self._constant(value, ()) if held else self._places[value], self.at(offset))]
            case Packed(value, recipe):
                return [(self._constant(value, recipe), 0)]
            case Descriptor(address, _, shape, strides):
                return [*self.words(address), *map(self.at, (*shape, *strides))]
        return [self.at(argument)]

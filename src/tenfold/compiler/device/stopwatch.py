"""Kernels of one region timed against each other on this machine's GPU.

Buffers are made up at typical sizes; constants lie in several copies, as cold as the weights of a network, the rest is
as warm as what the kernel before has just written. Launches follow one another in a graph, as they do in an engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.codegen.cuda.arch import PROCESSORS
from tenfold.codegen.cuda.launch import Counters, CudaKernel, Descriptor, GpuArgument
from tenfold.codegen.cuda.program import Binary, Program
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Address, Packed, Workspace
from tenfold.compiler.device.functions import binary_of, functions_of
from tenfold.compiler.items import operands
from tenfold.compiler.typical import USUAL
from tenfold.compiler.weights import apply_recipe
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.runtime import open_device, steps
from tenfold.runtime.plan import Span

_COLD = 128 << 20
_COPIES = (2, 10)
_ROUNDS, _REPLAYS = 4, 4
_ALIGNMENT = 256
_SAMPLE = 8 << 20
TOLERANCE = 2e-3
"""How far, by norm, the results of two kernels may lie apart."""


class Stopwatch:
    """A clock for kernels; `close` it."""

    def __init__(self) -> None:
        self._device = open_device()
        self.driver = self._device.driver
        self.driver.enter()
        self._stream = self.driver.open_stream()
        self._random = np.random.default_rng(0)

    def at(self, size: Size) -> int:
        """A size as one would guess it on this machine."""
        if isinstance(size, int):
            return size
        known = {one.symbol.name: one.symbol.nearest(USUAL) for one in dim.declared(size) if one.symbol}
        return dim.evaluate(size, known | dict.fromkeys(dim.symbols(PROCESSORS), self.driver.processors))

    def time(
        self, region: Region, built: Sequence[CudaKernel], binaries: Mapping[Program, Binary]
    ) -> list[float | str]:
        """Seconds of each kernel of a region, or why it may not be taken; DeviceError if one fails."""
        with _Buffers(self, region, built) as buffers:
            found = [self._one(kernel, binaries, buffers) for kernel in built]
        apart = disagreement([results for _, results in found])
        return [
            f"its results are {far:.1e} from the others'" if far > TOLERANCE else seconds
            for far, (seconds, _) in zip(apart, found, strict=True)
        ]

    def _one(
        self, kernel: CudaKernel, binaries: Mapping[Program, Binary], buffers: _Buffers
    ) -> tuple[float, NDArray[np.float32]]:
        programs = list(dict.fromkeys(one.program for one in kernel.launches))
        code, functions = functions_of([(program, binary_of(binaries, program)) for program in programs])
        resident = self._device.load(np.frombuffer(code, np.uint8), functions, np.zeros(1, np.uint8))
        slots, rows, argmap = [0], [], list[int]()
        for copy in range(buffers.copies):
            for one in kernel.launches:
                numbers = [number for argument in one.arguments for number in buffers.words(argument, copy)]
                grid = len(slots)
                slots += [self.at(one.grid), *numbers]
                row = (steps.Opcode.CALL, programs.index(one.program), len(argmap), len(numbers), grid)
                rows.append(tuple(map(int, row)))
                argmap += range(grid + 1, grid + 1 + len(numbers))
        plan: Any = SimpleNamespace(steps=steps.table(rows), argmap=np.array(argmap, np.int32))
        frame = np.array(slots, np.int64)
        launches = self._device.launches(resident, plan, Span(0, len(rows)), frame)
        try:
            launches.load(frame)
            seconds = self._clock(launches) / buffers.copies
            buffers.poison()
            launches.run(self._stream, self._stream)
            return seconds, buffers.results()
        finally:
            launches.close()
            resident.close()

    def _clock(self, launches: Any) -> float:
        """Seconds of one replay, the least of some rounds."""
        driver, stream = self.driver, self._stream
        start, end = driver.open_event(), driver.open_event()
        launches.run(stream, stream)
        driver.synchronize(stream)
        found = []
        for _ in range(_ROUNDS):
            driver.record(start, stream)
            for _ in range(_REPLAYS):
                launches.run(stream, stream)
            driver.record(end, stream)
            driver.synchronize(stream)
            found.append(driver.seconds(start, end) / _REPLAYS)
        for one in (start, end):
            driver.close_event(one)
        return min(found)

    def sample(self, address: int, dtype: DType, size: int) -> NDArray[np.float32]:
        """The beginning of a buffer."""
        array = np.empty(min(size, _SAMPLE) // dtype.itemsize, dtype.numpy)
        self.driver.download(array.ctypes.data, address, array.nbytes, self._stream)
        self.driver.synchronize(self._stream)
        return array.astype(np.float32)

    def poison(self, address: int, size: int) -> None:
        """Fill a buffer with what no kernel gives."""
        array = np.full(min(size, _SAMPLE), 0x7F, np.uint8)
        self.driver.upload(address, array.ctypes.data, array.nbytes, self._stream)
        self.driver.synchronize(self._stream)

    def allocate(self, size: int) -> int:
        """Memory of zeros."""
        address = self.driver.allocate(size, self._stream)
        self.driver.clear(address, size, self._stream)
        return address

    def filled(self, dtype: DType, size: int) -> int:
        """Memory of random numbers; of zeros, where elements are no floats."""
        address = self.allocate(size)
        if dtype.is_float and dtype.bits >= 16:
            array = (self._random.standard_normal(min(size, 1 << 20)) / 4).astype(dtype.numpy)
            for start in range(0, size, array.nbytes):
                self.driver.upload(address + start, array.ctypes.data, min(array.nbytes, size - start), self._stream)
            self.driver.synchronize(self._stream)
        return address

    def uploaded(self, array: NDArray[Any]) -> int:
        """Memory of an array's content."""
        address = self.allocate(array.nbytes + _ALIGNMENT)
        self.driver.upload(address, array.ctypes.data, array.nbytes, self._stream)
        self.driver.synchronize(self._stream)
        return address

    def free(self, addresses: Iterable[int]) -> None:
        """Give memory back."""
        for address in addresses:
            self.driver.free(address, self._stream)

    def close(self) -> None:
        """Give everything back."""
        self.driver.synchronize(self._stream)
        self.driver.close_stream(self._stream)


class _Buffers:
    """What the kernels of a region read and write: `copies` of each constant, as it is or packed, one of all else."""

    def __init__(self, clock: Stopwatch, region: Region, built: Sequence[CudaKernel]) -> None:
        self._clock = clock
        reads, writes = operands(region)
        every = {one.value: one for one in (*writes, *reads)}
        read = {one.value for one in reads}
        sizes = {value: _bytes(clock, value.type) for value in every}
        cold = sum(sizes[value] for value in every if isinstance(value.op, Constant))
        self.copies = max(_COPIES[0], min(_COPIES[1], -(-_COLD // max(cold, 1))))
        self._constants: dict[tuple[Value, tuple[Op, ...]], list[int]] = {}
        others = {value: one for value, one in every.items() if not isinstance(value.op, Constant)}
        self._places = {v: clock.filled(one.dtype, sizes[v] + _ALIGNMENT) for v, one in others.items()}
        self._written = [(value, one.dtype, sizes[value]) for value, one in others.items() if value not in read]
        self._workspace = clock.allocate(max(clock.at(one.workspace) for one in built) + _ALIGNMENT)
        self._counters = clock.allocate(max(clock.at(one.zeroed) for one in built) + _ALIGNMENT)

    def _constant(self, value: Value, recipe: tuple[Op, ...], copy: int) -> int:
        if (value, recipe) not in self._constants:
            assert isinstance(value.op, Constant)
            array = apply_recipe(value.op.tensor.array, recipe)
            self._constants[value, recipe] = [self._clock.uploaded(array) for _ in range(self.copies)]
        return self._constants[value, recipe][copy]

    def poison(self) -> None:
        """Fill what is written with what no kernel gives; not where it is read too."""
        for value, _, size in self._written:
            self._clock.poison(self._places[value], size)

    def results(self) -> NDArray[np.float32]:
        """What the last run wrote, or the beginning of it."""
        found = [self._clock.sample(self._places[value], dtype, size) for value, dtype, size in self._written]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def words(self, argument: GpuArgument, copy: int) -> list[int]:
        """The numbers that stand for an argument in a frame."""
        at = self._clock.at
        match argument:
            case Counters():
                return [self._counters]
            case Workspace(offset):
                return [self._workspace + at(offset)]
            case Address(value, offset):
                held = isinstance(value.op, Constant)
                return [(self._constant(value, (), copy) if held else self._places[value]) + at(offset)]
            case Packed(value, recipe):
                return [self._constant(value, recipe, copy)]
            case Descriptor(address, _, shape, strides):
                return [*self.words(address, copy), *map(at, (*shape, *strides))]
        return [at(argument)]

    def __enter__(self) -> _Buffers:
        return self

    def __exit__(self, *error: object) -> None:
        packed = (address for addresses in self._constants.values() for address in addresses)
        self._clock.free((*self._places.values(), *packed, self._workspace, self._counters))


def disagreement(results: Sequence[NDArray[np.float32]]) -> list[float]:
    """How far each result lies from the median of all, by norm: what only one kernel gives is wrong."""
    with np.errstate(all="ignore"):
        stacked = np.stack(results)
        middle = np.median(stacked, axis=0)
        written = np.isfinite(middle)
        size = max(float(np.linalg.norm(middle[written])), 1e-30)
        found = [float(np.linalg.norm(one[written] - middle[written])) / size for one in stacked]
        return [far if np.isfinite(far) else np.inf for far in found]


def _bytes(clock: Stopwatch, type: Type) -> int:
    return math.prod(clock.at(size) for size in type.shape) * type.dtype.itemsize

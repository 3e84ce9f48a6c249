"""A GPU made of this machine's memory and Triton's interpreter, behind the same methods as the driver.

`emulate(monkeypatch)` lets engines for cuda:sm_90 be built without compiling, and run; so does `gpu(monkeypatch)` where
there is no GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import RLock
from typing import Any

import numpy as np
import pytest

from tenfold import runtime
from tenfold import target as targets
from tenfold.codegen.cuda import pool
from tenfold.codegen.cuda.program import Binary, Parameter, Program, TensorMap, Word, words
from tenfold.compiler.device import measure, stopwatch, tune
from tenfold.compiler.device.job import Answer, Job
from tenfold.runtime import engine
from tenfold.runtime.cuda.apart import Apart
from tenfold.runtime.cuda.meetings import Meetings
from tests.codegen.cuda.interpreting import Buffer, TensorDescriptor, block_of

from tenfold.codegen.cuda.emit import NAMES  # isort: skip
from tenfold.codegen.cuda.triton import constant  # isort: skip
from tests.codegen.cuda.in_order import interpreted  # isort: skip

_PAGE = 256
_TF32 = 11
"""The driver's number of an element type: f32 whose copies are rounded to TF32."""
_NUMPY = {f"*{short}": dtype.numpy for dtype, (_, short) in NAMES.items()}
_INTEGERS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64}
_PROGRAMS: dict[bytes, Program] = {}


def compiled(programs: Sequence[Program]) -> dict[Program, Binary]:
    """What stands for the machine code of programs: a name by which they are found."""
    made = {}
    for program in programs:
        code = f"program {len(_PROGRAMS)}".encode()
        _PROGRAMS[code] = program
        made[program] = Binary(code, "kernel", 128, 0, 0, 1, tuple(_maps(program)))
    return made


def _maps(program: Program) -> Iterator[TensorMap]:
    for _, parameter in program.parameters:
        for word in words(parameter):
            if word.type.startswith("tensordesc"):
                block = tuple(block_of(word))
                yield TensorMap(block, 0, _numpy(word).itemsize, 0)


def _numpy(word: Word) -> np.dtype:
    return _NUMPY["*" + word.type.partition("<")[2].partition("[")[0]]


class Rounded(Buffer):
    """Memory of f32 as copies that round it to TF32 see it."""

    def __init__(self, address: int, shape: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__(address, np.dtype(np.float32))
        count = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        self._bits = np.ctypeslib.as_array((ctypes.c_uint32 * count).from_address(address))
        self._seen = np.empty_like(self._bits)

    def data_ptr(self) -> int:
        self._seen[...] = (self._bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
        return self._seen.ctypes.data


class FakeGraph:
    """Launches with the arguments that they had when they were captured."""

    def __init__(self) -> None:
        self.launches: list[Callable[[], None]] = []

    @property
    def nodes(self) -> list[Callable[[], None]]:
        return self.launches


class FakeDriver:
    """Counts what is held: `live` bytes of memory, open `things`; `rooms` are blocks and shared memory of launches."""

    processors, cublas, cudnn = 3, None, None
    apart = Apart(processors, 3 << 10)

    def __init__(self) -> None:
        self.meetings = Meetings(self)
        self.held: dict[int, Any] = {}
        self.pinned: set[int] = set()
        self.registered: set[int] = set()
        self.things = 0
        self.replays = self.changes = self.ticks = 0
        self.allowed: dict[Program, int] = {}
        self.rooms: list[tuple[int, int]] = []
        self._maps: dict[int, tuple[Any, ...]] = {}
        self._capturing: FakeGraph | None = None
        self._one = RLock()

    @property
    def live(self) -> int:
        return sum(len(raw) - _PAGE for raw in self.held.values())

    def enter(self) -> None:
        pass

    def allocate(self, size: int, stream: Any) -> int:
        raw = (ctypes.c_ubyte * (size + _PAGE))()
        ctypes.memset(raw, 0xFF, len(raw))
        address = ctypes.addressof(raw) + -ctypes.addressof(raw) % _PAGE
        self.held[address] = raw
        return address

    def free(self, address: int, stream: Any) -> None:
        del self.held[address]

    def allocate_pinned(self, size: int) -> int:
        address = self.allocate(size, None)
        self.pinned.add(address)
        return address

    def free_pinned(self, address: int) -> None:
        self.pinned.remove(address)
        del self.held[address]

    def pin(self, address: int, size: int) -> None:
        self.registered.add(address)

    def unpin(self, address: int) -> None:
        self.registered.discard(address)

    def upload(self, to: int, source: int, size: int, stream: Any) -> None:
        ctypes.memmove(to, source, size)

    download = upload

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        self._do(lambda: self.upload(to, source, size, stream))

    def clear(self, to: int, size: int, stream: Any) -> None:
        ctypes.memset(to, 0, size)

    def store(self, to: int, number: int, stream: Any) -> None:
        def put() -> None:
            ctypes.c_int64.from_address(to).value = number

        self._do(put)

    def _do(self, work: Callable[[], None]) -> None:
        if self._capturing is not None:
            self._capturing.launches.append(work)
        else:
            with self._one:
                work()

    def open_stream(self) -> int:
        self.things += 1
        return 7

    def foreign_stream(self, handle: int) -> int:
        return handle

    def open_event(self) -> int:
        self.things += 1
        return 1

    def close_stream(self, thing: Any) -> None:
        self.things -= 1

    close_event = unload = close_graph = close_stream

    def synchronize(self, stream: Any) -> None:
        pass

    def synchronize_all(self) -> None:
        pass

    def follow(self, stream: Any, other: Any) -> None:
        pass

    wait = follow

    def is_capturing(self, stream: Any) -> bool:
        return self._capturing is not None

    def reached(self, event: Any) -> None:
        pass

    def is_pinned(self, address: int) -> bool:
        return address in self.pinned

    def record(self, event: Any, stream: Any) -> None:
        pass

    def seconds(self, start: Any, end: Any) -> float:
        self.ticks += 1
        return 1e-6 / self.ticks

    def load(self, code: bytes) -> bytes:
        self.things += 1
        return code

    def function(self, module: bytes, name: str, shared: int) -> Program:
        self.allowed[_PROGRAMS[module]] = shared
        return _PROGRAMS[module]

    def tile_map(self, to: int, tile: Any, address: int, shape: Sequence[int], strides: Sequence[int]) -> None:
        assert to % 64 == 0 and address % 16 == 0 and all(one * tile[2] % 16 == 0 for one in strides[:-1])
        self._maps[to] = (address, list(shape), list(strides), list(tile[0]), tile[1] == _TF32)

    def move_tile_map(self, to: int, address: int) -> None:
        assert address % 16 == 0
        self._maps[to] = (address, *self._maps[to][1:])

    def launch(
        self, function: Program, blocks: int, threads: int, shared: int, parameters: int, cluster: int, early: bool,
        stream: Any,
    ) -> None:  # fmt: skip
        self._room(function, blocks, shared)
        self._do(self._bound(function, blocks, parameters))

    def _room(self, function: Program, blocks: int, shared: int) -> None:
        assert shared <= self.allowed[function]
        self.rooms.append((blocks, shared))

    def _bound(self, program: Program, blocks: int, parameters: int) -> Callable[[], None]:
        given = [word for _, one in program.parameters for word in words(one)]
        count = sum(1 + 2 * len(block_of(word)) if word.type.startswith("tensordesc") else 1 for word in given)
        addresses = iter((ctypes.c_uint64 * count).from_address(parameters)[:])

        def value(word: Word) -> Any:
            place = next(addresses)
            if word.type.startswith("tensordesc"):
                address, shape, strides, block, rounded = self._maps[place]
                rest = [next(addresses) for _ in range(2 * len(shape))]
                sizes = [ctypes.c_int32.from_address(one).value for one in rest[: len(shape)]]
                steps = [ctypes.c_int64.from_address(one).value for one in rest[len(shape) :]]
                assert (sizes, steps) == (shape, strides)
                one = Rounded(address, shape, strides) if rounded else Buffer(address, _numpy(word))
                return TensorDescriptor(one, shape, strides, block)
            if word.type.startswith("*"):
                address = ctypes.c_uint64.from_address(place).value
                assert not word.aligned or address % 16 == 0
                return Buffer(address, _NUMPY[word.type])
            number = _INTEGERS[word.type].from_address(place).value
            assert not word.aligned or number % 16 == 0
            return number

        def filled(parameter: Parameter) -> Any:
            if isinstance(parameter, tuple):
                return tuple(filled(part) for part in parameter)
            return value(parameter) if isinstance(parameter, Word) else constant(parameter)

        fillings = {name: filled(parameter) for name, parameter in program.parameters} | {"EARLY": 0}
        return lambda: interpreted(program)[(blocks,)](**fillings)

    def capture(self, stream: Any, emit: Callable[[], None]) -> FakeGraph:
        with self._one:
            self._capturing = graph = FakeGraph()
            emit()
            self._capturing = None
            self.things += 1
            return graph

    def replay(self, graph: FakeGraph, stream: Any) -> None:
        with self._one:
            self.replays += 1
            for launch in graph.launches:
                launch()

    def replayer(self, graph: FakeGraph, stream: Any) -> Callable[[], None]:
        return lambda: self.replay(graph, stream)

    def node(self, *launch: Any) -> tuple[Program, int, int]:
        function, blocks, _, shared, parameters = launch
        self._room(function, blocks, shared)
        return function, blocks, parameters

    def change(self, graph: FakeGraph, numbers: Iterable[int], launches: Sequence[Any]) -> None:
        for number in numbers:
            self.changes += 1
            graph.launches[number] = self._bound(*launches[number])


class Clock:
    """The process that times kernels, as a part of this one."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def answers(self, job: Job) -> Iterator[Answer]:
        yield from stopwatch.answer(job, self._device)

    def close(self) -> None:
        pass


def emulate(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """Let this process have such a GPU, of compute capability 9.0."""
    from tenfold.runtime.cuda.device import Device

    driver = FakeDriver()
    device = Device(driver)  # type: ignore[arg-type]
    monkeypatch.setattr(targets, "machine_gpu", lambda: 90)
    monkeypatch.setattr(runtime, "open_device", lambda: device)
    monkeypatch.setattr(engine, "open_device", lambda: device)
    monkeypatch.setattr(tune, "open_device", lambda: device)
    monkeypatch.setattr(measure, "Process", lambda: Clock(device))
    monkeypatch.setattr(pool.GpuPool, "compile", lambda self, programs, *about: compiled(programs))
    return driver


def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This machine's GPU, where it has one: tests of whole networks then run there. Else an emulated one."""
    if targets.machine_gpu() is not None:
        return runtime.open_device().driver
    return emulate(monkeypatch)

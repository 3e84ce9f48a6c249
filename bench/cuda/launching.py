"""Kernels on this machine's GPU through the driver alone: modules, tile descriptors, launches on a stream."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping

from tenfold.codegen.cuda.launch import Alarm, Counters, CudaKernel, Descriptor, Launch
from tenfold.codegen.cuda.program import Binary, Program, TensorMap, words
from tenfold.codegen.strategy import Address, Workspace
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.substitute import evaluate

_DYNAMIC_SHARED = 8
_INTEGERS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64}


class _Attribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_int * 16)]


class _Config(ctypes.Structure):
    _fields_ = [
        *((f"{what}_{axis}", ctypes.c_uint) for what in ("grid", "block") for axis in "xyz"),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    ]


_EARLY = _Attribute(6, 0, (1,))
"""CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: start while the kernel ahead ends."""


def _attributes(cluster: int, early: bool) -> ctypes.Array[_Attribute]:
    """How a kernel is launched; CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: so many blocks side by side."""
    shaped = _Attribute(4, 0, (cluster, 1, 1))
    found = [*([_EARLY] if early else []), *([shaped] if cluster > 1 else [])]
    return (_Attribute * len(found))(*found)


def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def checked(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what}: CUDA error {status}")


class Function:
    """A binary loaded into the current context."""

    def __init__(self, binary: Binary) -> None:
        self.binary = binary
        self._module, self.handle = ctypes.c_void_p(), ctypes.c_void_p()
        checked(_driver().cuModuleLoadData(ctypes.byref(self._module), binary.code), "cuModuleLoadData")
        name = binary.name.encode()
        checked(_driver().cuModuleGetFunction(ctypes.byref(self.handle), self._module, name), "cuModuleGetFunction")
        if binary.shared > 48 << 10:
            status = _driver().cuFuncSetAttribute(self.handle, _DYNAMIC_SHARED, binary.shared)
            checked(status, "cuFuncSetAttribute")


def encoded(made: TensorMap, address: int, shape: list[int], strides: list[int]) -> ctypes.Array[ctypes.c_char]:
    """A tile descriptor: 128 bytes, aligned to 64."""
    rank = len(shape)
    raw = ctypes.create_string_buffer(256)
    start = -ctypes.addressof(raw) % 64
    room = (ctypes.c_char * 128).from_buffer(raw, start)
    sizes = (ctypes.c_uint64 * rank)(*reversed(shape))
    steps = (ctypes.c_uint64 * rank)(*(one * made.element_size for one in reversed(strides[:-1])))
    box = (ctypes.c_uint32 * rank)(*reversed(made.block))
    ones = (ctypes.c_uint32 * rank)(*(1,) * rank)
    status = _driver().cuTensorMapEncodeTiled(
        ctypes.byref(room), made.element_type, rank, ctypes.c_void_p(address), sizes, steps, box, ones,
        0, made.swizzle, 2, 0,
    )  # fmt: skip
    checked(status, "cuTensorMapEncodeTiled")
    return room


class Call:
    """A kernel with its functions and the addresses of one set of buffers; `run` launches it on a stream."""

    def __init__(
        self,
        kernel: CudaKernel,
        functions: Mapping[Program, Function],
        addresses: Mapping[Value, int],
        workspace: int,
        scratch: int,
        counters: int,
        processors: int,
    ) -> None:
        self._sizes = {"multiprocessors": processors}
        self._addresses, self._workspace, self._counters = addresses, workspace, counters
        self._launches = [
            (functions[one.program], self._number(one.grid), self._pack(one, functions, scratch),
             int(dict(one.program.parameters).get("CLUSTER", 1)))
            for one in kernel.launches
        ]  # fmt: skip

    def run(self, stream: int, early: bool = False) -> None:
        for function, blocks, (pointers, _), cluster in self._launches:
            binary, given = function.binary, _attributes(cluster, early)
            config = _Config(blocks, 1, 1, binary.threads, 1, 1, binary.shared, stream, given, len(given))
            status = _driver().cuLaunchKernelEx(ctypes.byref(config), function.handle, pointers, None)
            checked(status, "cuLaunchKernelEx")

    def _number(self, size: Size) -> int:
        return size if isinstance(size, int) else evaluate(size, self._sizes)

    def _pack(self, one: Launch, functions: Mapping[Program, Function], scratch: int) -> tuple[ctypes.Array, list]:
        cells = [*self._cells(one, functions[one.program].binary), ctypes.c_uint64(scratch), ctypes.c_uint64(0)]
        return (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells)), cells

    def _cells(self, one: Launch, binary: Binary) -> Iterator[object]:
        maps = iter(binary.maps)
        given = [word for _, parameter in one.program.parameters for word in words(parameter)]
        for word, argument in zip(given, one.arguments, strict=True):
            if isinstance(argument, Descriptor):
                shape, strides = ([self._number(n) for n in sizes] for sizes in (argument.shape, argument.strides))
                yield encoded(next(maps), self._address(argument.address), shape, strides)
                yield from (ctypes.c_int32(size) for size in shape)
                yield from (ctypes.c_int64(stride) for stride in strides)
            elif isinstance(argument, Counters | Alarm):
                yield ctypes.c_uint64(self._counters)
            elif isinstance(argument, Address | Workspace):
                yield ctypes.c_uint64(self._address(argument))
            else:
                yield _INTEGERS[word.type](self._number(argument))

    def _address(self, argument: Address | Workspace) -> int:
        start = self._addresses[argument.value] if isinstance(argument, Address) else self._workspace
        return start + self._number(argument.offset)

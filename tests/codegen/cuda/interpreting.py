"""Kernels in Triton's interpreter: block after block on this machine's memory, buffers between guard pages.

Importing this decides for the whole process that Triton's functions are interpreted, not compiled.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tenfold.codegen.region import Anchored, Operand, Pointwise, Region, Row
from tenfold.codegen.strategy import Address, Packed, Refusal, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant
from tenfold.target import Target
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import _agree as agree
from tests.codegen.cpu.checking import fill
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cpu.reference import evaluate, extent, operands
from tests.codegen.cpu.running import number

os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="the CUDA back end needs triton: pip install tenfold[cuda]")

import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.tools.tensor_descriptor import TensorDescriptor

from tenfold.codegen.cuda import vmath
from tenfold.codegen.cuda.emit import NAMES, pointer
from tenfold.codegen.cuda.launch import Alarm, Counters, CudaKernel, Descriptor, GpuArgument, Launch
from tenfold.codegen.cuda.program import Parameter, Word, words
from tenfold.codegen.cuda.triton import constant
from tests.codegen.cuda.in_order import interpreted

_patch_tensor = interpreter._patch_lang_tensor


def _patch_tensor_and_index(tensor: Any, scope: Any) -> None:
    _patch_tensor(tensor, scope)
    # NumPy 2.4 makes no int of an array of one element, which Triton 3.6 still asks for.
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = _patch_tensor_and_index

_dot = interpreter.InterpreterBuilder.create_dot


def _dot_of_numbers(self: Any, a: Any, b: Any, *more: Any) -> Any:
    # The interpreter keeps bf16 as its bits, and multiplies those.
    return _dot(self, *map(_widened, (a, b)), *more)


def _widened(one: Any) -> Any:
    if one.dtype != tl.bfloat16:
        return one
    return interpreter.TensorHandle((one.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


interpreter.InterpreterBuilder.create_dot = _dot_of_numbers
vmath.quick_tanh = vmath.tanh


@triton.jit
def _nearest_tf32(x):
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


vmath.nearest_tf32 = _nearest_tf32
TARGET = Target("cuda", "sm_90")
_HERE = {"multiprocessors": 3}


class Buffer:
    """Memory as the interpreter takes it: what it asks of a PyTorch tensor."""

    def __init__(self, address: int, dtype: np.dtype) -> None:
        self.address, self.dtype = address, dtype

    def data_ptr(self) -> int:
        return self.address

    def _itself(self, *_: Any, **__: Any) -> Buffer:
        return self

    untyped_storage = cpu = new_empty = set_ = copy_ = _itself
    size = stride = storage_offset = _itself


def block_of(word: Word) -> list[int]:
    """The sizes of a descriptor's tiles."""
    return [int(size) for size in word.type.partition("[")[2].partition("]")[0].split(",")]


def run(
    kernel: CudaKernel, buffers: Mapping[Value, Guarded], kinds: Mapping[Value, DType], alarmed: bool = False
) -> None:
    """All launches, on a workspace whose counters must end as zeros; `alarmed` is whether an index lies outside."""
    sizes = (kernel.workspace, kernel.zeroed, 4)
    _, counters, alarm = rooms = tuple(Guarded(int(number(size, _HERE)) + 15 & -16) for size in sizes)
    counters.bytes()[:] = alarm.bytes()[:] = 0
    for one in kernel.launches:
        _launch(one, buffers, rooms, kinds)
    assert not counters.bytes().any() and alarm.bytes().any() == alarmed
    for one in rooms:
        one.close()


def _launch(
    one: Launch, buffers: Mapping[Value, Guarded], rooms: Sequence[Guarded], kinds: Mapping[Value, DType]
) -> None:
    given = [word for _, parameter in one.program.parameters for word in words(parameter)]
    assert len(given) == len(one.arguments)
    arguments = iter(one.arguments)
    kept: list[np.ndarray] = []

    def value(word: Word) -> Any:
        argument: GpuArgument = next(arguments)
        if isinstance(argument, Descriptor):
            shape, strides = ([number(size, _HERE) for size in sizes] for sizes in (argument.shape, argument.strides))
            return TensorDescriptor(_tiled(argument, buffers, rooms, kinds, kept), shape, strides, block_of(word))
        if isinstance(argument, Address | Packed):
            return _buffer(argument, buffers, kinds, kept)
        if isinstance(argument, Counters):
            return Buffer(rooms[1].address, np.dtype(np.int32))
        if isinstance(argument, Alarm):
            return Buffer(rooms[2].address, np.dtype(np.int32))
        if isinstance(argument, Workspace):
            return Buffer(rooms[0].address + number(argument.offset, _HERE), _WORKSPACE[word.type])
        return number(argument, _HERE)

    def filled(parameter: Parameter) -> Any:
        if isinstance(parameter, tuple):
            return tuple(filled(part) for part in parameter)
        return value(parameter) if isinstance(parameter, Word) else constant(parameter)

    fillings = {name: filled(parameter) for name, parameter in one.program.parameters}
    blocks = number(one.grid, _HERE)
    if blocks:
        interpreted(one.program)[(blocks,)](**{**fillings, "EARLY": 0})


def _tiled(
    one: Descriptor, buffers: Mapping[Value, Guarded], rooms: Sequence[Guarded], kinds: Mapping[Value, DType],
    kept: list[np.ndarray],
) -> Buffer:  # fmt: skip
    """What a descriptor is of."""
    if isinstance(one.address, Workspace):
        return Buffer(rooms[0].address + number(one.address.offset, _HERE), one.dtype.numpy)
    return _buffer(one.address, buffers, kinds, kept)


def _buffer(
    address: Address | Packed, buffers: Mapping[Value, Guarded], kinds: Mapping[Value, DType], kept: list[np.ndarray]
) -> Buffer:
    """What lies at an address; `kept` are the constants that are in use."""
    if not isinstance(address.value.op, Constant):
        assert isinstance(address, Address)
        start = buffers[address.value].address + number(address.offset, _HERE)
        return Buffer(start, kinds[address.value].numpy)
    array = address.value.op.tensor.array
    for op in address.recipe if isinstance(address, Packed) else ():
        (array,) = op.results((array,))
    kept.append(np.ascontiguousarray(array))
    return Buffer(kept[-1].ctypes.data, kept[-1].dtype)


_WORKSPACE = {pointer(dtype): np.dtype(dtype.numpy) for dtype in NAMES}


def bound(region: Region, bindings: Mapping[str, int]) -> Region:
    """The region at these sizes."""

    def size(one: Size) -> Size:
        return number(one, bindings) if dim.symbols(one) else one

    def moved(one: Operand) -> Operand:
        shape, strides = tuple(map(size, one.shape)), tuple(map(size, one.strides))
        return Operand(one.value, one.dtype, shape, strides, size(one.offset))

    def all_moved(some: Sequence[Operand]) -> tuple[Operand, ...]:
        return tuple(map(moved, some))

    changes: dict[str, Any] = {
        "domain": tuple(map(size, region.domain)),
        "uniforms": tuple(map(size, region.uniforms)),
        **{name: all_moved(getattr(region, name)) for name in ("outputs", "gathered")},
    }
    if isinstance(region, Pointwise | Row | Anchored):
        changes["inputs"] = all_moved(region.inputs)
    if isinstance(region, Row):
        changes |= {name: all_moved(getattr(region, name)) for name in ("finish_inputs", "finish_outputs")}
    if isinstance(region, Anchored):
        changes["extra"] = all_moved(region.extra)
    return replace(region, **changes)  # type: ignore[type-var]


def tactics(strategy: Any, region: Region) -> Sequence[Tactic]:
    """The strategy's tactics, which it must have."""
    found = strategy.tactics(region, TARGET)
    assert not isinstance(found, Refusal), found.reason
    return list(found)


def check(strategy: Any, case: Case, which: int = 0) -> None:
    """Run a case at one of its smaller sizes, with poisoned outputs, and hold every byte against the reference."""
    regions = [bound(case.region(), bindings) for bindings in case.bindings]
    sized = [(math.prod(number(size, {}) for size in region.domain), region) for region in regions]
    small = [region for elements, region in sized if 0 < elements <= _MOST]
    region = small[-1] if small else min(sized, key=lambda one: one[0])[1]
    found = tactics(strategy, region)
    compare(region, strategy.build(region, found[which % len(found)], TARGET), case)


_MOST = 600
"""Elements of a domain: the interpreter takes a millisecond for a few."""


def compare(region: Region, kernel: CudaKernel, case: Case) -> None:
    """Run a kernel on random data; its results and all other bytes of its buffers must be the reference's."""
    rng = np.random.default_rng(7)
    reads, writes = operands(region)
    kinds = {one.value: one.dtype for one in (*reads, *writes)}
    sizes = {value: max(extent(one, {}) for one in (*reads, *writes) if one.value is value) for value in kinds}
    with _guarded({value: (sizes[value] + 15 & -16) * kinds[value].itemsize for value in kinds}) as buffers:
        memory: dict[Value, np.ndarray] = {}
        for value, dtype in kinds.items():
            flat = buffers[value].bytes().view(dtype.numpy)
            if any(one.value is value for one in reads):
                flat[...] = fill(dtype, flat.size, case, rng)
            memory[value] = flat.copy()
        with np.errstate(all="ignore"):
            evaluate(region, memory, {})
            run(kernel, buffers, kinds)
        for value, dtype in kinds.items():
            agree(case.name, dtype, buffers[value].bytes().view(dtype.numpy), memory[value], case.tolerance)


class _guarded:
    def __init__(self, sizes: Mapping[Value, int]) -> None:
        self.buffers = {value: Guarded(size) for value, size in sizes.items()}

    def __enter__(self) -> Mapping[Value, Guarded]:
        return self.buffers

    def __exit__(self, *_: object) -> None:
        for buffer in self.buffers.values():
            buffer.close()


def supported(strategy: Any, cases: Sequence[Case]) -> Iterator[Case]:
    """The cases that the strategy does not refuse."""
    for case in cases:
        if not isinstance(strategy.tactics(bound(case.region(), case.bindings[0]), TARGET), Refusal):
            yield case

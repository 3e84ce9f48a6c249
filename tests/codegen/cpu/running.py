"""Kernels run here: regions built by hand, their buffers between guard pages, every part of every stage in turn."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Workspace
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tests.codegen.cpu import jit

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_PAGE = mmap.PAGESIZE


class Guarded:
    """Memory with an unreadable page before it and after it; `at_end` puts its end, else its start, at the fence."""

    def __init__(self, size: int, at_end: bool = True, align: int = 1) -> None:
        self.size = size
        self._pages = -(-max(size, 1) // _PAGE) * _PAGE
        base = _libc.mmap(None, ctypes.c_size_t(self._pages + 2 * _PAGE), 3, 0x22, -1, ctypes.c_long(0))
        assert base not in (None, ctypes.c_void_p(-1).value)
        self._base = base
        for fence in (base, base + _PAGE + self._pages):
            assert _libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(_PAGE), 0) == 0
        start = base + _PAGE
        self.address = (start + self._pages - size) // align * align if at_end else start

    def array(self, dtype: np.dtype, shape: Sequence[int]) -> Array:
        """The memory as an array."""
        kind = ctypes.c_uint8 * self.size
        raw = np.frombuffer(kind.from_address(self.address), np.uint8)
        return raw.view(dtype).reshape(shape)

    def close(self) -> None:
        """Give the memory back."""
        _libc.munmap(ctypes.c_void_p(self._base), ctypes.c_size_t(self._pages + 2 * _PAGE))


def operand(value: Value, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Operand:
    """An operand of a value's own type."""
    return Operand(value, value.type.dtype, tuple(shape), tuple(strides), offset)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a dense array."""
    return tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))


def dense(value: Value) -> Operand:
    """A value as it is stored by default."""
    return operand(value, value.type.shape, row_major(value.type.shape))


def variable(dtype: dt.DType, shape: Sequence[int]) -> Value:
    """A value that some buffer holds."""
    return Value(Type(dtype, tuple(shape)))


def constant(array: Array) -> Value:
    """A value known at build time."""
    value: Value = Constant(Tensor(array))()
    return value


def run(
    kernel: Kernel,
    isa: Isa,
    buffers: Mapping[Value, int],
    threads: int = 2,
    sizes: Mapping[str, int] | None = None,
    order: int = 1,
) -> None:
    """Run all parts, forwards or backwards (`order` -1), each in scratch full of NaN."""
    symbols = {"threads": threads, **(sizes or {})}
    keep: list[object] = []
    workspace = Guarded(_known(kernel.workspace, symbols), at_end=False)
    for stage in kernel.stages:
        function = _load(stage.source, isa, stage.optimise)
        args = [_argument(one, buffers, workspace.address, symbols, keep) for one in stage.arguments]
        block = (ctypes.c_int64 * len(args))(*args)
        for part in range(_known(stage.parts, symbols))[::order]:
            scratch = Guarded(kernel.scratch + -kernel.scratch % 64, at_end=True)
            scratch.array(np.dtype(np.uint8), (scratch.size,))[:] = 0xFF
            assert function(ctypes.addressof(block), part, scratch.address) == 0
            scratch.close()
    workspace.close()


@functools.cache
def _load(source: str, isa: Isa, optimise: bool) -> Callable[..., int]:
    return jit.load(source, isa, optimise=optimise)


def _known(size: dim.Size, symbols: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else int(dim.evaluate(size, symbols))


def _argument(
    one: Argument, buffers: Mapping[Value, int], workspace: int, symbols: Mapping[str, int], keep: list[object]
) -> int:
    match one:
        case Address():
            return buffers[one.value] + _known(one.offset, symbols)
        case Packed():
            found = one.value.op.evaluate()  # type: ignore[union-attr]
            for op in one.recipe:
                found = op.evaluate(found)
            raw = np.ascontiguousarray(found)
            memory = Guarded(raw.nbytes, align=1)
            memory.array(raw.dtype, raw.shape)[...] = raw
            keep.append(memory)
            return memory.address
        case Workspace():
            return workspace + _known(one.offset, symbols)
        case _:
            return _known(one, symbols)

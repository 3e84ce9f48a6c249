"""The quick way into a call: a built-in function made from generated code, for calls like an earlier one.

It reads NumPy's array objects where they lie, as the C interface of NumPy lays them out. `supported` looks whether this
interpreter and this NumPy do that; elsewhere there is no shortcut, and every call takes the ordinary way.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sysconfig
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cpu.arena import array_maker
from tenfold.runtime.cpu.block import ARRAY, MISS, Expected, Shortcut, Status
from tenfold.runtime.cpu.invoke import Invocation

Array = NDArray[Any]
FASTCALL = 0x80
_YIELD = int(Status.YIELD)
_ROW_MAJOR, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
_NAME = b"enter\0\0\0"


class Argument:
    """What a shortcut expects of one argument: dtype and shape of `array`, row-major and aligned; writeable if
    `written`; the same contents if `watched`. Its address goes to base number `base`.
    """

    def __init__(self, array: Array, base: int, *, written: bool = False, watched: bool = False) -> None:
        self.base = base
        self.number, self.shape = array.dtype.num, np.array(array.shape, np.int64)
        self.flags = _ROW_MAJOR | _ALIGNED | (_WRITEABLE if written else 0)
        self.contents = array.tobytes() if watched else b""


@functools.cache
def supported() -> bool:
    """Whether array objects lie in memory as the shortcut reads them: checked on a few arrays of different kinds."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    whole = np.zeros((2, 3, 4), np.float32)
    examples: list[Array] = [
        whole,
        whole[1:, ::2],
        whole.T,
        np.array(7, np.int64),
        np.zeros((0, 5), np.bool_),
        np.zeros(3, ">i4"),
    ]
    examples[0].flags.writeable = False
    return all(_lies_as_read(array) for array in examples)


@functools.cache
def address_reader() -> Callable[[Array], int]:
    """What tells where an array's data begin: without a detour through NumPy, where array objects lie as expected."""
    if not supported():
        return lambda array: array.ctypes.data
    read, place = ctypes.c_int64.from_address, ARRAY["data"]
    return lambda array: read(id(array) + place).value


def _lies_as_read(array: Array) -> bool:
    def word(base: int, field: str, kind: type[Any] = ctypes.c_int64) -> int:
        return int(kind.from_address(base + ARRAY[field]).value)

    start = id(array)
    dtype, shape = word(start, "dtype"), word(start, "shape")
    sizes = tuple(ctypes.c_int64.from_address(shape + 8 * axis).value for axis in range(array.ndim))
    return (
        word(start, "type") == id(np.ndarray)
        and word(start, "data") == array.ctypes.data
        and word(start, "axes", ctypes.c_int32) == array.ndim
        and sizes == array.shape
        and dtype == id(array.dtype)
        and word(start, "flags", ctypes.c_int32) & 0x501 == array.flags.num & 0x501
        and chr(word(dtype, "order", ctypes.c_uint8)) == array.dtype.byteorder
        and word(dtype, "number", ctypes.c_int32) == array.dtype.num
    )


def python_function(name: str) -> int:
    """The address of a function of CPython's C interface."""
    return int(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)


def shortcut_block(
    invocation: Invocation,
    frame: NDArray[np.int64],
    arguments: Sequence[Argument],
    *,
    start: int = 0,
    brief: bool = False,
) -> Array:
    """The memory of a Shortcut, which begins with its block, for an invocation whose code has one."""
    native = invocation.executable
    assert native.enter is not None
    words, row_words = ctypes.sizeof(Shortcut) // 8, Expected.size() // 8
    kept = frame.tobytes()
    texts = [_NAME, kept, *(part for a in arguments for part in (a.shape.tobytes(), _padded(a.contents)))]
    store = np.zeros(words + row_words * len(arguments) + sum(map(len, texts)) // 8, np.int64)
    origin = store.ctypes.data
    rows, at = origin + 8 * words, words + row_words * len(arguments)
    places = origin + 8 * at + np.cumsum([0, *map(len, texts)])
    store[at:] = np.frombuffer(b"".join(texts), np.int64)
    block = Shortcut.from_address(origin)
    block.name, block.code, block.convention = int(places[0]), native.code.address + native.enter, FASTCALL
    block.kind, block.count, block.rows = id(np.ndarray), len(arguments), rows
    block.frame, block.kept, block.slots = invocation.frame.ctypes.data, int(places[1]), native.slots
    block.call, block.start, block.number = invocation.prepare(), start, python_function("PyLong_FromLong")
    if not brief:
        block.save, block.restore = python_function("PyEval_SaveThread"), python_function("PyEval_RestoreThread")
    for index, argument in enumerate(arguments):
        row = Expected.from_address(rows + index * Expected.size())
        row.number, row.flags, row.axes = argument.number, argument.flags, len(argument.shape)
        row.shape, row.contents = int(places[2 + 2 * index]), int(places[3 + 2 * index])
        row.watched = len(argument.contents)
        row.base = invocation.bases.ctypes.data + 8 * argument.base
    return store


def make_shortcut(
    invocation: Invocation,
    frame: NDArray[np.int64],
    arguments: Sequence[Argument],
    *,
    start: int = 0,
    brief: bool = False,
) -> Callable[..., int] | None:
    """A function of that many arrays which runs the invocation with a copy of that frame; None if unsupported.

    It returns MISS, having run nothing, if an array is not as its Argument says, else the call's status; after a YIELD
    the caller goes on with `invocation.resume`. It is valid as long as the invocation is open, and like `run` for one
    thread at a time. `brief` keeps Python's global lock.
    """
    if not supported() or invocation.executable.enter is None:
        return None
    store = shortcut_block(invocation, frame, arguments, start=start, brief=brief)
    return builtin(store.ctypes.data, store)


class Replay:
    """Repeats a call for other arrays of the same kinds, with no look at them in Python.

    `frame` is the call's frame before it ran, `inputs` and `results` its arrays; their addresses belong to the bases
    from `first` on, in this order. `watched` says which inputs' contents the frame depends on, `kept` into which of
    the results themselves each call writes, and what gives them, where others are fresh memory.
    """

    def __init__(
        self,
        invocation: Invocation,
        frame: NDArray[np.int64],
        inputs: Sequence[Array],
        results: Sequence[Array],
        *,
        first: int,
        watched: Collection[int] = (),
        kept: Mapping[int, Callable[[], Any]] = MappingProxyType({}),
        start: int = 0,
        brief: bool = False,
    ) -> None:
        arguments = [Argument(array, first + i, watched=i in watched) for i, array in enumerate(inputs)]
        arguments += [Argument(array, first + len(inputs) + i, written=True) for i, array in enumerate(results)]
        self._enter = make_shortcut(invocation, frame, arguments, start=start, brief=brief)
        self._invocation, self._inputs = invocation, len(inputs)
        self._fresh = [kept.get(i) or array_maker(a.shape, a.dtype) for i, a in enumerate(results)]
        self.status: int = Status.DONE

    def run(self, arrays: Sequence[Any]) -> list[Array] | None:
        """The results for these inputs, in fresh memory but for those that are kept; `status` says how it went. None,
        and nothing has run, if the inputs differ in kind from those of the call that is repeated.
        """
        if self._enter is None or len(arrays) != self._inputs:
            return None
        results = [fresh() for fresh in self._fresh]
        status = self._enter(*arrays, *results)
        if status == MISS:
            return None
        self._invocation.entries = 1
        self.status = self._invocation.resume() if status == _YIELD else status
        return results


def _padded(contents: bytes) -> bytes:
    return contents + bytes(-len(contents) % 8)


def builtin(method: int, self: Array, kept: object = None) -> Callable[..., Any]:
    """A built-in function of the method definition that lies in `self`; the function keeps that and `kept` alive."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    made: Callable[..., Any] = make(method, self, kept)
    return made

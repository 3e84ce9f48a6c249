"""A whole call as one built-in function: arrays in, results out, with no Python between.

It is for calls so short that Python's share is felt: they keep Python's global lock, and each result is small memory of
its own. Like a shortcut it only answers calls of one kind, and leaves all others, and all errors, to Python.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.cpu.arena import LARGE
from tenfold.runtime.cpu.block import Made, Quick
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.cpu.shortcut import FASTCALL, Argument, builtin, python_function, shortcut_block, supported

Array = NDArray[Any]
Names = tuple[Sequence[str], Sequence[str]]
_EMPTY = 184
"""The place of PyArray_Empty in the table of NumPy's C interface."""
_FUNCTIONS = {
    "increment": "Py_IncRef",
    "decrement": "Py_DecRef",
    "size": "PyDict_Size",
    "get": "PyDict_GetItem",
    "set": "PyDict_SetItem",
    "new_dict": "PyDict_New",
    "new_tuple": "PyTuple_New",
    "put": "PyTuple_SetItem",
}
_NAME = b"quick\0\0\0"


@functools.cache
def _empty() -> int:
    """The address of PyArray_Empty; 0 where it is not what we think it is."""
    holder = getattr(np, "_core", None) or np.core
    capsule = holder._multiarray_umath._ARRAY_API
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = ctypes.c_int64.from_address(read(capsule, None) + 8 * _EMPTY).value
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    make = ctypes.PYFUNCTYPE(ctypes.py_object, number, pointer, pointer, number)(address)
    shape, dtype = np.array([2, 3], np.int64), np.dtype(np.float32)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))
    made = make(2, shape.ctypes.data, id(dtype), 0)
    right = type(made) is np.ndarray and made.shape == (2, 3) and made.dtype is dtype and made.flags.c_contiguous
    return address if right else 0


def quick_calls(
    invocation: Invocation,
    frame: NDArray[np.int64],
    inputs: Sequence[Array],
    results: Sequence[Array],
    *,
    first: int,
    watched: Collection[int],
    names: Names,
) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """The functions that repeat a call by names, and in order; see `make_quick`. `inputs` and `results` are the call's
    arrays, whose addresses belong to the bases from `first` on; the frame depends on the contents of those `watched`.
    """
    given = [Argument(array, first + number, watched=number in watched) for number, array in enumerate(inputs)]
    make = functools.partial(make_quick, invocation, frame, given, results, first=first + len(inputs))
    return make(names=names), make()


def make_quick(
    invocation: Invocation,
    frame: NDArray[np.int64],
    inputs: Sequence[Argument],
    results: Sequence[Array],
    *,
    first: int,
    names: Names | None = None,
    start: int = 0,
) -> Callable[..., Any] | None:
    """A function of the inputs, in order, which gives the result, or a tuple of several; or, with the `names` of inputs
    and results, of one dict, which gives a dict. None if it is not supported, or a result is large.

    `frame` is the call's frame before it ran; `results` are arrays like those to be made, whose addresses belong to the
    bases from `first` on. The function gives None, and nothing has happened, if it is asked for anything else, or the
    call ends with an error. It is valid as long as the invocation is open, and for one thread at a time.
    """
    native = invocation.executable
    if not supported() or native.quick is None or not _empty() or any(one.nbytes >= LARGE for one in results):
        return None
    shortcut = shortcut_block(invocation, frame, inputs, start=start, brief=True)
    keys, named = names or ((), ())
    shapes = [np.array(one.shape, np.int64) for one in results]
    rows = np.zeros(max(1, len(results)) * (Made.size() // 8), np.int64)
    room = np.zeros(len(results) + 2 * len(inputs) + 1, np.int64)
    room[-len(keys) - 1 : -1] = [id(key) for key in keys]
    block = np.zeros(ctypes.sizeof(Quick) // 8 + 1, np.int64)
    block[-1:] = np.frombuffer(_NAME, np.int64)
    at = Quick.from_address(block.ctypes.data)
    at.name, at.code, at.convention = block[-1:].ctypes.data, native.code.address + native.quick, FASTCALL
    at.shortcut, at.results, at.rows = shortcut.ctypes.data, len(results), rows.ctypes.data
    at.made, at.found = room.ctypes.data, room[len(results) :].ctypes.data
    at.keys = room[-len(keys) - 1 :].ctypes.data if names else 0
    at.dict, at.none, at.empty = id(dict), id(None), _empty()
    for field, function in _FUNCTIONS.items():
        setattr(at, field, python_function(function))
    for number, (array, shape) in enumerate(zip(results, shapes, strict=True)):
        row = Made.from_address(rows.ctypes.data + number * Made.size())
        row.shape, row.axes, row.dtype = shape.ctypes.data, array.ndim, id(array.dtype)
        row.base = invocation.bases.ctypes.data + 8 * (first + number)
        row.name = id(named[number]) if names else 0
    kept = (shortcut, shapes, rows, room, [array.dtype for array in results], tuple(keys), tuple(named))
    return builtin(block.ctypes.data, block, kept)

"""Arrays handed on by DLPack: a capsule that keeps its array alive until the receiver lets go; and such as come in."""

from __future__ import annotations

import atexit
import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind

CUDA_DEVICE = 2
LEGACY = 1
"""The number of the default stream, in DLPack's words and in those of `__cuda_array_interface__`."""
_NAME = b"dltensor"
_CODES = {Kind.INT: 0, Kind.UINT: 1, Kind.FLOAT: 2, Kind.BOOL: 6}


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("number", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("rank", ctypes.c_int32),
        ("type", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]
_alive: dict[int, tuple[Any, ...]] = {}


def _let_go(managed: Any) -> None:
    _alive.pop(ctypes.addressof(managed.contents), None)


_DELETER = _Deleter(_let_go)


@atexit.register
def _stay() -> None:
    """What receivers still hold when Python ends stays, and its deleter is one that does nothing, not Python's; what
    ends capsules that nobody took stays, too.
    """
    ctypes.pythonapi["Py_IncRef"](ctypes.py_object(_DESTRUCTOR))
    for managed, sizes, _ in _alive.values():
        managed.deleter = ctypes.cast(ctypes.pythonapi["Py_IsInitialized"], _Deleter)
        for one in (managed, sizes):
            ctypes.pythonapi["Py_IncRef"](ctypes.py_object(one))


_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# By name: as attributes they are everybody's, and whoever sets their types last sets them for all.
_valid = ctypes.pythonapi["PyCapsule_IsValid"]
_valid.restype, _valid.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]
_pointer = ctypes.pythonapi["PyCapsule_GetPointer"]
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
_new = ctypes.pythonapi["PyCapsule_New"]
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, _Destructor]


def _unused(made: int, ended: Callable[[], bool] = sys.is_finalizing) -> None:
    if not ended() and _valid(made, _NAME):
        _alive.pop(_pointer(made, _NAME), None)


_DESTRUCTOR = _Destructor(_unused)


@functools.lru_cache(4096)
def _model(shape: tuple[int, ...], dtype: DType) -> tuple[_Managed, Any]:
    """What capsules of such arrays hold, all but the address; and the sizes that it points to."""
    sizes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    kind = _Type(*element(dtype), 1)
    return _Managed(_Tensor(None, _Device(CUDA_DEVICE, 0), len(shape), kind, sizes, None, 0), None, _DELETER), sizes


def element(dtype: DType) -> tuple[int, int]:
    """An element type in DLPack's words: a code and bits."""
    return (4 if dtype is dt.bf16 else _CODES[dtype.kind]), dtype.itemsize * 8


def capsule(owner: Any, address: int, shape: tuple[int, ...], dtype: DType) -> Any:
    """A DLPack capsule of a row-major array on the first GPU, which keeps `owner` alive."""
    model, sizes = _model(shape, dtype)
    managed = _Managed.from_buffer_copy(model)
    managed.tensor.data = address
    place = ctypes.addressof(managed)
    _alive[place] = (managed, sizes, owner)
    return _new(place, _NAME, _DESTRUCTOR)


@dataclass(frozen=True)
class Described:
    """What another library's capsule says of an array on GPU `number`, which lives as long as `owner`. `strides` are in
    elements, None if it is row-major.
    """

    address: int
    number: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    element: tuple[int, int]
    owner: Any


def described(given: Any) -> Described | None:
    """An array on a GPU that speaks DLPack, complete in the order of the stream LEGACY; None for any other."""
    if not hasattr(given, "__dlpack__") or int(given.__dlpack_device__()[0]) != CUDA_DEVICE:
        return None
    owner = given.__dlpack__(stream=LEGACY)
    one = _Managed.from_address(_pointer(id(owner), _NAME)).tensor
    strides = tuple(one.strides[: one.rank]) if one.strides else None
    kind = one.type.code, one.type.bits * one.type.lanes
    return Described(
        (one.data or 0) + one.offset, one.device.number, tuple(one.shape[: one.rank]), strides, kind, owner
    )

"""Values of object types: between Python's lists, strings and None, and the arrays that operations see.

Every value is a NumPy array. Strings are object arrays of `str`; a sequence is an object array of rank 0 that holds a
list of values, an optional one that holds a value or None.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.type import Type

Array = NDArray[Any]


def box(content: list[Array] | dict[Any, Any] | Array | None) -> Array:
    """The value of a sequence, optional or map that holds this."""
    value = np.empty((), np.object_)
    value[()] = content
    return value


def unbox(value: Array) -> Any:
    """What a sequence or optional holds: a list of values, a value, or None."""
    return value[()]


def pack(type: Type, given: Any) -> Array:
    """The value that Python's list, None, string or array stands for; TypeError says what does not fit the type."""
    if isinstance(given, np.ndarray) and given.dtype.hasobject and given.ndim == 0 and type.dtype is not dt.string:
        given = unbox(given)
    match type.dtype.kind:
        case Kind.SEQUENCE:
            return box([pack(_element(type.dtype), one) for one in _list(type, given)])
        case Kind.OPTIONAL:
            return box(None if given is None else pack(_element(type.dtype), given))
        case Kind.MAP:
            return box(_entries(type.dtype, given))
        case Kind.STRING:
            return _strings(type, given)
    return _numbers(type, given)


def unpack(dtype: DType, value: Array) -> Any:
    """The Python list, None or array that a value stands for."""
    if dtype.kind is Kind.SEQUENCE:
        return [unpack(_element(dtype).dtype, one) for one in unbox(value)]
    if dtype.kind is Kind.OPTIONAL:
        content = unbox(value)
        return None if content is None else unpack(_element(dtype).dtype, content)
    return unbox(value) if dtype.kind is Kind.MAP else value


def _element(dtype: DType) -> Type:
    assert dtype.element is not None
    return dtype.element


def _list(type: Type, given: Any) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise TypeError(f"{type.dtype} takes a list, not {_kind(given)}")
    return list(given)


def _entries(dtype: DType, given: Any) -> dict[Any, Any]:
    """A dict of Python scalars; numbers are rounded to the type of the map's values."""
    key, value = str if dtype.name.startswith("textmap") else int, _element(dtype).dtype
    if not isinstance(given, dict) or not all(isinstance(one, key) for one in given):
        raise TypeError(f"{dtype} takes a dict whose keys are {key.__name__}, not {_kind(given)}")
    found = {}
    for one, content in given.items():
        try:
            found[one] = _scalar(value, content)
        except (TypeError, OverflowError) as error:
            raise TypeError(f"{dtype} takes a dict of {value}, not of {content!r} at {one!r}") from error
    return found


def _scalar(dtype: DType, given: Any) -> Any:
    kinds = (str,) if dtype is dt.string else (int, np.integer) if dtype.is_integer else (int, float, np.number)
    if not isinstance(given, kinds):
        raise TypeError
    return given if dtype is dt.string else dtype.numpy.type(given).item()


def _strings(type: Type, given: Any) -> Array:
    array: Array = np.asarray(given, np.object_)
    wrong = [one for one in array.flat if not isinstance(one, str)]
    if wrong:
        raise TypeError(f"{type} takes str, not {_kind(wrong[0])}")
    return _shaped(type, np.array([str(one) for one in array.flat], np.object_).reshape(array.shape))


def _numbers(type: Type, given: Any) -> Array:
    array = np.asarray(given)
    if array.dtype.newbyteorder("=") != type.dtype.numpy:
        raise TypeError(f"{type} takes an array of {type.dtype.numpy.name}, not of {array.dtype}")
    return _shaped(type, np.asarray(array, type.dtype.numpy))


def _shaped(type: Type, array: Array) -> Array:
    if dt.REST in type.shape:
        return array
    stated = [size if isinstance(size, int) else None for size in type.shape]
    alike = len(stated) == array.ndim and all(a in (None, b) for a, b in zip(stated, array.shape, strict=True))
    if not alike:
        raise TypeError(f"{type} takes no array of shape {list(array.shape)}")
    return array


def _kind(given: Any) -> str:
    return f"an array of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__

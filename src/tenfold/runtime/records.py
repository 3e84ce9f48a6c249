"""JSON data of an engine file as the types that the code states; EngineError says where something does not fit.

A type is bool, int, str, float, None, a union, tuple[T, ...] or tuple[A, B], Mapping[str, T], Any, an element type, or
a dataclass whose fields are such types. Of a union of dataclasses the data name the one meant: {"name": {…}}.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Union

from tenfold.errors import EngineError
from tenfold.ir.dtype import DType
from tenfold.ir.text import element_type

Reader = Callable[[Any, str], Any]
_MOST = 2**64
_UNIONS = (Union, types.UnionType)


def damaged(where: str, problem: str) -> EngineError:
    """The error for data that are not as they must be."""
    return EngineError(f"the engine's manifest is damaged at {where}: {problem}", remedy="copy or build it again")


def read(kind: Any, data: Any, where: str) -> Any:
    """The data as an instance of the type; `where` names their place in errors."""
    return _reader(kind)(data, where)


@functools.cache
def _reader(kind: Any) -> Reader:
    """What reads data as a type. It is made once, and plain numbers and texts of the right type pass at once."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda data, where: data
    if kind is DType:
        return _element_type
    if origin in _UNIONS:
        return _union(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin is not None:
        return _mapping(_reader(inner[1]))
    return _record(kind) if dataclasses.is_dataclass(kind) else _plain(kind)


def _plain(kind: Any) -> Reader:
    def reader(data: Any, where: str) -> Any:
        if type(data) is not kind and not (kind is float and type(data) is int):
            raise damaged(where, f"{type(data).__name__} where {kind.__name__} is expected")
        if kind is int and not -_MOST <= data < _MOST:
            raise damaged(where, "a number beyond 64 bits")
        return data

    return reader


def _element_type(data: Any, where: str) -> DType:
    if not isinstance(data, str):
        raise damaged(where, f"{type(data).__name__} where an element type is expected")
    try:
        return element_type(data)
    except ValueError as error:
        raise damaged(where, str(error)) from error


def _mapping(inner: Reader) -> Reader:
    def reader(data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            raise damaged(where, f"{type(data).__name__} where names and values are expected")
        return {name: inner(value, where) for name, value in data.items()}

    return reader


def _union(kinds: tuple[Any, ...]) -> Reader:
    readers = {kind: _reader(kind) for kind in kinds if kind is not type(None)}
    named = {typing.cast(Any, kind).__name__: one for kind, one in readers.items() if dataclasses.is_dataclass(kind)}

    def reader(data: Any, where: str) -> Any:
        if data is None and type(None) in kinds:
            return None
        if len(readers) == 1:
            return next(iter(readers.values()))(data, where)
        if named:
            name = next(iter(data)) if isinstance(data, Mapping) and len(data) == 1 else None
            if name not in named:
                raise damaged(where, f"none of {', '.join(named)}")
            return named[name](data[name], where)
        if type(data) not in readers:
            names = " or ".join(kind.__name__ for kind in readers)
            raise damaged(where, f"{type(data).__name__} where {names} is expected")
        return readers[type(data)](data, where)

    return reader


def _tuple(inner: tuple[Any, ...]) -> Reader:
    readers = [_reader(kind) for kind in inner if kind is not Ellipsis]
    every = inner[1:] == (Ellipsis,)

    def reader(data: Any, where: str) -> Any:
        if not isinstance(data, list | tuple):
            raise damaged(where, f"{type(data).__name__} where a list is expected")
        if every:
            return tuple([readers[0](one, where) for one in data])
        if len(readers) != len(data):
            raise damaged(where, f"{len(data)} elements where {len(readers)} are expected")
        return tuple([one(part, where) for one, part in zip(readers, data, strict=True)])

    return reader


@functools.cache
def _fields(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """The fields of a dataclass: their types, and whether they may be left out."""
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    known = {f.name: f.default is not missing or f.default_factory is not missing for f in dataclasses.fields(kind)}
    return {name: (hints[name], optional) for name, optional in known.items()}


def _record(kind: Any) -> Reader:
    readers: dict[str, Reader] = {}

    def reader(data: Any, where: str) -> Any:
        if not readers:
            readers.update({name: _reader(hint) for name, (hint, _) in _fields(kind).items()})
        if not isinstance(data, Mapping) or not data.keys() <= readers.keys():
            raise damaged(where, f"this is no {kind.__name__}")
        lacking = [name for name, (_, optional) in _fields(kind).items() if not optional and name not in data]
        if lacking:
            raise damaged(where, f"it lacks {lacking[0]!r}")
        return kind(**{name: readers[name](value, where) for name, value in data.items()})

    return reader


def written(one: Any, expected: Any = Any) -> Any:
    """The JSON-ready data that `read` takes back; fields that are as by default are left out."""
    if isinstance(one, DType):
        return str(one)
    if isinstance(one, tuple | list):
        inner = typing.get_args(expected) if typing.get_origin(expected) is tuple else ()
        kinds = inner if inner and inner[-1] is not Ellipsis else (inner[0] if inner else Any,) * len(one)
        return [written(part, kind) for part, kind in zip(one, kinds, strict=True)]
    if not dataclasses.is_dataclass(one) or isinstance(one, type):
        return one
    hints = {name: hint for name, (hint, _) in _fields(type(one)).items()}
    standard = {field.name: field.default for field in dataclasses.fields(one)}
    values = {name: getattr(one, name) for name in hints}
    found = {name: written(value, hints[name]) for name, value in values.items() if value != standard[name]}
    return {type(one).__name__: found} if _is_named(expected) else found


def _is_named(expected: Any) -> bool:
    """True for a union of several dataclasses."""
    if typing.get_origin(expected) not in _UNIONS:
        return False
    return sum(dataclasses.is_dataclass(kind) for kind in typing.get_args(expected)) > 1

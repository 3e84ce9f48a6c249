"""Element types: their width, their limits, and how NumPy sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from tenfold.ir import dim
from tenfold.ir.dim import Dim

if TYPE_CHECKING:
    from tenfold.ir.type import Type


class Kind(Enum):
    """What an element is, whatever its width."""

    FLOAT = "float"
    INT = "int"
    UINT = "uint"
    BOOL = "bool"
    COMPLEX = "complex"
    STRING = "string"
    SEQUENCE = "sequence"
    OPTIONAL = "optional"
    MAP = "map"


@dataclass(frozen=True)
class DType:
    """An element type. `bits` is the width of one element as a model states it (4 for int4);
    `itemsize` the bytes one element takes in our buffers, where every element is byte-addressable.
    `element` is what a sequence, an optional or a map holds.
    """

    name: str
    kind: Kind
    bits: int
    numpy: np.dtype
    element: Type | None = None

    @property
    def itemsize(self) -> int:
        """Bytes an element takes in memory (sub-byte types are stored one to a byte)."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        """True for every floating-point type, fp4 to f64."""
        return self.kind is Kind.FLOAT

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self.kind in (Kind.INT, Kind.UINT)

    @property
    def is_object(self) -> bool:
        """True for what is no number: strings, sequences, optionals and maps. Only host steps touch them."""
        return self.numpy.hasobject

    def fits(self, array: np.ndarray[Any, Any]) -> bool:
        """Whether a NumPy array holds elements of this type, as far as its own dtype says."""
        return array.dtype.kind in "OSUT" if self.is_object else of(array.dtype) is self

    @cached_property
    def limits(self) -> tuple[float, float] | tuple[int, int]:
        """The lowest and the highest finite value."""
        if self.kind is Kind.BOOL:
            return (0, 1)
        if self.is_integer:
            info: Any = ml_dtypes.iinfo(self.numpy)  # type: ignore[no-untyped-call]
            return (int(info.min), int(info.max))
        finfo: Any = ml_dtypes.finfo(self.numpy)  # type: ignore[no-untyped-call]
        return (float(finfo.min), float(finfo.max))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[object, ...]:
        made: Any = HOLDERS.get(self.name.partition("<")[0])
        return (made, (self.element,)) if made else (parse, (self.name,))


def _make(name: str, kind: Kind, bits: int, numpy: DTypeLike) -> DType:
    return DType(name, kind, bits, np.dtype(numpy))


f64 = _make("f64", Kind.FLOAT, 64, np.float64)
f32 = _make("f32", Kind.FLOAT, 32, np.float32)
f16 = _make("f16", Kind.FLOAT, 16, np.float16)
bf16 = _make("bf16", Kind.FLOAT, 16, ml_dtypes.bfloat16)
f8e4m3fn = _make("f8e4m3fn", Kind.FLOAT, 8, ml_dtypes.float8_e4m3fn)
f8e4m3fnuz = _make("f8e4m3fnuz", Kind.FLOAT, 8, ml_dtypes.float8_e4m3fnuz)
f8e5m2 = _make("f8e5m2", Kind.FLOAT, 8, ml_dtypes.float8_e5m2)
f8e5m2fnuz = _make("f8e5m2fnuz", Kind.FLOAT, 8, ml_dtypes.float8_e5m2fnuz)
f8e8m0 = _make("f8e8m0", Kind.FLOAT, 8, ml_dtypes.float8_e8m0fnu)
f6e2m3 = _make("f6e2m3", Kind.FLOAT, 6, ml_dtypes.float6_e2m3fn)
f6e3m2 = _make("f6e3m2", Kind.FLOAT, 6, ml_dtypes.float6_e3m2fn)
f4e2m1 = _make("f4e2m1", Kind.FLOAT, 4, ml_dtypes.float4_e2m1fn)
i64 = _make("i64", Kind.INT, 64, np.int64)
i32 = _make("i32", Kind.INT, 32, np.int32)
i16 = _make("i16", Kind.INT, 16, np.int16)
i8 = _make("i8", Kind.INT, 8, np.int8)
i4 = _make("i4", Kind.INT, 4, ml_dtypes.int4)
i2 = _make("i2", Kind.INT, 2, ml_dtypes.int2)
u64 = _make("u64", Kind.UINT, 64, np.uint64)
u32 = _make("u32", Kind.UINT, 32, np.uint32)
u16 = _make("u16", Kind.UINT, 16, np.uint16)
u8 = _make("u8", Kind.UINT, 8, np.uint8)
u4 = _make("u4", Kind.UINT, 4, ml_dtypes.uint4)
u2 = _make("u2", Kind.UINT, 2, ml_dtypes.uint2)
boolean = _make("bool", Kind.BOOL, 8, np.bool_)
c64 = _make("c64", Kind.COMPLEX, 64, np.complex64)
c128 = _make("c128", Kind.COMPLEX, 128, np.complex128)
string = _make("string", Kind.STRING, 64, np.object_)

ALL: tuple[DType, ...] = (
    *(f64, f32, f16, bf16, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f6e2m3, f6e3m2, f4e2m1),
    *(i64, i32, i16, i8, i4, i2, u64, u32, u16, u8, u4, u2, boolean, c64, c128, string),
)

_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in ALL}


ANY = dim.unknown("?")
"""A size of the values in a sequence or an optional that may be another in each of them."""

REST = dim.unknown("...")
"""Stands alone in the shape of the values in a sequence or an optional: any number of axes of any sizes."""


def sequence(element: Type) -> DType:
    """The type of lists of values of one type; sizes that only data decide may differ from value to value.

    A tensor of it has rank 0: an object array that holds a list of arrays, or of arrays that hold lists again.
    """
    return _holding(Kind.SEQUENCE, "seq", _each(element))


def optional(element: Type) -> DType:
    """The type of values that may be missing: tensors of rank 0, object arrays that hold None or an array."""
    return _holding(Kind.OPTIONAL, "opt", _each(element))


def text_map(element: Type) -> DType:
    """The type of maps from strings to values: tensors of rank 0, object arrays that hold a dict of Python scalars."""
    return _holding(Kind.MAP, "textmap", _each(element))


def int_map(element: Type) -> DType:
    """The same of maps from integers."""
    return _holding(Kind.MAP, "intmap", _each(element))


HOLDERS = {"seq": sequence, "opt": optional, "textmap": text_map, "intmap": int_map}
"""Types of what holds other values, by the names that they have in the textual form."""


@cache
def _holding(kind: Kind, name: str, element: Type) -> DType:
    return DType(f"{name}<{element}>", kind, 64, np.dtype(np.object_), element)


def _each(element: Type) -> Type:
    free = (isinstance(size, Dim) and size.data_dependent and size is not REST for size in element.shape)
    shape = tuple(ANY if open else size for open, size in zip(free, element.shape, strict=True))
    return replace(element, shape=shape, entries=None)


def parse(name: str) -> DType:
    """The element type of that name, of those in `ALL`; KeyError if there is none."""
    return _BY_NAME[name]


def of(array_dtype: DTypeLike) -> DType:
    """The element type of a NumPy dtype (any string kind is `string`); TypeError if there is none."""
    dtype = np.dtype(array_dtype)
    if dtype.kind in "OSUT":
        return string
    found = _BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        raise TypeError(f"no element type for NumPy's {dtype}")
    return found

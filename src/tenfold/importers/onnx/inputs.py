"""The model's inputs as values: declared shapes, what the user's `shapes=` and `dims=` make of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from onnx import TensorProto, TensorShapeProto, TypeProto, ValueInfoProto

from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.overrides import Bounds, Overrides, Shape, require_axes
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.type import ENTRIES_LIMIT, Type

ANONYMOUS = frozenset({"", "?", "-1", "None", "none"})


class Declared(Overrides):
    """Turns declared types into types with symbols, under the user's overrides."""

    def __init__(self, shapes: Mapping[str, Shape] | None, dims: Mapping[str, Bounds] | None) -> None:
        super().__init__(shapes, dims)
        self.contents: set[str] = set()
        """The names of the symbols that stand for contents of integer and boolean inputs."""

    def type(self, info: ValueInfoProto) -> Type:
        """The type of one input."""
        kind = info.type.WhichOneof("value")
        if kind is None:
            raise ModelError(f"input {info.name!r} states no type")
        if kind != "tensor_type":
            return value_type(info.type, f"input {info.name!r}", self._shapes.get(info.name))
        tensor = info.type.tensor_type
        dtype = element_type(tensor.elem_type, f"input {info.name}")
        override = self._shapes.get(info.name)
        if override is not None:
            shape = self._overridden(info.name, tensor, override)
        elif not tensor.HasField("shape"):
            raise UnsupportedError(
                f"input {info.name!r} states no shape", argument="shapes", remedy=f"pass shapes={{{info.name!r}: (…)}}"
            )
        else:
            sizes = enumerate(tensor.shape.dim)
            shape = tuple(self._declared(info.name, axis, size) for axis, size in sizes)
        return self._with_entries(info.name, Type(dtype, shape))

    def _overridden(self, name: str, tensor: TypeProto.Tensor, sizes: Shape) -> tuple[Size, ...]:
        if tensor.HasField("shape"):
            require_axes(name, sizes, len(tensor.shape.dim))
        return tuple(self.named(size) if isinstance(size, str) else _checked(name, size) for size in sizes)

    def _declared(self, name: str, axis: int, size: TensorShapeProto.Dimension) -> Size:
        if size.HasField("dim_value") and size.dim_value >= 0:
            return size.dim_value
        if size.HasField("dim_value") and size.dim_value < -1:
            raise ModelError(f"axis {axis} of input {name!r} has the size {size.dim_value}")
        named = size.dim_param.strip() if size.HasField("dim_param") else ""
        return self.named(f"{name}.{axis}" if named in ANONYMOUS else named)

    def _with_entries(self, name: str, type: Type) -> Type:
        count = type.size
        followed = type.dtype.is_integer or type.dtype is dt.boolean
        if not followed or not isinstance(count, int) or count > ENTRIES_LIMIT:
            return type
        low, high = (0, 1) if type.dtype is dt.boolean else (None, None)
        names = [f"{name}[{index}]" for index in range(count)]
        self.contents.update(names)
        return type.with_entries(tuple(dim.symbol(one, low=low, high=high) for one in names))


def _checked(name: str, size: int | Dim) -> Size:
    if isinstance(size, Dim):
        return size
    try:
        number = -1 if isinstance(size, bool) else operator.index(size)
    except TypeError:
        number = -1
    if number < 0:
        raise OptionError(
            f"a size of {name!r} is {size!r}", argument="shapes", remedy="give a number, or a name to leave it open"
        )
    return number


def value_type(stated: TypeProto, what: str, shape: Shape | None = None) -> Type:
    """The type of values in sequences and optionals: sizes that are no numbers may be others in each of them.

    `shape` overrides the sizes of the tensors innermost. UnsupportedError for sparse tensors.
    """
    kind = stated.WhichOneof("value")
    if kind == "sequence_type":
        return Type(dt.sequence(value_type(stated.sequence_type.elem_type, what, shape)), ())
    if kind == "optional_type":
        return Type(dt.optional(value_type(stated.optional_type.elem_type, what, shape)), ())
    if kind == "map_type":
        make = dt.text_map if stated.map_type.key_type == TensorProto.STRING else dt.int_map
        return Type(make(value_type(stated.map_type.value_type, what)), ())
    if kind != "tensor_type":
        raise UnsupportedError(
            f"{what} is of the kind {(kind or 'none').removesuffix('_type')}, which is not supported"
        )
    dtype = element_type(stated.tensor_type.elem_type, what)
    if shape is not None:
        return Type(dtype, tuple(size if isinstance(size, int) else dt.ANY for size in shape))
    if not stated.tensor_type.HasField("shape"):
        return Type(dtype, (dt.REST,))
    return Type(dtype, tuple(_number_or_any(size) for size in stated.tensor_type.shape.dim))


def _number_or_any(size: TensorShapeProto.Dimension) -> Size:
    return size.dim_value if size.HasField("dim_value") and size.dim_value >= 0 else dt.ANY

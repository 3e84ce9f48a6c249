"""Reading protobuf messages of the ONNX format without trusting them: models, tensors, attributes."""

from __future__ import annotations

import difflib
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
    numpy_helper,
)

from tenfold.errors import LimitError, ModelError
from tenfold.importers.convert import Attribute, Subgraph
from tenfold.importers.onnx.external import Folder, external
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor

DEEPEST_GRAPH = 48
DEEPEST_TYPE = 16

DTYPES: Mapping[int, DType] = {
    TensorProto.FLOAT: dt.f32,
    TensorProto.UINT8: dt.u8,
    TensorProto.INT8: dt.i8,
    TensorProto.UINT16: dt.u16,
    TensorProto.INT16: dt.i16,
    TensorProto.INT32: dt.i32,
    TensorProto.INT64: dt.i64,
    TensorProto.STRING: dt.string,
    TensorProto.BOOL: dt.boolean,
    TensorProto.FLOAT16: dt.f16,
    TensorProto.DOUBLE: dt.f64,
    TensorProto.UINT32: dt.u32,
    TensorProto.UINT64: dt.u64,
    TensorProto.COMPLEX64: dt.c64,
    TensorProto.COMPLEX128: dt.c128,
    TensorProto.BFLOAT16: dt.bf16,
    TensorProto.FLOAT8E4M3FN: dt.f8e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: dt.f8e4m3fnuz,
    TensorProto.FLOAT8E5M2: dt.f8e5m2,
    TensorProto.FLOAT8E5M2FNUZ: dt.f8e5m2fnuz,
    TensorProto.UINT4: dt.u4,
    TensorProto.INT4: dt.i4,
    TensorProto.FLOAT4E2M1: dt.f4e2m1,
    TensorProto.FLOAT8E8M0: dt.f8e8m0,
    TensorProto.UINT2: dt.u2,
    TensorProto.INT2: dt.i2,
    TensorProto.FLOAT6E2M3: dt.f6e2m3,
    TensorProto.FLOAT6E3M2: dt.f6e3m2,
}

NUMBERS: Mapping[DType, int] = {dtype: number for number, dtype in DTYPES.items()}

LARGEST_MESSAGE = 2**31
LARGEST_DENSE = 2**30

_FIELDS: Mapping[DType, tuple[str, int]] = {
    dt.f32: ("float_data", 1),
    dt.f64: ("double_data", 1),
    dt.i64: ("int64_data", 1),
    dt.u64: ("uint64_data", 1),
    dt.u32: ("uint64_data", 1),
    dt.string: ("string_data", 1),
    dt.c64: ("float_data", 2),
    dt.c128: ("double_data", 2),
}


def read_model(model: str | os.PathLike[str] | bytes | ModelProto) -> tuple[ModelProto, Path | None]:
    """The model as a message, and the folder it lies in (None if it came as bytes or as a message)."""
    folder = None
    if isinstance(model, ModelProto):
        message = model
    elif isinstance(model, bytes | bytearray | memoryview):
        message = _message(bytes(model))
    else:
        data, folder = _read(Path(model))
        message = _message(data, f"{model}: ")
    if not message.HasField("graph"):
        raise ModelError("this ONNX model holds no graph", argument="model")
    if not all(isinstance(text, str) for text in _texts(message)):
        raise ModelError("this ONNX model holds a name that is no UTF-8 text", argument="model")
    return message, folder


def _message(data: bytes, where: str = "") -> ModelProto:
    message = ModelProto()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise _no_model(data, where) from error
    if not data:
        raise _no_model(data, where)
    return message


def _no_model(data: bytes, where: str) -> ModelError:
    return ModelError(
        f"{where}this is no ONNX model, or a truncated one ({len(data)} bytes)",
        argument="model",
        remedy=next((remedy for at, first, remedy in _OTHERS if data[at:].startswith(first)), _WHOLE),
    )


_WHOLE = "check that the file was downloaded whole"
_OTHERS = (
    (0, b"version https://git-lfs", "it is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (0, b"<", "it is a web page: download the file itself"),
    (0, b"PK", "it is an archive: unpack it, and give the model inside"),
    (0, b"GGUF", "it holds weights of llama.cpp: build from the PyTorch or ONNX model that they were made of"),
    (4, b"TFL3", "it is a model of TensorFlow Lite: build from the Keras or ONNX model that it was made of"),
    (8, b'{"', "it holds weights alone: load them into their module, and build from that"),
)
"""What else files begin with: where, which bytes, and what to do then."""


def _read(path: Path) -> tuple[bytes, Path]:
    """The bytes of a model file, and its folder."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ModelError(
                f"cannot read {path}: it is no file", argument="model", remedy="give the path of a model file"
            )
        if about.st_size >= LARGEST_MESSAGE:
            raise ModelError(
                f"{path} has {about.st_size} bytes, and an ONNX file holds less than {LARGEST_MESSAGE}",
                argument="model",
                remedy="save it with its weights as external data",
            )
        return path.read_bytes(), path.parent
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", argument="model", remedy=_instead(path)) from error


def _instead(path: Path) -> str:
    """What to do about a model file that cannot be read."""
    if path.exists():
        return "give a file that this process may read"
    if path.parts[0] in ("http:", "https:"):
        return "download it first: models are read from files"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}: give the path of a model file"
    near = difflib.get_close_matches(path.name, os.listdir(path.parent), 1, 0.8)
    return f"did you mean {path.with_name(near[0])}?" if near else "give the path of a model file"


def _texts(model: ModelProto) -> Iterator[object]:
    """Every name that the importer reads: the parser gives bytes for one that is no text."""
    yield from (model.producer_name, model.domain, model.doc_string, model.graph.doc_string)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    for imported in model.opset_import:
        yield imported.domain
    for function in model.functions:
        yield from (function.name, function.domain, function.overload, *function.input, *function.output)
        yield from _texts_of_nodes(function.node)
    yield from _texts_of_graph(model.graph)


def _texts_of_graph(graph: GraphProto, depth: int = 0) -> Iterator[object]:
    if depth > DEEPEST_GRAPH:
        raise LimitError(f"the graphs of this model are nested more than {DEEPEST_GRAPH} deep", argument="model")
    yield graph.name
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from _texts_of_type(info.type)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    yield from _texts_of_nodes(graph.node, depth)


def _texts_of_type(of: TypeProto) -> Iterator[object]:
    for _ in range(DEEPEST_TYPE):
        match of.WhichOneof("value"):
            case "sequence_type":
                of = of.sequence_type.elem_type
            case "optional_type":
                of = of.optional_type.elem_type
            case "map_type":
                of = of.map_type.value_type
            case _:
                yield from (size.dim_param for size in of.tensor_type.shape.dim)
                return
    raise LimitError(f"a type of this model is nested more than {DEEPEST_TYPE} deep", argument="model")


def _texts_of_nodes(nodes: Iterable[NodeProto], depth: int = 0) -> Iterator[object]:
    for node in nodes:
        yield from (node.op_type, node.domain, node.name, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name, attribute.t.name)
            if attribute.HasField("g"):
                yield from _texts_of_graph(attribute.g, depth + 1)


def element_type(number: int, what: str) -> DType:
    """The element type that ONNX numbers so; ModelError names `what` has it if there is none."""
    found = DTYPES.get(number)
    if found is None:
        raise ModelError(f"{what} has the element type {number}, which ONNX does not define")
    return found


def read_tensor(message: TensorProto, root: Folder | None, source: str | None = None) -> Tensor:
    """A tensor that is read when asked for; its size is checked against its data now."""
    name = message.name or "a tensor"
    dtype = element_type(message.data_type, f"tensor {name}")
    shape = tuple(message.dims)
    if any(size < 0 for size in shape):
        raise ModelError(f"tensor {name} has the shape {list(shape)}")
    if message.HasField("segment"):
        raise ModelError(f"tensor {name} is stored in segments, which ONNX no longer defines")
    count = math.prod(shape)
    if message.data_location == TensorProto.EXTERNAL:
        load = external(message, dtype, count, root)
    else:
        _check_length(message, dtype, count)
        load = _inline(message, dtype)
    return Tensor(load, dtype=dtype, shape=shape, source=source)


def read_sparse(message: SparseTensorProto, root: Folder | None, source: str | None = None) -> Tensor:
    """A sparse tensor as a dense one."""
    shape = tuple(message.dims)
    values, indices = read_tensor(message.values, root), read_tensor(message.indices, root)
    name = message.values.name or "a sparse tensor"
    if any(size < 0 for size in shape):
        raise ModelError(f"{name} has the shape {list(shape)}")
    if math.prod(shape) * values.dtype.itemsize > LARGEST_DENSE:
        raise LimitError(f"{name} of shape {list(shape)} has more than {LARGEST_DENSE} bytes once it is dense")
    flat, count = indices.array, math.prod(shape)
    if flat.dtype != np.int64 or values.shape != flat.shape[:1]:
        raise ModelError(f"{name} has indices {flat.shape} for values {values.shape}")
    if flat.ndim == 2:
        if flat.shape[1] != len(shape) or (flat < 0).any() or (flat >= np.array(shape)).any():
            raise ModelError(f"{name} holds an index outside its shape {list(shape)}")
        flat = np.ravel_multi_index(tuple(flat.T), shape) if len(flat) else np.zeros(0, np.int64)
    if flat.size and not (flat.min() >= 0 and flat.max() < count):
        raise ModelError(f"{name} holds an index outside its shape {list(shape)}")

    def load() -> Array:
        dense = np.zeros(count, values.dtype.numpy)
        dense[flat] = values.array
        return dense.reshape(shape)

    return Tensor(load, dtype=values.dtype, shape=shape, source=source)


def read_attributes(
    messages: Mapping[str, AttributeProto], root: Folder | None, subgraph: Callable[[GraphProto], Subgraph]
) -> dict[str, Attribute]:
    """An operator's attributes as Python values."""
    return {name: _attribute(message, root, subgraph) for name, message in messages.items()}


def _attribute(message: AttributeProto, root: Folder | None, subgraph: Callable[[GraphProto], Subgraph]) -> Attribute:
    kind: int = message.type
    plain: dict[int, Callable[[], Any]] = {
        AttributeProto.INT: lambda: message.i,
        AttributeProto.FLOAT: lambda: message.f,
        AttributeProto.STRING: lambda: message.s.decode("utf-8", "surrogateescape"),
        AttributeProto.INTS: lambda: tuple(message.ints),
        AttributeProto.FLOATS: lambda: tuple(message.floats),
        AttributeProto.STRINGS: lambda: tuple(one.decode("utf-8", "surrogateescape") for one in message.strings),
        AttributeProto.TENSOR: lambda: read_tensor(message.t, root, message.t.name or None),
        AttributeProto.SPARSE_TENSOR: lambda: read_sparse(message.sparse_tensor, root),
        AttributeProto.GRAPH: lambda: subgraph(message.g),
        AttributeProto.TYPE_PROTO: lambda: message.tp.SerializeToString().hex(),
    }
    if kind == AttributeProto.UNDEFINED:
        kind = next((k for k, field in _UNTYPED.items() if _holds(message, field)), AttributeProto.INTS)
    if kind not in plain:
        raise ModelError(f"attribute {message.name} is of kind {AttributeProto.AttributeType.Name(message.type)}")
    found: Attribute = plain[kind]()
    return found


_UNTYPED: Mapping[int, str] = {
    AttributeProto.INT: "i",
    AttributeProto.FLOAT: "f",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
}


def _holds(message: AttributeProto, field: str) -> bool:
    return len(getattr(message, field)) > 0 if field.endswith("s") and field != "s" else message.HasField(field)


def _check_length(message: TensorProto, dtype: DType, count: int) -> None:
    if message.HasField("raw_data") and dtype is not dt.string:
        expected, came, unit = -(-count * dtype.bits // 8), len(message.raw_data), "bytes"
    else:
        field, each = _FIELDS.get(dtype, ("int32_data", 1))
        expected, came, unit = count * each, len(getattr(message, field)), "elements"
        if dtype.bits < 8:
            expected = -(-count * dtype.bits // 8)
    if came != expected:
        shape = list(message.dims)
        raise ModelError(f"tensor {message.name} of {dtype}{shape} needs {expected} {unit}, and holds {came}")


def _inline(message: TensorProto, dtype: DType) -> Callable[[], Array]:
    def load() -> Array:
        if dtype is dt.string:
            texts = [one.decode("utf-8", "surrogateescape") for one in message.string_data]
            return np.array(texts, dtype=np.object_).reshape(tuple(message.dims))
        found = numpy_helper.to_array(message)
        return found.view(np.uint8) != 0 if dtype is dt.boolean else found.astype(dtype.numpy, copy=False)

    return load

"""What a configuration says, as Python values: element types, slices, tensors of the graph, constants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.errors import ModelError, UnsupportedError
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array

DTYPES: Mapping[str, DType] = {
    "float16": dt.f16,
    "bfloat16": dt.bf16,
    "float32": dt.f32,
    "float64": dt.f64,
    **{f"{sign}int{bits}": dt.parse(f"{sign or 'i'}{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": dt.boolean,
    "string": dt.string,
}

CODE = "it holds Python code, which is never run"


@dataclass(frozen=True)
class Ref:
    """Tensor `index` of what a layer returns, the time it is called for the `call`-th time."""

    layer: str
    call: int
    index: int


def dtype_of(name: Any, where: str) -> DType:
    """The element type that Keras calls so; ModelError for one that it does not have."""
    found = DTYPES.get(name.rpartition(".")[2]) if isinstance(name, str) else None
    if found is None:
        raise ModelError(f"{name!r} is no element type that is known", operator=where)
    return found


def policy_of(stated: Any, where: str) -> tuple[DType, DType]:
    """What a layer computes in and what its variables are, by its dtype policy.

    UnsupportedError for policies of quantized layers.
    """
    name = stated
    if isinstance(stated, Mapping):
        inner = stated.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping) and name is None and "mode" in inner:
            name = f"{inner['mode']}_from_{inner.get('source_name')}"
    if name in (None, "mixed_float16", "mixed_bfloat16"):
        return dtype_of({None: "float32"}.get(name, str(name).removeprefix("mixed_")), where), dt.f32
    if isinstance(name, str) and "_from_" in name:
        raise UnsupportedError(
            f"the dtype policy {name!r} of a quantized layer",
            operator=where,
            remedy="build the model before model.quantize()",
        )
    found = dtype_of(name, where)
    return found, found


def decoded(value: Any, where: str, layers: Collection[str] = ()) -> Any:
    """A value of a configuration. Tensors of the graph become `Ref`s; with `layers`, also the lists of a layer's name
    and two numbers by which Keras 2 writes them. UnsupportedError for code.
    """
    if isinstance(value, list | tuple):
        if len(value) == 3 and value[0] in layers and all(type(one) is int for one in value[1:]):
            return Ref(*value)
        return [decoded(one, where, layers) for one in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if isinstance(kind, str) and kind in _SPECIAL:
        inner = value.get("config") or {}
        if not isinstance(inner, Mapping):
            raise ModelError(f"{kind} states no configuration", operator=where)
        return _SPECIAL[kind](inner, where)
    if kind is not None and "config" in value:
        return value
    return {str(key): decoded(one, where, layers) for key, one in value.items()}


def _tensor(inner: Mapping[str, Any], where: str) -> Ref:
    return reference(inner.get("keras_history"), where)


def reference(found: Any, where: str) -> Ref:
    """A layer's name, the number of its call and the number of a tensor; ModelError if it is none."""
    match found:
        case [str(layer), int(call), int(index), *_] if call >= 0 and index >= 0:
            return Ref(layer, call, index)
    raise ModelError(f"{found!r} names no tensor of the model", operator=where)


def _array(inner: Mapping[str, Any], where: str) -> Array:
    kind = dtype_of(inner.get("dtype"), where)
    return np.asarray(inner.get("value"), kind.numpy)


def _slice(inner: Mapping[str, Any], where: str) -> slice:
    ends = [inner.get(name) for name in ("start", "stop", "step")]
    if not all(one is None or type(one) is int for one in ends):
        raise UnsupportedError("a slice whose ends are no numbers", operator=where)
    return slice(*ends)


def _code(inner: Mapping[str, Any], where: str) -> Any:
    raise UnsupportedError(
        CODE, operator=where, remedy="replace the lambda by layers or by operations of keras.ops, and save again"
    )


_SPECIAL: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "__keras_tensor__": _tensor,
    "__tensor__": _array,
    "__numpy__": _array,
    "__slice__": _slice,
    "__ellipsis__": lambda inner, where: ...,
    "__bytes__": lambda inner, where: str(inner.get("value", "")),
    "__lambda__": _code,
}

"""Categories: numbers and words to places in a vocabulary, places to rows of zeros and ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenfold.importers.keras.activation import where
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.keras.values import decoded
from tenfold.importers.shorthand import apply, cast, constant, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Mod, Mul
from tenfold.ops.logic import Equal, GreaterOrEqual
from tenfold.ops.reduce import Reduce
from tenfold.ops.text import Lookup


def encoded(layer: Layer, places: Value, depth: int, kind: DType, weights: Value | None = None) -> Value:
    """Places as they are, or as rows of `depth` columns: one row for each, or one for all of a sample."""
    mode = layer.text("output_mode", "int", ("int", "one_hot", "multi_hot", "count", "tf_idf"))
    if mode == "int":
        return cast(places, kind)
    shape = places.type.shape
    if mode == "one_hot" and len(shape) > 1 and shape[-1] == 1:
        places, shape = reshaped(places, shape[:-1]), shape[:-1]
    rows = cast(apply(Equal(), reshaped(cast(places, dt.i64), (*shape, 1)), constant(np.arange(depth))), kind)
    if mode == "one_hot":
        return rows
    if weights is not None:
        rows = apply(Mul(), rows, reshaped(cast(weights, kind), (*weights.type.shape, 1)))
    axis = (max(0, rows.type.rank - 2),)
    return apply(Reduce("max" if mode == "multi_hot" else "sum", axis, False), rows)


def category_encoding(layer: Layer, x: Value, count_weights: Value | None = None) -> Value:
    """CategoryEncoding."""
    return encoded(layer, x, layer.integer("num_tokens"), layer.compute, count_weights)


def discretization(layer: Layer, x: Value) -> Value:
    """How many boundaries are not above each element."""
    stated = layer.config.get("bin_boundaries")
    if not isinstance(stated, list) or not all(isinstance(one, int | float) for one in stated):
        raise layer.unsupported("it states no bin_boundaries", "call adapt() before the model is saved")
    bounds = constant(np.asarray(stated, np.float32))
    reached = apply(GreaterOrEqual(), reshaped(cast(x, dt.f32), (*x.type.shape, 1)), bounds)
    places = apply(Reduce("sum", (x.type.rank,), False), cast(reached, dt.i32))
    kind = dt.i32 if layer.config.get("output_mode", "int") == "int" else layer.compute
    return encoded(layer, places, len(stated) + 1, kind)


def lookup(layer: Layer, x: Value) -> Value:
    """StringLookup and IntegerLookup: the place of each key, first that of the mask, then that of what is unknown."""
    words = _vocabulary(layer)
    unknown, mask = layer.integer("num_oov_indices", 1), layer.config.get("mask_token")
    first = 1 if mask is not None and layer.config.get("output_mode", "int") == "int" else 0
    start = first + unknown
    text = layer.kind == "StringLookup"
    keys = Tensor(np.asarray(words, object if text else np.int64))
    if layer.flag("invert", False):
        return _inverted(layer, x, keys, start, mask)
    numbers = Tensor(np.arange(start, start + len(words)))
    wide = x if text else cast(x, dt.i64)
    places = apply(Lookup(keys, numbers, Tensor(np.asarray(first if unknown == 1 else -1))), wide)
    if unknown > 1:
        if text:
            raise layer.unsupported("num_oov_indices above 1 hashes words", "use num_oov_indices=1")
        rest = apply(Add(), apply(Mod(), wide, unknown), first)
        places = where(apply(Equal(), places, -1), rest, places)
    if first:
        token = constant(np.asarray(mask, object if text else np.int64))
        places = where(apply(Equal(), wide, token), 0, places)
    whole = layer.config.get("output_mode", "int") == "int"
    kind = dt.i64 if whole else dt.f32 if layer.compute is dt.string else layer.compute
    return encoded(layer, places, _columns(layer, start + len(words)), kind)


def _columns(layer: Layer, count: int) -> int:
    return layer.integer("max_tokens") if layer.flag("pad_to_max_tokens", False) else count


def _inverted(layer: Layer, x: Value, keys: Tensor, start: int, mask: Any) -> Value:
    unknown = layer.config.get("oov_token")
    special = [mask] if start > layer.integer("num_oov_indices", 1) else []
    special += [unknown] * (start - len(special))
    values = Tensor(np.asarray([*special, *keys.array.tolist()], keys.array.dtype))
    default = Tensor(np.asarray(unknown, keys.array.dtype))
    return apply(Lookup(Tensor(np.arange(len(values.array))), values, default), cast(x, dt.i64))


def _vocabulary(layer: Layer) -> list[Any]:
    """The keys without those of the mask and of what is unknown."""
    stated = decoded(layer.config.get("vocabulary"), layer.name)
    if stated is not None:
        return list(np.asarray(stated).ravel().tolist())
    text = layer.asset("vocabulary.txt")
    if text is None:
        raise layer.unsupported("it has no vocabulary", "call adapt() before the model is saved")
    words: list[Any] = text.decode("utf-8").split("\n")
    special = {str(layer.config.get(name)) for name in ("mask_token", "oov_token")}
    kept = [one for at, one in enumerate(words) if one not in special or at > layer.integer("num_oov_indices", 1)]
    return kept if layer.kind == "StringLookup" else [int(one) for one in kept]


TABLE: Table = {
    "CategoryEncoding": category_encoding,
    "Discretization": discretization,
    "IntegerLookup": lookup,
    "StringLookup": lookup,
}

"""ai.onnx.ml: encoders, scalers and what else prepares features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.shorthand import apply, cast, number, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Abs, Add, Div, Minimum, Mul, Sqrt, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.control import Require
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Equal, Greater, IsNan, Less, LessOrEqual, Where
from tenfold.ops.mapping import CastMap, DictVectorizer, ZipMap
from tenfold.ops.movement import Concat, Expand, Pad
from tenfold.ops.reduce import Reduce
from tenfold.ops.text import Lookup, strings

DOMAIN = "ai.onnx.ml"
MOST_KEYS = 2**24


def array_feature_extractor(node: Operator) -> Results:
    """Columns by number; a row without a batch gets one."""
    x, columns = node.input(0), node.input(1)
    x = reshaped(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    return apply(Gather(x.type.rank - 1), x, reshaped(columns, (columns.type.size,)))


def binarizer(node: Operator) -> Results:
    """1 above the threshold, else 0."""
    x = node.input(0)
    above = apply(Greater(), as_float(x), node.number("threshold", 0.0))
    return cast(above, x.type.dtype)


def as_float(x: Value) -> Value:
    """Numbers as they are compared and computed with: integers as f32."""
    return x if x.type.dtype.is_float else cast(x, dt.f32)


def feature_vectorizer(node: Operator) -> Results:
    """Columns of all inputs beside each other, each cut or filled with 0 to its stated width."""
    inputs = [node.input(at) for at in range(len(node.inputs))]
    widths = node.integers("inputdimensions", tuple(-1 for _ in inputs))
    if len(widths) != len(inputs):
        raise node.invalid(f"{len(widths)} widths for {len(inputs)} inputs")
    columns = [_columns(node, cast(x, dt.f32), width) for x, width in zip(inputs, widths, strict=True)]
    return columns[0] if len(columns) == 1 else Concat(1)(*columns)


def _columns(node: Operator, x: Value, width: int) -> Value:
    x = reshaped(x, (x.type.size, 1)) if x.type.rank == 1 else x
    if x.type.rank != 2:
        raise node.invalid(f"it takes rows of features, not {x.type}")
    own = x.type.shape[1]
    if width < 0 or dim.known_equal(own, width):
        return x
    cut = part(x, 1, 0, dim.minimum(own, width))
    result: Value = Pad((0, 0), (0, width - cut.type.shape[1]))(cut)
    return result


def imputer(node: Operator) -> Results:
    """What equals the replaced value becomes the imputed value of its column."""
    x = node.input(0)
    if x.type.dtype.is_float:
        values, replaced = node.numbers("imputed_value_floats", ()), node.number("replaced_value_float", 0.0)
    else:
        values, replaced = node.integers("imputed_value_int64s", ()), node.integer("replaced_value_int64", 0)
    if not values:
        raise node.invalid(f"it states no values for {x.type.dtype}")
    imputed = constant(np.array(values, np.float32 if x.type.dtype.is_float else np.int64), x.type.dtype)
    missing = IsNan()(x) if replaced != replaced else apply(Equal(), x, replaced)
    result: Value = Where()(missing, imputed, x)
    return result


def normalizer(node: Operator) -> Results:
    """Rows divided by their largest element, their sum of magnitudes, or their length; rows of 0 stay."""
    x, kind = cast(node.input(0), dt.f32), node.text("norm", "MAX", ("MAX", "L1", "L2"))
    last = (x.type.rank - 1,)
    match kind:
        case "MAX":
            scale = apply(Reduce("max", last), x)
        case "L1":
            scale = apply(Reduce("sum", last), Abs()(x))
        case _:
            scale = Sqrt()(apply(Reduce("sum_square", last), x))
    safe = Where()(apply(Equal(), scale, 0), number(1, scale), scale)
    return apply(Div(), x, safe)


def scaler(node: Operator) -> Results:
    """(x - offset) * scale."""
    x = cast(node.input(0), dt.f32)
    offset, scale = (node.numbers(name, ()) for name in ("offset", "scale"))
    if not offset or not scale:
        raise node.invalid("it states no offset or no scale")
    shifted = apply(Sub(), x, constant(np.array(offset), dt.f32))
    return apply(Mul(), shifted, constant(np.array(scale), dt.f32))


def one_hot_encoder(node: Operator) -> Results:
    """A column for each category; what is none of them is an error unless `zeros`."""
    x = node.input(0)
    if x.type.dtype is dt.string:
        names = node.texts("cats_strings")
        count, place = len(names), found_text(x, names)
    else:
        numbers = np.array(node.integers("cats_int64s"), np.int64)
        count, place = len(numbers), found_number(cast(x, dt.i64), numbers)
    if not node.flag("zeros", True):
        place = apply(Require("an element is none of the categories"), place, apply(Less(), place, count))
    places = constant(np.arange(count), dt.i64)
    return cast(apply(Equal(), reshaped(place, (*x.type.shape, 1)), places), dt.f32)


def found_text(x: Value, keys: Sequence[str]) -> Value:
    """The place of each string among the keys (of equal ones the last), their count if it is none of them."""
    table = Tensor(strings(list(keys), (len(keys),)))
    return apply(Lookup(table, Tensor(np.arange(len(keys))), Tensor(np.array(len(keys)))), x)


def found_number(x: Value, keys: Array) -> Value:
    """The place of each number among the keys (of equal ones the last), their count if it is none of them.

    A binary search without branches: each step halves where the key may be. NaN is found where it is a key.
    """
    count, kind = len(keys), x.type.dtype
    unique, last = np.unique(keys[::-1].astype(kind.numpy), return_index=True)
    origin = count - 1 - last
    missed: Value = Expand(x.type.shape)(number(count, like_places()))
    if kind.is_float and len(unique) and np.isnan(unique[-1]):
        nan, unique, origin = origin[-1], unique[:-1], origin[:-1]
        missed = Where()(IsNan()(x), number(int(nan), like_places()), missed)
    if not len(unique):
        return missed
    table, step = constant(unique, kind), 1 << (len(unique).bit_length() - 1)
    at: Value = Expand(x.type.shape)(number(0, like_places()))
    while step:
        beyond = apply(Add(), at, step)
        inside = apply(LessOrEqual(), beyond, len(unique) - 1)
        probe = apply(Gather(0), table, apply(Minimum(), beyond, len(unique) - 1))
        at = Where()(apply(And(), inside, apply(LessOrEqual(), probe, x)), beyond, at)
        step //= 2
    hit = apply(Equal(), apply(Gather(0), table, at), x)
    result: Value = Where()(hit, apply(Gather(0), constant(origin, dt.i64), at), missed)
    return result


def like_places() -> Value:
    """A value of the type of places."""
    return constant(np.zeros(()), dt.i64)


def label_encoder(node: Operator) -> Results:
    """Each key's value, the default where there is no such key."""
    x, keys, values = node.input(0), _listed(node, "keys"), _listed(node, "values")
    if keys.shape != values.shape or len(keys.shape) != 1:
        raise node.invalid(f"{keys.size} keys and {values.size} values")
    if keys.dtype != x.type.dtype:
        raise node.invalid(f"keys of {keys.dtype} for an input of {x.type.dtype}")
    return mapped(x, keys, values, _default(node, values.dtype))


_KINDS: tuple[tuple[str, DType], ...] = (("strings", dt.string), ("int64s", dt.i64), ("floats", dt.f32))


def _listed(node: Operator, name: str) -> Tensor:
    if f"{name}_tensor" in node.attributes:
        found = node.tensor(f"{name}_tensor")
        return Tensor(found.array.ravel(), dtype=found.dtype)
    for kind, dtype in _KINDS:
        if f"{name}_{kind}" in node.attributes:
            return _tensor(node.attributes[f"{name}_{kind}"], dtype)
    raise node.invalid(f"it states no {name}")


def _tensor(items: object, dtype: DType) -> Tensor:
    listed = list(items) if isinstance(items, tuple) else [items]
    return Tensor(strings(listed, (len(listed),)) if dtype is dt.string else np.array(listed, dtype.numpy))


def _default(node: Operator, dtype: DType) -> Tensor:
    if "default_tensor" in node.attributes:
        found = node.tensor("default_tensor")
        if found.dtype != dtype or found.size != 1:
            raise node.invalid(f"a default of {found.dtype}{list(found.shape)} for values of {dtype}")
        return found
    if dtype is dt.string:
        return _tensor(node.text("default_string", "_Unused"), dtype)
    number: float = node.number("default_float", -0.0) if dtype.is_float else node.integer("default_int64", -1)
    return Tensor(np.array(number).astype(dtype.numpy))


def label_encoder_of_classes(node: Operator) -> Results:
    """Version 1: strings to their places among the classes, or places to strings."""
    x, classes = node.input(0), _tensor(node.texts("classes_strings"), dt.string)
    places = Tensor(np.arange(classes.size))
    if x.type.dtype is dt.string:
        return mapped(x, classes, places, _default(node, dt.i64))
    return mapped(x, places, classes, _default(node, dt.string))


def category_mapper(node: Operator) -> Results:
    """Strings to numbers, or numbers to strings."""
    x = node.input(0)
    names, numbers = _tensor(node.texts("cats_strings"), dt.string), _tensor(node.integers("cats_int64s"), dt.i64)
    if names.size != numbers.size:
        raise node.invalid(f"{names.size} strings and {numbers.size} numbers")
    if x.type.dtype is dt.string:
        return mapped(x, names, numbers, _default(node, dt.i64))
    return mapped(x, numbers, names, _default(node, dt.string))


def mapped(x: Value, keys: Tensor, values: Tensor, default: Tensor) -> Value:
    """The value beside the key that each element equals; by the host where strings take part."""
    if dt.string in (keys.dtype, values.dtype):
        return apply(Lookup(keys, values, default), x)
    table = np.append(values.array, default.array.ravel())
    return apply(Gather(0), constant(table, values.dtype), found_number(x, keys.array))


def zip_map(node: Operator) -> Results:
    """A map from labels to scores for each row."""
    return apply(ZipMap(_keys(node, "classlabels_int64s", "classlabels_strings")), node.input(0))


def _keys(node: Operator, numbers: str, texts: str) -> Tensor:
    integers, words = node.integers(numbers, ()), node.texts(texts, ())
    if bool(integers) == bool(words):
        raise node.invalid(f"it states keys in both {numbers} and {texts}, or in neither")
    return _tensor(integers or words, dt.i64 if integers else dt.string)


def dict_vectorizer(node: Operator) -> Results:
    """A map's values in the order of a vocabulary."""
    x, keys = node.input(0), _keys(node, "int64_vocabulary", "string_vocabulary")
    if x.type.dtype.element is None:
        raise node.invalid(f"it takes a map, not {x.type}")
    return apply(DictVectorizer(keys, x.type.dtype.element.dtype), x)


def cast_map(node: Operator) -> Results:
    """A map's values in the order of its keys, or at the places that the keys name."""
    to = {"TO_FLOAT": dt.f32, "TO_STRING": dt.string, "TO_INT64": dt.i64}
    kind, form = node.text("cast_to", "TO_FLOAT", to), node.text("map_form", "DENSE", ("DENSE", "SPARSE"))
    size = node.integer("max_map", 1) if form == "SPARSE" else None
    if size is not None and not 0 < size <= MOST_KEYS:
        raise node.invalid(f"its maps have {size} places, not 1 to {MOST_KEYS}")
    return apply(CastMap(to[kind], size), node.input(0))


def constant(array: Array, dtype: DType) -> Value:
    """A constant of that element type."""
    value: Value = Constant(Tensor(array.astype(dtype.numpy)))()
    return value


TABLE: Table = {
    (DOMAIN, "ArrayFeatureExtractor"): ((1, array_feature_extractor),),
    (DOMAIN, "Binarizer"): ((1, binarizer),),
    (DOMAIN, "CastMap"): ((1, cast_map),),
    (DOMAIN, "CategoryMapper"): ((1, category_mapper),),
    (DOMAIN, "DictVectorizer"): ((1, dict_vectorizer),),
    (DOMAIN, "FeatureVectorizer"): ((1, feature_vectorizer),),
    (DOMAIN, "Imputer"): ((1, imputer),),
    (DOMAIN, "LabelEncoder"): ((1, label_encoder_of_classes), (2, label_encoder)),
    (DOMAIN, "Normalizer"): ((1, normalizer),),
    (DOMAIN, "OneHotEncoder"): ((1, one_hot_encoder),),
    (DOMAIN, "Scaler"): ((1, scaler),),
    (DOMAIN, "ZipMap"): ((1, zip_map),),
}

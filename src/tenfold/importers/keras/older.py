"""Functions of TensorFlow that functional models of Keras 2 record as layers, said in operations of keras.ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.importers.keras.arrangement import OPERATIONS as ARRANGEMENT
from tenfold.importers.keras.calculation import OPERATIONS as CALCULATION
from tenfold.importers.keras.functions import OPERATIONS as FUNCTIONS
from tenfold.importers.keras.layer import Layer, Table

OPERATIONS: Table = {**CALCULATION, **ARRANGEMENT, **FUNCTIONS}

BINARY = {
    "__operators__.add": "Add",
    **{f"math.{name}": kind for name, kind in (("add", "Add"), ("subtract", "Subtract"), ("multiply", "Multiply"))},
    **{f"math.{name}": "Divide" for name in ("divide", "truediv", "xdivy")},
    **{f"math.{name}": kind for name, kind in (("maximum", "Maximum"), ("minimum", "Minimum"), ("pow", "Power"))},
    **{f"math.{name}": kind for name, kind in (("greater", "Greater"), ("less", "Less"), ("equal", "Equal"))},
    **{f"math.{name}": kind for name, kind in (("floordiv", "FloorDivide"), ("floormod", "Mod"))},
    "math.divide_no_nan": "DivideNoNan",
}
UNARY = {
    **{f"math.{name}": name.capitalize() for name in ("sqrt", "rsqrt", "exp", "log", "sin", "cos", "tanh", "square")},
    **{f"math.{name}": name.capitalize() for name in ("abs", "floor", "ceil", "sign", "negative", "reciprocal", "erf")},
    **{f"{home}.sigmoid": "Sigmoid" for home in ("math", "nn")},
    **{f"nn.{name}": "Silu" for name in ("swish", "silu")},
    **{f"nn.{name}": name.capitalize() for name in ("relu", "relu6", "selu", "elu", "softplus", "softsign", "tanh")},
    **dict.fromkeys(("identity", "stop_gradient"), "Copy"),
}
REDUCTIONS = {f"math.reduce_{name}": name.capitalize() for name in ("sum", "mean", "max", "min", "prod", "any", "all")}

Row = tuple[str, tuple[str, ...], Mapping[str, str]]

OPERANDS: Mapping[str, Row] = {
    **{name: (kind, ("x", "y"), {}) for name, kind in BINARY.items()},
    **{name: (kind, ("x", "features", "input"), {}) for name, kind in UNARY.items()},
    **{name: (kind, ("input_tensor",), {"axis": "axis", "keepdims": "keepdims"}) for name, kind in REDUCTIONS.items()},
    "nn.softmax": ("Softmax", ("logits",), {"axis": "axis"}),
    "nn.gelu": ("Gelu", ("features",), {"approximate": "approximate"}),
    "nn.leaky_relu": ("LeakyRelu", ("features",), {"alpha": "negative_slope"}),
    **{f"{home}.l2_normalize": ("Normalize", ("x",), {"axis": "axis"}) for home in ("math", "nn")},
    "clip_by_value": ("Clip", ("t",), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "cast": ("Cast", ("x",), {"dtype": "to"}),
    "concat": ("Concatenate", ("values",), {"axis": "axis"}),
    "stack": ("Stack", ("values",), {"axis": "axis"}),
    "split": ("Split", ("value",), {"num_or_size_splits": "indices_or_sections", "axis": "axis"}),
    "unstack": ("Unstack", ("value",), {"axis": "axis"}),
    "reshape": ("Reshape", ("tensor",), {"shape": "newshape"}),
    "transpose": ("Transpose", ("a",), {"perm": "axes"}),
    "expand_dims": ("ExpandDims", ("input",), {"axis": "axis"}),
    "squeeze": ("Squeeze", ("input",), {"axis": "axis"}),
    "tile": ("Tile", ("input",), {"multiples": "repeats"}),
    "where": ("Where", ("condition", "x", "y"), {}),
    "linalg.matmul": ("Matmul", ("a", "b"), {}),
    "math.argmax": ("Argmax", ("input",), {"axis": "axis"}),
    "one_hot": ("OneHot", ("indices",), {"depth": "num_classes", "axis": "axis"}),
}
"""For each function the operation, the names of its operands, and what its settings are called there."""


def function(layer: Layer, *given: Any, **named: Any) -> Any:
    """A function of TensorFlow by its name."""
    name = layer.text("function")
    row = OPERANDS.get(name)
    if row is None:
        raise layer.unsupported(
            f"the function tf.{name}", "pass a plugin with a converter of TFOpLambda, or a SavedModel"
        )
    kind, operands, settings = row
    left = {key: one for key, one in named.items() if key not in ("name", *operands) and one not in (None, False)}
    unknown = set(left) - set(settings)
    if unknown:
        raise layer.unsupported(f"{', '.join(sorted(unknown))} of the function tf.{name}")
    args = [*given, *(named[key] for key in operands if key in named)]
    return OPERATIONS[kind](layer.with_config({settings[key]: one for key, one in left.items()}), *args)


def slicing(layer: Layer, x: Any, slice_spec: Sequence[Any] = (), **_: Any) -> Any:
    """x[…]."""
    keys = [_key(one) for one in (slice_spec if isinstance(slice_spec, list) else [slice_spec])]
    return OPERATIONS["GetItem"](layer, x, keys)


def _key(one: Any) -> Any:
    if isinstance(one, Mapping) and {"start", "stop", "step"} <= set(one):
        return slice(one["start"], one["stop"], one["step"])
    return one


TABLE: Table = {"TFOpLambda": function, "SlicingOpLambda": slicing}

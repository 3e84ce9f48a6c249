"""Operators that the first versions of ONNX had on trial, and that old converters wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.nn import with_numbers
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, filled, part, per_channel
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops import activation
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.constant import Constant


def constant_fill(node: Operator) -> Results:
    """One value everywhere: in the stated shape, that of the input, or the one that the input holds."""
    shape: Sequence[Size] = node.integers("shape", ())
    if node.optional(0) is not None:
        shape = (node.contents(0) or ()) if node.flag("input_as_shape", False) else node.input(0).type.shape
    kind = element_type(node.integer("dtype", 1), node.label)
    return filled(node.number("value", 0.0), (*shape, *node.integers("extra_shape", ())), kind)


def given_tensor_fill(node: Operator) -> Results:
    """The numbers that an attribute lists, in the stated shape."""
    numbers = np.array(node.numbers("values"), np.float32)
    result: Value = Constant(Tensor(numbers.reshape(node.integers("shape", (len(numbers),)))))()
    return result


def crop(node: Operator) -> Results:
    """An image without its borders (left, top, right, bottom), or `scale` elements from the left and top ones on."""
    x, border = node.input(0), node.integers("border", (0, 0, 0, 0))
    if x.type.rank != 4 or len(border) != 4:
        raise node.invalid(f"it takes an image of rank 4 and four borders, not {x.type} and {list(border)}")
    left, top, right, bottom = border
    height, width = node.integers("scale", ()) or (
        x.type.shape[2] - top - bottom,
        x.type.shape[3] - left - right,
    )
    return part(part(x, 2, top, height), 3, left, width)


def image_scaler(node: Operator) -> Results:
    """scale x + bias, one bias a channel."""
    x = node.input(0)
    bias: Value = Constant(Tensor(np.array(node.numbers("bias", ()), x.type.dtype.numpy)))()
    scaled = apply(Mul(), x, node.number("scale", 1.0))
    return apply(Add(), scaled, per_channel(bias, x.type.rank)) if bias.type.size else scaled


def parametric_softplus(node: Operator) -> Results:
    """alpha ln(1 + exp(beta x))."""
    soft = activation.Softplus()(apply(Mul(), node.input(0), node.number("beta", 1.0)))
    return apply(Mul(), soft, node.number("alpha", 1.0))


def scale(node: Operator) -> Results:
    """scale x."""
    return apply(Mul(), node.input(0), node.number("scale", 1.0))


TABLE: Table = {
    ("", "Affine"): ((1, with_numbers(activation.Affine, alpha=1.0, beta=0.0)),),
    ("", "ConstantFill"): ((1, constant_fill),),
    ("", "Crop"): ((1, crop),),
    ("", "GivenTensorFill"): ((1, given_tensor_fill),),
    ("", "ImageScaler"): ((1, image_scaler),),
    ("", "ParametricSoftplus"): ((1, parametric_softplus),),
    ("", "Scale"): ((1, scale),),
    ("", "ScaledTanh"): ((1, with_numbers(activation.ScaledTanh, alpha=1.0, beta=1.0)),),
}

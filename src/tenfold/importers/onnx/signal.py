"""Fourier transforms and windows."""

from __future__ import annotations

import math

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.onnx.shorthand import apply, axis_of, cast, filled, measure, number, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Cos, Div, Mul
from tenfold.ops.constant import Iota
from tenfold.ops.signal import DFT, STFT


def dft_by_attribute(node: Operator) -> Results:
    """DFT of opset 17: the axis is an attribute."""
    return _dft(node, node.integer("axis", 1))


def dft(node: Operator) -> Results:
    """DFT from opset 20 on: the axis is an input."""
    axis = node.integers_of(2)
    return _dft(node, axis[0] if axis else -2)


def _dft(node: Operator, axis: int) -> Results:
    x, length = node.input(0), node.sizes(1)
    inverse, onesided = node.flag("inverse", False), node.flag("onesided", False)
    axis = axis_of(axis, x.type.rank)
    if node.optional(1) is not None and length is None:
        raise node.unsupported("the length must follow from the sizes of the inputs")
    size: Size = x.type.shape[axis]
    if inverse and onesided:
        size = 2 * (size - 1)
    result: Value = DFT(axis, length[0] if length else size, inverse, onesided)(x)
    return result


def stft(node: Operator) -> Results:
    """STFT; a missing window is all ones."""
    x, steps, window = node.input(0), node.integers_of(1), node.optional(2)
    if steps is None:
        raise node.invalid("it needs a frame step")
    if x.type.rank == 2:
        x = reshaped(x, (*x.type.shape, 1))
    if window is None:
        length = node.sizes(3)
        if not length:
            raise node.unsupported("without a window the frame length must follow from the sizes of the inputs")
        window = filled(1, (length[0],), x.type.dtype)
    result: Value = STFT(steps[0], node.flag("onesided", True))(x, window)
    return result


def window(*terms: float) -> Converter:
    """a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) …, N one less for a window that is not periodic."""

    def convert(node: Operator) -> Results:
        size = node.sizes(0)
        if not size:
            raise node.unsupported("the size must follow from the sizes of the inputs")
        count = size[0]
        period = dim.maximum(count if node.flag("periodic", True) else count - 1, 1)
        angle = apply(Div(), apply(Mul(), Iota(0, 1, count, dt.f64)(), 2 * math.pi), measure(period, dt.f64))
        total = number(terms[0], angle)
        for order, factor in enumerate(terms[1:], 1):
            total = apply(Add(), apply(Mul(), Cos()(apply(Mul(), angle, order)), factor), total)
        return cast(total, element_type(node.integer("output_datatype", 1), node.label))

    return convert


TABLE: Table = {
    ("", "DFT"): ((17, dft_by_attribute), (20, dft)),
    ("", "STFT"): ((17, stft),),
    ("", "HannWindow"): ((17, window(0.5, -0.5)),),
    ("", "HammingWindow"): ((17, window(25 / 46, -21 / 46)),),
    ("", "BlackmanWindow"): ((17, window(0.42, -0.5, 0.08)),),
}

"""Fourier transforms and windows."""

from __future__ import annotations

import math

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.axes import along, chosen
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, cast, filled, measure, number, reshaped
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
    axis = node.contents(2)
    return _dft(node, axis[0] if axis else -2)


def _dft(node: Operator, axis: Size) -> Results:
    x, length = node.input(0), node.contents(1)
    inverse, onesided = node.flag("inverse", False), node.flag("onesided", False)
    axis = node.place(axis, x.type.rank)
    size = chosen(axis, x.type.shape)
    if inverse and onesided:
        size = 2 * (size - 1)
    size = length[0] if length else size
    if isinstance(axis, int):
        result: Value = DFT(axis, size, inverse, onesided)(x)
        return result
    return along(x, axis, DFT(1, size, inverse, onesided), behind=1)


def stft(node: Operator) -> Results:
    """STFT; a missing window is all ones."""
    x, steps, window = node.input(0), node.contents(1), node.optional(2)
    if steps is None:
        raise node.invalid("it needs a frame step")
    if x.type.rank == 2:
        x = reshaped(x, (*x.type.shape, 1))
    if window is None:
        length = node.contents(3)
        if not length:
            raise node.invalid("it needs a window or a frame length")
        window = filled(1, (length[0],), x.type.dtype)
    node.require(dim.less(0, steps[0]), "its frame step must be positive")
    result: Value = STFT(steps[0], node.flag("onesided", True))(x, window)
    return result


def window(*terms: float) -> Converter:
    """a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) …, N one less for a window that is not periodic."""

    def convert(node: Operator) -> Results:
        size = node.contents(0)
        if not size:
            raise node.invalid("it needs a size")
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

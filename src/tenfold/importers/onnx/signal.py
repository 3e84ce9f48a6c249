"""Fourier transforms and windows."""

from __future__ import annotations

import math

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.axes import along, chosen
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, cast, filled, measure, number, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.activation import Clip
from tenfold.ops.arithmetic import Add, Cos, Div, Expm1, Floor, Log1p, Maximum, Minimum, Mul, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.logic import Equal, Where
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


def mel_weight_matrix(node: Operator) -> Results:
    """MelWeightMatrix: a triangle for each band [bins, bands], its corners at bins evenly spaced on the mel scale."""
    bands, length = node.contents(0), node.contents(1)
    if not bands or not length:
        raise node.invalid("it needs the number of bands and the length of the transform")
    count, bins = bands[0], length[0] // 2 + 1
    low, high = (_mel(cast(reshaped(node.input(at), ()), dt.f64)) for at in (3, 4))
    step = apply(Div(), apply(Sub(), high, low), measure(count + 2, dt.f64))
    mels = apply(Add(), apply(Mul(), Iota(0, 1, count + 2, dt.f64)(), step), low)
    hertz = apply(Mul(), Expm1()(apply(Mul(), mels, math.log(10) / 2595)), 700)
    rate = cast(reshaped(node.input(2), ()), dt.f64)
    corners = Floor()(apply(Div(), apply(Mul(), hertz, measure(length[0] + 1, dt.f64)), rate))
    left, centre, right = (reshaped(part(corners, 0, at, count), (1, count)) for at in range(3))
    place = reshaped(Iota(0, 1, bins, dt.f64)(), (bins, 1))
    rise, fall = (apply(Maximum(), apply(Sub(), *ends), 1) for ends in ((centre, left), (right, centre)))
    up, down = apply(Div(), apply(Sub(), place, left), rise), apply(Div(), apply(Sub(), right, place), fall)
    slope = apply(Clip(), apply(Minimum(), up, down), 0, 1)
    peaked = Where()(apply(Equal(), place, centre), number(1, slope), slope)
    return cast(peaked, element_type(node.integer("output_datatype", 1), node.label))


def _mel(hertz: Value) -> Value:
    return apply(Mul(), Log1p()(apply(Div(), hertz, 700)), 2595 / math.log(10))


TABLE: Table = {
    ("", "MelWeightMatrix"): ((17, mel_weight_matrix),),
    ("", "DFT"): ((17, dft_by_attribute), (20, dft)),
    ("", "STFT"): ((17, stft),),
    ("", "HannWindow"): ((17, window(0.5, -0.5)),),
    ("", "HammingWindow"): ((17, window(25 / 46, -21 / 46)),),
    ("", "BlackmanWindow"): ((17, window(0.42, -0.5, 0.08)),),
}

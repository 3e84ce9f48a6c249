"""Graphs of one operator or a few: products, steps of small networks, and operators where runtimes fall off a cliff."""

from __future__ import annotations

import itertools

import numpy as np
from onnx import TensorProto

from bench.cpu.sketch import Sketch


def product(rows: int, columns: int, terms: int) -> bytes:
    """x @ w with a constant w [terms, columns]."""
    net = Sketch()
    x = net.input("x", (rows, terms))
    net.output(net("MatMul", x, net.drawn(terms, columns, scale=terms**-0.5)), (rows, columns))
    return net.model()


def given_product(rows: int, columns: int, terms: int, turned: bool = False) -> bytes:
    """x @ w, w given by the call as [terms, columns], or `turned` as [columns, terms]."""
    net = Sketch()
    x, w = net.input("x", (rows, terms)), net.input("w", (columns, terms) if turned else (terms, columns))
    net.output(net("Gemm", x, w, transB=int(turned)), (rows, columns))
    return net.model()


def mlp(*widths: int) -> bytes:
    """Linear layers with ReLU between."""
    net = Sketch()
    x = net.input("x", (1, widths[0]))
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        x = net.linear(net("Relu", x) if number else x, before, after)
    net.output(x, (1, widths[-1]))
    return net.model()


def lstm_step(width: int = 128) -> bytes:
    """One step of an LSTM, its state going in and out."""
    net = Sketch()
    x = net.input("x", (1, 1, width))
    states = [net.input(name, (1, 1, width)) for name in ("h", "c")]
    gates = [net.drawn(1, 4 * width, width, scale=width**-0.5) for _ in range(2)]
    results = net("LSTM", x, *gates, net.drawn(1, 8 * width, scale=0.05), "", *states, outputs=3, hidden_size=width)
    for value in results:
        net.output(value)
    return net.model()


def dft() -> bytes:
    """The spectra of 400 signals of 512 numbers."""
    net = Sketch()
    net.output(net("DFT", net.input("x", (400, 512, 1)), axis=1, onesided=1))
    return net.model()


def stft() -> bytes:
    """The spectra of 400 windows of 512 numbers, 160 apart, of one signal."""
    net = Sketch()
    x = net.input("x", (1, 512 + 399 * 160, 1))
    window = net.constant(np.hanning(512), np.float32)
    net.output(net("STFT", x, net.constant(160), window, onesided=1))
    return net.model()


def conv_11x11() -> bytes:
    """An 11x11 convolution of 32 channels."""
    net = Sketch()
    net.output(net.conv(net.input("x", (1, 32, 64, 64)), (32, 32), 11))
    return net.model()


def resize_3d() -> bytes:
    """A volume at twice its size, by linear interpolation."""
    net = Sketch()
    x = net.input("x", (1, 8, 32, 48, 48))
    scales = net.constant([1, 1, 2, 2, 2], np.float32)
    net.output(net("Resize", x, "", scales, mode="linear"))
    return net.model()


def grid_sample() -> bytes:
    """An image of 32 channels at 128 x 128 places."""
    net = Sketch()
    x, grid = net.input("x", (1, 32, 128, 128)), net.input("grid", (1, 128, 128, 2))
    net.output(net("GridSample", x, grid))
    return net.model()


def cumulative_sum(axis: int) -> bytes:
    """The running sums of a matrix along an axis."""
    net = Sketch()
    net.output(net("CumSum", net.input("x", (512, 4096)), net.constant(axis)))
    return net.model()


def top_k() -> bytes:
    """The 100 greatest of 100,000."""
    net = Sketch()
    values, places = net("TopK", net.input("x", (1, 100_000)), net.constant([100]), outputs=2)
    net.output(values)
    net.output(places, kind=TensorProto.INT64)
    return net.model()


def first_axis_norm() -> bytes:
    """A matrix normalised along its first axis."""
    net = Sketch()
    x = net.input("x", (512, 4096))
    centred = net("Sub", x, net("ReduceMean", x, axes=[0]))
    variance = net("ReduceMean", net("Mul", centred, centred), axes=[0])
    deviation = net("Sqrt", net("Add", variance, net.constant(1e-5, np.float32)))
    net.output(net("Div", centred, deviation))
    return net.model()


def conv_3x3(size: int, channels: int) -> bytes:
    """A 3x3 convolution that keeps channels and sizes, and its ReLU."""
    net = Sketch()
    x = net.input("x", (1, channels, size, size))
    net.output(net("Relu", net.conv(x, (channels, channels), 3)))
    return net.model()

"""Quantisation, random numbers, Fourier transforms and transposed windows, taken apart: the same numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold import ops
from tenfold.compiler.fuse.decompose import decompose
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.compiler.running import H, N, T, W, graph_of, same_after


def gone(graph: Graph, **settings: Any) -> None:
    (kind,) = {type(node.op) for node in graph.nodes}
    changed = same_after(decompose, graph, **settings)
    assert not any(isinstance(node.op, kind) for node in changed.nodes)


L = symbol("L", 16, 64)
SPREADS = [((), 0, 0), ((4,), 1, 0), ((N, 2, W), 1, 2), ((N, 4, 2), 2, 32)]


@pytest.mark.parametrize("dtype", [dt.u8, dt.i8, dt.i16, dt.i4, dt.u2, dt.f8e4m3fn, dt.f4e2m1], ids=str)
@pytest.mark.parametrize(("shape", "axis", "block"), SPREADS)
def test_quantize(dtype: dt.DType, shape: tuple[Any, ...], axis: int, block: int) -> None:
    given = Type(dt.f32, (N, 4, W))
    gone(graph_of(ops.Quantize(axis, dtype, block), given, Type(dt.f32, shape), Type(dtype, shape)), most=2)


@pytest.mark.parametrize("dtype", [dt.u8, dt.i8, dt.i32, dt.u4, dt.i2, dt.f8e5m2], ids=str)
@pytest.mark.parametrize(("shape", "axis", "block"), SPREADS)
@pytest.mark.parametrize("to", [dt.f32, dt.f16, dt.f64], ids=str)
def test_dequantize(dtype: dt.DType, shape: tuple[Any, ...], axis: int, block: int, to: dt.DType) -> None:
    graph = graph_of(ops.Dequantize(axis, to, block), Type(dtype, (N, 4, W)), Type(to, shape), Type(dtype, shape))
    gone(graph, tolerance=1e-3 if to is dt.f16 else 1e-6, most=2)


@pytest.mark.parametrize("dtype", [dt.f32, dt.f64], ids=str)
def test_random_numbers(dtype: dt.DType) -> None:
    graph = Graph()
    x = graph.input("x", Type(dtype, (N, 1, W)))
    graph.set_outputs([ops.Add()(x, ops.Uniform((N, 3, W), 2**63 + 12345, 2**40 + 1, dtype)())], ["y"])
    changed = same_after(decompose, graph, tolerance=0)
    assert not any(isinstance(node.op, ops.Uniform) for node in changed.nodes)


@pytest.mark.parametrize(("inverse", "onesided"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("length", [1, 2, 7, 10, 64, 100, 97, 256, 360])
@pytest.mark.parametrize("parts", [1, 2])
def test_fourier(length: int, inverse: bool, onesided: bool, parts: int) -> None:
    gone(graph_of(ops.DFT(1, length, inverse, onesided), Type(dt.f32, (N, 12, 2, parts))), tolerance=1e-5)


def test_fourier_of_the_calls_length() -> None:
    gone(graph_of(ops.DFT(0, H, False, True), Type(dt.f32, (H, 2, 1))))
    gone(graph_of(ops.DFT(1, T + 3, True, False), Type(dt.f64, (2, T, 2))))


@pytest.mark.parametrize("onesided", [False, True])
@pytest.mark.parametrize("step", [3, 8, N])
def test_fourier_of_frames(step: Any, onesided: bool) -> None:
    graph = graph_of(ops.STFT(step, onesided), Type(dt.f32, (N, L, 1)), Type(dt.f32, (16,)))
    gone(graph, bindings=[{"N": 2, "L": 41}, {"N": 1, "L": 16}])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 2), (1, 4)])
def test_transposed_convolutions(groups: int, kernel: tuple[int, int]) -> None:
    op = ops.ConvTranspose((2, 3), (1, 2), (1, 0), (0, 1), (1, 0), groups)
    gone(graph_of(op, Type(dt.f32, (N, 4, H, W)), Type(dt.f32, (4, 6 // groups, *kernel))))


@pytest.mark.parametrize("column_major", [False, True])
def test_places_of_maxima(column_major: bool) -> None:
    op = ops.MaxPoolIndices((3, 2), (2, 1), (1, 2), (1, 0), (1, 1), True, column_major)
    gone(graph_of(op, Type(dt.f32, (N, 3, H, W))))
    gone(graph_of(ops.MaxPoolIndices((3,), (3,), (1,), (0,), (0,)), Type(dt.i8, (N, 2, H))))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinants(size: int) -> None:
    for dtype in (dt.f32, dt.f64):
        gone(graph_of(ops.Det(), Type(dtype, (N, T, size, size))), tolerance=1e-4)

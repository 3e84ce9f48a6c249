"""Convolution and pooling against ONNX Runtime, and their symbolic sizes against their arrays."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.interpret import bind
from tenfold.ir.op import Op
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type
from tenfold.ops import Conv, ConvTranspose, MaxPoolIndices, Pool, window
from tests.ops.oracle import close, random, runtime

CONVS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 7), (4, 3, 3), {"strides": [2], "pads": [1, 0]}),
    ((1, 3, 9, 8), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 4, 9, 8), (6, 2, 3, 2), {"group": 2, "strides": [2, 3], "pads": [0, 1, 2, 0]}),
    ((1, 6, 10, 10), (6, 1, 3, 3), {"group": 6, "dilations": [2, 3], "pads": [2, 2, 2, 2]}),
    ((1, 4, 5, 5), (8, 1, 5, 5), {"group": 4, "pads": [2, 2, 2, 2]}),
    ((2, 3, 5, 6), (7, 3, 1, 1), {"strides": [2, 2]}),
    ((1, 2, 5, 6, 4), (3, 2, 2, 3, 1), {"strides": [1, 2, 1], "pads": [1, 0, 0, 0, 1, 0]}),
]


def settings(rank: int, **given: Any) -> dict[str, Any]:
    pads = given.get("pads", [0] * (2 * rank))
    return {
        "strides": tuple(given.get("strides", [1] * rank)),
        "dilations": tuple(given.get("dilations", [1] * rank)),
        "pads_before": tuple(pads[:rank]),
        "pads_after": tuple(pads[rank:]),
    }


@pytest.mark.parametrize(("x", "w", "attributes"), CONVS)
def test_conv(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, Any]) -> None:
    op = Conv(**settings(len(x) - 2, **attributes), groups=attributes.get("group", 1))
    arrays = random(*x), random(*w, seed=1)
    close(op.evaluate(*arrays), runtime("Conv", *arrays, **attributes)[0])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_conv_accumulates_wide(dtype: Any) -> None:
    x, w = np.ones((1, 4096, 1), dtype), np.ones((1, 4096, 1), dtype)
    assert float(Conv((1,), (1,), (0,), (0,)).evaluate(x, w).item()) == 4096


def test_conv_of_integers_is_exact() -> None:
    x, w = np.full((1, 300, 1), 255, np.uint8), np.full((1, 300, 1), -128, np.int8)
    y = Conv((1,), (1,), (0,), (0,)).evaluate(x, w)
    assert y.dtype == np.int32 and y.item() == 300 * 255 * -128


TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 5), (3, 4, 3), {"strides": [2]}),
    ((2, 3, 4, 5), (3, 4, 3, 3), {"strides": [2, 3], "pads": [1, 0, 1, 2]}),
    ((1, 4, 4, 4), (4, 2, 3, 2), {"group": 2, "dilations": [2, 1], "output_padding": [1, 0], "strides": [2, 1]}),
    ((1, 4, 3, 3), (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
]


@pytest.mark.parametrize(("x", "w", "attributes"), TRANSPOSED)
def test_conv_transpose(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, Any]) -> None:
    rank = len(x) - 2
    extra = tuple(attributes.get("output_padding", [0] * rank))
    op = ConvTranspose(**settings(rank, **attributes), output_padding=extra, groups=attributes.get("group", 1))
    arrays = random(*x), random(*w, seed=1)
    close(op.evaluate(*arrays), runtime("ConvTranspose", *arrays, **attributes)[0])


POOLS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9), {"kernel_shape": [3], "strides": [2]}),
    ((1, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ((1, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 3, 8, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ((1, 1, 4, 4), {"kernel_shape": [1, 1], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 1}),
    ((1, 2, 9, 9), {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    ((1, 2, 4, 5, 6), {"kernel_shape": [2, 2, 2], "strides": [1, 2, 2], "pads": [0, 1, 0, 0, 1, 0]}),
]


def pooled(kind: Any, rank: int, attributes: dict[str, Any], **more: Any) -> Pool:
    ceil = bool(attributes.get("ceil_mode", 0))
    return Pool(kind, tuple(attributes["kernel_shape"]), **settings(rank, **attributes), ceil=ceil, **more)


@pytest.mark.parametrize(("x", "attributes"), POOLS)
def test_max_pool(x: tuple[int, ...], attributes: dict[str, Any]) -> None:
    array = random(*x)
    y, indices = runtime("MaxPool", array, outputs=2, **attributes)
    op = pooled("max", len(x) - 2, attributes)
    close(op.evaluate(array), y, 0)
    places = MaxPoolIndices(op.kernel, op.strides, op.dilations, op.pads_before, op.pads_after, op.ceil)
    np.testing.assert_array_equal(places.evaluate(array), indices)


@pytest.mark.parametrize(("x", "attributes"), POOLS)
@pytest.mark.parametrize("counted", [False, True])
def test_average_pool(x: tuple[int, ...], attributes: dict[str, Any], counted: bool) -> None:
    array = random(*x)
    expected = runtime("AveragePool", array, count_include_pad=int(counted), **attributes)[0]
    close(pooled("average", len(x) - 2, attributes, count_padding=counted).evaluate(array), expected)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(p: int) -> None:
    array, attributes = random(1, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    close(pooled("lp", 2, attributes, p=p).evaluate(array), runtime("LpPool", array, p=p, **attributes)[0])


def test_max_pool_of_bytes_and_columns() -> None:
    array = np.random.default_rng(0).integers(-128, 0, (1, 2, 4, 5)).astype(np.int8)
    attributes = {"kernel_shape": [2, 3], "pads": [1, 1, 0, 0], "storage_order": 1}
    y, indices = runtime("MaxPool", array, outputs=2, **attributes)
    op = pooled("max", 2, attributes)
    np.testing.assert_array_equal(op.evaluate(array), y)
    places = MaxPoolIndices(op.kernel, op.strides, op.dilations, op.pads_before, op.pads_after, column_major=True)
    np.testing.assert_array_equal(places.evaluate(array), indices)


def symbolic_cases() -> list[Op]:
    size = dim.symbol("H", 8)
    found: list[Op] = []
    for kernel, stride, dilation in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2)):
        same = window.same_padding(size, kernel, stride, dilation)
        for before, after in ((0, 0), (1, 2), (same // 2, same - same // 2)):
            rows = ((kernel,), (stride,), (dilation,), (before,), (after,))
            found += [Pool("max", *rows), Pool("average", *rows, ceil=True)]
    return found


@pytest.mark.parametrize("op", symbolic_cases(), ids=str)
def test_symbolic_sizes(op: Op) -> None:
    symbol = dim.symbol("H", 8)
    inferred = op.types((Type(dt.f32, (1, 1, symbol)),))[0]
    for size in (11, 12, 13, 30):
        y = bind(op, {"H": size}).results((np.zeros((1, 1, size), np.float32),))[0]
        assert substitute(inferred.shape[2], {"H": size}) == y.shape[2]


def test_same_padding_gives_one_window_a_stride() -> None:
    size = dim.symbol("H", 1)
    for kernel, stride in ((1, 2), (3, 2), (5, 3)):
        total = window.same_padding(size, kernel, stride)
        found = window.count(size, kernel, stride, 1, total // 2, total - total // 2)
        assert found == dim.ceildiv(size, stride)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Conv((1,), (1,), (0,), (0,)), ((1, 3, 8), (4, 2, 3)), "the channels differ"),
        (Conv((1,), (1,), (0,), (0,)), ((1, 3, 2), (4, 3, 3)), "a window of 3 does not fit 2 elements padded by 0"),
        (Conv((1,), (1,), (0,), (0,), 2), ((1, 4, 8), (3, 2, 3)), "does not divide into 2 groups"),
        (ConvTranspose((1,), (1,), (0,), (0,), (0,)), ((1, 3, 8), (4, 2, 3)), "the channels differ"),
        (Pool("max", (2, 2), (1, 1), (1, 1), (0, 0), (0, 0)), ((1, 3, 8),), "for each spatial axis"),
    ],
)
def test_misfits_are_named(op: Op, types: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op.types(tuple(Type(dt.f32, shape) for shape in types))

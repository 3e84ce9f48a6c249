"""Resampling, sampling and regions as weighted elements at computed places."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest

from tenfold import ops
from tenfold.compiler.fuse.decompose import decompose
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.image import Coordinates, Padding, Rounding
from tests.compiler.running import BINDINGS, H, N, T, W, close, graph_of, same_after

COORDINATES = get_args(Coordinates)
ROUNDINGS = get_args(Rounding)
CROPPED = "tf_crop_and_resize"


def check(graph: Graph) -> None:
    (kind,) = {type(node.op) for node in graph.nodes}
    changed = same_after(decompose, graph, BINDINGS[:1])
    assert not any(isinstance(node.op, kind) for node in changed.nodes)


def resized(shape: tuple[Any, ...], after: tuple[Any, ...], scales: tuple[float, ...], **settings: Any) -> Graph:
    dtype = settings.pop("dtype", dt.f32)
    return graph_of(ops.Resize(after, scales, **settings), Type(dtype, shape))


PLAIN = [
    ((2, 3, 5, 7), (2, 3, 11, 4)),
    ((1, 2, 4, 4), (1, 2, 1, 9)),
    ((1, 1, 6, 1), (1, 1, 3, 3)),
    ((1, 2, 5), (2, 3, 5)),
]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest(coordinates: Any, rounding: Any) -> None:
    for before, after in PLAIN:
        region = (0.0,) * len(before) + (1.0,) * len(before) if coordinates == CROPPED else ()
        graph = resized(before, after, (0.0,) * len(before), coordinates=coordinates, rounding=rounding, region=region)
        check(graph)
        fixed = tuple(b / a for a, b in zip(before, after, strict=True))
        check(resized(before, after, fixed, coordinates=coordinates, rounding=rounding, region=region))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("outside", "antialias"), list(itertools.product((False, True), repeat=2)))
def test_weighed(mode: Any, coordinates: Any, outside: bool, antialias: bool) -> None:
    for before, after in PLAIN:
        region = (0.1,) * len(before) + (0.9,) * len(before) if coordinates == CROPPED else ()
        graph = resized(
            before, after, (0.0,) * len(before), mode=mode, coordinates=coordinates,
            exclude_outside=outside, antialias=antialias, region=region,
        )  # fmt: skip
        check(graph)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("dtype", [dt.f32, dt.f16], ids=str)
def test_sizes_of_the_call(mode: Any, coordinates: Any, dtype: dt.DType) -> None:
    region = (0.0,) * 4 + (1.0,) * 4 if coordinates == CROPPED else ()
    settings: dict[str, Any] = {"mode": mode, "coordinates": coordinates, "region": region, "dtype": dtype}
    for after, scale in (((N, 2, 2 * H, 3 * W), (1.0, 1.0, 2.0, 3.0)), ((N, 2, H // 2, W), (0.0, 0.0, 0.0, 0.0))):
        graph = resized((N, 2, H, W), after, scale, **settings)
        same_after(decompose, graph, tolerance=2e-3 if dtype is dt.f16 else 1e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [False, True])
def test_widened_by_sizes_of_the_call(mode: Any, outside: bool) -> None:
    """How many elements are weighed follows from the sizes: sums over an axis as long as that."""
    settings: dict[str, Any] = {"mode": mode, "antialias": True, "exclude_outside": outside}
    for after in ((N, 2, 3, 4), (N, 2, 2 * H, W)):
        graph = resized((N, 2, H, W), after, (1.0, 1.0, 0.0, 0.0), **settings)
        changed = same_after(decompose, graph, tolerance=1e-5)
        assert not any(isinstance(node.op, ops.Resize) for node in changed.nodes)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "bits"), [(dt.u8, 4), (dt.i16, 3), (dt.i32, 0)], ids=str)
def test_weighted_sums(axis: int, dtype: dt.DType, bits: int) -> None:
    rng = np.random.default_rng(axis)
    graph = Graph()
    x = graph.input("x", Type(dtype, (N, W, 5)))
    places = ops.Constant(Tensor(rng.integers(0, 2, (7, 3))))()
    weights = ops.Constant(Tensor(rng.integers(-9, 20, (7, 3)).astype(np.int32)))()
    graph.set_outputs([ops.Resample(axis, bits)(x, places, weights)], ["y0"])
    given = {"x": rng.integers(0, 200, (2, 4, 5)).astype(dtype.numpy)}
    changed = copy(graph)
    decompose(changed)
    np.testing.assert_array_equal(Interpreter().run(changed, given)["y0"], Interpreter().run(graph, given)["y0"])


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest_by_sizes_of_the_call(rounding: Any) -> None:
    for coordinates in ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"):
        graph = resized((1, H), (1, 3 * H), (1.0, 3.0), coordinates=coordinates, rounding=rounding)
        same_after(decompose, graph)


@pytest.mark.parametrize("size", [299, 300, 301])
def test_an_axis_that_stays_is_not_resampled(size: int) -> None:
    graph = resized((1, size, 2), (1, int(str(size)), 4), (0.0, 0.0, 0.0))
    decompose(graph)
    assert [node.op.name for node in graph.nodes].count("Pick") == 1


@pytest.mark.parametrize("dtype", [dt.u8, dt.i32], ids=str)
def test_whole_numbers(dtype: dt.DType) -> None:
    check(resized((1, 2, 4, 4), (1, 2, 8, 6), (0.0,) * 4, dtype=dtype))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales_of_the_call(mode: Any, coordinates: Any) -> None:
    op = ops.Resize((2, 6, 4), (), mode, coordinates)
    extra = [Type(dt.f32, (6,))] if coordinates == CROPPED else []
    graph = graph_of(op, Type(dt.f32, (2, 3, 5)), Type(dt.f32, (3,)), *extra)
    given = {
        "x0": np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32),
        "x1": np.array([0, 2, 0.8], np.float32),
        "x2": np.array([0, 0.1, 0.2, 1, 0.8, 1.2], np.float32),
    }
    changed = copy(graph)
    decompose(changed)
    inputs = {value.name: given[value.name] for value in graph.inputs}
    close(Interpreter().run(changed, inputs)["y0"], Interpreter().run(graph, inputs)["y0"], 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("align", [False, True])
def test_grids(mode: Any, padding: Any, align: bool) -> None:
    op = ops.GridSample(mode, padding, align)
    for dtype in (dt.f32, dt.f64):
        same_after(decompose, graph_of(op, Type(dtype, (N, 2, H, W)), Type(dtype, (N, 3, T, 2))))
    check(graph_of(op, Type(dt.f32, (1, 2, 3, 4, 5)), Type(dt.f32, (1, 2, 2, 2, 3))))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("half", [False, True])
def test_regions(mode: Any, half: bool) -> None:
    graph = graph_of(
        ops.RoiAlign(3, 2, mode, 2, 1.5, half), Type(dt.f32, (2, 3, H, W)), Type(dt.f32, (T, 4)), Type(dt.i64, (T,))
    )
    same_after(decompose, graph, most=1)


@pytest.mark.parametrize(("groups", "parts", "masks"), [(1, 1, 1), (2, 1, 0), (1, 2, 1), (2, 4, 0)])
def test_moved_taps(groups: int, parts: int, masks: int) -> None:
    op = ops.DeformConv((2, 1), (1, 2), (1, 0), groups, parts)
    offsets, mask = Type(dt.f32, (N, parts * 12, 4, T)), Type(dt.f32, (N, parts * 6, 4, T))
    graph = graph_of(op, Type(dt.f32, (N, 8, H, W)), Type(dt.f32, (4, 8 // groups, 3, 2)), offsets, *[mask] * masks)
    same_after(decompose, graph, tolerance=1e-4)

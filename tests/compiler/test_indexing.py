"""Resampling and gathering as elements at computed places."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest

from tenfold import ops
from tenfold.compiler.fuse.decompose import decompose
from tenfold.errors import ExecutionError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tenfold.ops.image import Coordinates, Rounding
from tests.compiler.running import BINDINGS, H, N, W, close, graph_of, same_after

COORDINATES = get_args(Coordinates)
ROUNDINGS = get_args(Rounding)
KEPT = "tf_crop_and_resize"


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
        region = (0.0,) * len(before) + (1.0,) * len(before) if coordinates == KEPT else ()
        graph = resized(before, after, (0.0,) * len(before), coordinates=coordinates, rounding=rounding, region=region)
        check(graph, kept=coordinates == KEPT)
        fixed = tuple(b / a for a, b in zip(before, after, strict=True))
        check(
            resized(before, after, fixed, coordinates=coordinates, rounding=rounding, region=region),
            coordinates == KEPT,
        )


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("outside", "antialias"), list(itertools.product((False, True), repeat=2)))
def test_weighed(mode: Any, coordinates: Any, outside: bool, antialias: bool) -> None:
    for before, after in PLAIN:
        region = (0.1,) * len(before) + (0.9,) * len(before) if coordinates == KEPT else ()
        graph = resized(
            before, after, (0.0,) * len(before), mode=mode, coordinates=coordinates,
            exclude_outside=outside, antialias=antialias, region=region,
        )  # fmt: skip
        check(graph, kept=coordinates == KEPT)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("dtype", [dt.f32, dt.f16], ids=str)
def test_sizes_of_the_call(mode: Any, coordinates: Any, dtype: dt.DType) -> None:
    region = (0.0,) * 4 + (1.0,) * 4 if coordinates == KEPT else ()
    settings: dict[str, Any] = {"mode": mode, "coordinates": coordinates, "region": region, "dtype": dtype}
    for after, scale in (((N, 2, 2 * H, 3 * W), (1.0, 1.0, 2.0, 3.0)), ((N, 2, H // 2, W), (0.0, 0.0, 0.0, 0.0))):
        graph = resized((N, 2, H, W), after, scale, **settings)
        same_after(decompose, graph, tolerance=2e-3 if dtype is dt.f16 else 1e-5)


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


def check(graph: Graph, kept: bool = False) -> None:
    changed = same_after(decompose, graph, BINDINGS[:1])
    assert any(isinstance(node.op, ops.Resize) for node in changed.nodes) == kept


@pytest.mark.parametrize("dtype", [dt.i64, dt.i32], ids=str)
def test_places_from_the_end(dtype: dt.DType) -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (H, 2)), Type(dtype, (4,)))
    changed = copy(graph)
    decompose(changed)
    given = {"x0": np.arange(12, dtype=np.float32).reshape(6, 2), "x1": np.array([0, -1, -6, 5]).astype(dtype.numpy)}
    close(Interpreter().run(changed, given)["y0"], Interpreter().run(graph, given)["y0"], 0)


@pytest.mark.parametrize("place", [-(2**63), -5, 4, 2**62])
def test_places_outside_fail(place: int) -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (4,)), Type(dt.i64, (3,)))
    decompose(graph)
    given = {"x0": np.arange(4, dtype=np.float32), "x1": np.array([-4, 3, place])}
    with pytest.raises(ExecutionError, match="outside of an axis of 4"):
        Interpreter().run(graph, given)


def test_gathering_from_an_empty_axis_reads_nothing() -> None:
    graph = graph_of(ops.Gather(0), Type(dt.f32, (3, H)), Type(dt.i64, (0,)))
    same_after(decompose, graph)

"""Resampling against ONNX Runtime and the specification's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.interpret import bind
from tenfold.ir.type import Type
from tenfold.ops import GridSample, Resample, Resize
from tests.ops.oracle import close, random, runtime

X = random(1, 2, 6, 7)
EMPTY = np.zeros(0, np.float32)
MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


def resized(scales: tuple[float, ...], **attributes: Any) -> Resize:
    sizes = tuple(
        int(np.floor(np.float32(size) * np.float32(scale))) for size, scale in zip(X.shape, scales, strict=True)
    )
    return Resize(sizes, scales, **attributes)


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("scales", [(2.0, 2.0), (0.5, 3.0), (1.3, 0.7)])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_by_scales(coordinates: Any, scales: tuple[float, float], mode: Any) -> None:
    if coordinates == "align_corners" and scales == (1.3, 0.7):
        pytest.skip("ONNX Runtime takes the whole size where the specification takes scale * size")
    op = resized((1.0, 1.0, *scales), mode=mode, coordinates=coordinates)
    given = np.array((1, 1, *scales), np.float32)
    kind = {"coordinate_transformation_mode": coordinates, "mode": mode}
    close(op.evaluate(X), runtime("Resize", X, EMPTY, given, opset=13, **kind)[0], 2e-6)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("sizes", [(12, 14), (9, 4), (1, 20)])
def test_resize_to_sizes(mode: Any, sizes: tuple[int, int]) -> None:
    op = Resize((1, 2, *sizes), (1.0, 1.0, 0.0, 0.0), mode)
    given = np.array((1, 2, *sizes), np.int64)
    close(op.evaluate(X), runtime("Resize", X, None, None, given, mode=mode)[0], 2e-6)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest_rounding(rounding: Any) -> None:
    op = resized((1.0, 1.0, 2.0, 0.5), coordinates="asymmetric", rounding=rounding)
    given = np.array((1, 1, 2, 0.5), np.float32)
    kind = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": rounding}
    close(op.evaluate(X), runtime("Resize", X, EMPTY, given, opset=13, **kind)[0], 0)


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "cubic", "exclude_outside": True},
        {"mode": "cubic", "cubic_a": -0.5},
        {"mode": "linear", "antialias": True},
        {"mode": "cubic", "antialias": True},
        {"mode": "linear", "coordinates": "align_corners"},
    ],
)
def test_resize_as_the_reference(attributes: dict[str, Any]) -> None:
    names = {"cubic_a": "cubic_coeff_a", "coordinates": "coordinate_transformation_mode"}
    given = {
        names.get(name, name): int(value) if isinstance(value, bool) else value for name, value in attributes.items()
    }
    scales = np.array((1, 1, 0.6, 0.8), np.float32)
    expected = reference("Resize", {"x": X, "roi": EMPTY, "scales": scales}, opset=19, **given)
    close(resized((1.0, 1.0, 0.6, 0.8), **attributes).evaluate(X), expected.astype(np.float32), 2e-6)


def test_half_pixel_symmetric() -> None:
    scales = (1.0, 1.0, 0.6, 0.8)
    op = resized(scales, mode="linear", coordinates="half_pixel_symmetric")
    kind = {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"}
    close(op.evaluate(X), runtime("Resize", X, EMPTY, np.array(scales, np.float32), opset=19, **kind)[0], 2e-6)


def test_crop_and_resize() -> None:
    region = np.array([0, 0, 0.2, 0.4, 1, 1, 1.2, 0.6], np.float32)
    sizes = np.array([1, 2, 3, 3], np.int64)
    kind = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear", "extrapolation_value": 10.0}
    op = Resize(
        (1, 2, 3, 3), (0.0,) * 4, "linear", "tf_crop_and_resize", region=tuple(map(float, region)), extrapolation=10.0
    )
    close(op.evaluate(X), runtime("Resize", X, region, None, sizes, opset=13, **kind)[0], 2e-6)


def test_resize_of_bytes() -> None:
    x = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    y = Resize((1, 1, 8, 8), (1.0, 1.0, 2.0, 2.0), coordinates="asymmetric", rounding="floor").evaluate(x)
    np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(2, 3))


def test_resize_of_symbolic_sizes() -> None:
    height = dim.symbol("H", 1)
    op = Resize((1, 2, height * 2, 7), (1.0, 1.0, 2.0, 1.0))
    assert op.infer(Type(dt.f32, (1, 2, height, 7))).shape[2] == height * 2
    assert bind(op, {"H": 6}).results((X,))[0].shape == (1, 2, 12, 7)


def reference(kind: str, arrays: dict[str, Any], opset: int, **attributes: Any) -> Any:
    node = helper.make_node(kind, list(arrays), ["y"], **attributes)
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
    inputs = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in arrays.items()]
    graph = helper.make_graph([node], "one", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, arrays)[0]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample(mode: Any, padding: Any, align: bool) -> None:
    grid = (np.random.default_rng(1).random((1, 4, 5, 2)).astype(np.float32) - 0.5) * 3.2
    kind = {"mode": mode, "padding_mode": padding, "align_corners": int(align)}
    close(GridSample(mode, padding, align).evaluate(X, grid), runtime("GridSample", X, grid, **kind)[0], 1e-5)


def test_grid_sample_in_three_dimensions() -> None:
    x, grid = random(2, 3, 4, 5, 6), (random(2, 2, 3, 4, 3, seed=1) * 0.8)
    close(GridSample().evaluate(x, grid), runtime("GridSample", x, grid, mode="linear")[0], 1e-5)


def test_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="one size and one scale for each axis"):
        Resize((1, 2), (1.0, 2.0)).infer(Type(dt.f32, (1, 2, 3)))
    with pytest.raises(ValueError, match="takes a grid of 2 coordinates"):
        GridSample().infer(Type(dt.f32, (1, 2, 3, 4)), Type(dt.f32, (1, 2, 3, 3)))


def test_weighted_sums() -> None:
    x, places = np.array([[0, 100, 250], [4, 5, 7]], np.uint8), np.array([[0, 1], [2, 2]])
    halves = np.array([[8, 8], [20, -3]], np.int32)
    assert Resample(1, 4).evaluate(x, places, halves).tolist() == [[50, 255], [5, 7]]
    assert Resample(1).evaluate(x, places, halves / 16).tolist() == [[50, 265.625], [4.5, 7.4375]]
    table = Type(dt.i64, (2, 2)), Type(dt.i32, (2, 2))
    assert Resample(1, 4).infer(Type(dt.u8, (2, 3)), *table) == Type(dt.u8, (2, 2))
    assert Resample(0).infer(Type(dt.u8, (2, 3)), *table) == Type(dt.i32, (2, 3))
    for op, given in ((Resample(2), Type(dt.u8, (2, 3))), (Resample(0, 4), Type(dt.f32, (2, 3)))):
        with pytest.raises(ValueError, match="Resample"):
            op.infer(given, *table)
    with pytest.raises(ValueError, match="places and weights"):
        Resample(0).infer(Type(dt.u8, (2, 3)), Type(dt.i64, (2, 3)), table[1])

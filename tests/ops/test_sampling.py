"""Regions, moved taps and bits against ONNX Runtime; random numbers against the generator's published answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tests.importers.test_nn import Case, check
from tests.ops.oracle import random

IMAGE = random(2, 3, 8, 9)
REGIONS = np.array([[0, 0, 7.5, 6], [1.2, 2.7, 3.1, 9.5], [-3, -2, 20, 4], [5, 5, 5, 5]], np.float32)
BATCH = np.array([0, 1, 1, 0])


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("shift", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, ratio: int, shift: str) -> None:
    settings = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.7}
    settings |= {"mode": mode, "coordinate_transformation_mode": shift}  # type: ignore[dict-item]
    check(Case("RoiAlign", [IMAGE, REGIONS, BATCH], settings, opset=16), symbolic=False)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_max_roi_pool(scale: float) -> None:
    regions = np.array([[0, 1, 1, 6, 5], [1, 0, 0, 3, 8], [1, 7, 6, 2, 2], [0, 12, 12, 15, 15]], np.float32)
    settings: dict[str, Any] = {"pooled_shape": [3, 2], "spatial_scale": scale}
    check(Case("MaxRoiPool", [IMAGE, regions], settings, opset=16), symbolic=False)


@pytest.mark.parametrize(("groups", "parts", "masked"), [(1, 1, False), (3, 1, True), (1, 3, True)])
def test_deform_conv(groups: int, parts: int, masked: bool) -> None:
    inputs = [IMAGE, random(6, 3 // groups, 2, 3), 3 * random(2, parts * 12, 4, 9), random(6)]
    inputs += [random(2, parts * 6, 4, 9, seed=3)] if masked else []
    settings = {"group": groups, "offset_group": parts, "strides": [2, 1], "pads": [1, 1, 0, 1]}
    check(Case("DeformConv", inputs, settings, opset=19), symbolic=False)


def test_generator_gives_its_known_answer() -> None:
    """The vector that comes with Random123 (Salmon et al. 2011) for a counter and key of zeros."""
    first, second = 0x6627E8D5, 0xE169C58D
    assert ops.Uniform((1,), 0).evaluate()[0] == (first >> 8) * 2.0**-24
    assert ops.Uniform((1,), 0, 0, dt.f64).evaluate()[0] == ((first >> 5) * 2**26 + (second >> 6)) * 2.0**-53


def test_draws_spread_evenly() -> None:
    drawn = ops.Uniform((100_000,), 7).evaluate()
    assert abs(drawn.mean() - 0.5) < 0.005 and abs(drawn.var() - 1 / 12) < 0.002
    assert drawn.min() >= 0 and drawn.max() < 1 and len(np.unique(drawn)) > 99_000
    other = ops.Uniform((100_000,), 7, 1).evaluate()
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.02


@pytest.mark.parametrize(
    ("x", "to", "expected"),
    [
        (np.array([1.0, -0.0], np.float32), dt.i32, [0x3F800000, -(2**31)]),
        (np.array([0x3C00, 0x8000], np.uint16), dt.f16, [1.0, -0.0]),
        (np.array([-1, 7], np.int8), dt.u8, [255, 7]),
        (np.array([True, False]), dt.u8, [1, 0]),
        (np.array([15, 7, 8], dt.u4.numpy), dt.i4, [-1, 7, -8]),
        (np.array([-1, -8], dt.i4.numpy), dt.u4, [15, 8]),
    ],
)
def test_bit_cast(x: Any, to: dt.DType, expected: list[float]) -> None:
    found = ops.BitCast(to).evaluate(x)
    assert found.dtype == to.numpy and found.astype(np.float64).tolist() == expected


def test_bit_cast_of_another_width() -> None:
    with pytest.raises(ValueError, match="not as wide"):
        ops.BitCast(dt.f16).dtype(dt.f32)

"""Convolutions of one channel a group, what they tell of their lines, and convolutions that multiply by gates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.region import Anchored, identity
from tenfold.ir import dtype as dt
from tenfold.ops.conv import Conv, Gated
from tenfold.ops.moments import LineSums
from tests.codegen.cpu import cases
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cuda.anchored import check
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda import contraction, moments  # isort: skip
from tenfold.codegen.cuda.conv import depthwise, gated  # isort: skip

_NAMES = ("length", "lines", "rows", "columns", "warps")
_CASE = cases.Case("told", lambda: None, low=-0.9, high=0.9)  # type: ignore[arg-type,return-value]


def channelwise(
    channels: int, size: tuple[int, ...], taps: int, step: int = 1, dilation: int = 1, pad: int | None = None,
    constant: bool = True, kind: type = np.float16,
) -> Case:  # fmt: skip
    """A convolution of one channel a group, channels last."""
    axes = len(size)
    pads = (taps // 2 * dilation if pad is None else pad,) * axes
    random = np.random.default_rng(channels)
    x = random.standard_normal((2, channels, *size)).astype(kind)
    w = (random.standard_normal((channels, 1, *(taps,) * axes)) * 0.2).astype(kind)
    op = Conv((step,) * axes, (dilation,) * axes, pads, pads, channels)
    return Case(op, [Given(x, "last"), Given(w, constant=constant)], ["last"])


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        (channelwise(20, (5, 6), 3), (3, 2, 2, 32, 2)),
        (channelwise(32, (7, 9), 5, step=2), (4, 2, 2, 32, 1)),
        (channelwise(17, (2, 7), 7), (7, 1, 1, 32, 1)),
        (channelwise(33, (3, 6), 3, dilation=2), (4, 1, 2, 32, 1)),
        (channelwise(16, (4, 5), 3, step=2, constant=False), (2, 2, 1, 16, 1)),
        (channelwise(16, (2, 3), 1, pad=2), (4, 1, 1, 16, 1)),
        (channelwise(16, (2, 3, 4), 3), (4, 2, 1, 16, 1)),
        (channelwise(16, (9,), 3, kind=np.float32), (4, 1, 2, 16, 1)),
    ],
    ids=["3", "5-stride", "7", "dilated", "computed", "padding", "3-D", "1-D"],
)
def test_strips_of_lines(case: Case, shape: tuple[int, ...]) -> None:
    check(depthwise.STRATEGY, case, tuple(zip(_NAMES, shape, strict=True)), tolerance=2e-3)


def last(shape: tuple[int, ...]) -> cases.Operand:
    _, c, h, w = shape
    return replace(cases.tensor(dt.f16, shape), strides=(h * w * c, 1, w * c, c))


def telling() -> Anchored:
    """A convolution that tells the sums of its lines."""
    x, w, y = last((2, 24, 5, 6)), cases.tensor(dt.f16, (24, 1, 3, 3)), last((2, 24, 5, 6))
    told = cases.tensor(dt.f32, (2, 5, 24))
    op = Conv((1, 1), (1, 1), (1, 1), (1, 1), 24)
    return Anchored(y.shape, (y,), op, (x, w), identity(dt.f16), sums=told)


def test_sums_are_told_by_the_way() -> None:
    region = telling()
    found = [one for one in tactics(contraction.STRATEGY, region) if one.strategy == "depthwise"]
    for lines in (1, 2):
        one = next(one for one in found if one["lines"] == lines and one["length"] == 4 and one["columns"] == 32)
        kernel = contraction.STRATEGY.build(region, one, TARGET)
        assert len(kernel.launches) == 1
        compare(region, kernel, _CASE)


def test_sums_are_told_by_a_launch_behind() -> None:
    region = telling()
    one = next(one for one in tactics(contraction.STRATEGY, region) if one.strategy == "implicit")
    kernel = contraction.STRATEGY.build(region, one, TARGET)
    assert len(kernel.launches) == 2
    compare(region, kernel, _CASE)


@pytest.mark.parametrize("wide", [5, 20])
def test_sums_of_lines_that_nobody_tells(wide: int) -> None:
    x, told = last((2, 24, 3, wide)), cases.tensor(dt.f32, (2, 3, 24))
    region = Anchored(told.shape, (told,), LineSums(), (x,), identity(dt.f32))
    compare(region, moments.STRATEGY.build(region, tactics(moments.STRATEGY, region)[0], TARGET), _CASE)


@pytest.mark.parametrize("channels", [40, 8])
def test_gates_are_multiplied_where_rows_are_gathered(channels: int) -> None:
    random = np.random.default_rng(channels)
    shapes = ((3, channels, 5, 6), (20, channels, 1, 1), (3, channels, 1, 1))
    x, w, gate = (random.standard_normal(shape).astype(np.float16) for shape in shapes)
    case = Case(Gated(), [Given(x, "last"), Given(w, constant=True), Given(gate)], ["last"])
    shape = (("m", 64), ("n", 32), ("k", 16), ("slices", 1), ("stages", 3), ("warps", 4))
    check(gated.STRATEGY, case, shape, tolerance=2e-3)

from __future__ import annotations

import pytest

from tenfold.codegen.cpu.conv import depthwise, direct, generic, transposed
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, identity
from tenfold.ir import dtype as dt
from tenfold.ops.conv import Conv, ConvTranspose
from tests.codegen.cpu import jit
from tests.codegen.cpu.contractions import build, compare, constant, operand, random, row_major, tactics, variable

ISAS = jit.runnable()


def placed(dtype, shape, layout):
    """A value of that logical shape stored row-major or channels-last, and its operand."""
    rank = len(shape)
    order = list(range(rank)) if layout == "first" else [0, *range(2, rank), 1]
    stored = [shape[axis] for axis in order]
    strides = [0] * rank
    for axis, stride in zip(order, row_major(stored), strict=True):
        strides[axis] = stride
    value = variable(dtype, stored)
    return value, operand(value, shape, strides), order


def case(isa, strategy, n, c, size, o, k, stride=1, dilation=1, pad=0, groups=1, x_layout="last", y_layout="last",
         dtype=dt.f32, way=None, tolerance=1e-5, threads=2, low=False, weights="constant"):  # fmt: skip
    axes = len(size)
    rep = lambda one: tuple(one) if isinstance(one, (tuple, list)) else (one,) * axes
    conv = Conv(rep(stride), rep(dilation), rep(pad), rep(pad), groups)
    x = random(dtype, n, c, *size)
    w = random(dtype, o, c // groups, *rep(k))
    expected = conv.evaluate(x, w)
    xv, xo, order = placed(dtype, x.shape, x_layout)
    yv, yo, y_order = placed(dt.of(expected.dtype), expected.shape, y_layout)
    wv = constant(w) if weights == "constant" else variable(dtype, w.shape)
    region = Anchored(
        expected.shape, (yo,), conv, (xo, operand(wv, w.shape, row_major(w.shape))), identity(dt.of(expected.dtype))
    )
    for tactic in tactics(strategy.STRATEGY, region, isa):
        kernel = build(strategy.STRATEGY, region, isa, tactic)
        compare(
            region,
            kernel,
            isa,
            {xv: x.transpose(order)} | ({} if weights == "constant" else {wv: w}),
            [expected],
            tolerance,
            threads,
            low,
        )


DIRECT = {
    "1x1": dict(n=2, c=20, size=(7, 9), o=40, k=1),
    "1x1 stride 2": dict(n=2, c=20, size=(7, 9), o=40, k=1, stride=2),
    "3x3": dict(n=2, c=16, size=(7, 9), o=33, k=3, pad=1),
    "3x3 stride 2": dict(n=1, c=16, size=(8, 9), o=32, k=3, pad=1, stride=2),
    "3x3 dilation": dict(n=1, c=9, size=(11, 9), o=5, k=3, pad=2, dilation=2),
    "7x7 first": dict(n=1, c=3, size=(17, 19), o=64, k=7, pad=3, stride=2, x_layout="first"),
    "patches": dict(n=2, c=3, size=(8, 12), o=48, k=4, stride=4, x_layout="first", y_layout="first"),
    "groups": dict(n=1, c=24, size=(5, 6), o=36, k=3, pad=1, groups=3),
    "1-D": dict(n=2, c=1, size=(100,), o=18, k=20, stride=5),
    "1-D padded": dict(n=2, c=12, size=(30,), o=18, k=5, pad=2),
    "3-D": dict(n=1, c=10, size=(4, 5, 6), o=7, k=3, pad=1),
    "uneven": dict(n=1, c=8, size=(5, 14), o=8, k=(1, 5), pad=(0, 2), stride=(1, 2)),
}
DEPTHWISE = {
    "3x3": dict(n=2, c=40, size=(7, 9), o=40, k=3, pad=1, groups=40),
    "5x5 stride 2": dict(n=1, c=33, size=(9, 9), o=33, k=5, pad=2, stride=2, groups=33),
    "dilated": dict(n=1, c=5, size=(9, 9), o=5, k=3, pad=2, dilation=2, groups=5),
    "row-major": dict(n=1, c=24, size=(6, 9), o=24, k=3, pad=1, groups=24, x_layout="first", y_layout="first"),
    "1-D": dict(n=2, c=70, size=(20,), o=70, k=7, pad=3, groups=70),
}


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
@pytest.mark.parametrize("name", DIRECT)
def test_direct(isa: Isa, name: str) -> None:
    case(isa, direct, **DIRECT[name])


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise(isa: Isa, name: str) -> None:
    case(isa, depthwise, **DEPTHWISE[name])


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
@pytest.mark.parametrize("name", [*DIRECT, "depthwise"])
def test_generic(isa: Isa, name: str) -> None:
    case(isa, generic, **(DEPTHWISE["3x3"] if name == "depthwise" else DIRECT[name]), weights="variable")


TRANSPOSED = {
    "2x2 stride 2": dict(n=2, c=10, size=(5, 6), o=7, k=2, stride=2),
    "3x3 stride 2": dict(n=1, c=10, size=(5, 6), o=35, k=3, stride=2, pad=1, extra=1),
    "4x4 stride 2": dict(n=1, c=10, size=(5, 6), o=8, k=4, stride=2, pad=1, x_layout="first", y_layout="first"),
    "holes": dict(n=1, c=6, size=(5, 4), o=8, k=2, stride=3),
    "dilated": dict(n=1, c=6, size=(5, 4), o=8, k=3, stride=2, dilation=2, pad=1),
    "coprime": dict(n=1, c=6, size=(5, 4), o=8, k=4, stride=3, dilation=2, pad=2),
    "groups": dict(n=1, c=12, size=(5, 4), o=9, k=3, stride=2, groups=3),
    "1-D": dict(n=2, c=12, size=(9,), o=9, k=8, stride=4, pad=2),
    "plain": dict(n=1, c=5, size=(4, 4), o=5, k=3, pad=1),
}


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed(isa: Isa, name: str) -> None:
    def conv_of(stride, dilation, pad, extra, groups):
        return ConvTranspose(stride, dilation, pad, pad, extra, groups)

    c = dict(TRANSPOSED[name])
    n, channels, size, o, k = c["n"], c["c"], c["size"], c["o"], c["k"]
    axes, groups = len(size), c.get("groups", 1)
    conv = conv_of(
        *((c.get(word, start),) * axes for word, start in (("stride", 1), ("dilation", 1), ("pad", 0), ("extra", 0))),
        groups,
    )
    x, w = random(dt.f32, n, channels, *size), random(dt.f32, channels, o // groups, *(k,) * axes)
    wanted = conv.evaluate(x, w)
    xv, xo, order = placed(dt.f32, x.shape, c.get("x_layout", "last"))
    _, yo, _ = placed(dt.f32, wanted.shape, c.get("y_layout", "last"))
    region = Anchored(
        wanted.shape, (yo,), conv, (xo, operand(constant(w), w.shape, row_major(w.shape))), identity(dt.f32)
    )
    compare(region, build(transposed.STRATEGY, region, isa), isa, {xv: x.transpose(order)}, [wanted])

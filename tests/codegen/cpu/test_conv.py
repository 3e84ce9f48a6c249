from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tenfold.codegen.cpu.conv import channelwise, depthwise, direct, generic, planes, transposed
from tenfold.codegen.cpu.conv.ending import Ending
from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.cpu.microkernel import Block, block_of
from tenfold.codegen.region import Anchored, Body, Index, Instruction, Load, Operand, Uniform, identity
from tenfold.codegen.strategy import Refusal, Strategy
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.activation import Relu, Silu
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.logic import Cast
from tenfold.target import Target
from tests.codegen.cpu import anchored, jit
from tests.codegen.cpu.contractions import (
    build,
    compare,
    constant,
    dense,
    operand,
    random,
    row_major,
    tactics,
    variable,
)
from tests.codegen.cpu.emulated import check_emulated

ISAS = jit.runnable()
each_isa = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
Layout = Literal["first", "last"]


@dataclass(frozen=True)
class Case:
    """A convolution of x [n, c, *size] to o channels; numbers stand for every spatial axis."""

    n: int
    c: int
    size: tuple[int, ...]
    o: int
    k: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    pad: int | tuple[int, ...] = 0
    groups: int = 1
    extra: int = 0
    x: Layout = "last"
    y: Layout = "last"
    dtype: dt.DType = field(default=dt.f32)

    def each(self, number: int | tuple[int, ...]) -> tuple[int, ...]:
        return number if isinstance(number, tuple) else (number,) * len(self.size)

    @property
    def conv(self) -> Conv:
        pads = self.each(self.pad)
        return Conv(self.each(self.stride), self.each(self.dilation), pads, pads, self.groups)

    @property
    def transposed(self) -> ConvTranspose:
        pads, extra = self.each(self.pad), self.each(self.extra)
        return ConvTranspose(self.each(self.stride), self.each(self.dilation), pads, pads, extra, self.groups)


DIRECT = {
    "1x1": Case(n=2, c=20, size=(7, 9), o=40, k=1),
    "1x1, whole blocks": Case(n=2, c=20, size=(7, 9), o=64, k=1),
    "1x1, more results than the second cache": Case(n=1, c=20, size=(60, 60), o=96, k=1),
    "1x1, constants behind": Case(n=1, c=530, size=(7, 5), o=272, k=1),
    "1x1, constants behind, whole blocks": Case(n=1, c=280, size=(7, 5), o=480, k=1),
    "1x1 stride 2": Case(n=2, c=20, size=(7, 9), o=40, k=1, stride=2),
    "1x1 padded": Case(n=1, c=12, size=(5, 4), o=9, k=1, pad=1),
    "3x3": Case(n=2, c=16, size=(7, 9), o=33, k=3, pad=1),
    "3x3 stride 2": Case(n=1, c=16, size=(8, 9), o=32, k=3, pad=1, stride=2),
    "3x3 dilated": Case(n=1, c=9, size=(11, 9), o=5, k=3, pad=2, dilation=2),
    "7x7 of few channels": Case(n=1, c=3, size=(17, 19), o=64, k=7, pad=3, stride=2, x="first"),
    "patches": Case(n=2, c=3, size=(8, 12), o=48, k=4, stride=4, x="first", y="first"),
    "groups": Case(n=1, c=24, size=(5, 6), o=36, k=3, pad=1, groups=3),
    "1-D": Case(n=2, c=1, size=(100,), o=18, k=20, stride=5),
    "1-D padded": Case(n=2, c=12, size=(30,), o=18, k=5, pad=2),
    "3-D": Case(n=1, c=10, size=(4, 5, 6), o=7, k=3, pad=1),
    "uneven": Case(n=1, c=8, size=(5, 14), o=8, k=(1, 5), pad=(0, 2), stride=(1, 2)),
    "f64": Case(n=1, c=9, size=(5, 6), o=20, k=3, pad=1, dtype=dt.f64),
    "f16": Case(n=1, c=9, size=(5, 6), o=20, k=3, pad=1, dtype=dt.f16),
    "i8": Case(n=1, c=9, size=(5, 6), o=20, k=3, pad=1, dtype=dt.i8),
}
PLANES = {
    "images": Case(n=3, c=3, size=(9, 17), o=32, k=3, pad=1, stride=2, x="first"),
    "patches of images": Case(n=2, c=3, size=(8, 12), o=48, k=4, stride=4, x="first"),
}
DEPTHWISE = {
    "3x3": Case(n=2, c=40, size=(7, 9), o=40, k=3, pad=1, groups=40),
    "5x5 stride 2": Case(n=1, c=33, size=(9, 9), o=33, k=5, pad=2, stride=2, groups=33),
    "dilated": Case(n=1, c=5, size=(9, 9), o=5, k=3, pad=2, dilation=2, groups=5),
    "wide border": Case(n=1, c=20, size=(3, 2), o=20, k=3, pad=4, groups=20),
    "long lines": Case(n=2, c=37, size=(4, 41), o=37, k=3, pad=1, stride=2, groups=37),
    "uneven": Case(n=1, c=18, size=(7, 30), o=18, k=(1, 5), pad=(0, 2), stride=(2, 1), dilation=(1, 3), groups=18),
    "a block a line": Case(n=2, c=20, size=(7, 7), o=20, k=5, pad=2, groups=20),
    "two blocks a line": Case(n=1, c=35, size=(3, 14), o=35, k=7, pad=3, groups=35),
    "blocks of three kinds": Case(n=1, c=20, size=(3, 45), o=20, k=5, pad=2, groups=20),
    "blocks that see nothing": Case(n=1, c=5, size=(3, 20), o=5, k=3, pad=(1, 40), groups=5),
    "31 taps": Case(n=1, c=9, size=(6, 35), o=9, k=(3, 31), pad=(1, 15), groups=9),
    "row-major": Case(n=1, c=24, size=(6, 9), o=24, k=3, pad=1, groups=24, x="first", y="first"),
    "1-D": Case(n=2, c=70, size=(20,), o=70, k=7, pad=3, groups=70),
    "3-D": Case(n=1, c=17, size=(4, 5, 6), o=17, k=3, groups=17),
    "f64": Case(n=1, c=13, size=(5, 6), o=13, k=3, pad=1, groups=13, dtype=dt.f64),
    "f16": Case(n=1, c=50, size=(5, 6), o=50, k=3, pad=1, groups=50, dtype=dt.f16),
    "i8": Case(n=1, c=50, size=(5, 6), o=50, k=3, pad=1, groups=50, dtype=dt.i8),
}
TRANSPOSED = {
    "2x2 stride 2": Case(n=2, c=10, size=(5, 6), o=7, k=2, stride=2),
    "3x3 stride 2": Case(n=1, c=10, size=(5, 6), o=35, k=3, stride=2, pad=1, extra=1),
    "4x4 row-major": Case(n=1, c=10, size=(5, 6), o=8, k=4, stride=2, pad=1, x="first", y="first"),
    "places without taps": Case(n=1, c=6, size=(5, 4), o=8, k=2, stride=3),
    "dilated": Case(n=1, c=6, size=(5, 4), o=8, k=3, stride=2, dilation=2, pad=1),
    "coprime": Case(n=1, c=6, size=(5, 4), o=8, k=4, stride=3, dilation=2, pad=2),
    "groups": Case(n=1, c=12, size=(5, 4), o=9, k=3, stride=2, groups=3),
    "1-D": Case(n=2, c=12, size=(9,), o=9, k=8, stride=4, pad=2),
    "3-D": Case(n=1, c=4, size=(3, 2, 4), o=9, k=2, stride=2),
    "stride 1": Case(n=1, c=5, size=(4, 4), o=5, k=3, pad=1),
    "tiles of one channel": Case(n=2, c=10, size=(5, 6), o=1, k=(2, 3), stride=(2, 3)),
    "tiles in groups": Case(n=2, c=12, size=(5, 6), o=9, k=2, stride=2, groups=3),
    "tiles row-major": Case(n=1, c=20, size=(5, 6), o=24, k=2, stride=2, x="first", y="first"),
}


def order_of(rank: int, layout: Layout) -> list[int]:
    return list(range(rank)) if layout == "first" else [0, *range(2, rank), 1]


def placed(dtype: dt.DType, shape: Sequence[int], layout: Layout) -> Operand:
    """An operand of that logical shape, stored row-major or channels-last in a value of its own."""
    order = order_of(len(shape), layout)
    stored = [shape[axis] for axis in order]
    strides = dict(zip(order, row_major(stored), strict=True))
    return operand(variable(dtype, stored), shape, [strides[axis] for axis in range(len(shape))])


def check(isa: Isa, strategy: Strategy, case: Case, w: Array, op: Conv | ConvTranspose, fixed: bool = True) -> None:
    """Every tactic of the strategy, compared with the operation."""
    x = random(case.dtype, case.n, case.c, *case.size)
    wanted = np.asarray(op.evaluate(x, w))
    total = dt.of(wanted.dtype)
    source, result = placed(case.dtype, x.shape, case.x), placed(total, wanted.shape, case.y)
    weights = constant(w) if fixed else variable(case.dtype, w.shape)
    inputs = (source, operand(weights, w.shape, row_major(w.shape)))
    region = Anchored(wanted.shape, (result,), op, inputs, identity(total))
    arrays = {source.value: x.transpose(order_of(x.ndim, case.x))} | ({} if fixed else {weights: w})
    tolerance = 1e-3 if case.dtype is dt.f16 else 1e-5
    for tactic in tactics(strategy, region, isa):
        compare(region, build(strategy, region, isa, tactic), isa, arrays, [wanted], tolerance, low=case.n == 1)


def weights_of(case: Case) -> Array:
    return random(case.dtype, case.o, case.c // case.groups, *case.each(case.k))


@each_isa
@pytest.mark.parametrize("name", DIRECT)
def test_direct(isa: Isa, name: str) -> None:
    case = DIRECT[name]
    check(isa, direct.STRATEGY, case, weights_of(case), case.conv)


@each_isa
@pytest.mark.parametrize("name", PLANES)
def test_planes(isa: Isa, name: str) -> None:
    case = PLANES[name]
    check(isa, planes.STRATEGY, case, weights_of(case), case.conv)


@pytest.mark.skipif(jit.V4 not in ISAS, reason="AVX-512 is needed to run this")
@pytest.mark.parametrize(
    ("case", "block"),
    [(Case(n=1, c=20, size=(7, 9), o=23, k=1), (8, 3, 8)), (Case(n=1, c=12, size=(5, 4), o=39, k=3), (4, 5, 8)),
     (Case(n=1, c=24, size=(5, 6), o=24, k=3, pad=1, groups=3), (14, 1, 8))],
    ids=["3", "5", "1"],
)  # fmt: skip
def test_vectors_half_as_wide(case: Case, block: tuple[int, int, int]) -> None:
    isa, x, w = replace(jit.V4, halves=True), random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    assert block_of(isa, dt.f32, case.o // case.groups) == Block(*block)
    wanted = np.asarray(case.conv.evaluate(x, w))
    source, result = placed(dt.f32, x.shape, "last"), placed(dt.f32, wanted.shape, "last")
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    region = Anchored(wanted.shape, (result,), case.conv, inputs, identity(dt.f32))
    compare(
        region,
        direct.kernel_of(region, isa, False, Block(*block)),
        isa,
        {source.value: x.transpose(0, 2, 3, 1)},
        [wanted],
    )


@pytest.mark.parametrize(
    ("channels", "block", "onward"),
    [(640, Block(14, 1, 16), True), (480, Block(14, 1, 16), False), (640, Block(8, 3, 16), False)],
)
def test_large_constants_are_followed_by_what_comes_next(channels: int, block: Block, onward: bool) -> None:
    isa = replace(ROWS[1], halves=True)
    case = Case(n=1, c=channels, size=(7, 7), o=256, k=1)
    x, y = placed(dt.f32, (1, channels, 7, 7), "last"), placed(dt.f32, (1, 256, 7, 7), "last")
    w = dense(constant(np.zeros((256, channels, 1, 1), np.float32)))
    region = Anchored(y.shape, (y,), case.conv, (x, w), identity(dt.f32), ())
    (stage,) = direct.kernel_of(region, isa, False, block).stages
    assert (256 * channels * 4 in stage.arguments) == onward


@pytest.mark.parametrize(
    ("channels", "taps", "low"), [(512, 3, True), (512, 1, False), (256, 3, False)], ids=["3x3", "1x1", "apart"]
)
def test_taps_of_rows_that_evict_each_other_come_in_low_blocks(channels: int, taps: int, low: bool) -> None:
    case = Case(n=1, c=channels, size=(14, 14), o=64, k=taps, stride=2, pad=taps // 2)
    x, y = placed(dt.f32, (1, channels, 14, 14), "last"), placed(dt.f32, (1, 64, 7, 7), "last")
    w = dense(constant(np.zeros((64, channels, taps, taps), np.float32)))
    region = Anchored(y.shape, (y,), case.conv, (x, w), identity(dt.f32), ())
    found = direct.STRATEGY.tactics(region, Target("cpu", "x86-64-v4"))
    assert not isinstance(found, Refusal)
    assert (int(str(found[0]["block"]).split("x")[0]) <= 8) == low


@each_isa
@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise(isa: Isa, name: str) -> None:
    case = DEPTHWISE[name]
    check(isa, depthwise.STRATEGY, case, weights_of(case), case.conv)


def test_blocks_of_a_line_have_code_by_what_they_see() -> None:
    form = channelwise.Form(jit.V4, 7, 5, 1, 1, Ending(identity(dt.f32), (), ()))
    assert form.along(7, 7, 2).spans == (channelwise.Span(2, 9, 7),)
    assert form.along(14, 14, 2).spans == (channelwise.Span(2, 11, 7), channelwise.Span(0, 9, 7))
    three = (channelwise.Span(2, 11, 7), form.whole, channelwise.Span(0, 7, 5))
    assert form.along(33, 33, 2).spans == form.along(61, 61, 2).spans == three
    assert form.along(100, 20, 40) == form


@each_isa
@pytest.mark.parametrize("name", [*DIRECT, "depthwise"])
def test_generic(isa: Isa, name: str) -> None:
    case = (DIRECT | {"depthwise": DEPTHWISE["3x3"]})[name]
    check(isa, generic.STRATEGY, case, weights_of(case), case.conv, fixed=False)


@each_isa
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed(isa: Isa, name: str) -> None:
    case = TRANSPOSED[name]
    w = random(case.dtype, case.c, case.o // case.groups, *case.each(case.k))
    check(isa, transposed.STRATEGY, case, w, case.transposed)


@each_isa
def test_tiles_of_one_channel_and_activation(isa: Isa) -> None:
    case = TRANSPOSED["tiles of one channel"]
    x, w = random(dt.f32, case.n, case.c, *case.size), random(dt.f32, case.c, 1, *case.each(case.k))
    wanted = Silu().evaluate(case.transposed.evaluate(x, w))
    source, result = placed(dt.f32, x.shape, "last"), placed(dt.f32, wanted.shape, "last")
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    body = Body((dt.f32,), (Instruction(Silu(), (0,), dt.f32),), (1,))
    region = Anchored(wanted.shape, (result,), case.transposed, inputs, body)
    (tactic,) = tactics(transposed.STRATEGY, region, isa)
    kernel = build(transposed.STRATEGY, region, isa, tactic)
    compare(region, kernel, isa, {source.value: x.transpose(0, 2, 3, 1)}, [wanted])


@each_isa
@pytest.mark.parametrize(
    ("strategy", "case"),
    [(direct.STRATEGY, DIRECT["3x3"]), (direct.STRATEGY, DIRECT["1x1, whole blocks"]),
     (depthwise.STRATEGY, DEPTHWISE["3x3"]), (generic.STRATEGY, DIRECT["3x3"])],
    ids=["direct", "1x1", "depthwise", "generic"],
)  # fmt: skip
@pytest.mark.parametrize("activation", [Silu(), Relu()], ids=["silu", "relu"])
def test_bias_residual_and_activation(isa: Isa, strategy: Strategy, case: Case, activation: Op) -> None:
    x, w = random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    sums = np.asarray(case.conv.evaluate(x, w))
    bias, rest = random(dt.f32, case.o), random(dt.f32, *sums.shape)
    source, result = placed(dt.f32, x.shape, "last"), placed(dt.f32, sums.shape, "last")
    row = variable(dt.f32, (case.o,))
    three = (dt.f32,) * 3
    body = Body(
        three,
        (
            Instruction(Add(), (0, 1), dt.f32),
            Instruction(activation, (3,), dt.f32),
            Instruction(Add(), (4, 2), dt.f32),
        ),
        (5,),
    )
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    extra = (operand(row, sums.shape, (0, 1, 0, 0)), result)
    region = Anchored(sums.shape, (result,), case.conv, inputs, body, extra)
    biased = sums + bias[:, None, None]
    wanted = np.asarray(activation.evaluate(biased)) + rest
    arrays = {source.value: x.transpose(0, 2, 3, 1), row: bias, result.value: rest.transpose(0, 2, 3, 1)}
    arrays[inputs[1].value] = w
    compare(region, build(strategy, region, isa), isa, arrays, [wanted], threads=3)


@each_isa
@pytest.mark.parametrize(
    ("strategy", "case"),
    [(direct.STRATEGY, DIRECT["3x3"]), (direct.STRATEGY, DIRECT["groups"]), (depthwise.STRATEGY, DEPTHWISE["3x3"]),
     (transposed.STRATEGY, TRANSPOSED["groups"]), (transposed.STRATEGY, TRANSPOSED["tiles in groups"]),
     (generic.STRATEGY, DIRECT["3x3"])],
    ids=["direct", "groups", "depthwise", "transposed", "tiles", "generic"],
)  # fmt: skip
def test_positions_sizes_and_gathered_operands(isa: Isa, strategy: Strategy, case: Case) -> None:
    turned = strategy is transposed.STRATEGY
    op: Conv | ConvTranspose = case.transposed if turned else case.conv
    taps = case.each(case.k)
    shape = (case.c, case.o // case.groups, *taps) if turned else (case.o, case.c // case.groups, *taps)
    x, w = random(dt.f32, case.n, case.c, *case.size), random(dt.f32, *shape)
    sums = np.asarray(op.evaluate(x, w))
    table = random(dt.f32, sums.shape[1], sums.shape[3])
    source, result = placed(dt.f32, x.shape, "last"), placed(dt.f32, sums.shape, case.y)
    gathered = placed(dt.f32, table.shape, "first")
    body = Body(
        (dt.f32,),
        (
            *(Instruction(Index(axis), (), dt.i64) for axis in range(4)),
            Instruction(Uniform(0), (), dt.i64),
            Instruction(Mul(), (2, 5), dt.i64),
            Instruction(Add(), (6, 1), dt.i64),
            Instruction(Add(), (7, 3), dt.i64),
            Instruction(Cast(dt.f32), (8,), dt.f32),
            Instruction(Load(0), (2, 4), dt.f32),
            Instruction(Mul(), (0, 10), dt.f32),
            Instruction(Add(), (11, 9), dt.f32),
        ),
        (12,),
    )
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    region = Anchored(sums.shape, (result,), op, inputs, body, gathered=(gathered,), uniforms=(3,))
    at = np.indices(sums.shape)
    wanted = (sums * table[at[1], at[3]] + (3 * at[1] + at[0] + at[2])).astype(np.float32)
    arrays = {source.value: x.transpose(0, 2, 3, 1), gathered.value: table, inputs[1].value: w}
    compare(region, build(strategy, region, isa), isa, arrays, [wanted])


@each_isa
@pytest.mark.parametrize("groups", [1, 33], ids=["direct", "depthwise"])
def test_images_of_sizes_unseen_at_build(isa: Isa, groups: int) -> None:
    n, height, width = symbol("n", 1), symbol("height", 1), symbol("width", 1)
    conv = Conv((1, 1), (1, 1), (1, 1), (1, 1), groups)
    w = random(dt.f32, 33, 33 // groups, 3, 3)
    x, y = Value(Type(dt.f32, (n, height, width, 33))), Value(Type(dt.f32, (n, height, width, 33)))
    source = Operand(x, dt.f32, (n, 33, height, width), (height * width * 33, 1, width * 33, 33))
    result = Operand(y, dt.f32, (n, 33, height, width), (height * width * 33, 1, width * 33, 33))
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    region = Anchored(result.shape, (result,), conv, inputs, identity(dt.f32))
    kernel = build(depthwise.STRATEGY if groups > 1 else direct.STRATEGY, region, isa)
    for shape in ((1, 33, 3, 3), (2, 33, 1, 2), (3, 33, 20, 17)):
        image = random(dt.f32, *shape)
        sizes = {"n": shape[0], "height": shape[2], "width": shape[3]}
        wanted = np.asarray(conv.evaluate(image, w))
        compare(region, kernel, isa, {x: image.transpose(0, 2, 3, 1)}, [wanted], bindings=sizes)


@pytest.mark.parametrize(
    ("strategy", "case"),
    [(direct.STRATEGY, DIRECT["3x3"]), (direct.STRATEGY, DIRECT["7x7 of few channels"]),
     (direct.STRATEGY, DIRECT["f16"]), (depthwise.STRATEGY, DEPTHWISE["3x3"]), (depthwise.STRATEGY, DEPTHWISE["f16"]),
     (generic.STRATEGY, DIRECT["3x3"])],
    ids=str,
)  # fmt: skip
def test_code_needs_nothing_from_outside(strategy: Strategy, case: Case) -> None:
    shape = np.asarray(case.conv.evaluate(random(case.dtype, case.n, case.c, *case.size), weights_of(case))).shape
    w = weights_of(case)
    inputs = (
        placed(case.dtype, (case.n, case.c, *case.size), case.x),
        operand(constant(w), w.shape, row_major(w.shape)),
    )
    region = Anchored(shape, (placed(case.dtype, shape, case.y),), case.conv, inputs, identity(case.dtype))
    for isa in (jit.V3, jit.V4, jit.AARCH64):
        for stage in build(strategy, region, isa).stages:
            assert jit.undefined(jit.object_of(stage.source, isa)) == []


def test_refusals_say_why() -> None:
    alone = DEPTHWISE["3x3"]
    given = (placed(dt.f32, (2, 40, 7, 9), "last"), placed(dt.f32, (40, 1, 3, 3), "first"))
    weights = replace(given[1], value=constant(weights_of(alone)))
    each = Anchored((2, 40, 7, 9), (given[0],), alone.conv, (given[0], weights), identity(dt.f32))
    refused = direct.STRATEGY.tactics(each, Target("cpu", "x86-64-v3"))
    assert isinstance(refused, Refusal) and "depthwise" in refused.reason
    case = DIRECT["3x3"]
    inputs = (placed(dt.f32, (2, 16, 7, 9), "last"), placed(dt.f32, (33, 16, 3, 3), "first"))
    region = Anchored((2, 33, 7, 9), (placed(dt.f32, (2, 33, 7, 9), "last"),), case.conv, inputs, identity(dt.f32))
    target = Target("cpu", "x86-64-v3")
    for strategy, reason in (
        (direct.STRATEGY, "constant"),
        (depthwise.STRATEGY, "constant"),
        (transposed.STRATEGY, ""),
    ):
        found = strategy.tactics(region, target)
        assert isinstance(found, Refusal) and reason in found.reason


def test_on_another_machine(tmp_path: Path) -> None:
    for strategy, case, op in (
        (direct.STRATEGY, DIRECT["3x3"], DIRECT["3x3"].conv),
        (direct.STRATEGY, DIRECT["7x7 of few channels"], DIRECT["7x7 of few channels"].conv),
        (depthwise.STRATEGY, DEPTHWISE["5x5 stride 2"], DEPTHWISE["5x5 stride 2"].conv),
        (transposed.STRATEGY, TRANSPOSED["2x2 stride 2"], TRANSPOSED["2x2 stride 2"].transposed),
        (generic.STRATEGY, DIRECT["groups"], DIRECT["groups"].conv),
    ):
        turned = strategy is transposed.STRATEGY
        channels = (case.c, case.o) if turned else (case.o, case.c // case.groups)
        x, w = random(dt.f32, case.n, case.c, *case.size), random(dt.f32, *channels, *case.each(case.k))
        given = [anchored.Given(x, "last" if case.x == "last" else "dense"), anchored.Given(w, constant=True)]
        check_emulated(strategy, anchored.Case(op, given, ["last"]), tmp_path, tolerance=1e-5)

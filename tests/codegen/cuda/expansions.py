"""1x1 convolutions with the depthwise convolutions of their results, as regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tenfold.codegen.cuda.conv import expanded
from tenfold.codegen.region import Anchored, Body, Chain, Instruction
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tests.codegen.cpu import cases
from tests.codegen.cuda.table import Entry, image, random


def expanded_image(channels: int, size: tuple[int, int], n: int, taps: int, step: int, pad: int | None = None, *,
                   count: int = 2, told: bool = False) -> Chain:  # fmt: skip
    """A 1x1 convolution as `image` has it, and the depthwise convolution of its results; `told`: with the sums of its
    lines.
    """
    made = image(channels, size, n, 1, 1, 0, count=count)
    assert isinstance(made, Anchored)
    if channels <= 8:
        last = (channels * size[0] * size[1], 1, channels * size[1], channels)
        made = replace(made, inputs=(replace(made.inputs[0], strides=last), *made.inputs[1:]))
    pad = taps // 2 if pad is None else pad
    out = tuple((one + 2 * pad - taps) // step + 1 for one in size)
    y = cases.tensor(dt.f16, (count, n, *out))
    y = replace(y, strides=(n * out[0] * out[1], 1, n * out[1], n))
    weights = Constant(Tensor(random(dt.f16, n, 1, taps, taps, scale=1 / taps)))()
    w = replace(cases.tensor(dt.f16, (n, 1, taps, taps)), value=weights)
    row = replace(cases.tensor(dt.f16, (n,)), shape=y.shape, strides=(0, 1, 0, 0))
    body = Body((dt.f16,) * 2, (Instruction(Add(), (0, 1), dt.f16), Instruction(Relu(), (2,), dt.f16)), (3,))
    op = Conv((step, step), (1, 1), (pad, pad), (pad, pad), n)
    sums = cases.tensor(dt.f32, (count, out[0], n)) if told else None
    deep = Anchored(y.shape, (y,), op, (made.outputs[0], w), body, extra=(row,), sums=sums)
    return Chain(y.shape, (y, *deep.told), (made, deep), within=made.outputs)


def expansions() -> Iterator[Entry]:
    """1x1 convolutions and the depthwise convolutions of their results."""
    made = (
        ("24 to 144, 3x3", expanded_image(24, (56, 56), 144, 3, 1, count=1)),
        ("16 to 96, 3x3 in steps", expanded_image(16, (112, 112), 96, 3, 2, count=1)),
        ("160 to 960, 3x3", expanded_image(160, (7, 7), 960, 3, 1)),
        ("80 to 480, 5x5, told", expanded_image(80, (14, 14), 480, 5, 1, told=True)),
        ("40 to 250, 5x5 in steps, told", expanded_image(40, (29, 27), 250, 5, 2, told=True)),
        ("3 to 40, 7x7 without padding", expanded_image(3, (19, 23), 40, 7, 1, 0, count=3)),
    )
    for name, region in made:
        yield Entry(f"expanded {name}", expanded.STRATEGY, region, 2e-3, most=7)

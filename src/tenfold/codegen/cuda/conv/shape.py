"""A convolution with three axes: those that it lacks have size 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tenfold.codegen.cuda import emit
from tenfold.codegen.cuda.launch import Recast
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape, Transpose

AXES = 3


@dataclass(frozen=True)
class Shape:
    """`x` is stated over image, channel and three axes; `w` has `w_strides` along output channel, tap and channel.
    `axes` are the domain's in the order rows, then columns; `n` and `k` the channels of a group; `inside`: no window
    leaves the image.
    """

    x: Operand
    w: Operand
    w_strides: tuple[int, int, int]
    axes: tuple[int, ...]
    out_sizes: tuple[Size, ...]
    n: int
    k: int
    groups: int
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[Size, ...]
    inside: bool

    @property
    def m(self) -> Size:
        """Windows in all."""
        return dim.product(self.out_sizes)


def shape_of(region: Region) -> Shape | Refusal:
    """The shape of the convolution that a region computes; or why there is none."""
    if not isinstance(region, Anchored) or not isinstance(region.anchor, Conv):
        return Refusal("no convolution")
    op, (x, w) = region.anchor, region.inputs
    reason = emit.refusal(region.body)
    if reason:
        return Refusal(reason)
    if x.dtype not in (dt.f16, dt.bf16, dt.f32) or x.dtype is not w.dtype:
        return Refusal(f"convolutions of {x.dtype} and {w.dtype} have no generated code for GPUs yet")
    missing = AXES - len(op.strides)
    if missing < 0 or not all(isinstance(size, int) for size in w.shape):
        return Refusal("windows along more than three axes, or of unknown size")
    sizes = [size for size in w.shape if isinstance(size, int)]
    rank, ones, zeros = len(region.domain), (1,) * missing, (0,) * missing
    taps = (*ones, *sizes[2:])
    packed, strides = _packed(w, sizes)
    if strides is None:
        return Refusal("weights that are computed lie in an order that taps cannot walk")
    axes = (0, *range(2, rank), 1)
    image = replace(x, shape=(*x.shape[:2], *ones, *x.shape[2:]), strides=(*x.strides[:2], *zeros, *x.strides[2:]))
    windows = tuple(region.domain[axis] for axis in axes[1:-1])
    return Shape(
        image, packed, strides, axes, (region.domain[0], *ones, *windows), sizes[0] // op.groups, sizes[1], op.groups,
        taps, (*ones, *op.strides), (*ones, *op.dilations), (*zeros, *op.pads_before),
        inside=all(pad == 0 for pad in (*op.pads_before, *op.pads_after)),
    )  # fmt: skip


def _packed(w: Operand, sizes: list[int]) -> tuple[Operand, tuple[int, int, int] | None]:
    """The weights with taps before channels, which lie side by side; where they are computed, as they lie."""
    count, taps = len(sizes) - 2, math.prod(sizes[2:])
    if isinstance(w.value.op, Constant) and w.offset == 0 and w.value.type.shape == w.shape:
        turn = (0, *range(2, 2 + count), 1)
        recipe = (Transpose(turn), Reshape((sizes[0], taps, sizes[1]))) if taps > 1 else ()
        packed = Recast(w.value, w.dtype, (sizes[0], taps, sizes[1]), (taps * sizes[1], sizes[1], 1), 0, recipe)
        return packed if recipe else w, (taps * sizes[1], sizes[1], 1)
    return w, _as_they_lie(w, sizes)


def _as_they_lie(w: Operand, sizes: list[int]) -> tuple[int, int, int] | None:
    step = 1
    for size, stride in zip(reversed(sizes[3:]), reversed(w.strides[3:]), strict=True):
        if size != 1 and stride != w.strides[-1] * step:
            return None
        step *= size
    steps = (w.strides[0], w.strides[-1] if len(sizes) > 2 else 0, w.strides[1])
    return steps if all(isinstance(one, int) for one in steps) else None  # type: ignore[return-value]

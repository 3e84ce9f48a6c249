"""Convolutions of few channels: the image is copied first, with its padding, its channels filled up to a power of two.

Then all taps along the last axis are one span of neighbouring elements, and a window of R by S taps of C channels is
one of R by 1 taps of as many channels as a span has elements; spans of neighbouring windows overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv import boxes, implicit
from tenfold.codegen.cuda.conv.plan import Plan, plan_of
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.emit import pointer
from tenfold.codegen.cuda.launch import CudaKernel, Launch, Recast, launch, number, numbers, place, workspace
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Pad, Reshape, Transpose
from tenfold.target import Target

MOST_CHANNELS = 8
_PIXELS = 256
_SHORT = 2.5
"""How many times as long boxes take whose rows fill half a line of shared memory."""


@triton.jit
def pack(
    x, strides, out, in_sizes, out_sizes, pads, pixels,
    CHANNELS: tl.constexpr, ROOM: tl.constexpr, PIXELS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """The image as [images, height, width, ROOM], zeros round it and in the channels that it lacks."""
    grid.begin(EARLY)
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)[:, None]
    channel = tl.arange(0, ROOM)[None, :]
    at = grid.positions(pixel, out_sizes)
    h, v = at[1] - pads[0], at[2] - pads[1]
    inside = (h >= 0) & (h < in_sizes[0]) & (v >= 0) & (v < in_sizes[1]) & (channel < CHANNELS) & (pixel < pixels)
    place = x + at[0] * strides[0] + channel * strides[1] + h * strides[2] + v * strides[3]
    value = tl.load(place, mask=inside, other=0)
    tl.store(out + pixel * ROOM + channel, value, mask=pixel < pixels)


class Spanned:
    """Two launches, where channels are few and the weights constant."""

    name = "spanned"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Those of the second launch, by boxes or by addresses."""
        shape = shape_of(region)
        if isinstance(shape, Refusal):
            return shape
        reason = _refusal(shape)
        if reason:
            return Refusal(reason)
        second = _second(shape)
        moved = boxes.tactics_of(self.name, plan_of(region, target, second), target)
        return [*(() if isinstance(moved, Refusal) else moved), *implicit.tactics_of(self.name, second, target)]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: the copy is a launch of its own, and the rest as for many channels."""
        shape = shape_of(region)
        assert isinstance(shape, Shape)
        plan = _plan(region, _second(shape), tactic, target)
        if plan:
            return 1500 + _SHORT * boxes.guess(plan, tactic, target)
        return 1500 + implicit.guess(_second(shape), tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """The copy into the workspace, and the product."""
        shape = shape_of(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        second = _second(shape)
        bytes = dim.ceildiv(dim.product(second.x.shape) * shape.x.dtype.itemsize, 256) * 256
        plan = _plan(region, second, tactic, target)
        if plan:
            made, room, zeroed = boxes.launch_of(plan, tactic, target, Workspace(0), bytes)
        else:
            image = workspace(pointer(shape.x.dtype))
            made, room, zeroed = implicit.launch_of(region, second, image, tactic, target, bytes)
        return CudaKernel(launches=(_copy(shape, second, target), made), workspace=room, zeroed=zeroed)


def _plan(region: Region, second: Shape, tactic: Tactic, target: Target) -> Plan | None:
    """The plan by boxes, if the tactic is one of theirs."""
    if "teams" not in tactic:
        return None
    plan = plan_of(region, target, second)
    assert isinstance(plan, Plan)
    return plan


def _copy(shape: Shape, second: Shape, target: Target) -> Launch:
    images, channels, _, height, width = shape.x.shape
    assert isinstance(channels, int)
    sizes = (images, second.x.shape[3], _columns(shape))
    pixels = dim.product(sizes)
    steps = (shape.x.strides[0], shape.x.strides[1], *shape.x.strides[3:])
    fillings = {
        "x": place(shape.x),
        "strides": numbers(steps),
        "out": workspace(pointer(shape.x.dtype)),
        "in_sizes": numbers((height, width)),
        "out_sizes": numbers(sizes),
        "pads": numbers(shape.pads[1:]),
        "pixels": number(pixels),
        **{"CHANNELS": channels, "ROOM": _room(shape), "PIXELS": _PIXELS, "EARLY": int(arch_of(target).early)},
    }
    return launch(f"{__name__}:pack", dim.ceildiv(pixels, _PIXELS), fillings)


def _second(shape: Shape) -> Shape:
    """The same convolution of the copied image: spans for channels, one tap along the last axis."""
    room, taps = _room(shape), shape.taps
    across = grid.power_of_two(taps[2])
    reach, width = (shape.out_sizes[2] - 1) * shape.strides[1] + taps[1], _columns(shape)
    height = dim.ceildiv(reach, shape.strides[1]) * shape.strides[1]
    image = Operand(
        shape.x.value,
        shape.x.dtype,
        (shape.out_sizes[0], across * room, 1, height, width),
        (height * width * room, 1, 0, width * room, room),
    )
    recipe = (
        Transpose((0, 2, 3, 1)),
        Pad((0,) * 4, (0, 0, across - taps[2], room - shape.k)),
        Reshape((shape.n, taps[1], across * room)),
    )
    span = across * room
    w = Recast(shape.w.value, shape.w.dtype, (shape.n, taps[1], span), (taps[1] * span, span, 1), 0, recipe)
    return replace(
        shape,
        x=image,
        w=w,
        w_strides=(taps[1] * span, span, 1),
        k=span,
        taps=(1, taps[1], 1),
        pads=(0, 0, 0),
        inside=True,
    )


def _room(shape: Shape) -> int:
    return grid.power_of_two(max(shape.k, 2))


def _columns(shape: Shape) -> Size:
    """Columns of the copied image: those of the last window's span are its last."""
    return (shape.out_sizes[3] - 1) * shape.strides[2] + grid.power_of_two(shape.taps[2])


def _refusal(shape: Shape) -> str | None:
    if shape.groups != 1 or shape.taps[0] != 1 or shape.x.shape[2] != 1 or shape.k > MOST_CHANNELS:
        return "many channels, groups, or windows along three axes"
    if shape.taps[2] < 2 or any(step != 1 for step in shape.dilations):
        return "its taps do not lie side by side"
    value = shape.w.value
    if not isinstance(value.op, Constant) or len(value.type.shape) != 4 or shape.w.offset != 0:
        return "weights that are computed"
    return None


STRATEGY = Spanned()

"""The moments of rows and the sums of images' lines, by a launch of their own: where the kernel that makes them does
not tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenfold.codegen.cuda import columns, reduce
from tenfold.codegen.cuda.launch import CudaKernel, Launch
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, Phase, Region, Row, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ops.arithmetic import Mul
from tenfold.ops.logic import Cast
from tenfold.ops.moments import LineSums, Moments
from tenfold.target import Target


def width_of(told: Operand, x: Operand) -> int:
    """How many neighbours of x are told together."""
    columns, parts = x.shape[-1], told.shape[1]
    assert isinstance(columns, int) and isinstance(parts, int)
    return columns // parts


def launches(x: Operand, told: Operand, target: Target) -> tuple[Launch, ...]:
    """The launch that reads x, stated over its own axes, and tells of its rows what `told` is for."""
    width = width_of(told, x)
    domain = (*x.shape[:-1], told.shape[1], width)
    given = replace(x, shape=domain, strides=(*x.strides[:-1], x.strides[-1] * width, x.strides[-1]))
    steps = (*told.strides[2:], told.strides[1], 0)
    results = tuple(
        replace(told, shape=domain, strides=steps, offset=told.offset + which * told.strides[0]) for which in range(2)
    )
    wide = Instruction(Cast(dt.f32), (0,), dt.f32)
    phases = (
        Phase(Body((x.dtype,), (wide,), (1,)), "sum"),
        Phase(Body((x.dtype, dt.f32), (wide, Instruction(Mul(), (2, 2), dt.f32)), (3,)), "sum"),
    )
    region = Row(domain, (), 1, (given,), phases, None, identity(dt.f32, dt.f32), (), results)
    tactics = reduce.STRATEGY.tactics(region, target)
    assert not isinstance(tactics, Refusal), tactics
    return reduce.STRATEGY.build(region, tactics[0], target).launches


def sums(x: Operand, told: Operand, target: Target) -> CudaKernel:
    """The kernel that reads x, images stated over their own axes, and sums its lines."""
    order = (0, *range(2, len(x.shape) - 1), 1, len(x.shape) - 1)
    domain = tuple(x.shape[axis] for axis in order)
    given = replace(x, shape=domain, strides=tuple(x.strides[axis] for axis in order))
    result = replace(told, shape=domain, strides=(*told.strides, 0))
    wide = Body((x.dtype,), (Instruction(Cast(dt.f32), (0,), dt.f32),), (1,))
    region = Row(domain, (), 1, (given,), (Phase(wide, "sum"),), None, identity(dt.f32), (), (result,))
    for strategy in (columns.STRATEGY, reduce.STRATEGY):
        tactics = strategy.tactics(region, target)
        if not isinstance(tactics, Refusal):
            return strategy.build(region, tactics[0], target)
    raise AssertionError(tactics)


def behind(kernel: CudaKernel, region: Anchored, target: Target) -> CudaKernel:
    """A kernel, and launches behind it that tell what its region asks for besides."""
    x, more = region.outputs[0], list[Launch]()
    if region.moments:
        more += launches(x, region.moments, target)
    if region.sums:
        more += sums(x, region.sums, target).launches
    return replace(kernel, launches=(*kernel.launches, *more))


class MomentsStrategy:
    """Moments of rows that no product makes, sums of lines that no convolution tells."""

    name = "moments"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, (Moments, LineSums)):
            return Refusal("neither moments nor sums of lines")
        return [Tactic(self.name)]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Anchored)
        x, told = region.inputs[0], region.outputs[0]
        if isinstance(region.anchor, LineSums):
            return sums(x, told, target)
        return CudaKernel(launches=launches(x, told, target))


STRATEGY = MomentsStrategy()

"""Sums along the lines of images, where the convolution that made them does not tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenfold.codegen.cpu import reduce
from tenfold.codegen.region import Anchored, Operand, Phase, Region, Row, identity
from tenfold.codegen.strategy import Kernel, Refusal, Tactic
from tenfold.ir.dtype import f32
from tenfold.ops.moments import LineSums
from tenfold.target import Target


class LineSumsAlone:
    """LineSums of f32 as a reduction of rows."""

    name = "line sums"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Those of the reduction; a Refusal for anything else."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, LineSums):
            return Refusal("no sums along lines")
        if region.inputs[0].dtype is not f32 or region.body.code:
            return Refusal("not of f32, or not alone")
        found = reduce.STRATEGY.tactics(_row(region.inputs[0], region.outputs[0]), target)
        return found if isinstance(found, Refusal) else [replace(one, strategy=self.name) for one in found]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """That reduction."""
        assert isinstance(region, Anchored)
        return reduce.STRATEGY.build(_row(region.inputs[0], region.outputs[0]), tactic, target)


STRATEGY = LineSumsAlone()


def behind(kernel: Kernel, region: Anchored, target: Target) -> Kernel:
    """A kernel, and a stage behind it that sums lines of its only result of f32, if its region asks for that."""
    if region.sums is None:
        return kernel
    row = _row(region.outputs[0], region.sums)
    found = reduce.STRATEGY.tactics(row, target)
    assert not isinstance(found, Refusal)
    more = reduce.STRATEGY.build(row, found[0], target)
    return replace(kernel, stages=(*kernel.stages, *more.stages), scratch=max(kernel.scratch, more.scratch))


def _row(x: Operand, told: Operand) -> Row:
    """Each line of `x` [N, C, ..., W] as a row, of which `told` [N, ..., C] holds the sum."""
    order = (0, *range(2, len(x.shape) - 1), 1, len(x.shape) - 1)
    shape, strides = (tuple(one[axis] for axis in order) for one in (x.shape, x.strides))
    lines = replace(x, shape=shape, strides=strides)
    result = replace(told, shape=shape, strides=(*told.strides, 0))
    one = identity(f32)
    return Row(shape, (), 1, (lines,), (Phase(one, "sum"),), None, one, (), (result,))

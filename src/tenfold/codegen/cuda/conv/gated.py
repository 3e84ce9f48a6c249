"""Convolutions of images times one number a channel: a tile is of one image, whose numbers multiply its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenfold.codegen.cuda.conv import implicit
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.launch import CudaKernel, numbers, place
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ops.conv import Gated, plain
from tenfold.target import Target


class GatedStrategy:
    """As `implicit`, whose weights are multiplied on their way."""

    name = "gated"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and slices."""
        shape = _shape(region)
        return shape if isinstance(shape, Refusal) else implicit.tactics_of(self.name, shape, target)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        shape = _shape(region)
        assert isinstance(shape, Shape)
        return implicit.guess(shape, tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; counters and a workspace of partial sums."""
        shape = _shape(region)
        assert isinstance(shape, Shape) and isinstance(region, Anchored)
        gate = region.inputs[2]
        beside = (place(gate), numbers(gate.strides[:2]))
        made, room, zeroed = implicit.launch_of(_ungated(region), shape, place(shape.x), tactic, target, 0, beside)
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _shape(region: Region) -> Shape | Refusal:
    if not isinstance(region, Anchored) or not isinstance(region.anchor, Gated):
        return Refusal("no image times one number a channel")
    return shape_of(_ungated(region))


def _ungated(region: Anchored) -> Anchored:
    """The region of the convolution alone."""
    return replace(region, anchor=plain(len(region.domain)), inputs=region.inputs[:2])


STRATEGY = GatedStrategy()

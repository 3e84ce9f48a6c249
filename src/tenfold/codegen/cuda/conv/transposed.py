"""Transposed convolution: for each phase of the stride (codegen/phases) a convolution that gathers, in a launch.

Phases run one after another, so that slices of all of them meet in the same workspace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.conv import implicit
from tenfold.codegen.cuda.conv.shape import AXES, Shape
from tenfold.codegen.cuda.launch import CudaKernel, Recast, place
from tenfold.codegen.phases import Phase, phases_of, shifted, taps_of
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.constant import Constant
from tenfold.ops.conv import ConvTranspose
from tenfold.ops.movement import Reshape, Transpose
from tenfold.target import Target


class Transposed:
    """ConvTranspose of up to three axes in floats, its weights and padding being constant."""

    name = "conv.transposed"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and slices, by the guess for the phase with the most taps."""
        reason = _refusal(region)
        if reason or not isinstance(region, Anchored):
            return Refusal(reason or "no transposed convolution")
        shape = max((one for _, one in _convolutions(region)), key=lambda one: math.prod(one.taps))
        found = implicit.tactics_of(self.name, shape, target)
        return sorted(found, key=lambda tactic: implicit.guess(shape, tactic, target))

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """A launch a phase; counters and a workspace of partial sums."""
        assert isinstance(region, Anchored)
        launches, room, zeroed = [], list[Size](), list[Size]()
        for part, shape in _convolutions(region):
            made, behind, counted = implicit.launch_of(part, shape, place(shape.x), tactic, target, 0)
            launches.append(made)
            room.append(behind)
            zeroed.append(counted)
        return CudaKernel(launches=tuple(launches), workspace=dim.maximum(*room), zeroed=dim.maximum(*zeroed))


def _refusal(region: Region) -> str | None:
    if not isinstance(region, Anchored) or not isinstance(region.anchor, ConvTranspose):
        return "no transposed convolution"
    op, (x, w) = region.anchor, region.inputs
    if not isinstance(w.value.op, Constant) or w.offset != 0 or w.value.type.shape != w.shape:
        return "the weights are no constant"
    if not all(isinstance(one, int) for one in op.pads_before):
        return "the padding is not known before the call"
    if x.dtype not in (dt.f16, dt.bf16, dt.f32) or x.dtype is not w.dtype or len(op.strides) > AXES:
        return f"transposed convolutions of {x.dtype} and {w.dtype} along {len(op.strides)} axes"
    if any(axis > 1 for axis in grid.asked(region.body)):
        return "what is made of its results depends on their place in the image"
    return emit.refusal(region.body)


def _convolutions(region: Anchored) -> Iterator[tuple[Anchored, Shape]]:
    """Each phase as a region of the places that it writes, and as a convolution."""
    for phases in phases_of(region):
        domain = (*region.domain[:2], *(phase.count for phase in phases))
        moved = replace(
            region,
            domain=domain,
            extra=tuple(_every(one, region, phases, domain) for one in region.extra),
            outputs=tuple(_every(one, region, phases, domain) for one in region.outputs),
        )
        yield moved, _shape(moved, phases)


def _every(one: Operand, region: Anchored, phases: Sequence[Phase], domain: tuple[Size, ...]) -> Operand:
    """The places of a phase: from its first on, a stride apart."""
    assert isinstance(region.anchor, ConvTranspose)
    spatial = zip(one.strides[2:], region.anchor.strides, strict=True)
    strides = (*one.strides[:2], *(stride * step for stride, step in spatial))
    return replace(shifted(one, phases), shape=domain, strides=strides)


def _shape(region: Anchored, phases: Sequence[Phase]) -> Shape:
    op, (x, weights) = region.anchor, region.inputs
    assert isinstance(op, ConvTranspose)
    channels, each, *kernel = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    groups, terms, rank = op.groups, channels // op.groups, len(kernel) + 2
    whole = (groups, terms, each, *kernel)
    seen = [max(1, phase.taps) for phase in phases]
    turn = Transpose((0, 2, *range(3, len(whole)), 1))
    packed = (groups * each, math.prod(seen), terms)
    recipe = (Reshape(whole), *taps_of(whole, phases), turn, Reshape(packed))
    steps = (packed[1] * terms, terms, 1)
    missing = AXES - len(kernel)
    ones, zeros = (1,) * missing, (0,) * missing
    image = replace(x, shape=(*x.shape[:2], *ones, *x.shape[2:]), strides=(*x.strides[:2], *zeros, *x.strides[2:]))
    return Shape(
        image, Recast(weights.value, weights.dtype, packed, steps, 0, recipe), steps, (0, *range(2, rank), 1),
        (region.domain[0], *ones, *region.domain[2:]), each, terms, groups, (*ones, *seen), (1,) * AXES,
        (*ones, *(phase.dilation for phase in phases)), (*zeros, *(phase.padding for phase in phases)), inside=False,
    )  # fmt: skip


STRATEGY = Transposed()

"""Transposed convolution: one contraction for each phase of the stride, its taps walking back through the image.

Output place o of an axis gets x[i] w[k] for o + padding = i * stride + k * dilation. Places of equal
(o + padding) % stride form a phase: they see the same taps, each tap one step further back in x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.conv.border import border_stage
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import block_of, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, Window, kernel, moving, refuse
from tenfold.codegen.cpu.stage import address
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Op
from tenfold.ops.conv import ConvTranspose
from tenfold.ops.movement import Pad, Reshape
from tenfold.target import Target


class Transposed:
    """ConvTranspose with constant weights and padding, by the micro-kernel."""

    name = "conv.transposed"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One, which copies the image first if its channels are not adjacent; or a Refusal."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, ConvTranspose):
            return Refusal("no transposed convolution")
        if view_recipe(region.inputs[1]) is None:
            return Refusal("the weights are no constant")
        if not all(isinstance(one, int) for one in region.anchor.pads_before):
            return Refusal("the padding is not known before the call")
        return refuse(region) or (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel: at most a copying stage, then one stage a phase."""
        assert isinstance(region, Anchored)
        isa = isa_of(target)
        image = _image(region.inputs[0], isa)
        kernels = [kernel(one, isa) for one in _products(region, image, isa)]
        stages = [stage for one in kernels for stage in one.stages]
        return Kernel((*image.stages, *stages), max(one.scratch for one in kernels), image.workspace)


STRATEGY = Transposed()


@dataclass(frozen=True, eq=False)
class _Image:
    argument: Argument
    strides: tuple[Size, ...]
    stages: tuple[Stage, ...] = ()
    workspace: Size = 0


def _image(x: Operand, isa: Isa) -> _Image:
    """x with adjacent channels, where it lies or copied; strides of N and of the spatial axes."""
    if x.strides[1] == 1:
        return _Image(address(x), (x.strides[0], *x.strides[2:]))
    sizes = x.shape[2:]
    stage, workspace = border_stage(isa, x, (0,) * len(sizes), sizes, Workspace())
    strides = tuple(x.shape[1] * dim.product(sizes[axis:]) for axis in range(len(sizes) + 1))
    return _Image(Workspace(), strides, (stage,), workspace)


@dataclass(frozen=True)
class _Phase:
    """Along one axis: the places `first`, first + stride, … of the result, `count` of them, which see the taps `tap`,
    tap + `apart`, … (`taps`, 0: none). Tap number t of place number q reads x at q + t * dilation - padding.
    """

    first: int
    count: Size
    tap: int
    apart: int
    taps: int
    dilation: int
    padding: int


def _phases(size: Size, kernel_size: int, stride: int, dilation: int, before: int) -> list[_Phase]:
    shared = math.gcd(stride, dilation)
    apart = stride // shared
    found = []
    for phase in range(stride):
        first = (phase - before) % stride
        seen = [k for k in range(kernel_size) if k * dilation % stride == phase]
        tap = seen[0] if seen else 0
        padding = (tap * dilation - phase) // stride - (first + before) // stride if seen else 0
        count = dim.maximum(0, dim.ceildiv(size - first, stride))
        found.append(_Phase(first, count, tap, apart, len(seen), -(dilation // shared), padding))
    return found


def _products(region: Anchored, image: _Image, isa: Isa) -> list[Product]:
    conv, weights = region.anchor, region.inputs[1]
    assert isinstance(conv, ConvTranspose)
    taps = [int(size) for size in weights.shape[2:]]  # type: ignore[arg-type]
    before = [int(size) for size in conv.pads_before]  # type: ignore[arg-type]
    rows = zip(region.domain[2:], taps, conv.strides, conv.dilations, before, strict=True)
    return [_product(region, image, isa, phases) for phases in itertools.product(*(_phases(*row) for row in rows))]


def _product(region: Anchored, image: _Image, isa: Isa, phases: Sequence[_Phase]) -> Product:
    conv, (x, weights) = region.anchor, region.inputs
    assert isinstance(conv, ConvTranspose)
    channels, each, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    groups, channels = conv.groups, channels // conv.groups
    width = block_of(isa, sum_of(x.dtype, weights.dtype), each).columns
    shape = (groups, channels, each, *taps)
    seen = (*shape[:3], *(max(1, phase.taps) for phase in phases))
    order = (0, -1, *range(3, len(shape)), 1, 2)
    recipe = (*(view_recipe(weights) or ()), Reshape(shape), *_taps(shape, phases), *panel_recipe(seen, order, width))
    moved = replace(
        region,
        extra=tuple(_shifted(one, phases) for one in region.extra),
        outputs=tuple(_shifted(one, phases) for one in region.outputs),
    )
    streams = [one.strides for one in moving(region)]
    rows = [Axis(region.domain[0], image.strides[0], 0, tuple(one[0] for one in streams))]
    for axis, phase in enumerate(phases):
        window = Window(
            max(1, phase.taps), 1, phase.dilation, phase.padding, x.shape[2 + axis], image.strides[1 + axis]
        )
        steps = tuple(one[2 + axis] * conv.strides[axis] for one in streams)
        rows.append(Axis(phase.count, 0, 0, steps, window))
    panels = -(-each // width) * width * math.prod(seen[3:]) * channels
    return Product(
        region=moved,
        a=image.argument,
        a_dtype=x.dtype,
        b=Packed(weights.value, recipe),
        b_dtype=weights.dtype,
        batches=(Axis(groups, channels, panels, tuple(each * one[1] for one in streams)),),
        rows=tuple(rows),
        columns=Axis(each, 0, 0, tuple(one[1] for one in streams)),
        terms=channels,
        padded=True,
        origin=(0, 0, *(phase.first for phase in phases)),
    )


def _shifted(operand: Operand, phases: Sequence[_Phase]) -> Operand:
    """The operand from the phase's first place on."""
    offset = operand.offset
    for phase, stride in zip(phases, operand.strides[2:], strict=True):
        offset = offset + phase.first * stride
    return replace(operand, offset=offset)


def _taps(shape: Sequence[int], phases: Sequence[_Phase]) -> list[Op]:
    """Operations that keep a phase's taps of weights of this shape; one tap of zeros where it sees none."""
    found: list[Op] = []
    now = list(shape)
    for axis, phase in enumerate(phases, start=3):
        size = now[axis]
        if phase.taps == 0:
            found += [_cut(now, axis, 0, -size), _cut([*now[:axis], 0, *now[axis + 1 :]], axis, 0, 1)]
            now[axis] = 1
            continue
        found.append(_cut(now, axis, -phase.tap, phase.taps * phase.apart - size + phase.tap))
        now[axis : axis + 1] = [phase.taps, phase.apart]
        found += [Reshape(tuple(now)), _cut(now, axis + 1, 0, 1 - phase.apart)]
        del now[axis + 1]
        found.append(Reshape(tuple(now)))
    return found


def _cut(shape: Sequence[int], axis: int, before: int, after: int) -> Pad:
    """Add to both ends of an axis, or take away."""
    zeros = [0] * len(shape)
    low, high = list(zeros), list(zeros)
    low[axis], high[axis] = before, after
    return Pad(tuple(low), tuple(high))

"""Transposed convolution: one contraction for each phase of the stride (codegen/phases). Where each pixel of x becomes
a tile of its own, one contraction makes all phases, each part from rows of x that it keeps in the second cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.blocking import kernel
from tenfold.codegen.cpu.body import LIGHT, expand_body, weight
from tenfold.codegen.cpu.conv.border import border_stage
from tenfold.codegen.cpu.epilogue import with_epilogue
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import block_of, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, Window, moving, refuse
from tenfold.codegen.cpu.stage import address
from tenfold.codegen.phases import Phase, phases_of, shifted, taps_of
from tenfold.codegen.region import Anchored, Operand, Region, identity
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ops.conv import ConvTranspose
from tenfold.ops.movement import Reshape
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
        if not _is_tiled(region):
            return _by_phases(region, isa)
        if _outputs(region) == 1 and weight(expand_body(region.body)) > LIGHT:
            return with_epilogue(region, target, lambda result: _by_tiles(_bare(region, result), isa))
        return _by_tiles(region, isa)


STRATEGY = Transposed()


def _outputs(region: Anchored) -> int:
    """Output channels of a group."""
    return int(region.inputs[1].shape[1])  # type: ignore[arg-type]


def _bare(region: Anchored, result: Operand) -> Anchored:
    """The convolution alone, its results going to `result`."""
    return replace(region, outputs=(result,), extra=(), body=identity(result.dtype), gathered=(), uniforms=())


def _is_tiled(region: Anchored) -> bool:
    """Whether the taps of neighbouring pixels neither meet nor leave gaps."""
    conv, (x, weights) = region.anchor, region.inputs
    assert isinstance(conv, ConvTranspose)
    plain = all(one == 1 for one in conv.dilations) and not any(conv.pads_before)
    sizes = zip(region.domain[2:], x.shape[2:], conv.strides, strict=True)
    return plain and weights.shape[2:] == conv.strides and all(dim.known_equal(o, i * s) for o, i, s in sizes)


def _by_tiles(region: Anchored, isa: Isa) -> Kernel:
    """One contraction whose batches are the taps; a lone output channel's taps along the last axis are its columns."""
    conv, (x, weights) = region.anchor, region.inputs
    assert isinstance(conv, ConvTranspose)
    image, lone = _image(x, isa), _outputs(region) == 1 and conv.groups == 1
    channels, each, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    shape = (conv.groups, channels // conv.groups, each, *taps)
    *batches, columns = range(2, len(shape)) if lone else (*range(3, len(shape)), 2)
    block = block_of(isa, sum_of(x.dtype, weights.dtype), shape[columns])
    panels = -(-shape[columns] // block.columns) * block.columns * shape[1]
    streams = [one.strides for one in moving(region)]

    def steps(axis: int) -> tuple[Size, ...]:
        return tuple(one[max(1, axis - 1)] for one in streams)

    rows = [Axis(region.domain[0], image.strides[0], 0, tuple(one[0] for one in streams))]
    for axis, stride in enumerate(conv.strides):
        moved = tuple(stride * step for step in steps(3 + axis))
        rows.append(Axis(x.shape[2 + axis], image.strides[1 + axis], 0, moved))
    sizes = [shape[axis] for axis in batches]
    shared = [
        Axis(size, 0, panels * math.prod(sizes[place + 1 :]), steps(axis))
        for place, (axis, size) in enumerate(zip(batches, sizes, strict=True))
    ]
    groups = Axis(conv.groups, shape[1], panels * math.prod(sizes), tuple(each * one[1] for one in streams))
    recipe = panel_recipe(shape, (0, *batches, -1, 1, columns), block.columns)
    product = Product(
        region=region,
        a=image.argument,
        a_dtype=x.dtype,
        b=Packed(weights.value, (*(view_recipe(weights) or ()), Reshape(shape), *recipe)),
        b_dtype=weights.dtype,
        batches=(groups, *shared),
        rows=tuple(rows),
        columns=Axis(shape[columns], 0, 0, steps(columns)),
        terms=shape[1],
        block=block,
        cut="rows",
    )
    made = kernel(product, isa)
    return Kernel((*image.stages, *made.stages), made.scratch, image.workspace)


def _by_phases(region: Anchored, isa: Isa) -> Kernel:
    """A stage for each phase."""
    image = _image(region.inputs[0], isa)
    kernels = [kernel(one, isa) for one in _products(region, image, isa)]
    stages = [stage for one in kernels for stage in one.stages]
    return Kernel((*image.stages, *stages), max(one.scratch for one in kernels), image.workspace)


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


def _products(region: Anchored, image: _Image, isa: Isa) -> list[Product]:
    return [_product(region, image, isa, phases) for phases in phases_of(region)]


def _product(region: Anchored, image: _Image, isa: Isa, phases: Sequence[Phase]) -> Product:
    conv, (x, weights) = region.anchor, region.inputs
    assert isinstance(conv, ConvTranspose)
    channels, each, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    groups, channels = conv.groups, channels // conv.groups
    width = block_of(isa, sum_of(x.dtype, weights.dtype), each).columns
    shape = (groups, channels, each, *taps)
    seen = (*shape[:3], *(max(1, phase.taps) for phase in phases))
    order = (0, -1, *range(3, len(shape)), 1, 2)
    recipe = (*(view_recipe(weights) or ()), Reshape(shape), *taps_of(shape, phases), *panel_recipe(seen, order, width))
    moved = replace(
        region,
        extra=tuple(shifted(one, phases) for one in region.extra),
        outputs=tuple(shifted(one, phases) for one in region.outputs),
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

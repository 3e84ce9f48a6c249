"""Convolution as a contraction over taps and channels, pixels of the result being its rows.

A channels-last image is read in place: a table of addresses follows taps, strides, dilations and borders. One of few
channels, or of another layout, is first copied channels-last with its border; then the taps along a line and the
channels are adjacent, and one stretch of terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu.blocking import PAGE, WAYS, kernel
from tenfold.codegen.cpu.conv.border import border_stage
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import Block, fitting, quickest, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, Window, moving, refuse
from tenfold.codegen.cpu.stage import address
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape
from tenfold.target import Target

_FEW = 8
"""Channels below which the taps along a line are worth joining to them by a copy."""
_FAR = 2
"""Second caches that results fill which are not there any more when memory for the next ones is asked for."""
_BLOCKS = 3
"""The most blocks that are offered."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image [N, C, *S] with adjacent channels, as taps read it: strides of N and of S, and what lies around."""

    argument: Argument
    strides: tuple[Size, ...]
    extents: tuple[Size, ...]
    before: tuple[Size, ...]
    padded: bool
    stages: tuple[Stage, ...] = ()
    workspace: Size = 0


def image_of(region: Anchored, isa: Isa, copied: bool) -> Image:
    """The image of a convolution, where it lies, or copied channels-last with its border."""
    x, conv = region.inputs[0], region.anchor
    assert isinstance(conv, Conv)
    if not copied:
        padded = any(one != 0 for one in (*conv.pads_before, *conv.pads_after))
        strides = (x.strides[0], *x.strides[2:])
        return Image(address(x), strides, x.shape[2:], conv.pads_before, padded)
    around = zip(x.shape[2:], conv.pads_before, conv.pads_after, strict=True)
    sizes = tuple(size + before + after for size, before, after in around)
    stage, workspace = border_stage(isa, x, conv.pads_before, sizes, Workspace())
    dense = tuple(x.shape[1] * dim.product(sizes[axis:]) for axis in range(len(sizes) + 1))
    return Image(Workspace(), dense, sizes, (0,) * len(sizes), False, (stage,), workspace)


def pixels(region: Anchored, image: Image, joined: bool) -> tuple[Axis, ...]:
    """The row axes: images, then places of the result along each spatial axis; `joined`: the last one's taps are
    terms.
    """
    conv, kernel_sizes = region.anchor, region.inputs[1].shape[2:]
    assert isinstance(conv, Conv)
    streams = [one.strides for one in moving(region)]
    found = [Axis(region.domain[0], image.strides[0], 0, tuple(one[0] for one in streams))]
    last = len(kernel_sizes) - 1
    for axis, taps in enumerate(kernel_sizes):
        assert isinstance(taps, int)
        stride, step = conv.strides[axis], image.strides[1 + axis]
        window = Window(taps, stride, conv.dilations[axis], image.before[axis], image.extents[axis], step)
        plain = (joined and axis == last) or (taps == 1 and not image.padded)
        moved = tuple(one[2 + axis] for one in streams)
        found.append(Axis(region.domain[2 + axis], step * stride if plain else 0, 0, moved, None if plain else window))
    return tuple(found)


class Direct:
    """Conv with constant weights, any groups but one channel each, by the micro-kernel."""

    name = "conv.direct"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """In place or copied, whichever suits the image first, then other blocks; a Refusal for what is no such
        convolution.
        """
        found = weights_of(region)
        if isinstance(found, Refusal):
            return found
        assert isinstance(region, Anchored)
        x = region.inputs[0]
        channels = region.inputs[1].shape[1]
        if channels == 1 and x.shape[1] == found.shape[0] != 1:
            return Refusal("every channel by itself is depthwise")
        ways = ["copied"]
        if x.strides[1] == 1 or channels == 1:
            few = isinstance(channels, int) and channels < _FEW
            ways = ["copied", "in place"] if few and not _joined(region, _natural(x)) else ["in place", "copied"]
        blocks = _blocks(region, isa_of(target))[:_BLOCKS]
        choices = [(way, blocks[0]) for way in ways] + [(ways[0], block) for block in blocks[1:]]
        return [Tactic(self.name, (("image", way), ("block", str(block)))) for way, block in choices]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel: at most a copying stage, then the product."""
        assert isinstance(region, Anchored)
        isa = isa_of(target)
        block = block_named(region, isa, str(tactic["block"]))
        return kernel_of(region, isa, tactic["image"] == "copied", block)


STRATEGY = Direct()


def block_named(region: Anchored, isa: Isa, name: str) -> Block:
    """The block of that name among those that could do."""
    return {str(one): one for one in _blocks(region, isa)}[name]


def kernel_of(region: Anchored, isa: Isa, copied: bool, block: Block) -> Kernel:
    """The kernel for an instruction set, of that block."""
    return kernel(product_of(region, isa, copied, block), isa)


def weights_of(region: Region) -> Operand | Refusal:
    """The constant weights of a convolution, or why it is none that the micro-kernel takes."""
    if not isinstance(region, Anchored) or not isinstance(region.anchor, Conv):
        return Refusal("no convolution")
    weights = region.inputs[1]
    if view_recipe(weights) is None:
        return Refusal("the weights are no constant")
    return refuse(region) or weights


def _blocks(region: Anchored, isa: Isa) -> list[Block]:
    """The blocks that could do, the one that seems best first: of rows a multiple of 4 KiB apart, which evict each
    other from the first cache the sooner the narrower the block is, and of a single row, as for any columns; where
    several taps read such rows in place, those of few rows come first.
    """
    (x, weights), conv = region.inputs, region.anchor
    assert isinstance(conv, Conv)
    _, *terms = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    pitch = x.strides[-1] * (conv.strides[-1] * x.dtype.itemsize)
    crowded = conv.strides[-1] > 1 and isinstance(pitch, int) and pitch % PAGE == 0
    total, single = sum_of(x.dtype, weights.dtype), dim.product((region.domain[0], *region.domain[2:])) == 1
    if crowded or single:
        found = fitting(isa, total, _each(region))
        windowed = not single and math.prod(terms[1:]) > 1
        return sorted(found, key=lambda one: one.rows > WAYS) if windowed else found
    written = dim.product(region.domain) * total.itemsize
    far = not isinstance(written, int) or written > _FAR * isa.l2
    return quickest(isa, total, _each(region), math.prod(terms), far)


def _natural(x: Operand) -> tuple[Size, ...]:
    return (x.strides[0], *x.strides[2:])


def _joined(region: Anchored, strides: tuple[Size, ...], padded: bool = True) -> bool:
    """Whether the taps along the last axis and the channels are adjacent elements of an image without border."""
    conv = region.anchor
    assert isinstance(conv, Conv)
    bare = not padded or (conv.pads_before[-1] == 0 and conv.pads_after[-1] == 0)
    adjacent = strides[-1] == region.inputs[1].shape[1]
    return bare and adjacent and conv.groups == 1 and (conv.dilations[-1] == 1 or region.inputs[1].shape[-1] == 1)


def _each(region: Anchored) -> int:
    """Outputs of a group."""
    outputs, conv = region.inputs[1].shape[0], region.anchor
    assert isinstance(outputs, int) and isinstance(conv, Conv)
    return outputs // conv.groups


def product_of(region: Anchored, isa: Isa, copied: bool, block: Block) -> Product:
    """The contraction, by that block, of an image in place or copied."""
    conv, (x, weights) = region.anchor, region.inputs
    assert isinstance(conv, Conv)
    outputs, channels, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    groups = conv.groups
    image = image_of(region, isa, copied)
    joined = _joined(region, image.strides, image.padded)
    streams = [one.strides[1] for one in moving(region)]
    each = outputs // groups
    width = block.columns
    shape = (groups, each, channels, *taps)
    order = (0, -1, *range(3, len(shape)), 2, 1)
    recipe = (*(view_recipe(weights) or ()), Reshape(shape), *panel_recipe(shape, order, width))
    panels = -(-each // width) * width * channels
    for count in taps:
        panels *= count
    return Product(
        region=region,
        a=image.argument,
        a_dtype=x.dtype,
        b=Packed(weights.value, recipe),
        b_dtype=weights.dtype,
        batches=(Axis(groups, channels, panels, tuple(each * step for step in streams)),),
        rows=pixels(region, image, joined),
        columns=Axis(each, 0, 0, tuple(streams)),
        terms=channels * (taps[-1] if joined else 1),
        padded=image.padded,
        before=image.stages,
        workspace=image.workspace,
        block=block,
    )

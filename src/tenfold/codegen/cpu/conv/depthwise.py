"""Depthwise convolution: every channel by itself, channels side by side in the lanes of a vector."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.cpu.conv.direct import image_of, pixels, weights_of
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import block_of, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, kernel, moving
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Kernel, Packed, Refusal, Tactic
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape
from tenfold.target import Target


class Depthwise:
    """Conv with as many groups as channels and as outputs, by the micro-kernel's separate form."""

    name = "conv.depthwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """In place where channels are adjacent, else copied; a Refusal for what is no such convolution."""
        found = weights_of(region)
        if isinstance(found, Refusal):
            return found
        assert isinstance(region, Anchored) and isinstance(region.anchor, Conv)
        if found.shape[1] != 1 or found.shape[0] != region.anchor.groups:
            return Refusal("groups of more than one channel")
        ways = ["in place", "copied"] if region.inputs[0].strides[1] == 1 else ["copied"]
        return [Tactic(self.name, (("image", way),)) for way in ways]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel: at most a copying stage, then the sums over taps."""
        assert isinstance(region, Anchored)
        return kernel(_product(region, isa_of(target), tactic["image"] == "copied"), isa_of(target))


STRATEGY = Depthwise()


def _product(region: Anchored, isa: Isa, copied: bool) -> Product:
    x, weights = region.inputs
    image = image_of(region, isa, copied)
    channels, _, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    shape = (channels, *taps)
    width = block_of(isa, sum_of(x.dtype, weights.dtype), channels).columns
    order = (-1, *range(1, len(shape)), 0)
    recipe = (*(view_recipe(weights) or ()), Reshape(shape), *panel_recipe(shape, order, width))
    streams = tuple(one.strides[1] for one in moving(region))
    return Product(
        region=region,
        a=image.argument,
        a_dtype=x.dtype,
        b=Packed(weights.value, recipe),
        b_dtype=weights.dtype,
        batches=(),
        rows=pixels(region, image, joined=False),
        columns=Axis(channels, 1, 0, streams),
        terms=1,
        separate=True,
        padded=image.padded,
        before=image.stages,
        workspace=image.workspace,
    )

"""Convolution of an image times one number a channel: the numbers multiply the weights first, which are fewer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.blocking import kernel
from tenfold.codegen.cpu.conv import direct
from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.isa import LINE, Isa, isa_of
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.product import Product
from tenfold.codegen.cpu.stage import StageWriter, address, divided, ordered, share_of
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dtype import f32
from tenfold.ops.conv import Gated, plain
from tenfold.target import Target

_GRAIN = 1 << 14
"""Weights that are worth a part of their own."""


class GatedDirect:
    """As `direct`, behind a stage that multiplies its packed weights: one image in f32."""

    name = "conv.gated"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Those of the convolution alone; a Refusal for several images."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Gated):
            return Refusal("no image times one number a channel")
        if region.domain[0] != 1 or any(one.dtype is not f32 for one in region.inputs):
            return Refusal("not one image of f32")
        found = direct.STRATEGY.tactics(_ungated(region), target)
        return found if isinstance(found, Refusal) else [replace(one, strategy=self.name) for one in found]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The stage that multiplies weights, at most one that copies the image, and the product."""
        assert isinstance(region, Anchored)
        isa, alone = isa_of(target), _ungated(region)
        block = direct.block_named(alone, isa, str(tactic["block"]))
        product = direct.product_of(alone, isa, tactic["image"] == "copied", block)
        return kernel(_gated(product, region.inputs[2], isa, block), isa)


STRATEGY = GatedDirect()


def _ungated(region: Anchored) -> Anchored:
    """The region of the convolution alone."""
    return replace(region, anchor=plain(len(region.domain)), inputs=region.inputs[:2])


def _gated(product: Product, gate: Operand, isa: Isa, block: Block) -> Product:
    """The same product by panels that a stage ahead of it multiplies."""
    outputs, terms = product.columns.size, product.terms
    rows = dim.ceildiv(outputs, block.columns) * terms
    target = Workspace(dim.ceildiv(product.workspace, LINE) * LINE)
    parts = dim.maximum(1, dim.minimum(THREADS, rows * block.columns // _GRAIN))
    form = Form(isa, block)
    values: dict[str, Argument] = {
        "@w": product.b,
        "@gate": address(gate),
        "gate.step": gate.strides[1] * f32.itemsize,
        "@target": target,
        "rows": rows,
        "terms": terms,
        "parts": parts,
    }
    stage = Stage(source(form), ordered(form.names, values), parts)
    room = target.offset + rows * (block.columns * f32.itemsize)
    return replace(product, b=target, before=(stage, *product.before), workspace=room)


@dataclass(frozen=True)
class Form:
    """What the code depends on."""

    isa: Isa
    block: Block

    @property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; the step in bytes."""
        return ("@w", "@gate", "gate.step", "@target", "rows", "terms", "parts")


@functools.cache
def source(form: Form) -> str:
    """The module of a stage that multiplies panels [panel][term][column] by a number a term; a part is an even share of
    their rows.
    """
    stage, block = StageWriter(form.isa, "gated", form.names), form.block
    code, width = stage.vectors(block.lanes), block.lanes * f32.itemsize

    def row(number: Vector) -> None:
        _, term = divided(number, stage.arg("terms"))
        factor = load_one(code, f32, stage.step(stage.pointer("@gate"), term * stage.arg("gate.step")))
        here = number * (block.vectors * width)
        given, taken = (stage.step(stage.pointer(name), here) for name in ("@w", "@target"))
        for at in range(0, block.vectors * width, width):
            store(code, f32, stage.step(taken, at), load(code, f32, stage.step(given, at)) * factor)

    repeat(stage.scalar, *share_of(stage.arg("rows"), stage.part, stage.arg("parts")), row)
    return stage.finish()

"""Depthwise convolution: every channel by itself, channels side by side in the lanes of a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tenfold.codegen.cpu.blocking import kernel
from tenfold.codegen.cpu.conv.channelwise import Form, source
from tenfold.codegen.cpu.conv.direct import image_of, pixels, weights_of
from tenfold.codegen.cpu.conv.ending import ending_of, ends_by_channels
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import block_of, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, moving
from tenfold.codegen.cpu.stage import operand_values, ordered
from tenfold.codegen.cpu.told import behind
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dtype import f32
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape
from tenfold.target import Target

_GRAIN = 1 << 15
"""Products of about 1 µs: less is not worth a part of its own."""
_PARTS = 16
"""The most parts for each thread."""
_MOST = 12
"""The most pixels of a block."""
_SPARE = 3
"""Registers that a block needs beside sums and weights of a line."""
_START = 1.5
"""What a block costs beside its pixels, in pixels."""
_UNROLLED = 256
"""The most products written out."""


class Depthwise:
    """Conv with as many groups as channels and as outputs: by lines of the result, or by the micro-kernel."""

    name = "conv.depthwise"
    tells = True

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """By lines where channels are adjacent in f32; in place, else copied. A Refusal for no such convolution."""
        found = weights_of(region)
        if isinstance(found, Refusal):
            return found
        assert isinstance(region, Anchored) and isinstance(region.anchor, Conv)
        if found.shape[1] != 1 or found.shape[0] != region.anchor.groups:
            return Refusal("groups of more than one channel")
        ways = ["in place", "copied"] if region.inputs[0].strides[1] == 1 else ["copied"]
        if by_lines(region, isa_of(target)):
            ways = ["lines", *ways]
        return [Tactic(self.name, (("image", way),)) for way in ways]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel: at most a copying stage, then the sums over taps."""
        assert isinstance(region, Anchored)
        if tactic["image"] == "lines":
            return _lines(region, isa_of(target))
        return behind(
            kernel(_product(region, isa_of(target), tactic["image"] == "copied"), isa_of(target)), region, target
        )


STRATEGY = Depthwise()


def by_lines(region: Anchored, isa: Isa) -> bool:
    """Whether lines of pixels, channels being lanes, suit the image, the body, its operands and what is told."""
    x, w = region.inputs
    if region.sums and (len(region.domain) != 4 or region.outputs[0].dtype is not f32 or region.sums.strides[-1] != 1):
        return False
    flat = len(region.domain) <= 4 and x.dtype is w.dtype is f32 and x.strides[1] == 1
    return flat and ends_by_channels(region) and _block(region, isa) > 0


def _block(region: Anchored, isa: Isa) -> int:
    """The pixels of a block: as many as registers hold, with the fewest idle at the ends of lines. 0: too many taps."""
    taps, width = int(region.inputs[1].shape[-1]), region.domain[-1]  # type: ignore[arg-type]
    most = min(_MOST, isa.vector_registers - min(taps, isa.vector_registers // 2) - _SPARE, _UNROLLED // taps)
    if not isinstance(width, int):
        return max(0, min(most, 8))
    return min(range(1, most + 1), key=lambda each: -(-width // each) * (each + _START), default=0)


def _lines(region: Anchored, isa: Isa) -> Kernel:
    conv, (x, w) = region.anchor, region.inputs
    assert isinstance(conv, Conv)
    channels, _, *taps = (int(size) for size in w.shape)  # type: ignore[arg-type]
    form = Form(
        isa=isa,
        pixels=_block(region, isa),
        taps=taps[-1],
        stride=conv.strides[-1],
        dilation=conv.dilations[-1],
        ending=ending_of(region),
        told=region.sums is not None,
    )
    line = (region.domain[-1], x.shape[-1], conv.pads_before[-1])
    if all(isinstance(size, int) for size in line):
        form = form.along(*line)  # type: ignore[arg-type]
    two = len(taps) == 2
    values: dict[str, Argument] = {
        "height": region.domain[2] if two else 1,
        "width": region.domain[-1],
        "channels": channels,
        "@w": _filters(w, form.lanes),
        "down": taps[0] if two else 1,
        "down.stride": conv.strides[0] if two else 1,
        "down.dilation": conv.dilations[0] if two else 1,
        "above": conv.pads_before[0] if two else 0,
        "left": conv.pads_before[-1],
        "x.height": x.shape[2] if two else 1,
        "x.width": x.shape[-1],
    }
    operands = (x, *region.extra, *region.outputs)
    for name, one in zip(("x", *form.ending.streams), operands, strict=True):
        values |= _moves(name, one, two)
    if region.sums:
        values |= operand_values("told", region.sums, dict(zip(("image", "row"), region.sums.strides, strict=False)))
    lines = region.domain[0] * region.domain[2] if two else region.domain[0]
    work = lines * region.domain[-1] * (channels * math.prod(taps))
    wanted = dim.maximum(1, dim.minimum(dim.select(dim.less(THREADS, 2), 1, _PARTS * THREADS), work // _GRAIN))
    rows = dim.maximum(1, dim.minimum(lines, wanted))
    vectors = -(-channels // form.lanes)
    shares = dim.minimum(vectors, dim.ceildiv(wanted, rows))
    values |= {"lines": lines, "line_parts": rows, "channel_parts": shares}
    scratch = isa.vector_bytes * (1 + form.pixels)
    return Kernel((Stage(source(form), ordered(form.names, values), rows * shares),), scratch)


def _moves(name: str, operand: Operand, two: bool) -> dict[str, Argument]:
    """Its address, and bytes from an image to the next, from a line to the next, from a pixel to the next."""
    strides = operand.strides
    return operand_values(name, operand, {"image": strides[0], "row": strides[2] if two else 0, "column": strides[-1]})


def _filters(weights: Operand, lanes: int) -> Packed:
    """The weights as [vector of channels][tap][channel]."""
    channels, _, *taps = (int(size) for size in weights.shape)  # type: ignore[arg-type]
    shape = (channels, *taps)
    order = (-1, *range(1, len(shape)), 0)
    return Packed(weights.value, (*(view_recipe(weights) or ()), Reshape(shape), *panel_recipe(shape, order, lanes)))


def _product(region: Anchored, isa: Isa, copied: bool) -> Product:
    x, weights = region.inputs
    image = image_of(region, isa, copied)
    channels = int(weights.shape[0])  # type: ignore[arg-type]
    width = block_of(isa, sum_of(x.dtype, weights.dtype), channels).columns
    streams = tuple(one.strides[1] for one in moving(region))
    return Product(
        region=region,
        a=image.argument,
        a_dtype=x.dtype,
        b=_filters(weights, width),
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

"""Convolution of an image of few planes, as a network's first layer sees it (woven.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu.conv.direct import weights_of
from tenfold.codegen.cpu.conv.ending import ending_of, ends_by_channels
from tenfold.codegen.cpu.conv.woven import Form, source
from tenfold.codegen.cpu.isa import LINE, Isa, isa_of
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.stage import address, operand_values, ordered
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import f32
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape
from tenfold.target import Target

_SIZE = f32.itemsize
_PLANES = 4
"""The most planes."""
_GRAIN = 1 << 18
"""Floating-point operations of about 2 µs: less is not worth a part of its own."""
_PARTS = 16
"""The most parts for each thread."""
_ROWS, _COLUMNS = 4, 512
"""The most lines, and pixels of a line, of a tile."""
_VECTORS = (3, 2, 4, 1)
"""Vectors to a pixel, the best of equals first."""
_LOADED, _START = 0.9, 1.5
"""Cycles of a load where a product takes one, about; what a block costs beside its pixels, in pixels."""


class Planes:
    """Conv in f32 of few planes of adjacent pixels, with constant weights, whose outputs fill vectors."""

    name = "conv.planes"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One; a Refusal for what is no such convolution."""
        found = weights_of(region)
        if isinstance(found, Refusal):
            return found
        assert isinstance(region, Anchored) and isinstance(region.anchor, Conv)
        conv, x = region.anchor, region.inputs[0]
        channels = found.shape[1]
        if len(found.shape) != 4 or conv.groups != 1 or not isinstance(channels, int) or channels > _PLANES:
            return Refusal("not a few planes")
        if x.dtype is not f32 or found.dtype is not f32 or x.strides[-1] != 1 or conv.dilations[-1] != 1:
            return Refusal("not of f32, or pixels or taps are not adjacent")
        if _block(region, isa_of(target)) is None or not ends_by_channels(region):
            return Refusal("the outputs do not fill vectors, or do not lie side by side")
        return (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Anchored)
        return _kernel(region, isa_of(target))


STRATEGY = Planes()


def _block(region: Anchored, isa: Isa) -> Block | None:
    """The block whose panels hold all outputs in the fewest cycles; None if outputs do not fill its vectors."""
    outputs, width = int(region.inputs[1].shape[0]), region.domain[-1]  # type: ignore[arg-type]
    wide = isa.lanes(_SIZE)
    best: tuple[float, Block] | None = None
    for lanes in (wide, wide // 2)[: 1 + isa.halves]:
        for vectors in _VECTORS:
            if outputs % (lanes * vectors):
                continue
            rows = _pixels((isa.vector_registers - vectors - 1) // vectors, width)
            products = rows * vectors * lanes / wide
            passes = outputs // (lanes * vectors) * _ends(rows, width)
            cycles = passes * max(products, _LOADED * (rows + vectors))
            if best is None or cycles < best[0]:
                best = cycles, Block(rows, vectors, lanes)
    return best and best[1]


def _pixels(most: int, width: Size) -> int:
    """Pixels of a block: as many as registers hold, with the fewest idle at the ends of lines."""
    if not isinstance(width, int):
        return most
    return min(range(1, most + 1), key=lambda each: -(-width // each) * (each + _START))


def _ends(rows: int, width: Size) -> float:
    """Blocks to a line; to a pixel, where the line's length is not known."""
    return -(-width // rows) if isinstance(width, int) else 1 / rows


@dataclass(frozen=True)
class _Tile:
    """Pixels of the result that are worked on at a time, and of the image that a line of them sees; bytes from line to
    line in scratch, and of all lines.
    """

    rows: int
    columns: int
    seen: int
    pitch: int
    size: int


def _tile(region: Anchored, isa: Isa, block: Block) -> _Tile:
    """A tile whose lines take half the first cache, if they can."""
    conv, (_, w) = region.anchor, region.inputs
    assert isinstance(conv, Conv)
    _, planes, down, along = (int(size) for size in w.shape)  # type: ignore[arg-type]
    width = region.domain[-1]
    most = max(block.rows, _COLUMNS // block.rows * block.rows)
    columns = min(width, most) if isinstance(width, int) else most
    seen = (max(1, columns) - 1) * conv.strides[-1] + along
    beyond = 0 if isinstance(width, int) else block.rows * conv.strides[-1]
    pitch = -(-(seen + beyond) * planes * _SIZE // LINE) * LINE
    pitch += LINE * (pitch % 128 == 0)

    def lines(rows: int) -> int:
        return (rows - 1) * conv.strides[0] + (down - 1) * conv.dilations[0] + 1

    fitting = [rows for rows in range(1, _ROWS + 1) if lines(rows) * pitch <= isa.l1] or [1]
    return _Tile(fitting[-1], max(1, columns), seen, pitch, lines(fitting[-1]) * pitch)


def _kernel(region: Anchored, isa: Isa) -> Kernel:
    conv, (x, w), block = region.anchor, region.inputs, _block(region, isa)
    assert isinstance(conv, Conv) and block
    outputs, planes, down, along = (int(size) for size in w.shape)  # type: ignore[arg-type]
    height, width = region.domain[2:]
    rest = width % block.rows if isinstance(width, int) else None
    form = Form(isa, block, planes, conv.strides[-1], planes * along, rest, ending_of(region))
    tile = _tile(region, isa, block)
    across, downward = dim.ceildiv(width, tile.columns), dim.ceildiv(height, tile.rows)
    tiles = region.domain[0] * across * downward
    work = 2 * dim.product(region.domain) * math.prod((planes, down, along))
    most = dim.select(dim.less(THREADS, 2), 1, _PARTS * THREADS)
    parts = dim.maximum(1, dim.minimum(dim.minimum(tiles, most), work // _GRAIN))
    sums = -(-block.rows * block.columns * _SIZE // LINE) * LINE
    values: dict[str, Argument] = {
        "tiles": tiles,
        "parts": parts,
        "down.tiles": downward,
        "across.tiles": across,
        "tile.rows": tile.rows,
        "tile.columns": tile.columns,
        "height": height,
        "width": width,
        "@w": _filters(w, block),
        "panels": outputs // block.columns,
        "taps": down,
        "down.stride": conv.strides[0],
        "down.dilation": conv.dilations[0],
        "above": conv.pads_before[0],
        "left": conv.pads_before[1],
        "x.height": x.shape[2],
        "x.width": x.shape[3],
        "@x": address(x),
        "x.image": x.strides[0] * _SIZE,
        "x.row": x.strides[2] * _SIZE,
        "x.plane": x.strides[1] * _SIZE,
        "seen": tile.seen,
        "pitch": tile.pitch,
        "at.lines": sums,
    }
    for name, operand in zip(form.ending.streams, (*region.extra, *region.outputs), strict=True):
        image, _, row, column = operand.strides
        values |= operand_values(name, operand, {"image": image, "row": row, "column": column})
    return Kernel((Stage(source(form), ordered(form.names, values), parts),), sums + tile.size)


def _filters(weights: Operand, block: Block) -> Packed:
    """The weights as [panel][tap down][tap along][plane][output]."""
    shape = tuple(int(size) for size in weights.shape)  # type: ignore[arg-type]
    packing = panel_recipe(shape, (-1, 2, 3, 1, 0), block.columns)
    return Packed(weights.value, (*(view_recipe(weights) or ()), Reshape(shape), *packing))

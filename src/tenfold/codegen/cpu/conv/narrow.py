"""Convolution with few output channels to a group: pixels along the line are the lanes of vectors (strip.py)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.axes import at_least_one
from tenfold.codegen.cpu.conv.depthwise import by_lines
from tenfold.codegen.cpu.conv.direct import weights_of
from tenfold.codegen.cpu.conv.ending import Ending
from tenfold.codegen.cpu.conv.strip import Block, Down, Form, source
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import stream
from tenfold.codegen.cpu.packing import view_recipe
from tenfold.codegen.cpu.stage import operand_values, ordered
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import f32
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Reshape, Transpose
from tenfold.target import Target

_GRAIN = 1 << 17
"""Floating-point operations of about 2 µs: less is not worth a part of its own."""
_MOST_COLUMNS = 512
_MOST_ROWS = 16
_MOST_VECTORS = 8
_UNROLLED = 512
"""The most products written out."""
_BROADCAST, _LOADED, _PIXEL = 1.0, 2.0, 10.0
"""Cycles where channels are lanes, about: of a term whose element of the image is broadcast, of one that is loaded, and
what each pixel costs beside.
"""
_ENDED, _SKIPPED, _UNMASKED, _SINGLE = 3.0, 3.0, 0.52, 0.6
"""Cycles where channels by themselves are lanes along lines (depthwise.py), about: of a pixel beside a cycle for each
tap, of one more where pixels are skipped; without masks, of a tap of one channel, and of its pixel beside.
"""
_COPIED, _LINE, _STORED, _TURN = 0.5, 8.0, 0.7, 1.0
"""Cycles where pixels are lanes, about: of copying an element, and a line beside its elements; of storing an element
apart from others; of a turn of the innermost loop.
"""
_ALONE, _FAR, _SHARED = 40.0, 0.1, 1.2
"""Cycles of channels by themselves, about: of a line beside its elements; of an element that is copied or stored, for
each that the next one lies further on; and how many times as long all takes where channels share lines of memory.
"""
_PRODUCT, _LATENCY, _UNALIGNED, _SPREAD = 1.0, 4.0, 1.5, 0.5
"""Cycles of 64 bytes multiplied and added, about, and until their sum is known; of as many loaded at any place; of one
element loaded into all lanes.
"""


class Narrow:
    """Conv of f32 with constant weights and few output channels to a group."""

    name = "conv.narrow"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One; a Refusal for what is no such convolution, or where channels make the better lanes."""
        found = weights_of(region)
        if isinstance(found, Refusal):
            return found
        assert isinstance(region, Anchored)
        if any(one.dtype is not f32 for one in region.inputs):
            return Refusal("not of f32")
        if _plane(region) is None:
            return Refusal("more than two spatial axes")
        return _Problem(region, isa_of(target)).refusal or (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Anchored)
        return _Problem(region, isa_of(target)).kernel()


STRATEGY = Narrow()


def _plane(region: Anchored) -> tuple[int | None, int] | None:
    """The spatial axes that are rows (None: there are none) and columns; None if there are more.

    An axis with one tap, one place and no border does not count.
    """
    conv, taps = region.anchor, region.inputs[1].shape[2:]
    assert isinstance(conv, Conv)
    places = zip(taps, region.domain[2:], conv.pads_before, strict=True)
    axes = [axis for axis, place in enumerate(places) if place != (1, 1, 0)] or [len(taps) - 1]
    if len(axes) > 2:
        return None
    return (None if len(axes) == 1 else axes[0], axes[-1])


@dataclass(frozen=True)
class _Window:
    """One spatial axis: sizes of result and image, and how taps move."""

    size: Size
    extent: Size
    taps: int
    stride: int
    dilation: int
    before: Size

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return (self.taps - 1) * self.dilation


@dataclass(frozen=True)
class _Tile:
    """What is worked on at a time: pixels of the result; bytes of scratch for a remainder of a copied line, for a line
    of one channel, of all channels, and for all lines.
    """

    rows: int
    columns: int
    phase: int
    channel: int
    pitch: int
    lines: int


@dataclass(frozen=True)
class _Problem:
    """A convolution stated over rows and columns."""

    region: Anchored
    isa: Isa

    @property
    def conv(self) -> Conv:
        """The operation."""
        assert isinstance(self.region.anchor, Conv)
        return self.region.anchor

    @functools.cached_property
    def axes(self) -> tuple[int | None, int]:
        """The spatial axes that are rows and columns."""
        found = _plane(self.region)
        assert found
        return found

    @functools.cached_property
    def weights(self) -> tuple[int, ...]:
        """Their sizes: groups, outputs and channels of a group, taps."""
        outputs, channels, *taps = (int(size) for size in self.region.inputs[1].shape)  # type: ignore[arg-type]
        return (self.conv.groups, outputs // self.conv.groups, channels, *taps)

    def _window(self, axis: int | None) -> _Window:
        if axis is None:
            return _Window(1, 1, 1, 1, 1, 0)
        conv, x = self.conv, self.region.inputs[0]
        taps, size, extent = self.weights[3 + axis], self.region.domain[2 + axis], x.shape[2 + axis]
        return _Window(size, extent, taps, conv.strides[axis], conv.dilations[axis], conv.pads_before[axis])

    @property
    def down(self) -> _Window:
        """The window along the rows' axis."""
        return self._window(self.axes[0])

    @property
    def along(self) -> _Window:
        """The window along the columns' axis."""
        return self._window(self.axes[1])

    @property
    def lanes(self) -> int:
        """Pixels of a vector."""
        return self.isa.lanes(f32.itemsize)

    @property
    def alone(self) -> bool:
        """Whether every channel is by itself."""
        groups, outputs, channels = self.weights[:3]
        return groups > 1 and outputs == channels == 1

    @property
    def refusal(self) -> Refusal | None:
        """Why channels as lanes take fewer cycles, or no code is made; None if it is."""
        groups, outputs = self.weights[:2]
        useful = groups if self.alone else outputs
        if 2 * useful > self.lanes or self._cycles > self._otherwise:
            return Refusal("channels fill the lanes better than pixels")
        if outputs * self.down.taps > _UNROLLED:
            return Refusal("too many taps down the image to write them out")
        return None if self.tile else Refusal("too many channels for a tile in the second cache")

    @property
    def _otherwise(self) -> float:
        """About what a pixel costs where channels are lanes."""
        groups, _, channels = self.weights[:3]
        taps = self.down.taps * self.along.taps
        if not self.alone:
            return taps * groups * channels * _BROADCAST + _PIXEL
        if not by_lines(self.region, self.isa):
            return taps * _LOADED + _PIXEL
        if not self.isa.masks:
            return groups * (taps * _UNMASKED + _SINGLE)
        return taps + _ENDED + (_SKIPPED if self.along.stride > 1 else 0.0)

    @property
    def _cycles(self) -> float:
        """About what a pixel costs: sums, copy of what it sees first, results stored."""
        groups, outputs, channels = self.weights[:3]
        width = self.along.size if isinstance(self.along.size, int) else _MOST_COLUMNS
        copied, line = _COPIED + self._far(self.region.inputs[0]), _ALONE if self.alone else _LINE
        seen = self.down.stride * channels * (self.along.stride * copied + line / max(1, width))
        stored = sum(_STORED + self._far(one) for one in self._apart)
        sums = self._sums(self.block) * channels * self.along.taps
        shared = _SHARED if self.alone and self._apart else 1.0
        return shared * groups * (sums + seen + outputs * stored)

    @property
    def _apart(self) -> list[Operand]:
        """The results whose pixels are not adjacent: groups share their lines of memory, so a part has all groups."""
        return [one for one in self.region.outputs if one.strides[2 + self.axes[1]] != 1]

    def _far(self, operand: Operand) -> float:
        """About what each element costs because the next lies further on, where channels are by themselves."""
        step = operand.strides[2 + self.axes[1]]
        return _FAR * min(step, self.lanes) if self.alone and isinstance(step, int) and step > 1 else 0.0

    @functools.cached_property
    def block(self) -> Block:
        """The block of sums for which a pixel takes the fewest cycles, of those that leave registers for factors."""
        outputs, taps, registers = self.weights[1], self.down.taps, self.isa.vector_registers
        found = [Block(outputs, 1, 1)]
        needed = -(-columns // self.lanes) if isinstance(columns := self.along.size, int) else _MOST_VECTORS
        for rows, vectors in itertools.product(range(1, 5), range(min(needed, _MOST_VECTORS), 0, -1)):
            factors = vectors + (taps * outputs if rows > 1 else 1)
            sums = rows * vectors * outputs
            if sums + factors <= registers and sums * taps <= _UNROLLED:
                found.append(Block(outputs, rows, vectors))
        return min(found, key=self._sums)

    def _sums(self, block: Block) -> float:
        """About the cycles that a pixel takes for one tap along the line."""
        rows, columns = self.down.size, self.along.size
        whole, part = self._tap(block), self._tap(replace(block, vectors=1))
        high = -(-rows // block.rows) / rows if isinstance(rows, int) and rows else 1 / block.rows
        if not isinstance(columns, int) or not columns:
            return high * whole / (block.vectors * self.lanes)
        full, rest = divmod(-(-columns // self.lanes), block.vectors)
        return high * (full * whole + rest * part) / columns

    def _tap(self, block: Block) -> float:
        """About the cycles of a block for one tap along the line."""
        places = itertools.product(range(block.rows), range(self.down.taps))
        lines = {row * self.down.stride + tap * self.down.dilation for row, tap in places}
        width = block.vectors * self.isa.vector_bytes / 64
        products = _PRODUCT * width * block.rows * block.outputs * self.down.taps
        loads = _UNALIGNED * width * len(lines) + _SPREAD * self.down.taps * block.outputs
        return max(products, loads, _LATENCY * self.down.taps) + _TURN

    @functools.cached_property
    def tile(self) -> _Tile | None:
        """The largest tile whose lines take half the second cache at most; None if there is none."""
        wide = self.lanes * self.block.vectors
        columns = _share(self.along.size, max(wide, _MOST_COLUMNS // wide * wide), wide)
        while columns >= wide:
            rows = _share(self.down.size, _MOST_ROWS, self.block.rows)
            while rows >= self.block.rows:
                found = self._tile(rows, columns)
                if found.lines <= self.isa.l2 // 2:
                    return found
                rows = rows // 2 // self.block.rows * self.block.rows
            columns = columns // 2 // wide * wide
        return None

    def _tile(self, rows: int, columns: int) -> _Tile:
        along, size = self.along, f32.itemsize
        phase = columns + along.reach // along.stride + 1
        phase = (phase + -phase % self.lanes + self.lanes) * size
        channel = phase * self.phases
        channel += 64 * (channel % 1024 == 0)
        pitch = channel * self.weights[2]
        pitch += 64 * (pitch % 1024 == 0)
        return _Tile(rows, columns, phase, channel, pitch, pitch * self._down.lines(rows))

    @property
    def phases(self) -> int:
        """Remainders of places by the stride along the line that some tap reads."""
        return min(self.along.stride, self.along.reach + 1)

    @property
    def _down(self) -> Down:
        return Down(self.down.taps, self.down.stride, self.down.dilation)

    def kernel(self) -> Kernel:
        """The kernel: one stage."""
        region, tile, block = self.region, self.tile, self.block
        assert tile
        along, x = self.along, region.inputs[0]
        column = 2 + self.axes[1]
        step = x.strides[column] * along.stride
        form = Form(
            isa=self.isa,
            block=block,
            down=self._down,
            stride=along.stride,
            phases=self.phases,
            pitch=tile.pitch,
            phase=tile.phase,
            x=stream(f32, step),
            square=self._square(),
            ending=Ending(
                region.body,
                tuple(stream(one.dtype, one.strides[column]) for one in region.extra),
                tuple(stream(one.dtype, one.strides[column]) for one in region.outputs),
            ),
        )
        values, scratch = self._numbers(tile, form)
        operands = (x, *region.extra, *region.outputs)
        for name, operand in zip(("x", *form.ending.streams), operands, strict=True):
            values |= self._steps(name, operand, self.weights[2 if name == "x" else 1])
        values |= {"x.column": step * f32.itemsize, "x.step": x.strides[column] * f32.itemsize}
        parts = values["parts"]
        assert isinstance(parts, int | dim.Dim)
        return Kernel((Stage(source(form), ordered(form.names, values), parts),), scratch)

    def _square(self) -> int:
        """The side of the squares in which adjacent channels are transposed; 0 if pixels are adjacent, or too few
        channels.
        """
        x, along, channels = self.region.inputs[0], self.along, self.weights[2]
        if x.strides[1] != 1 or x.strides[2 + self.axes[1]] * along.stride == 1:
            return 0
        extent = along.extent // along.stride if isinstance(along.extent, int) else self.lanes
        side = 1 << max(0, min(self.lanes, channels, extent).bit_length() - 1)
        return side if side >= 4 else 0

    def _steps(self, name: str, operand: Operand, channels: int) -> dict[str, Argument]:
        """Its address and its steps in bytes; a group has that many of its channels."""
        strides, (row, column) = operand.strides, self.axes
        steps: dict[str, Size] = {
            "image": strides[0],
            "group": strides[1] * channels,
            "channel": strides[1],
            "row": 0 if row is None else strides[2 + row],
            "column": strides[2 + column],
        }
        return operand_values(name, operand, steps)

    def _numbers(self, tile: _Tile, form: Form) -> tuple[dict[str, Argument], int]:
        """The other arguments, and the bytes of scratch."""
        region, down, along = self.region, self.down, self.along
        groups, outputs, channels = self.weights[:3]
        blocks, columns = dim.ceildiv(down.size, form.block.rows), dim.ceildiv(along.size, tile.columns)
        together = groups if self._apart else 1
        every = region.domain[0] * (groups // together) * columns * blocks
        work = 2 * dim.product(region.domain) * (channels * down.taps * along.taps)
        table = 8 * along.taps + -8 * along.taps % 64
        sums = tile.columns * f32.itemsize
        lines = table + sums * form.block.rows * outputs
        values: dict[str, Argument] = {
            "all.blocks": every,
            "parts": dim.maximum(1, dim.minimum(dim.minimum(every, 4 * THREADS), work // _GRAIN)),
            "groups": groups // together,
            "together": together,
            "columns": columns,
            "blocks": at_least_one(blocks),
            "tile.blocks": tile.rows // form.block.rows,
            "tile.columns": tile.columns,
            "height": down.size,
            "width": along.size,
            "channels": channels,
            "taps": along.taps,
            "dilation": along.dilation,
            "at.sums": table,
            "at.lines": lines,
            "sums.step": sums,
            "channel.step": tile.channel,
            "@w": self._packed(),
            "w.group": outputs * channels * down.taps * along.taps * f32.itemsize,
            "x.height": down.extent,
            "x.width": along.extent,
            "x.above": down.before,
            "x.left": along.before,
            "squared": channels - rest if 4 * (rest := channels % (form.square or 1)) <= form.square else channels,
        }
        return values, lines + tile.lines

    def _packed(self) -> Packed:
        """The weights as [group][channel][tap along][tap down][output]."""
        operand = self.region.inputs[1]
        shape = (*self.weights[:3], self.down.taps, self.along.taps)
        recipe = (*(view_recipe(operand) or ()), Reshape(shape), Transpose((0, 2, 4, 3, 1)))
        return Packed(operand.value, recipe)


def _share(size: Size, most: int, of: int) -> int:
    """An even share of a size, at most `most`, as a multiple of `of`; of a size that is not known, the most."""
    if not isinstance(size, int):
        return max(of, most // of * of)
    each = -(-size // max(1, -(-size // most)))
    return max(of, -(-each // of) * of)

"""Winograd's convolution: taps of stride 1 with fewer products than their definition, for errors a little greater.

The results differ from the exact ones by at most `ops.winograd.error_bound`; in trained networks about twice as much as
sums in f32 do anyway. An infinity or NaN in the image spreads to the results of its tile.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu.conv.direct import weights_of
from tenfold.codegen.cpu.conv.tiles import Form, source
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import surrounding_arguments, surroundings
from tenfold.codegen.cpu.microkernel import Block, blocks_of
from tenfold.codegen.cpu.outsite import Stream
from tenfold.codegen.cpu.packing import panel_recipe, view_recipe
from tenfold.codegen.cpu.product import asked, moving
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import f32
from tenfold.ir.op import Op
from tenfold.ops.conv import Conv
from tenfold.ops.movement import Pad, Reshape, Transpose
from tenfold.ops.winograd import POINTS, WinogradFilter, elements
from tenfold.target import Target

_SIZE = f32.itemsize
_GRAIN = 1 << 18
"""Multiplications of about 5 µs: less is not worth a part of its own."""
_GATHERING = 1 << 16
"""The same for gathered tiles, which come from where other threads left them."""
_LEAST = 3
"""The fewest taps along an axis that are worth it."""
_FULL = 1.1
"""How much of the second cache tiles may take that hold several blocks of the filters."""
_MOST = 64
"""The most tiles in a stretch."""
_FEW = 8
"""Blocks of tiles below which they are not worth sharing: all of them are gathered first."""
_TYPICAL = 56
"""Pixels along a side of an image of unknown size."""
_GATHERED, _SCATTERED, _WRITTEN = 5.0, 4.0, 6.0
"""Cycles a vector, about: of a point gathered, of a point scattered, of a result written."""
_CALL, _LATENCY = 60, 4
"""Cycles of a call of the micro-kernel beside its products, about; the fewest of a term."""
_BANDWIDTH = 7
"""Bytes of filters that come from memory in a cycle, about."""
_PLANE = 6
"""The most products of a tile along each of two axes: more would cost too many digits."""
_GAIN = 0.9
"""The share of the direct convolution's cycles that this one may take to be worth its errors."""


class Winograd:
    """Conv along one or two axes, stride 1, in f32 with constant weights and adjacent channels: where it seems faster
    than the sums that define it, or where it does not (`doubted`), which only the clock may choose.
    """

    name = "conv.winograd"

    def __init__(self, doubted: bool = False) -> None:
        self._doubted = doubted

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tiles of 4, 6 or (along one axis) 8 products a line, gathered by the way or first, whichever seems faster
        first; none where all are the other strategy's, and a Refusal for what is no such convolution.
        """
        weights = weights_of(region)
        if isinstance(weights, Refusal):
            return weights
        assert isinstance(region, Anchored) and isinstance(region.anchor, Conv)
        isa = isa_of(target)
        reason = _refuse(region, isa)
        if reason:
            return Refusal(reason)
        most = _PLANE if min(_taps(region)) > 1 else max(POINTS)
        sizes = [size for size in POINTS if size <= most]
        every = [_Problem(region, isa, *row) for row in itertools.product(sizes, (False, True))]
        every = [one for one in every if one.fits]
        if not every:
            return Refusal("the rows of its tiles outgrow the second cache")
        limit = _GAIN * _direct(region, isa)
        found = [one for one in every if (one.cycles < limit) is not self._doubted]
        found.sort(key=lambda one: (one.cycles, one.apart != one.few))
        if not found and not self._doubted:
            return Refusal("the products saved seem not worth the transforms")
        return [one.tactic for one in found]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage, or one that gathers and one that multiplies."""
        assert isinstance(region, Anchored)
        problem = _Problem(region, isa_of(target), int(tactic["products"]), tactic["gathered"] == "first")
        return problem.kernel()


STRATEGY, DOUBTED = Winograd(), Winograd(doubted=True)


def _refuse(region: Anchored, isa: Isa) -> str:
    conv, (x, w) = region.anchor, region.inputs
    assert isinstance(conv, Conv)
    if any(one.dtype is not f32 for one in region.inputs) or region.body.inputs[0] is not f32:
        return "not of f32"
    if {*conv.strides, *conv.dilations} != {1}:
        return "not of stride 1"
    if len(conv.strides) > 2 or max(_taps(region)) < _LEAST:
        return "no taps along one axis or two"
    if conv.groups != 1 or x.strides[1] != 1:
        return "groups, or channels that are not adjacent"
    channels = w.shape[1]
    if not isinstance(channels, int) or channels < isa.lanes(_SIZE):
        return "channels do not fill a vector"
    return ""


def _direct(region: Anchored, isa: Isa) -> float:
    """Cycles of the convolution by its definition, about."""
    outputs, *terms_of = (int(size) for size in region.inputs[1].shape)  # type: ignore[arg-type]
    terms = math.prod(terms_of)
    pixels = dim.product((_typical(region.domain[0], 1), *(_typical(size, _TYPICAL) for size in region.domain[2:])))
    assert isinstance(pixels, int)
    return max(pixels * terms * -(-outputs // isa.lanes(_SIZE)), terms * outputs * _SIZE / _BANDWIDTH)


def _taps(region: Anchored) -> tuple[int, int]:
    """Taps down and across."""
    down, across = _plane(region.inputs[1].shape[2:], 1)
    assert isinstance(down, int) and isinstance(across, int)
    return down, across


def _plane(along: Sequence[Size], missing: Size) -> tuple[Size, Size]:
    """What a convolution states of each axis, down and across; `missing` of the one that it lacks."""
    down, across = (missing, *along)[-2:]
    return down, across


def _typical(size: Size, otherwise: int) -> int:
    return size if isinstance(size, int) else otherwise


@dataclass(frozen=True)
class _Problem:
    """A convolution to be done with tiles of so many `products` along each axis of more than one tap; `apart`: all
    tiles are gathered first.
    """

    region: Anchored
    isa: Isa
    products: int
    apart: bool

    @property
    def tactic(self) -> Tactic:
        """What the strategy calls it."""
        way = "first" if self.apart else "by the way"
        return Tactic(STRATEGY.name, (("products", self.products), ("gathered", way)))

    @functools.cached_property
    def taps(self) -> tuple[int, int]:
        """Taps of a block of the filters, down and across: those that take the fewest products."""
        down, across = (self._block_of(taps) for taps in _taps(self.region))
        return down, across

    def _block_of(self, taps: int) -> int:
        sizes = range(min(2, taps), min(taps, self.products - 1) + 1)
        return min(sizes, key=lambda size: -(-taps // size) / (self.products - size + 1))

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of the filters, down and across."""
        (down, across), each = _taps(self.region), self.taps
        return -(-down // each[0]), -(-across // each[1])

    @property
    def made(self) -> tuple[int, int]:
        """Results of a tile, down and across."""
        down, across = (elements(POINTS[self.products], taps) - taps + 1 for taps in self.taps)
        return down, across

    @property
    def points(self) -> int:
        """Products of a tile for each channel and filter."""
        return math.prod(elements(POINTS[self.products], taps) for taps in self.taps)

    @property
    def terms(self) -> int:
        """Products that are summed at each point."""
        return self.channels * math.prod(self.blocks)

    @property
    def fits(self) -> bool:
        """Whether the rows of a block of tiles stay in the second cache."""
        return math.prod(self.blocks) == 1 or self._each(self.block) * self.block.rows <= self.isa.l2 * _FULL

    @property
    def channels(self) -> int:
        """Channels of the image."""
        channels = self.region.inputs[1].shape[1]
        assert isinstance(channels, int)
        return channels

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        outputs = self.region.domain[1]
        assert isinstance(outputs, int)
        return outputs

    @property
    def counts(self) -> tuple[Size, Size, Size]:
        """Images, tiles down and tiles across."""
        (height, width), (down, across) = _plane(self.region.domain[2:], 1), self.made
        return (self.region.domain[0], dim.ceildiv(height, down), dim.ceildiv(width, across))

    @functools.cached_property
    def tiles(self) -> int:
        """All tiles, of a typical size where it is not known."""
        found = _typical(self.region.domain[0], 1)
        for size, made in zip(_plane(self.region.domain[2:], 1), self.made, strict=True):
            found *= -(-_typical(size, _TYPICAL) // made)
        return found

    @functools.cached_property
    def block(self) -> Block:
        """The micro-kernel that multiplies these tiles in the fewest cycles."""
        return min(blocks_of(self.isa, f32), key=self._cycles_of)

    @property
    def few(self) -> bool:
        """Whether tiles are too few to be shared by threads, or filters too many to read for each stretch of them."""
        filters = self.points * self.terms * self.outputs * _SIZE
        return self.tiles <= _FEW * self.block.rows or filters > self.isa.l3 // 2

    def _cycles_of(self, block: Block) -> float:
        """Cycles of all products, about."""
        whole, rest = divmod(min(self.tiles, self._most(block)), block.rows)
        heights = [block.rows] * whole + [min(one for one in block.heights if one >= rest)] * (rest > 0)
        cycles = sum(self.terms * max(rows * block.vectors, _LATENCY) + _CALL for rows in heights)
        panels = -(-self.outputs // block.columns)
        return cycles * panels * self.points * self.tiles / min(self.tiles, self._most(block))

    @property
    def cycles(self) -> float:
        """Cycles on one thread, about."""
        lanes, points = self.isa.lanes(_SIZE), self.points
        gathered = self.tiles * -(-self.channels // lanes) * math.prod(self.blocks) * points * _GATHERED
        written = points * _SCATTERED + math.prod(self.made) * _WRITTEN
        scattered = self.tiles * -(-self.outputs // lanes) * written
        filters = points * self.terms * self.outputs * _SIZE / _BANDWIDTH
        return max(self._cycles_of(self.block), filters) + gathered + scattered

    def _most(self, block: Block) -> int:
        """Tiles in a stretch: as many as share three quarters of the second cache with their products."""
        return max(1, min(_MOST, self.isa.l2 * 3 // 4 // self._each(block)) // block.rows) * block.rows

    def _each(self, block: Block) -> int:
        """Bytes of a tile's rows and products."""
        return self.points * _SIZE * (self.terms + block.columns)

    @property
    def pitch(self) -> int:
        """Bytes from a tile's row to the next: rows of a block in different sets of the first cache."""
        size = self.terms * _SIZE
        size += -size % 64
        return size + 64 * (size % 128 == 0)

    def kernel(self) -> Kernel:
        """The kernel."""
        images, down, across = self.counts
        tiles = images * down * across
        if not self.apart:
            form = self._form(gathers=True, multiplies=True)
            values, scratch = self._numbers(form, self.pitch * self._most(self.block) + 64)
            values |= self._parts(tiles, columns=False) | {"@seen": 0}
            return Kernel((self._stage(form, values),), scratch)
        point = dim.ceildiv(tiles, self.block.rows) * (self.block.rows * self.pitch) + 64
        first, second = self._form(True, False), self._form(False, True)
        ahead, little = self._numbers(first, point)
        ahead |= self._gatherers(tiles) | {"@seen": Workspace()}
        values, scratch = self._numbers(second, point)
        values |= self._parts(tiles, columns=True) | {"@seen": Workspace()}
        stages = (self._stage(first, ahead), self._stage(second, values))
        return Kernel(stages, max(little, scratch), point * self.points)

    def _stage(self, form: Form, values: dict[str, Argument]) -> Stage:
        parts = [values["row_parts"], values["column_parts"]]
        assert all(isinstance(one, int | dim.Dim) for one in parts)
        return Stage(source(form), ordered(form.names, values), dim.product(parts))  # type: ignore[arg-type]

    def _form(self, gathers: bool, multiplies: bool) -> Form:
        region, streams = self.region, self._streams()
        extras, ends = len(region.extra), len(region.extra) + len(region.outputs)
        return Form(
            isa=self.isa,
            points=POINTS[self.products],
            taps=self.taps,
            block=self.block if multiplies else Block(1, 1, self.isa.lanes(_SIZE)),
            gathers=gathers,
            multiplies=multiplies,
            groups=len(self._groups) if multiplies else 0,
            body=region.body,
            extra=tuple(streams[:extras]) if multiplies else (),
            outputs=tuple(streams[extras:ends]) if multiplies else (),
            indices=tuple(zip(asked(region), streams[ends:], strict=True)) if multiplies else (),
            around=surroundings(region, (), frozenset()),
        )

    @functools.cached_property
    def _moving(self) -> tuple[Operand, ...]:
        return moving(self.region)

    @functools.cached_property
    def _groups(self) -> list[tuple[Size, ...]]:
        """The different ways, in bytes, in which operands of the body move along images, lines and columns."""
        ways = [_steps(one) for one in self._moving]
        return list(dict.fromkeys(way for way in ways if any(step != 0 for step in way)))

    def _streams(self) -> list[Stream]:
        found = []
        for one in self._moving:
            way, column = _steps(one), one.strides[1]
            group = self._groups.index(way) if way in self._groups else None
            known = column if isinstance(column, int) and column in (0, 1) else None
            found.append(Stream(one.dtype, group, 1 if self.outputs == 1 else known))
        return found

    def _gatherers(self, tiles: Size) -> dict[str, Argument]:
        """How many parts gather all tiles."""
        work = tiles * (self.terms * self.points * 8)
        wanted = dim.maximum(1, dim.minimum(dim.minimum(tiles, 4 * THREADS), work // _GATHERING))
        return {"row_parts": wanted, "column_parts": 1}

    def _parts(self, tiles: Size, columns: bool) -> dict[str, Argument]:
        """Into how many parts the tiles and, if allowed, the panels of filters are shared."""
        most = dim.select(dim.less(THREADS, 2), 1, 4 * THREADS)
        work = tiles * (self.points * self.terms * self.outputs) // _GRAIN
        wanted = dim.maximum(1, dim.minimum(most, work))
        panels = min(-(-self.outputs // self.block.columns), 1 << 30 if columns else 1)
        column_parts = dim.maximum(1, dim.minimum(panels, wanted))
        rows = dim.minimum(dim.ceildiv(tiles, self.block.rows), dim.ceildiv(wanted, column_parts))
        return {"row_parts": dim.maximum(1, rows), "column_parts": column_parts}

    def _numbers(self, form: Form, point: Size) -> tuple[dict[str, Argument], int]:
        """The arguments but for parts, and the bytes of scratch; a point's rows are `point` bytes after another's."""
        region, (x, w) = self.region, self.region.inputs
        images, down, across = self.counts
        stretch = self._most(form.block)
        values, scratch = self._places(form, point, stretch)
        conv = region.anchor
        assert isinstance(conv, Conv)
        above, left = _plane(conv.pads_before, 0)
        height, width = _plane(x.shape[2:], 1)
        values |= {
            "channels": self.channels,
            "blocks": math.prod(self.blocks),
            "blocks.across": self.blocks[1],
            "seen.tile": self.pitch,
            "seen.point": point,
            "tiles": images * down * across,
            "across": across,
            "down": down,
            "stretch": stretch,
            "@x": address(x),
            **dict(zip(("x.image", "x.row", "x.column"), _steps(x), strict=True)),
            "height": height,
            "width": width,
            "above": above,
            "left": left,
        }
        if not form.multiplies:
            return values, scratch
        values |= {"@filters": self._filters(w), "columns": self.outputs}
        values |= dict(zip(("result.height", "result.width"), _plane(region.domain[2:], 1), strict=True))
        for number, way in enumerate(self._groups):
            values |= {f"group{number}.{word}": one for word, one in zip(("image", "row", "column"), way, strict=True)}
        for (name, _), one in zip(form.streams.items(), self._moving, strict=True):
            values[name] = one.offset if name.startswith("@index") else address(one)
            values[f"column.{name}"] = one.strides[1] * one.dtype.itemsize
        return values | surrounding_arguments(region, address), scratch

    def _places(self, form: Form, point: Size, stretch: int) -> tuple[dict[str, Argument], int]:
        """Where everything lies in scratch, and how much there is."""
        points, wide, made = self.points, form.block.columns * _SIZE, math.prod(self.made)
        line = self.channels * _SIZE
        sizes: dict[str, Size] = {}
        if form.gathers:
            sizes |= {"at.places": form.seen[0] * 64, "at.zeros": line + -line % 64}
        if form.multiplies:
            product = stretch * wide + 64
            sizes |= {"at.seen": point * points if form.gathers else 0, "at.lines": 8 * points * stretch}
            sizes |= {"at.products": product * points, "at.made": made * wide}
            sizes |= {"at.offsets": 8 * made * stretch * form.groups, "at.ends": 16 * stretch}
        values: dict[str, Argument] = {}
        end = 0
        for name, size in sizes.items():
            assert isinstance(size, int)
            values[name] = end
            end += size + -size % 64
        return values | {"products.point": stretch * wide + 64}, end

    def _filters(self, w: Operand) -> Packed:
        """The weights at all points: [panel][point][block and channel][column]."""
        width = self.block.columns
        shape = (self.outputs, self.terms, self.points)
        recipe = (*(view_recipe(w) or ()), *self._blocked(), WinogradFilter(POINTS[self.products]), Reshape(shape))
        return Packed(w.value, (*recipe, *panel_recipe(shape, (-1, 2, 1, 0), width)))

    def _blocked(self) -> tuple[Op, ...]:
        """Filters [filter, channel, taps …] as [filter, block down, block across, channel, taps of a block …]."""
        (down, across), (high, wide) = self.blocks, self.taps
        taps = _taps(self.region)
        plane = Reshape((self.outputs, self.channels, *taps))
        more = (0, 0, down * high - taps[0], across * wide - taps[1])
        split = Reshape((self.outputs, self.channels, down, high, across, wide))
        return (plane, Pad((0,) * 4, more), split, Transpose((0, 2, 4, 1, 3, 5)))


def _steps(operand: Operand) -> tuple[Size, ...]:
    """Bytes from an image to the next, from a line to the next, from a column to the next."""
    size = operand.dtype.itemsize
    return tuple(step * size for step in (operand.strides[0], *_plane(operand.strides[2:], 0)))

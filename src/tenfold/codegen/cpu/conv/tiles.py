"""The code of Winograd's convolution: tiles of the image transformed, multiplied point by point, transformed back.

For a stretch of tiles, each tile of n x n pixels of the image becomes n² rows, one to a point (`gather`); for each
panel of filters the micro-kernel multiplies, point by point, all rows of the stretch (`multiply`); what a tile's points
give becomes m x m pixels of the result, and the body follows (`scatter`). Everything of a stretch stays in the second
cache. Where there are too few tiles to share, a stage of its own gathers all of them into the workspace first.

Filters of many taps come in blocks of a few: a tile's row then holds, side by side, the channels of the pixels that
each block sees, so that blocks are merely more terms. An axis of one tap has tiles of one pixel, and no transform.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import define, load_pointer, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.microkernel import Block, Tile, call_tile
from tenfold.codegen.cpu.outsite import OutSite, Stream, named
from tenfold.codegen.cpu.stage import StageWriter, ceildiv, divided, least, share_of
from tenfold.codegen.cpu.vectors import F32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Body
from tenfold.ir.dtype import f32
from tenfold.ops.winograd import elements, factors

_SIZE = f32.itemsize
_LANES = 8
"""Places along a line whose addresses are found at a time: no tile is wider."""


@dataclass(frozen=True)
class Form:
    """What the code depends on; all sizes and all other strides are arguments.

    `taps` are those of a block of the filters, down and across. `gathers`: tiles are gathered; `multiplies`: they are
    multiplied and scattered. `groups` counts the ways in which the body's operands move along the pixels of the result.
    """

    isa: Isa
    points: tuple[float, ...]
    taps: tuple[int, int]
    block: Block
    gathers: bool
    multiplies: bool
    groups: int
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    indices: tuple[tuple[int, Stream], ...]
    around: Surroundings

    @property
    def seen(self) -> tuple[int, int]:
        """Pixels of the image that a tile sees, down and across."""
        down, across = self.taps
        return elements(self.points, down), elements(self.points, across)

    @property
    def made(self) -> tuple[int, int]:
        """Pixels of the result that a tile makes, down and across."""
        (down, across), taps = self.seen, self.taps
        return down - taps[0] + 1, across - taps[1] + 1

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return named(self.extra, self.outputs, self.indices)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; "@" marks addresses, "at." places in scratch. Steps are in bytes."""
        found = ["@seen", "channels", "blocks", "seen.tile", "seen.point", "tiles", "across", "down", "stretch"]
        found += ["row_parts", "column_parts"]
        if self.gathers:
            found += ["@x", "x.image", "x.row", "x.column", "height", "width", "above", "left"]
            found += ["at.places", "at.zeros", "blocks.across"]
        if self.multiplies:
            found += ["@filters", *self.streams, "columns", "result.height", "result.width"]
            found += ["at.seen", "at.lines", "at.products", "products.point", "at.made", "at.offsets", "at.ends"]
            found += [f"group{g}.{word}" for g in range(self.groups) for word in ("image", "row", "column")]
            found += [f"column.{name}" for name, stream in self.streams.items() if stream.column is None]
            found += self.around.names
        return tuple(found)


@functools.cache
def source(form: Form) -> str:
    """The module of a stage of such a convolution, in textual form."""
    return _Writer(form).text()


def seen_at_points(points: Sequence[float], x: Sequence[Vector]) -> list[Vector]:
    """B x: elements 0 … n-1 of the image at 0, +p, -p of each point, infinity; one element is itself."""
    if len(x) == 1:
        return list(x)
    whole = factors(tuple(points))
    found = [_polynomial(whole, x[0::2])]
    for point in points:
        others = factors(tuple(one for one in points if one != point))
        even, odd = _polynomial(others, x[2::2]), _polynomial(others, x[1::2])
        found += [odd.fma(point, even), odd.fma(-point, even)]
    return [*found, _polynomial(whole, x[1::2])]


def _polynomial(factors: Sequence[float], x: Sequence[Vector]) -> Vector:
    """The sum of their products; the last factor is 1."""
    total = x[len(factors) - 1]
    for factor, one in zip(reversed(factors[:-1]), reversed(x[: len(factors) - 1]), strict=True):
        total = total - one if factor == -1 else one.fma(factor, total)
    return total


def interpolated(points: Sequence[float], y: Sequence[Vector], count: int) -> list[Vector]:
    """A y: so many results of a tile, from the products at 0, +p, -p of each point, infinity; one product is itself."""
    if len(y) == 1:
        return list(y)
    sums = [y[1 + 2 * k] + y[2 + 2 * k] for k in range(len(points))]
    differences = [y[1 + 2 * k] - y[2 + 2 * k] for k in range(len(points))]
    found = []
    for power in range(count):
        total = y[0] if power == 0 else y[-1] if power == count - 1 else None
        for point, one in zip(points, differences if power % 2 else sums, strict=True):
            factor = point**power
            if total is None:
                total = one if factor == 1 else one * factor
            else:
                total = total + one if factor == 1 else one.fma(factor, total)
        assert total is not None
        found.append(total)
    return found


@dataclass(frozen=True)
class _Stretch:
    """Tiles worked on at a time: the first, how many, and where their rows begin."""

    first: Vector
    count: Vector
    seen: ir.Value


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "winograd", form.names)
        self.form, self.block = form, form.block
        self.wide = self.vectors(_LANES)
        if form.gathers:
            self.gather = self._define_gather()
        if form.multiplies:
            heights = form.block.heights
            kinds = {rows: Tile(form.isa, f32, f32, f32, form.block, rows) for rows in heights}
            self.tiles = {rows: one.define(self.module) for rows, one in kinds.items()}
            self.scatter = self._define_scatter()
            self.out = OutSite(self, form.body, form.streams, form.around, f32, form.block)

    def text(self) -> str:
        """The stage: a part's share of tiles and of panels, in stretches."""
        rows, columns = divided(self.part, self.arg("column_parts"))
        by = self.block.rows
        blocks = share_of(ceildiv(self.arg("tiles"), by), rows, self.arg("row_parts"))
        if self.form.gathers:
            self._clear()
        first, end = blocks[0] * by, least(blocks[1] * by, self.arg("tiles"))
        most = divided(self.arg("stretch"), self.number(by))[0]
        count = ceildiv(blocks[1] - blocks[0], most)
        each = ceildiv(blocks[1] - blocks[0], (count < 1).where(1, count)) * by
        if self.form.multiplies:
            panels = ceildiv(self.arg("columns"), self.block.columns)
            self.panels = share_of(panels, columns, self.arg("column_parts"))
        repeat(self.scalar, first, end, lambda at: self._stretch(at, least(each, end - at)), by=each)
        return self.finish()

    def _stretch(self, first: Vector, count: Vector) -> None:
        form = self.form
        seen = self.pointer("@seen")
        if form.gathers and form.multiplies:
            seen = self.step(self.scratch, self.arg("at.seen"))
        else:
            seen = self.step(seen, first * self.arg("seen.tile"))
        stretch = _Stretch(first, count, seen)
        if form.gathers:
            repeat(self.scalar, 0, count, lambda tile: self._gather_blocks(stretch, tile))
        if form.multiplies:
            self._list_rows(stretch)
            repeat(self.scalar, 0, count, lambda tile: self._list_pixels(stretch, tile))
            repeat(self.scalar, *self.panels, lambda panel: self._panel(stretch, panel))

    def _place(self, tile: Vector) -> tuple[Vector, Vector, Vector]:
        """The image of a tile, and its first pixel of the result."""
        rest, column = divided(tile, self.arg("across"))
        image, row = divided(rest, self.arg("down"))
        down, across = self.form.made
        return image, row * down, column * across

    # gathering

    def _clear(self) -> None:
        """The line of zeros, for pixels beyond the border."""
        code = self.vectors(self.form.isa.lanes(_SIZE))
        zeros, size = self.step(self.scratch, self.arg("at.zeros")), self.arg("channels") * _SIZE
        zero = code.zero(F32)
        repeat(
            self.scalar,
            0,
            size,
            lambda at: store(code, f32, self.step(zeros, at), zero),
            by=self.form.isa.vector_bytes,
        )

    def _gather_blocks(self, stretch: _Stretch, tile: Vector) -> None:
        """What each block of the filters sees of a tile."""
        image, row, column = self._place(stretch.first + tile)
        row, column = row - self.arg("above"), column - self.arg("left")
        target = self.step(stretch.seen, tile * self.arg("seen.tile"))

        def block(number: Vector) -> None:
            down, across = divided(number, self.arg("blocks.across"))
            place = row + down * self.form.taps[0], column + across * self.form.taps[1]
            self._gather(image, *place, self.step(target, number * self.arg("channels") * _SIZE))

        repeat(self.scalar, 0, self.arg("blocks"), block)

    def _gather(self, image: Vector, row: Vector, column: Vector, target: ir.Value) -> None:
        """Pixels of the image in the transformed domain: their addresses, then the transform of all channels."""
        places = self.step(self.scratch, self.arg("at.places"))
        zeros = self.wide.splat(
            (self.scalar.wrap(self.builder.ptrtoint(self.scratch, I64)) + self.arg("at.zeros")).value
        )
        start = self.step(self.pointer("@x"), image * self.arg("x.image"))
        columns = self.wide.splat(column.value) + self.wide.iota(I64)
        moved = columns * self.wide.splat(self.arg("x.column").value)
        for number in range(self.form.seen[0]):
            at = row + number
            inside = at.compare("<", self.arg("height"), unsigned=True)
            within = self.wide.splat(inside.where(self.arg("width"), 0).value)
            line = self.step(start, at * self.arg("x.row"))
            address = self.wide.splat(self.builder.ptrtoint(line, I64)) + moved
            address = columns.compare("<", within, unsigned=True).where(address, zeros)
            self.builder.store(address.value, self.step(places, number * 8 * _LANES), align=8)
        arguments = [places, (self.arg("channels") * _SIZE).value, target, self.arg("seen.point").value]
        self.builder.call(self.gather, arguments)

    def _define_gather(self) -> ir.Function:
        """`void gather(ptr places, i64 bytes, ptr target, i64 point)`: all channels of a tile. Its pixels' addresses
        are in `places`; the rows of its points, `bytes` long, lie `point` bytes apart. The last vector overlaps.
        """
        form = self.form
        function = define(self.module, "gather", ir.VoidType(), [POINTER, I64, POINTER, I64], internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, form.isa.lanes(_SIZE))
        places, size, target, point = function.args
        last, point = scalar.wrap(size) - form.isa.vector_bytes, scalar.wrap(point)

        def channels(at: Vector) -> None:
            at = least(at, last)

            def pixel(row: int, column: int) -> Vector:
                start = load_pointer(scalar, places, (row * _LANES + column) * 8)
                return load(code, f32, step(builder, start, at))

            rows, columns = form.seen
            down = [
                seen_at_points(form.points, [pixel(row, column) for row in range(rows)]) for column in range(columns)
            ]
            for row, line in enumerate(zip(*down, strict=True)):
                for column, value in enumerate(seen_at_points(form.points, line)):
                    place = at + point * (row * columns + column)
                    store(code, f32, step(builder, target, place), value)

        repeat(scalar, 0, scalar.wrap(size), channels, by=form.isa.vector_bytes)
        builder.ret_void()
        return function

    # multiplying

    def _list_rows(self, stretch: _Stretch) -> None:
        """The table of the rows' addresses: [point][block][row of the block]."""
        lines, point = self.step(self.scratch, self.arg("at.lines")), self.arg("seen.point")
        padded = ceildiv(stretch.count, self.block.rows) * self.block.rows

        def points(number: Vector) -> None:
            start, slots = self.step(stretch.seen, number * point), self.step(lines, number * padded * 8)

            def row(tile: Vector) -> None:
                line = self.step(start, least(tile, stretch.count - 1) * self.arg("seen.tile"))
                self.builder.store(line, self.step(slots, tile * 8), align=8)

            repeat(self.scalar, 0, padded, row)

        repeat(self.scalar, 0, math.prod(self.form.seen), points)

    def _list_pixels(self, stretch: _Stretch, tile: Vector) -> None:
        """How many lines and columns of a tile of the result exist, and each group's offsets of its pixels."""
        made, across = math.prod(self.form.made), self.form.made[1]
        image, row, column = self._place(stretch.first + tile)
        ends = self.step(self.scratch, self.arg("at.ends") + tile * 16)
        sizes = (self.arg("result.height") - row, self.arg("result.width") - column)
        for number, (size, most) in enumerate(zip(sizes, self.form.made, strict=True)):
            self.builder.store(least(size, self.number(most)).value, self.step(ends, 8 * number), align=8)
        for group in range(self.form.groups):
            steps = [self.arg(f"group{group}.{word}") for word in ("image", "row", "column")]
            start = image * steps[0] + row * steps[1] + column * steps[2]
            table = self._offsets(group, tile)
            for number in range(made):
                offset = start + steps[1] * (number // across) + steps[2] * (number % across)
                self.builder.store(offset.value, self.step(table, 8 * number), align=8)

    def _offsets(self, group: int, tile: Vector) -> ir.Value:
        place = (self.arg("stretch") * group + tile) * (8 * math.prod(self.form.made))
        return self.step(self.scratch, self.arg("at.offsets") + place)

    def _panel(self, stretch: _Stretch, panel: Vector) -> None:
        """All products of a stretch with a panel of filters, then the results."""
        form, block = self.form, self.block
        terms, every = self.arg("channels") * self.arg("blocks"), self.number(math.prod(form.seen))
        wide = block.columns * _SIZE
        filters = self.step(self.pointer("@filters"), panel * every * terms * wide)
        products, lines = (self.step(self.scratch, self.arg(f"at.{name}")) for name in ("products", "lines"))
        padded = ceildiv(stretch.count, block.rows) * block.rows

        def points(number: Vector) -> None:
            b = self.step(filters, number * terms * wide)
            slots, sums = (
                self.step(lines, number * padded * 8),
                self.step(products, number * self.arg("products.point")),
            )

            def some(row: Vector) -> None:
                rows = least(stretch.count - row, self.number(block.rows))
                arguments = [self.step(slots, row * 8), self.number(1).value, terms.value, self.number(0).value]
                arguments += [b, self.step(sums, row * wide), self.number(0).value]
                call_tile(self.scalar, self.tiles, block, rows, arguments)

            repeat(self.scalar, 0, stretch.count, some, by=block.rows)

        repeat(self.scalar, 0, every, points)
        first = panel * block.columns
        left = least(self.arg("columns") - first, self.number(block.columns))
        repeat(self.scalar, 0, stretch.count, lambda tile: self._scatter(tile, products, first, left))

    # scattering

    def _scatter(self, tile: Vector, products: ir.Value, first: Vector, left: Vector) -> None:
        """One tile's results for a panel, line by line."""
        form, wide = self.form, self.block.columns * _SIZE
        made = self.step(self.scratch, self.arg("at.made"))
        self.builder.call(self.scatter, [self.step(products, tile * wide), self.arg("products.point").value, made])
        ends = self.step(self.scratch, self.arg("at.ends") + tile * 16)
        columns = load_size(self.scalar, ends, 8)
        starts = {name: self.pointer(name) for name in form.streams}

        def line(number: Vector) -> None:
            offsets = [self.step(self._offsets(group, tile), number * 8 * form.made[1]) for group in range(form.groups)]
            self.out.write(starts, offsets, self.step(made, number * form.made[1] * wide), columns, first, left)

        repeat(self.scalar, 0, load_size(self.scalar, ends), line)

    def _define_scatter(self) -> ir.Function:
        """`void scatter(ptr products, i64 point, ptr made)`: a tile's results for a panel, [line][column][filter], from
        its products, `point` bytes apart.
        """
        form, block = self.form, self.block
        rows, columns = form.seen
        function = define(self.module, "scatter", ir.VoidType(), [POINTER, I64, POINTER], internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, block.lanes)
        products, point, made = function.args
        stride = scalar.wrap(point)

        def vector(at: Vector) -> None:
            across = []
            for column in range(columns):
                places = (at + stride * (row * columns + column) for row in range(rows))
                found = [load(code, f32, step(builder, products, place)) for place in places]
                across.append(interpolated(form.points, found, form.made[0]))
            for row, line in enumerate(zip(*across, strict=True)):
                for column, value in enumerate(interpolated(form.points, line, form.made[1])):
                    place = (row * form.made[1] + column) * block.columns * _SIZE
                    store(code, f32, step(builder, step(builder, made, place), at), value)

        repeat(scalar, 0, block.columns * _SIZE, vector, by=block.lanes * _SIZE)
        builder.ret_void()
        return function

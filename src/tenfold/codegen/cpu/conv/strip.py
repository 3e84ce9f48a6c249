"""The code of convolutions whose lanes are pixels: a tile of the result at a time.

The lines of the image that a tile's taps see are copied into scratch with the zeros of the border, channel after
channel and, for a stride along the line, elements of the same remainder together. So every tap is a load of
adjacent elements, and no load or store needs a mask. Sums are kept in registers for a block of pixels and all output
channels; the body follows line by line.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.conv.ending import Ending
from tenfold.codegen.cpu.flow import choose, define, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Cursor, Inputs, LineBody, Spot, Stream, Surroundings, lanes_for, outputs_of, walk
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.microkernel import multiply_add
from tenfold.codegen.cpu.movement import transposed
from tenfold.codegen.cpu.stage import StageWriter, ceildiv, divided, least, most, operand_names, share_of
from tenfold.codegen.cpu.vectors import F32, I64, POINTER, Vector, Vectors
from tenfold.ir.dtype import f32

_SIZE = f32.itemsize
_PLAIN = Stream(f32, 1)


@dataclass(frozen=True)
class Block:
    """The sums in registers: `outputs` channels of `rows` lines of `vectors` vectors of pixels."""

    outputs: int
    rows: int
    vectors: int


@dataclass(frozen=True)
class Down:
    """The window down the image: its taps, stride and dilation."""

    taps: int
    stride: int
    dilation: int

    def lines(self, rows: int) -> int:
        """How many lines of the image `rows` lines of the result see."""
        return (rows - 1) * self.stride + (self.taps - 1) * self.dilation + 1


@dataclass(frozen=True)
class Form:
    """What the code depends on; all sizes and all other strides are arguments.

    `stride` is that along the line, of whose remainders the first `phases` are needed. Lines of the copy are `pitch`
    bytes apart, their remainders `phase` bytes. `x` says how the image moves from one output pixel to the next; with
    adjacent channels it is transposed by squares of `square` of them (0: it is not).
    """

    isa: Isa
    block: Block
    down: Down
    stride: int
    phases: int
    pitch: int
    phase: int
    x: Stream
    square: int
    ending: Ending

    @property
    def lanes(self) -> int:
        """Pixels of a vector."""
        return self.isa.lanes(_SIZE)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps and places in scratch in bytes."""
        found = ["all.blocks", "parts", "groups", "together", "columns", "blocks", "tile.blocks", "tile.columns"]
        found += ["height", "width", "channels", "taps", "dilation"]
        found += ["at.sums", "at.lines", "sums.step", "channel.step"]
        found += ["@w", "w.group", "x.height", "x.width", "x.above", "x.left", "x.step", "squared"]
        for name in ("x", *self.ending.streams):
            found += operand_names(name, ("image", "group", "channel", "row", "column"))
        return tuple(found)


@functools.cache
def source(form: Form) -> str:
    """The module of such a convolution, in textual form."""
    return _Writer(form).text()


@dataclass(frozen=True)
class _Tile:
    """`rows` x `columns` pixels of the result from (row, column) on, of one group of an image."""

    image: Vector
    group: Vector
    row: Vector
    rows: Vector
    column: Vector
    columns: Vector


@dataclass(frozen=True)
class _Segment:
    """What part of a line of the copy comes from the image: elements `low` to `high` of `count`; the rest is zero."""

    low: Vector
    high: Vector
    count: Vector


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "strip", form.names)
        self.form = form
        self.pixels = self.vectors(form.lanes)
        self.blocks = {count: self._define(count) for count in dict.fromkeys((form.block.vectors, 1))}
        steps = [1, *(one.step for one in form.ending.extra)]
        self.body = LineBody(self, Surroundings((), (), 0), form.ending.body, steps, 0)
        self.lines = self.step(self.scratch, self.arg("at.lines"))

    def text(self) -> str:
        """The whole stage. A strip is a column of tiles of `together` groups; a part is an even share of the blocks of
        all strips.
        """
        self._list_taps()
        blocks, parts = self.arg("blocks"), self.arg("parts")
        first, end = share_of(self.arg("all.blocks"), self.part, parts)

        def strip(number: Vector) -> None:
            low, high = most(first - number * blocks, self.number(0)), least(end - number * blocks, blocks)
            each = ceildiv(high - low, ceildiv(high - low, self.arg("tile.blocks")))
            repeat(self.scalar, low, high, lambda at: self._tiles(number, at, least(each, high - at)), by=each)

        until = (first < end).where(ceildiv(end, blocks), 0)
        repeat(self.scalar, divided(first, blocks)[0], until, strip)
        return self.finish()

    def _list_taps(self) -> None:
        """Where each tap along the line reads, in bytes from the first: the table at the start of scratch."""

        def tap(t: Vector) -> None:
            place, phase = divided(t * self.arg("dilation"), self.number(self.form.stride))
            offset = place * _SIZE + phase * self.form.phase
            self.builder.store(offset.value, self.step(self.scratch, t * 8), align=8)

        repeat(self.scalar, 0, self.arg("taps"), tap)

    def _tiles(self, strip: Vector, block: Vector, blocks: Vector) -> None:
        """`blocks` blocks of a strip, from `block` on, group by group."""
        by, together = self.form.block.rows, self.arg("together")
        rest, column = divided(strip, self.arg("columns"))
        image, group = divided(rest, self.arg("groups"))
        row, column = block * by, column * self.arg("tile.columns")
        rows = least(blocks * by, self.arg("height") - row)
        columns = least(self.arg("tile.columns"), self.arg("width") - column)

        def one(number: Vector) -> None:
            tile = _Tile(image, group * together + number, row, rows, column, columns)
            self._copy(tile)
            repeat(self.scalar, 0, rows, lambda row: self._rows(tile, row), by=by)

        repeat(self.scalar, 0, together, one)

    def _start(self, name: str, tile: _Tile) -> ir.Value:
        """Where an operand's first channel of the tile's group lies."""
        place = tile.image * self.arg(f"{name}.image") + tile.group * self.arg(f"{name}.group")
        return self.step(self.pointer(f"@{name}"), place)

    def _copy(self, tile: _Tile) -> None:
        """The lines that the tile's taps see, into scratch."""
        form = self.form
        first = tile.row * form.down.stride - self.arg("x.above")
        left = tile.column * form.stride - self.arg("x.left")
        width = (tile.columns - 1) * form.stride + (self.arg("taps") - 1) * self.arg("dilation") + 1
        start = self._start("x", tile)

        def line(number: Vector) -> None:
            place = first + number
            inside = place.compare("<", self.arg("x.height"), unsigned=True)
            source = self.step(start, place * self.arg("x.row"))
            target = self.step(self.lines, number * form.pitch)

            def phase(number: Vector) -> None:
                at = left + number
                count = ceildiv(width - number, form.stride)
                low = inside.where(least(ceildiv(most(self.number(0) - at, self.number(0)), form.stride), count), 0)
                high = ceildiv(most(self.arg("x.width") - at, self.number(0)), form.stride)
                segment = _Segment(low, inside.where(most(least(high, count), low), 0), count)
                here = self.step(source, at * self.arg("x.step"))
                self._channels(here, self.step(target, number * form.phase), segment)

            repeat(self.scalar, 0, form.phases, phase)

        repeat(self.scalar, 0, (tile.rows - 1) * form.down.stride + form.down.lines(1), line)

    def _channels(self, source: ir.Value, target: ir.Value, segment: _Segment) -> None:
        """One line of all channels."""
        channels, pitch = self.arg("channels"), self.arg("channel.step")
        zero = self.pixels.zero(F32)

        def clear(line: ir.Value, first: Vector | int, end: Vector) -> None:
            def some(at: Vector) -> None:
                store(self.pixels, f32, self.step(line, at * _SIZE), zero)

            repeat(self.scalar, first, end, some, by=self.pixels.lanes)

        repeat(self.scalar, 0, channels, lambda number: clear(self.step(target, number * pitch), 0, segment.low))
        self._image(source, target, segment)
        repeat(
            self.scalar,
            0,
            channels,
            lambda number: clear(self.step(target, number * pitch), segment.high, segment.count),
        )

    def _image(self, source: ir.Value, target: ir.Value, segment: _Segment) -> None:
        """What of the line comes from the image: by squares where they fit, else channel by channel."""

        def channel(number: Vector) -> None:
            here = self.step(source, number * self.arg("x.channel"))
            reader = Cursor(self.form.x, here, self.arg("x.column"))
            writer = Cursor(_PLAIN, self.step(target, number * self.arg("channel.step")))
            line = Spot(self.pixels, 0, segment.low, {})
            masked = self.form.isa.masks and self.form.x.step == 1
            walk(
                line,
                self.scalar,
                segment.low,
                segment.high,
                masked,
                lambda at: writer.write(at, reader.read(at)),
            )

        first = self.number(0)
        if self.form.square:
            fits = segment.high - segment.low >= self.form.square
            first = fits.where(self.arg("squared"), 0)
            choose(self.scalar, fits, lambda: self._squares(source, target, segment), lambda: None)
        repeat(self.scalar, first, self.arg("channels"), channel)

    def _squares(self, source: ir.Value, target: ir.Value, segment: _Segment) -> None:
        """The first `squared` of adjacent channels become lines: squares of as many pixels as channels, transposed in
        registers. The last square of a line, and the last of the channels, overlaps the one before it.
        """
        side, code = self.form.square, self.vectors(self.form.square)
        pitch, column = self.arg("channel.step"), self.arg("x.column")

        def square(channel: Vector, pixel: Vector) -> None:
            channel, pixel = least(channel, self.arg("squared") - side), least(pixel, segment.high - side)
            start = self.step(source, pixel * column + channel * _SIZE)
            rows = transposed([load(code, f32, self.step(start, column * k)) for k in range(side)])
            place = self.step(target, channel * pitch + pixel * _SIZE)
            for k, row in enumerate(rows):
                store(code, f32, self.step(place, pitch * k), row)

        def band(channel: Vector) -> None:
            repeat(self.scalar, segment.low, segment.high, functools.partial(square, channel), by=side)

        repeat(self.scalar, 0, self.arg("squared"), band, by=side)

    def _rows(self, tile: _Tile, row: Vector) -> None:
        """A block's rows of the tile: their sums, then the body."""
        form = self.form
        image = self.step(self.lines, row * (form.down.stride * form.pitch))
        weights = self.step(self.pointer("@w"), tile.group * self.arg("w.group"))
        sums = self.step(self.scratch, self.arg("at.sums"))
        constant = [self.arg("channels"), self.arg("taps"), self.arg("channel.step"), self.arg("sums.step")]

        def some(count: int, pixel: Vector) -> None:
            places = [self.step(one, pixel * _SIZE) for one in (image, sums)]
            self.builder.call(self.blocks[count], [self.scratch, weights, *places, *(one.value for one in constant)])

        wide = form.block.vectors * form.lanes
        whole = divided(tile.columns + (form.lanes - 1), self.number(wide))[0] * wide
        repeat(self.scalar, 0, whole, functools.partial(some, form.block.vectors), by=wide)
        repeat(self.scalar, whole, tile.columns, functools.partial(some, 1), by=form.lanes)

        def line(number: Vector) -> None:
            below, channel = divided(number, self.number(form.block.outputs))
            self._finish(tile, row + below, channel, self.step(sums, number * self.arg("sums.step")))

        there = least(tile.rows - row, self.number(form.block.rows))
        repeat(self.scalar, 0, there * form.block.outputs, line)

    def _finish(self, tile: _Tile, row: Vector, channel: Vector, sums: ir.Value) -> None:
        """The body on a line of the tile, `row` of it."""
        form, ending = self.form, self.form.ending

        def cursor(name: str) -> Cursor:
            place = channel * self.arg(f"{name}.channel") + (tile.row + row) * self.arg(f"{name}.row")
            place = place + tile.column * self.arg(f"{name}.column")
            return Cursor(ending.streams[name], self.step(self._start(name, tile), place), self.arg(f"{name}.column"))

        cursors = {name: cursor(name) for name in ending.streams}
        inputs = Inputs([Cursor(_PLAIN, sums), *(cursors[f"extra{n}"] for n in range(len(ending.extra)))], self.scalar)
        dtypes = [one.dtype for one in ending.outputs]
        lanes = lanes_for(form.isa.vector_bytes, ending.body, [f32, *(one.dtype for one in ending.streams.values())])
        line = Spot(self.vectors(lanes), 0, self.number(0), {})
        settled = self.body.settle(line, inputs.even)

        def visit(spot: Spot) -> None:
            stored = inputs.stored(spot)
            results = self.body.emit(spot, inputs.registers(spot, stored), settled)
            for number, value in enumerate(outputs_of(self.body.body, results, stored, dtypes)):
                cursors[f"out{number}"].write(spot, value)

        masked = form.isa.masks and all(one.step == 1 for one in ending.outputs)
        walk(line, self.scalar, self.number(0), tile.columns, masked, visit)

    def _define(self, vectors: int) -> ir.Function:
        """`void block(ptr offsets, ptr w, ptr x, ptr sums, i64 channels, i64 taps, i64 channel step, i64 sums step)`:
        the sums of a block `vectors` wide, over all channels and taps.
        """
        kinds = [POINTER, POINTER, POINTER, POINTER, I64, I64, I64, I64]
        function = define(self.module, f"block{vectors}", ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, vector = Vectors(builder, self.form.isa, 1), Vectors(builder, self.form.isa, self.form.lanes)
        offsets, weights, x, target, *sizes = function.args
        channels, taps, pitch, line = (scalar.wrap(one) for one in sizes)
        block = self.form.block
        zero = vector.zero(F32).value

        def channel(_: Vector, x: ir.Value, *state: ir.Value) -> Sequence[ir.Value]:
            def tap(t: Vector, weights: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
                here = step(builder, x, load_size(scalar, offsets, t * 8))
                return self._tap(vector, vectors, here, weights, sums)

            _, state = repeat(scalar, 0, taps, tap, state)  # type: ignore[assignment]
            return (step(builder, x, pitch), *state)

        sums = [zero] * (block.rows * block.outputs * vectors)
        _, (_, _, *sums) = repeat(scalar, 0, channels, channel, (x, weights, *sums))
        for number, value in enumerate(sums):
            number, v = divmod(number, vectors)
            place = step(builder, step(builder, target, line * number), v * self.form.isa.vector_bytes)
            store(vector, f32, place, vector.wrap(value))
        builder.ret_void()
        return function

    def _tap(
        self, code: Vectors, vectors: int, x: ir.Value, weights: ir.Value, sums: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        """One tap along the line, all down the image; each line of the image is loaded once."""
        form, builder = self.form, code.builder
        block, down = form.block, form.down
        factors: dict[tuple[int, int], Vector] = {}
        found = list(sums)
        for place in range(down.lines(block.rows)):
            pairs = [
                (row, tap)
                for row in range(block.rows)
                for tap in range(down.taps)
                if row * down.stride + tap * down.dilation == place
            ]
            starts = [step(builder, x, place * form.pitch + v * form.isa.vector_bytes) for v in range(vectors)]
            pixels = [load(code, f32, start) for start in starts] if pairs else []
            for row, tap in pairs:
                for output in range(block.outputs):
                    key = (tap, output)
                    if key not in factors:
                        place_of = step(builder, weights, (tap * block.outputs + output) * _SIZE)
                        factors[key] = load_one(code, f32, place_of)
                    for v, pixel in enumerate(pixels):
                        at = (row * block.outputs + output) * vectors + v
                        found[at] = multiply_add(pixel, factors[key], code.wrap(found[at])).value
        return (step(builder, weights, down.taps * block.outputs * _SIZE), *found)

"""The code of convolutions of few planes: a tile of the image is woven channels-last into scratch, zeros around it.

There the taps along a line and the channels are one stretch of terms, and pixels of the result lie at distances that
the code knows. So a block of sums in registers, pixels by vectors of output channels, needs one address for each of its
taps down the image, and no table.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.conv.ending import Ending, Place, finish
from tenfold.codegen.cpu.flow import choose, define, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.microkernel import Block, multiply_add
from tenfold.codegen.cpu.stage import StageWriter, divided, least, most, operand_names, share_of
from tenfold.codegen.cpu.vectors import F32, I64, POINTER, Vector, Vectors
from tenfold.codegen.cpu.weave import interleaved
from tenfold.ir.dtype import f32

_SIZE = f32.itemsize
_UNROLLED = 9
"""The most terms that are written out; never so many that neighbours see the same numbers, which LLVM would keep."""


@dataclass(frozen=True)
class Form:
    """What the code depends on; all sizes and all other strides are arguments.

    Pixels of the result lie `stride` pixels of the image apart, which has `planes` channels; a line of taps is `terms`
    numbers. Lines end with `rest` pixels behind whole blocks; if None, the call says with how many.
    """

    isa: Isa
    block: Block
    planes: int
    stride: int
    terms: int
    rest: int | None
    ending: Ending

    @property
    def pixel(self) -> int:
        """Numbers from pixel to pixel."""
        return self.stride * self.planes

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps in bytes. A tile is `tile.rows` by `tile.columns` pixels."""
        found = ["tiles", "parts", "down.tiles", "across.tiles", "tile.rows", "tile.columns", "height", "width"]
        found += ["@w", "panels", "taps", "down.stride", "down.dilation", "above", "left", "x.height", "x.width"]
        found += ["@x", "x.image", "x.row", "x.plane", "seen", "pitch", "at.lines"]
        for name in self.ending.streams:
            found += operand_names(name, ("image", "row", "column"))
        return tuple(found)


@functools.cache
def source(form: Form) -> str:
    """The module of such a convolution, in textual form. Scratch holds a block's sums, then the tile's lines."""
    return _Writer(form).text()


@dataclass(frozen=True)
class _Tile:
    """`rows` by `columns` pixels of the result of an image, from (row, column) on."""

    image: Vector
    row: Vector
    rows: Vector
    column: Vector
    columns: Vector


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "woven", form.names)
        self.form, self.block = form, form.block
        self.wide = self.vectors(form.isa.lanes(_SIZE))
        self.lines = self.step(self.scratch, self.arg("at.lines"))
        self.whole = self._define("whole", form.block.rows, counted=False)
        self.rest = self._define("rest", form.rest or form.block.rows, form.rest is None) if form.rest != 0 else None

    def text(self) -> str:
        """The stage; a part is an even share of the tiles."""
        repeat(self.scalar, *share_of(self.arg("tiles"), self.part, self.arg("parts")), self._tile)
        return self.finish()

    def _tile(self, number: Vector) -> None:
        rest, across = divided(number, self.arg("across.tiles"))
        image, down = divided(rest, self.arg("down.tiles"))
        row, column = down * self.arg("tile.rows"), across * self.arg("tile.columns")
        rows = least(self.arg("tile.rows"), self.arg("height") - row)
        tile = _Tile(image, row, rows, column, least(self.arg("tile.columns"), self.arg("width") - column))
        self._weave(tile)
        repeat(self.scalar, 0, rows, lambda row: self._line(tile, row))

    def _weave(self, tile: _Tile) -> None:
        """The lines that the tile's taps see, into scratch."""
        first = tile.row * self.arg("down.stride") - self.arg("above")
        left = tile.column * self.form.stride - self.arg("left")
        start = self.step(self.pointer("@x"), tile.image * self.arg("x.image"))
        seen = self.arg("seen") - (self.arg("tile.columns") - tile.columns) * self.form.stride
        low = least(most(0 - left, self.number(0)), seen)
        high = most(least(self.arg("x.width") - left, seen), low)

        def line(number: Vector) -> None:
            place = first + number
            target = self.step(self.lines, number * self.arg("pitch"))
            origin = self.step(start, place * self.arg("x.row") + left * _SIZE)

            def image() -> None:
                self._clear(target, self.number(0), low)
                self._copy(origin, target, low, high)
                self._clear(target, high, seen)

            inside = place.compare("<", self.arg("x.height"), unsigned=True)
            choose(self.scalar, inside, image, lambda: self._clear(target, self.number(0), seen))

        taps = (self.arg("taps") - 1) * self.arg("down.dilation") + 1
        repeat(self.scalar, 0, (tile.rows - 1) * self.arg("down.stride") + taps, line)

    def _copy(self, origin: ir.Value, target: ir.Value, low: Vector, high: Vector) -> None:
        """Pixels `low` to `high` of a line: vectors of each plane, the last one overlapping; few of them one by one."""
        form, wide = self.form, self.wide

        def some(code: Vectors, pixel: Vector) -> None:
            here, there = self.step(origin, pixel * _SIZE), self.step(target, pixel * (form.planes * _SIZE))
            planes = [load(code, f32, self.step(here, self.arg("x.plane") * plane)) for plane in range(form.planes)]
            for number, value in enumerate(interleaved(planes)):
                store(code, f32, self.step(there, number * code.lanes * _SIZE), value)

        def vectors() -> None:
            last = high - wide.lanes
            repeat(self.scalar, low, high, lambda at: some(wide, least(at, last)), by=wide.lanes)

        def single() -> None:
            repeat(self.scalar, low, high, lambda at: some(self.scalar, at))

        choose(self.scalar, high - low >= wide.lanes, vectors, single)

    def _clear(self, target: ir.Value, low: Vector, high: Vector) -> None:
        """Zeros for pixels `low` to `high` of a line; behind it there is room for a vector."""
        pixel, zero = self.form.planes * _SIZE, self.scalar.zero(F32)

        def one(at: Vector) -> None:
            store(self.scalar, f32, self.step(target, at), zero)

        repeat(self.scalar, low * pixel, high * pixel, one, by=_SIZE)

    def _line(self, tile: _Tile, row: Vector) -> None:
        """A line of the tile: all panels of each block of pixels."""
        form, block = self.form, self.block
        seen = self.step(self.lines, row * (self.arg("down.stride") * self.arg("pitch")))
        across = self.arg("down.dilation") * self.arg("pitch")
        steps = [self.arg(f"{name}.column") for name in form.ending.streams]
        starts = []
        for name, pixel in zip(form.ending.streams, steps, strict=True):
            place = tile.image * self.arg(f"{name}.image") + (tile.row + row) * self.arg(f"{name}.row")
            starts.append(self.step(self.pointer(f"@{name}"), place + tile.column * pixel))
        panel_bytes = self.arg("taps") * (form.terms * block.columns * _SIZE)

        def pixels(function: ir.Function, pixel: Vector) -> None:
            here = self.step(seen, pixel * (form.pixel * _SIZE))
            moved = [self.step(start, pixel * each) for start, each in zip(starts, steps, strict=True)]

            def panel(number: Vector) -> None:
                w = self.step(self.pointer("@w"), number * panel_bytes)
                streams = zip(form.ending.streams.values(), moved, strict=True)
                places = [
                    self.step(start, number * (block.columns * (one.step or 0) * one.dtype.itemsize))
                    for one, start in streams
                ]
                given = [here, w, self.arg("taps").value, across.value, self.scratch, (tile.columns - pixel).value]
                self.builder.call(function, [*given, *(one.value for one in steps), *places])

            repeat(self.scalar, 0, self.arg("panels"), panel)

        whole = divided(tile.columns, self.number(block.rows))[0] * block.rows
        repeat(self.scalar, 0, whole, functools.partial(pixels, self.whole), by=block.rows)
        if self.rest:
            repeat(self.scalar, whole, tile.columns, functools.partial(pixels, self.rest), by=block.rows)

    def _define(self, name: str, rows: int, counted: bool) -> ir.Function:
        """`void block(ptr x, ptr w, i64 taps, i64 line, ptr scratch, i64 count, i64 columns of streams …,
        ptr streams …)`: `rows` pixels, of which `count` exist if `counted`, by the vectors of a panel, from taps `line`
        bytes apart.
        """
        form, block = self.form, self.block
        streams = len(form.ending.streams)
        kinds = [POINTER, POINTER, I64, I64, POINTER, I64, *[I64] * streams, *[POINTER] * streams]
        function = define(self.module, name, ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, block.lanes)
        x, w, taps, line, scratch, count, *others = function.args
        written = max(count for count in range(1, 1 + min(_UNROLLED, form.pixel)) if form.terms % count == 0)

        def terms(_: Vector, x: ir.Value, w: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
            found: Sequence[ir.Value] = sums
            for term in range(written):
                found = self._term(code, rows, step(builder, x, term * _SIZE), step(builder, w, term * wide), found)
            return (step(builder, x, written * _SIZE), step(builder, w, written * wide), *found)

        def tap(_: Vector, x: ir.Value, w: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
            _, (_, w, *after) = repeat(scalar, 0, form.terms, terms, (x, w, *sums), by=written)
            return (step(builder, x, line), w, *after)

        wide, zero = block.columns * _SIZE, code.zero(F32).value
        begun = [zero] * (rows * block.vectors)
        _, (_, _, *sums) = repeat(scalar, 0, scalar.wrap(taps), tap, (x, w, *begun))
        every = [code.wrap(one) for one in sums]
        table = [every[row * block.vectors : (row + 1) * block.vectors] for row in range(rows)]
        exist = scalar.wrap(count) if counted else None
        finish(scalar, code, form.ending, table, Place(others[:streams], others[streams:], scratch, count=exist))
        builder.ret_void()
        return function

    def _term(self, code: Vectors, rows: int, x: ir.Value, w: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """One term of all sums: a number of each pixel times a row of weights."""
        width, pixel = self.block.vectors, self.form.pixel * _SIZE
        weights = [load(code, f32, step(code.builder, w, at * code.lanes * _SIZE)) for at in range(width)]
        found = []
        for row in range(rows):
            factor = load_one(code, f32, step(code.builder, x, row * pixel))
            totals = sums[row * width : (row + 1) * width]
            found += [multiply_add(factor, y, code.wrap(z)).value for y, z in zip(weights, totals, strict=True)]
        return found

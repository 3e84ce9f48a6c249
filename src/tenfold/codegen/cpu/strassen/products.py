"""The code of Strassen's product: pairs of rows and of panels, halves of the terms, seven products instead of eight.

For a stretch of pairs of rows, the two halves of the terms of both rows become seven lines of half as many terms
(`gather`); for each pair of panels of packed factors the micro-kernel multiplies, sum by sum, all lines of the stretch;
what a pair's seven products give becomes two rows of both panels (`scatter`), and the body follows. Many terms come in
chunks, each with halves of its own, whose products are taken up again. A row without a second one meets zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, define, load_pointer, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.microkernel import Block, Tile, call_tile
from tenfold.codegen.cpu.outsite import OutSite, Stream, named
from tenfold.codegen.cpu.stage import StageWriter, ceildiv, divided, least, share_of
from tenfold.codegen.cpu.table import Table
from tenfold.codegen.cpu.vectors import F32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Body
from tenfold.ir.dtype import f32
from tenfold.ops.strassen import DATA, RESULTS

_SIZE = f32.itemsize
SUMS = len(DATA)
"""Products of a pair of rows and a pair of panels."""


@dataclass(frozen=True)
class Form:
    """What the code depends on; all sizes and all other strides are arguments.

    `axes` counts the row axes, `groups` the ways in which the body's operands move along them; `block` is that of the
    micro-kernel, half as wide as a pair of panels.
    """

    isa: Isa
    block: Block
    axes: int
    groups: int
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    indices: tuple[tuple[int, Stream], ...]
    around: Surroundings

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return named(self.extra, self.outputs, self.indices)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; "@" marks addresses, "at." places in scratch. Steps are in bytes."""
        found = ["@a", "@b", *self.streams, "columns", "pairs", "unit", "pairs.unit", "half", "chunks"]
        found += ["stretch", "row_stretch", "panel_stretch", "row_parts", "column_parts"]
        found += ["seen.pair", "seen.sum", "products.sum", "products.panel"]
        found += [f"at.{word}" for word in ("table", "offsets", "zeros", "seen", "lines", "products", "made")]
        for axis in range(self.axes):
            found += [f"size{axis}", f"step{axis}", *(f"group{g}.step{axis}" for g in range(self.groups))]
        found += self.around.names
        return (*found, *(f"column.{name}" for name, stream in self.streams.items() if stream.column is None))


@functools.cache
def source(form: Form) -> str:
    """The module of such a product in textual form: `i32 @stage(ptr args, i64 part, ptr scratch)`."""
    return _Writer(form).text()


def combined(signs: Sequence[int], vectors: Sequence[Vector]) -> Vector:
    """The vectors that have a sign, added or subtracted; the first that is added comes first."""
    terms = sorted((pair for pair in zip(signs, vectors, strict=True) if pair[0]), key=lambda pair: -pair[0])
    total = terms[0][1]
    for sign, one in terms[1:]:
        total = total + one if sign > 0 else total - one
    return total


@dataclass(frozen=True)
class _Stretch:
    """Pairs worked on at a time: the first, its row, and how many."""

    first: Vector
    row: Vector
    count: Vector


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "strassen", form.names)
        self.form, self.block = form, form.block
        self.gather, self.scatter = self._define_gather(), self._define_scatter()
        kinds = {rows: Tile(form.isa, f32, f32, f32, form.block, rows, ahead=True) for rows in form.block.heights}
        self.tiles = {rows: one.define(self.module) for rows, one in kinds.items()}
        self.table = Table(self, (False,) * form.axes, False, form.groups, 2)
        both = Block(2, 2 * form.block.vectors, form.block.lanes)
        self.out = OutSite(self, form.body, form.streams, form.around, f32, both)
        self.starts = {name: self.pointer(name) for name in form.streams}
        self.seen, self.lines, self.products, self.made, self.zeros = (
            self.step(self.scratch, self.arg(f"at.{word}")) for word in ("seen", "lines", "products", "made", "zeros")
        )

    def text(self) -> str:
        """The stage: a part's share of pairs of rows and of pairs of panels, in stretches."""
        rows, columns = divided(self.part, self.arg("column_parts"))
        by = self.block.rows
        self._clear()
        blocks = share_of(ceildiv(self.arg("pairs"), by), rows, self.arg("row_parts"))
        self.panels = share_of(ceildiv(self.arg("columns"), 2 * self.block.columns), columns, self.arg("column_parts"))
        first, end = blocks[0] * by, least(blocks[1] * by, self.arg("pairs"))
        count = ceildiv(blocks[1] - blocks[0], divided(self.arg("stretch"), self.number(by))[0])
        each = ceildiv(blocks[1] - blocks[0], (count < 1).where(1, count)) * by
        repeat(self.scalar, first, end, lambda at: self._stretch(at, least(each, end - at)), by=each)
        return self.finish()

    def _row(self, pair: Vector) -> tuple[Vector, Vector]:
        """A pair's first row, and how many rows its unit has from there on."""
        unit, place = divided(pair, self.arg("pairs.unit"))
        return unit * self.arg("unit") + place * 2, self.arg("unit") - place * 2

    def _stretch(self, first: Vector, count: Vector) -> None:
        row, end = self._row(first)[0], self._row(first + count)[0]
        self.table.fill(self.pointer("@a"), row, end - row)
        stretch = _Stretch(first, row, count)
        self._list_lines(stretch)
        by = self.arg("panel_stretch")
        repeat(self.scalar, *self.panels, lambda panel: self._some(stretch, panel), by=by)

    def _some(self, stretch: _Stretch, first: Vector) -> None:
        """A stretch of pairs of panels, chunk by chunk of the terms."""
        end = least(first + self.arg("panel_stretch"), self.panels[1])

        def chunk(number: Vector) -> None:
            repeat(self.scalar, 0, stretch.count, lambda pair: self._gather(stretch, pair, number))
            repeat(self.scalar, first, end, lambda panel: self._panel(stretch, panel, panel - first, number))

        repeat(self.scalar, 0, self.arg("chunks"), chunk)

    # gathering

    def _clear(self) -> None:
        """The line of zeros, for rows that do not exist."""
        code = self.vectors(self.form.isa.lanes(_SIZE))
        size, by = self.arg("half") * (2 * _SIZE), self.form.isa.vector_bytes
        repeat(self.scalar, 0, size, lambda at: store(code, f32, self.step(self.zeros, at), code.zero(F32)), by=by)

    def _gather(self, stretch: _Stretch, pair: Vector, chunk: Vector) -> None:
        """The seven lines of a pair of rows."""
        row, left = self._row(stretch.first + pair)
        slots = self.step(self.table.start, (row - stretch.row) * 8)
        half = self.arg("half") * _SIZE
        along = half * 2 * chunk
        line = self.step(load_pointer(self.scalar, slots), along)
        (second,) = choose(
            self.scalar,
            left > 1,
            lambda: [self.step(load_pointer(self.scalar, slots, 8), along)],
            lambda: [self.zeros],
        )
        target = self.step(self.seen, pair * self.arg("seen.pair"))
        self.builder.call(self.gather, [line, second, half.value, target, self.arg("seen.sum").value])

    def _define_gather(self) -> ir.Function:
        """`void gather(ptr first, ptr second, i64 half, ptr target, i64 sum)`: the sums of the halves, `half` bytes
        long, of both rows, `sum` bytes apart. The last vector overlaps.
        """
        form = self.form
        kinds = [POINTER, POINTER, I64, POINTER, I64]
        function = define(self.module, "gather", ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, form.isa.lanes(_SIZE))
        first, second, half, target, apart = function.args
        size, apart = scalar.wrap(half), scalar.wrap(apart)
        last = size - form.isa.vector_bytes

        def terms(at: Vector) -> None:
            at = least(at, last)
            places = [(line, place) for line in (first, second) for place in (at, at + size)]
            halves = [load(code, f32, step(builder, line, place)) for line, place in places]
            for number, signs in enumerate(DATA):
                store(code, f32, step(builder, target, at + apart * number), combined(signs, halves))

        repeat(scalar, 0, size, terms, by=form.isa.vector_bytes)
        builder.ret_void()
        return function

    # multiplying

    def _list_lines(self, stretch: _Stretch) -> None:
        """The table of the gathered lines' addresses: [sum][pair]."""
        padded = ceildiv(stretch.count, self.block.rows) * self.block.rows

        def sums(number: Vector) -> None:
            start, slots = (
                self.step(self.seen, number * self.arg("seen.sum")),
                self.step(self.lines, number * padded * 8),
            )

            def one(pair: Vector) -> None:
                line = self.step(start, least(pair, stretch.count - 1) * self.arg("seen.pair"))
                self.builder.store(line, self.step(slots, pair * 8), align=8)

            repeat(self.scalar, 0, padded, one)

        repeat(self.scalar, 0, SUMS, sums)

    def _panel(self, stretch: _Stretch, panel: Vector, number: Vector, chunk: Vector) -> None:
        """A chunk's products with a pair of panels, the `number`th of its stretch; the results after the last."""
        block, half, chunks = self.block, self.arg("half"), self.arg("chunks")
        wide = block.columns * _SIZE
        factors = self.step(self.pointer("@b"), (panel * chunks + chunk) * SUMS * half * wide)
        products = self.step(self.products, number * self.arg("products.panel"))
        padded = ceildiv(stretch.count, block.rows) * block.rows
        first = panel * (2 * block.columns)
        last = (chunk + 1).equals(chunks)

        def asked() -> None:
            repeat(self.scalar, 0, stretch.count, lambda pair: self._ask(stretch, pair, first))

        choose(self.scalar, last, asked, lambda: None)

        def sums(which: Vector) -> None:
            b = self.step(factors, which * half * wide)
            slots = self.step(self.lines, which * padded * 8)
            results = self.step(products, which * self.arg("products.sum"))

            def some(pair: Vector) -> None:
                rows = least(stretch.count - pair, self.number(block.rows))
                given = [self.step(slots, pair * 8), self.number(1).value, half.value, self.number(0).value]
                given += [b, self.step(results, pair * wide), chunk.value]
                call_tile(self.scalar, self.tiles, block, rows, given)

            repeat(self.scalar, 0, stretch.count, some, by=block.rows)

        repeat(self.scalar, 0, SUMS, sums)
        left = least(self.arg("columns") - first, self.number(2 * block.columns))

        def finished() -> None:
            scatter = functools.partial(self._scatter, stretch, products=products, first=first, left=left)
            repeat(self.scalar, 0, stretch.count, scatter)

        choose(self.scalar, last, finished, lambda: None)

    # scattering

    def _offsets(self, row: Vector) -> list[ir.Value]:
        return [self.table.offsets(group, row) for group in range(self.form.groups)]

    def _ask(self, stretch: _Stretch, pair: Vector, first: Vector) -> None:
        row, _ = self._row(stretch.first + pair)
        self.out.ask(self.starts, self._offsets(row - stretch.row), first)

    def _scatter(self, stretch: _Stretch, pair: Vector, products: ir.Value, first: Vector, left: Vector) -> None:
        """Both rows' results for a pair of panels."""
        place = self.step(products, pair * (self.block.columns * _SIZE))
        self.builder.call(self.scatter, [place, self.arg("products.sum").value, self.made])
        row, rows = self._row(stretch.first + pair)
        offsets = self._offsets(row - stretch.row)
        self.out.write(self.starts, offsets, self.made, least(rows, self.number(2)), first, left)

    def _define_scatter(self) -> ir.Function:
        """`void scatter(ptr products, i64 sum, ptr made)`: a pair's results [row][panel][column], from its seven
        products, `sum` bytes apart.
        """
        form, block = self.form, self.block
        function = define(self.module, "scatter", ir.VoidType(), [POINTER, I64, POINTER], internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, block.lanes)
        products, apart, made = function.args
        apart = scalar.wrap(apart)
        for at in range(0, block.columns * _SIZE, block.lanes * _SIZE):
            found = [load(code, f32, step(builder, products, apart * number + at)) for number in range(SUMS)]
            for number, signs in enumerate(RESULTS):
                place = number * block.columns * _SIZE + at
                store(code, f32, step(builder, made, place), combined(signs, found))
        builder.ret_void()
        return function

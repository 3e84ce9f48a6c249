"""The code of a contraction: a loop around the micro-kernel, and a body applied to each block of sums.

Rows (pixels of an image, lines of matrices) are the points of the row axes, in row-major order. For each stretch of
rows a table says where A lies for each tap and row (table.py). Then, for each panel of packed B and each block of rows,
the micro-kernel sums in registers (microkernel.py) and the body runs over the block while it is in the first cache
(outsite.py).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, define, load_pointer, repeat
from tenfold.codegen.cpu.inplace import TILES
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.microkernel import AHEAD, Block, call_tile, is_paired
from tenfold.codegen.cpu.outsite import OutSite, Stream, named
from tenfold.codegen.cpu.stage import StageWriter, ceildiv, divided, least, most, share_of
from tenfold.codegen.cpu.storage import cast, widen
from tenfold.codegen.cpu.table import Table
from tenfold.codegen.cpu.vectors import I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Body
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType

_REACH = 4
"""The part of the last cache that constants may take which are asked for before their step."""

_MANY = 4
"""The panels of a B in place beside which one more does not matter."""


@dataclass(frozen=True)
class Form:
    """What the code of a contraction depends on; all sizes and all other strides are arguments.

    `windows` says of each row axis whether taps move along it; `padded` whether they may leave the image; `batches`
    counts the axes that A and packed B share; `groups` the ways in which the body's operands move along the rows;
    `indices` are the axes of the domain whose positions the body reads, which move like operands do. `copied`:
    stretches of A are copied into scratch, as elements of the sums' type or i16, which any strides and types allow;
    only without windows. `short`: sums have few terms, so that whole blocks get their body in registers; `far`: such
    blocks ask for the memory that they will write, as results are more than the second cache keeps. `onward`: blocks of
    rows that find their panel in the second cache ask for the constants behind B, which the next steps read. `layout`:
    B is read in place, `asking` for what comes behind.
    """

    isa: Isa
    a: DType
    b: DType
    total: DType
    block: Block
    separate: bool
    windows: tuple[bool, ...]
    padded: bool
    copied: bool
    batches: int
    groups: int
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    indices: tuple[tuple[int, Stream], ...]
    around: Surroundings
    short: bool
    far: bool
    onward: bool = False
    layout: str = ""
    asking: bool = False

    @property
    def copy(self) -> DType:
        """The element type of copies of A."""
        return dt.i16 if is_paired(self.isa, self.a, self.b) else self.total

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return named(self.extra, self.outputs, self.indices)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; "@" marks addresses, "at." places in scratch. Steps are in bytes."""
        found = ["@a", "@b", *self.streams, "rows", "columns", "terms", "batches"]
        found += ["row_parts", "column_parts", "batch_parts", "row_stretch", "panel_stretch", "term_stretch"]
        found += ["at.offsets", "at.table", "sums.step", *["b.bytes"] * self.onward, *["b.pitch"] * bool(self.layout)]
        found += ["at.copies", "at.lines", "a.term", "copies.step"] * self.copied
        found += ["at.zeros", "zeros"] * self.padded
        found += ["at.rows", "taps"] * any(self.windows)
        for axis, windowed in enumerate(self.windows):
            found += [f"size{axis}", f"step{axis}", *(f"group{g}.step{axis}" for g in range(self.groups))]
            found += [f"{word}{axis}" for word in ("taps", "stride", "dilation", "padding", "extent")] * windowed
        for axis in range(self.batches):
            found += [f"batch{axis}.{word}" for word in ("size", "@a", "@b", *self.streams)]
        found += self.around.names
        return (*found, *(f"column.{name}" for name, stream in self.streams.items() if stream.column is None))


@functools.cache
def source(form: Form) -> str:
    """The module of a contraction in textual form: `i32 @stage(ptr args, i64 part, ptr scratch)`.

    Parts are even shares of batches, rows and columns, counted by the arguments `batch_parts`, `row_parts` and
    `column_parts`. At most `row_stretch` rows by `panel_stretch` panels by `term_stretch` terms are worked on at a
    time, their sums kept in scratch. Stretches of terms are for a copied A.
    """
    return _Writer(form).text()


@dataclass(frozen=True)
class _Terms:
    """A stretch of the terms of all sums; `last` is true of the one that completes them."""

    start: Vector
    count: Vector
    last: Vector


@dataclass(frozen=True)
class _Stretch:
    """Rows worked on at a time, with the addresses at which one batch's operands start."""

    starts: Mapping[str, ir.Value]
    rows: Vector


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "contraction", form.names)
        self.form, self.block = form, form.block
        a = form.copy if form.copied else form.a
        ahead, kind = form.asking if form.layout else not form.separate, TILES[form.layout]
        self.tile = kind(form.isa, a, form.b, form.total, self.block, 1, form.separate, ahead=ahead, aimed=form.onward)
        self.masks = form.separate or form.layout == "rows"
        self.tiles = {
            masked: {
                rows: replace(self.tile, rows=rows, masked=masked).define(self.module) for rows in self.block.heights
            }
            for masked in (False, True)[: 1 + self.masks]
        }
        self.whole = self._define_whole() if form.short else None
        self.table = Table(self, form.windows, form.padded, form.groups, self.block.rows)
        self.out = OutSite(self, form.body, form.streams, form.around, form.total, self.block)

    def text(self) -> str:
        """The stage: its share of the work, then batches, stretches of rows, panels, blocks."""
        rest, columns = divided(self.part, self.arg("column_parts"))
        batches, rows = divided(rest, self.arg("row_parts"))
        self.lead = self._lead() if self.form.layout == "rows" else None
        every = self.arg("columns")
        panels = ceildiv(every + self.lead if self.lead else every, self.block.columns)
        self.panels = share_of(panels, columns, self.arg("column_parts"))
        blocks = share_of(ceildiv(self.arg("rows"), self.block.rows), rows, self.arg("row_parts"))
        self.table.prepare()
        if self.form.copied:
            self._list_copies()
        first, end = share_of(self.arg("batches"), batches, self.arg("batch_parts"))
        repeat(self.scalar, first, end, lambda batch: self._batch(batch, *blocks))
        return self.finish()

    def _define_whole(self) -> ir.Function:
        """`void whole(ptr table, i64 taps, i64 k, i64 columns, ptr b, [i64 extra], ptr offsets of groups …, ptr
        streams …)`: a whole block, its body applied to the sums in registers.
        """
        form = self.form
        first = [POINTER, I64, I64, I64, POINTER, *[I64] * self.tile.extra]
        kinds = [*first, *[POINTER] * (form.groups + len(form.streams))]
        function = define(self.module, "whole", ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        tile = replace(self.tile, rows=self.block.rows)
        out = OutSite(self.within(builder), form.body, form.streams, form.around, form.total, self.block)
        given, others = function.args[: len(first)], function.args[len(first) :]
        offsets, lines = others[: form.groups], others[form.groups :]
        code, places = Vectors(builder, form.isa, self.block.lanes), dict(zip(form.streams, lines, strict=True))
        if form.far:
            out.expect_whole(places, offsets)
        out.write_whole(code, places, offsets, tile.sums(builder, given))
        builder.ret_void()
        return function

    def _batch(self, batch: Vector, first: Vector, end: Vector) -> None:
        """Blocks of rows `first` to `end` of one batch, in even stretches."""
        names = ("@a", "@b", *self.form.streams)
        starts = {name: self.pointer(name) for name in names}
        for axis in reversed(range(self.form.batches)):
            batch, at = divided(batch, self.arg(f"batch{axis}.size"))
            for name in names:
                starts[name] = self.step(starts[name], at * self.arg(f"batch{axis}.{name}"))
        end_row = least(end * self.block.rows, self.arg("rows"))
        largest = divided(self.arg("row_stretch"), self.number(self.block.rows))[0]
        count = ceildiv(end - first, largest)
        each = ceildiv(end - first, (count < 1).where(1, count)) * self.block.rows

        def stretch(row: Vector) -> None:
            rows = _Stretch(starts, least(each, end_row - row))
            self.table.fill(starts["@a"], row, rows.rows)
            repeat(self.scalar, *self.panels, functools.partial(self._panels, rows), by=self.arg("panel_stretch"))

        repeat(self.scalar, first * self.block.rows, end_row, stretch, by=each)

    def _panels(self, stretch: _Stretch, first: Vector) -> None:
        """A stretch of panels from `first` on, stretch by stretch of their terms."""
        end = least(first + self.arg("panel_stretch"), self.panels[1])
        size, every = self.arg("term_stretch"), self.arg("terms")

        def terms(start: Vector) -> None:
            now = _Terms(start, least(size, every - start), start + size >= every)
            if self.form.copied:
                self._copy(now, stretch.rows)
            repeat(self.scalar, first, end, lambda panel: self._panel(stretch, panel, panel - first, now))

        repeat(self.scalar, 0, (every < 1).where(1, every), terms, by=size)

    def _panel(self, stretch: _Stretch, panel: Vector, number: Vector, terms: _Terms) -> None:
        """All blocks of a stretch of rows and one panel, the `number`th of its stretch."""
        form, block = self.form, self.block
        first, left = self._span(panel)
        taps = self.arg("taps") if any(form.windows) else self.number(1)
        b = self.step(stretch.starts["@b"], self._place(first, taps, terms))
        k = first * form.a.itemsize if form.separate else terms.count
        table = self.step(self.scratch, self.arg("at.lines")) if form.copied else self.table.start
        blocks = ceildiv(stretch.rows, block.rows)

        def one(t: Vector) -> None:
            rows = least(stretch.rows - t * block.rows, self.number(block.rows))
            slots = self.step(table, t * taps * (8 * block.rows))
            sums = self.step(self.scratch, (number * blocks + t) * self.arg("sums.step"))
            offsets = [self.table.offsets(group, t * block.rows) for group in range(form.groups)]
            extra = [self._distance(t).value] if form.onward else [self.arg("b.pitch").value] if form.layout else []
            given = [slots, taps.value, k.value, left.value, b, *extra]

            def apart() -> None:
                if not form.separate:
                    self.out.ask(stretch.starts, offsets, first)
                self._sum(rows, left, [*given, sums, terms.start.value])
                done = functools.partial(self.out.write, stretch.starts, offsets, sums, rows, first, left)
                choose(self.scalar, terms.last, done, lambda: None)

            def together() -> None:
                assert self.whole
                self.out.ask(stretch.starts, offsets, first)
                lines = self.out.columns(stretch.starts, first)
                self.builder.call(self.whole, [*given, *offsets, *lines.values()])

            if self.whole:
                choose(self.scalar, rows.equals(block.rows) & left.equals(block.columns), together, apart)
            else:
                apart()

        repeat(self.scalar, 0, blocks, one)

    def _lead(self) -> Vector:
        """How many columns fewer the first panel has, so that others start with a line of memory; never all of them."""
        builder, size = self.builder, self.number(self.form.b.itemsize)
        start = divided(self.scalar.wrap(builder.ptrtoint(self.pointer("@b"), I64)) & (LINE - 1), size)[0]
        alike = (self.arg("b.pitch") & (LINE - 1)).equals(0)
        many = self.arg("columns") > _MANY * self.block.columns
        return (alike & many).where(divided(start, self.number(self.block.columns))[1], 0)

    def _span(self, panel: Vector) -> tuple[Vector, Vector]:
        """A panel's first column, and how many it has."""
        width, every = self.block.columns, self.arg("columns")
        if self.lead is None:
            return panel * width, least(every - panel * width, self.number(width))
        end = (panel + 1) * width - self.lead
        first = most(end - width, self.number(0))
        return first, least(every, end) - first

    def _place(self, first: Vector, taps: Vector, terms: _Terms) -> Vector:
        """How many bytes after its start B is read for the columns from `first` on."""
        size = self.form.b.itemsize
        if self.form.layout == "rows":
            return first * size + terms.start * self.arg("b.pitch")
        if self.form.layout == "columns":
            return first * self.arg("b.pitch") + terms.start * size
        return (first * self.arg("terms") * taps + terms.start * self.block.columns) * size

    def _distance(self, block: Vector) -> Vector:
        """How many bytes ahead a panel's blocks of rows prefetch: the first one in B, each further one another B."""
        onward = block * self.arg("b.bytes")
        return ((onward > 0) & (onward < self.form.isa.l3 // _REACH)).where(onward, AHEAD)

    def _sum(self, rows: Vector, left: Vector, arguments: Sequence[ir.Value]) -> None:
        """Call the micro-kernel of the least height that holds `rows`."""

        def call(masked: bool) -> None:
            call_tile(self.scalar, self.tiles[masked], self.block, rows, arguments)

        branches = [functools.partial(call, masked) for masked in self.tiles]
        if self.masks:
            choose(self.scalar, left.equals(self.block.columns), *branches)
        else:
            branches[0]()

    def _list_copies(self) -> None:
        """The table of the copied rows' addresses, the same for every stretch."""
        copies, lines = (self.step(self.scratch, self.arg(f"at.{name}")) for name in ("copies", "lines"))

        def one(row: Vector) -> None:
            line = self.step(copies, row * self.arg("copies.step"))
            self.builder.store(line, self.step(lines, row * 8), align=8)

        repeat(self.scalar, 0, self.arg("row_stretch"), one)

    def _copy(self, terms: _Terms, rows: Vector) -> None:
        """Copy a stretch of terms of the stretch's rows into scratch."""
        form, wide, pitch = self.form, self.block.lanes, self.arg("a.term")
        copies = self.step(self.scratch, self.arg("at.copies"))
        whole = pitch.equals(form.a.itemsize).where(terms.count & -wide, 0)

        def row(at: Vector) -> None:
            line = self.step(load_pointer(self.scalar, self.table.start, at * 8), terms.start * pitch)
            copy = self.step(copies, at * self.arg("copies.step"))

            def move(code: Vectors, place: Vector) -> None:
                value = widen(form.a, load(code, form.a, self.step(line, place * pitch)))
                address = self.step(copy, place * form.copy.itemsize)
                store(code, form.copy, address, cast(form.a, form.copy, value))

            repeat(self.scalar, 0, whole, functools.partial(move, self.vectors(wide)), by=wide)
            repeat(self.scalar, whole, terms.count, functools.partial(move, self.scalar))

        repeat(self.scalar, 0, rows, row)

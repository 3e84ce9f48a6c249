"""The code of a contraction: a loop around the micro-kernel, and a body applied to each block of sums.

Rows (pixels of an image, lines of matrices) are the points of the row axes, in row-major order. For each stretch of
rows, a table of addresses is filled: where A lies for each tap and row, or a line of zeros where a tap falls beyond the
border. So strides, dilations, padding, images of any size and batches that are merely rows cost nothing in the inner
loops, and A is never copied. Then, for each panel of packed B and each block of rows, the micro-kernel sums in
registers and the body runs over the block while it is in the first cache.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.emit import emit_body
from tenfold.codegen.cpu.flow import choose, define, load_pointer, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.microkernel import Block, Tile, block_of
from tenfold.codegen.cpu.storage import cast, narrow, register_type, stored_type, widen
from tenfold.codegen.cpu.vectors import I1, I8, I32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Body
from tenfold.ir.dtype import DType


@dataclass(frozen=True)
class Stream:
    """An operand of the body. `group` is the table of row offsets it follows (None: the same for all rows),
    `column` its step from column to column in elements (None: the call says).
    """

    dtype: DType
    group: int | None
    column: int | None


@dataclass(frozen=True)
class Form:
    """What the code of a contraction depends on; all sizes and all other strides are arguments.

    `windows` says of each row axis whether taps move along it; `padded` whether they may leave the image; `batches`
    counts the axes that A and packed B share; `groups` the tables of row offsets. `copied`: stretches of A are copied
    into scratch, as elements of the sums' type, which any strides and types allow; only without windows.
    """

    isa: Isa
    a: DType
    b: DType
    total: DType
    separate: bool
    windows: tuple[bool, ...]
    padded: bool
    copied: bool
    batches: int
    groups: int
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]

    @property
    def block(self) -> Block:
        """The shape of its micro-kernel."""
        return block_of(self.isa, self.total)

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return {f"extra{i}": s for i, s in enumerate(self.extra)} | {f"out{i}": s for i, s in enumerate(self.outputs)}

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order. Steps and strides are in bytes, or in elements of a window's axis."""
        found = ["a", "b", *self.streams, "rows", "columns", "terms", "taps", "batches"]
        found += ["row_parts", "column_parts", "batch_parts", "row_stretch", "panel_stretch", "term_stretch"]
        found += ["at.offsets", "at.table", "sums.step"]
        found += ["at.copies", "at.lines", "a.term", "copies.step"] * self.copied
        for axis, windowed in enumerate(self.windows):
            found += [f"size{axis}", f"a.step{axis}", *(f"group{g}.step{axis}" for g in range(self.groups))]
            if windowed:
                found += [f"{word}{axis}" for word in ("taps", "dilation", "padding", "extent", "a.stride")]
        for axis in range(self.batches):
            found += [f"{word}.batch{axis}" for word in ("size", "a", "b", *self.streams)]
        found += ["at.zeros", "zeros"] * self.padded
        return (*found, *(f"{name}.column" for name, stream in self.streams.items() if stream.column is None))

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """The position of each argument."""
        return {name: place for place, name in enumerate(self.names)}


@functools.cache
def source(form: Form) -> str:
    """The module of a contraction in textual form: `i32 @stage(ptr args, i64 part, ptr scratch)`.

    Parts are stretches of batches, rows and columns, counted by the arguments `parts`, `row_parts` and `column_parts`
    (row parts times column parts divide parts). `row_stretch` rows by `panel_stretch` panels by `term_stretch` terms
    are worked on at a time, their sums kept in scratch.
    """
    return _Writer(form).module_text()


@dataclass(frozen=True)
class _Terms:
    """A stretch of the terms of all sums; `last` is true of the one that completes them."""

    start: Vector
    count: Vector
    last: Vector


class _Writer:
    """Writes one module; arguments are loaded where they are used."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.block = form.block
        self.module = ir.Module(name="contraction")
        self.tiles = {masked: self._define_tiles(masked) for masked in {False, form.separate}}
        function = define(self.module, "stage", I32, [POINTER, I64, POINTER], internal=False)
        self.args, part, self.scratch = function.args
        self.builder = ir.IRBuilder(function.entry_basic_block)
        self.scalar = Vectors(self.builder, form.isa, 1)
        self.part = self.scalar.wrap(part)

    def _define_tiles(self, masked: bool) -> dict[int, ir.Function]:
        form = self.form
        a = form.total if form.copied else form.a
        heights = self.block.heights
        kinds = (Tile(form.isa, a, form.b, form.total, self.block, rows, form.separate, masked) for rows in heights)
        return {kind.rows: kind.define(self.module) for kind in kinds}

    def module_text(self) -> str:
        """The stage: split the work, then batches, stretches of rows, panels, blocks."""
        column_parts, row_parts = self.arg("column_parts"), self.arg("row_parts")
        rest, columns = _divided(self.part, column_parts)
        batches, rows = _divided(rest, row_parts)
        panels = self._ceiling(self.arg("columns"), self.block.columns)
        self.first_panel, self.end_panel = self._share(panels, columns, column_parts)
        first, last = self._share(self._ceiling(self.arg("rows"), self.block.rows), rows, row_parts)
        self.end_row = self._least(last * self.block.rows, self.arg("rows"))
        batch, end = self._share(self.arg("batches"), batches, self.arg("batch_parts"))
        self.offsets, self.table = self._scratch("offsets"), self._scratch("table")
        if self.form.padded:
            self.zeros = self._scratch("zeros")
            self._clear_zeros()
        if self.form.copied:
            self.lines, self.copies = self._scratch("lines"), self._scratch("copies")
            self._list_copies()
        repeat(self.scalar, batch, end, lambda b: self._batch(b, first * self.block.rows))
        self.builder.ret(ir.Constant(I32, 0))
        return str(self.module)

    def arg(self, name: str) -> Vector:
        """A size among the arguments."""
        return load_size(self.scalar, self.args, 8 * self.form.places[name])

    def pointer(self, name: str) -> ir.Value:
        """An address among the arguments."""
        return load_pointer(self.scalar, self.args, 8 * self.form.places[name])

    def _scratch(self, name: str) -> ir.Value:
        return step(self.builder, self.scratch, self.arg(f"at.{name}"))

    def _ceiling(self, size: Vector, by: int) -> Vector:
        return (size + (by - 1)) / by

    def _least(self, a: Vector, b: Vector) -> Vector:
        return (a < b).where(a, b)

    def _share(self, total: Vector, part: Vector, parts: Vector) -> tuple[Vector, Vector]:
        """First and end of the part's even share."""
        return total * part / parts, total * (part + 1) / parts

    def _clear_zeros(self) -> None:
        vector = Vectors(self.builder, self.form.isa, self.form.isa.vector_bytes)
        zero = vector.zero(I8).value

        def clear(place: Vector) -> None:
            self.builder.store(zero, step(self.builder, self.zeros, place), align=8)

        repeat(self.scalar, 0, self.arg("zeros"), clear, by=vector.lanes)

    def _batch(self, batch: Vector, first_row: Vector) -> None:
        """One matrix of each: where its operands start, then its stretches of rows."""
        names = ("a", "b", *self.form.streams)
        starts = {name: self.pointer(name) for name in names}
        for axis in reversed(range(self.form.batches)):
            size = self.arg(f"size.batch{axis}")
            batch, at = _divided(batch, size)
            for name in names:
                starts[name] = step(self.builder, starts[name], at * self.arg(f"{name}.batch{axis}"))

        def stretch(row: Vector) -> None:
            count = self._least(self.arg("row_stretch"), self.end_row - row)
            self._fill(starts["a"], row, count)
            each = functools.partial(self._panels, starts, count)
            repeat(self.scalar, self.first_panel, self.end_panel, each, by=self.arg("panel_stretch"))

        repeat(self.scalar, first_row, self.end_row, stretch, by=self.arg("row_stretch"))

    def _panels(self, starts: dict[str, ir.Value], count: Vector, first: Vector) -> None:
        """`count` rows of the stretch of panels from `first` on, stretch by stretch of their terms."""
        end = self._least(first + self.arg("panel_stretch"), self.end_panel)
        size, all_terms = self.arg("term_stretch"), self.arg("terms")

        def terms(start: Vector) -> None:
            now = _Terms(start, self._least(size, all_terms - start), start + size >= all_terms)
            if self.form.copied:
                self._copy(now, count)
            repeat(self.scalar, first, end, lambda panel: self._panel(starts, panel, panel - first, count, now))

        least_one = (all_terms < 1).where(1, all_terms)
        repeat(self.scalar, 0, least_one, terms, by=size)

    def _list_copies(self) -> None:
        """The table of the copied rows' addresses, the same for every stretch."""

        def one(row: Vector) -> None:
            line = step(self.builder, self.copies, row * self.arg("copies.step"))
            self.builder.store(line, step(self.builder, self.lines, row * 8), align=8)

        repeat(self.scalar, 0, self.arg("row_stretch"), one)

    def _copy(self, terms: _Terms, count: Vector) -> None:
        """Copy a stretch of terms of `count` rows into scratch."""
        form, wide, pitch = self.form, self.block.lanes, self.arg("a.term")
        contiguous = pitch.equals(form.a.itemsize)

        def row(at: Vector) -> None:
            line = step(self.builder, load_pointer(self.scalar, self.table, at * 8), terms.start * pitch)
            copy = step(self.builder, self.copies, at * self.arg("copies.step"))

            def move(code: Vectors, place: Vector) -> None:
                kind = code.type(stored_type(form.a))
                loaded = self.builder.load(step(self.builder, line, place * pitch), typ=kind, align=form.a.itemsize)
                value = cast(form.a, form.total, widen(form.a, code.wrap(loaded)))
                address = step(self.builder, copy, place * form.total.itemsize)
                self.builder.store(value.value, address, align=form.total.itemsize)

            vector = Vectors(self.builder, form.isa, wide)
            whole = contiguous.where(terms.count & -wide, 0)
            repeat(self.scalar, 0, whole, functools.partial(move, vector), by=wide)
            repeat(self.scalar, whole, terms.count, functools.partial(move, self.scalar))

        repeat(self.scalar, 0, count, row)

    def _fill(self, a: ir.Value, row: Vector, count: Vector) -> None:
        """Fill the tables for `count` rows from `row` on; the last row stands in for those missing of its block."""
        sizes = [self.arg(f"size{axis}") for axis in range(len(self.form.windows))]
        coordinates: list[ir.Value] = []
        for size in reversed(sizes):
            row, at = _divided(row, size)
            coordinates.insert(0, at.value)
        tap_bytes = self.arg("taps") * (8 * self.block.rows)

        def tile(t: Vector, *at: ir.Value) -> Sequence[ir.Value]:
            slots = step(self.builder, self.table, t * tap_bytes)

            def one(i: Vector, *at: ir.Value) -> Sequence[ir.Value]:
                place = t * self.block.rows + i
                now = [self.scalar.wrap(value) for value in at]
                self._store_offsets(place, now)
                self._store_lines(a, step(self.builder, slots, i * 8), now)
                return self._advance(now, sizes, place + 1 < count)

            return repeat(self.scalar, 0, self.block.rows, one, at)[1]

        repeat(self.scalar, 0, self._ceiling(count, self.block.rows), tile, coordinates)

    def _advance(self, at: Sequence[Vector], sizes: Sequence[Vector], more: Vector) -> list[ir.Value]:
        """The next row's coordinates, or the same if there is no more."""
        carry = more.zero_extend(I64)
        found: list[ir.Value] = []
        for coordinate, size in zip(reversed(at), reversed(sizes), strict=True):
            following = coordinate + carry
            full = following.equals(size)
            found.insert(0, full.where(0, following).value)
            carry = full.zero_extend(I64)
        return found

    def _store_offsets(self, place: Vector, at: Sequence[Vector]) -> None:
        for group in range(self.form.groups):
            offset = sum(
                (c * self.arg(f"group{group}.step{axis}") for axis, c in enumerate(at)), start=self.scalar.zero(I64)
            )
            slot = step(self.builder, self.offsets, (self.arg("row_stretch") * group + place) * 8)
            self.builder.store(offset.value, slot, align=8)

    def _store_lines(self, a: ir.Value, slots: ir.Value, at: Sequence[Vector]) -> None:
        """The addresses of one row of A, for all taps: nested loops over the windowed axes."""
        windows = []
        for axis, windowed in enumerate(self.form.windows):
            if windowed:
                windows.append((axis, at[axis] * self.arg(f"a.step{axis}") - self.arg(f"padding{axis}")))
            else:
                a = step(self.builder, a, at[axis] * self.arg(f"a.step{axis}"))
        self._store_taps(a, self.scalar.constant(I1, 1), slots, windows)

    def _store_taps(
        self, line: ir.Value, inside: Vector, slot: ir.Value, windows: Sequence[tuple[int, Vector]]
    ) -> ir.Value:
        if not windows:
            if self.form.padded:
                line = self.builder.select(inside.value, line, self.zeros)
            self.builder.store(line, slot, align=8)
            return step(self.builder, slot, 8 * self.block.rows)
        (axis, first), *others = windows

        def tap(t: Vector, slot: ir.Value) -> Sequence[ir.Value]:
            place = first + t * self.arg(f"dilation{axis}")
            within = inside & place.compare("<", self.arg(f"extent{axis}"), unsigned=True)
            address = step(self.builder, line, place * self.arg(f"a.stride{axis}"))
            return [self._store_taps(address, within, slot, others)]

        return repeat(self.scalar, 0, self.arg(f"taps{axis}"), tap, [slot])[1][0]

    def _panel(self, starts: dict[str, ir.Value], panel: Vector, number: Vector, count: Vector, terms: _Terms) -> None:
        """All blocks of `count` rows and one panel, the stretch's `number`th."""
        form, block, builder = self.form, self.block, self.builder
        first, taps = panel * block.columns, self.arg("taps")
        left = self._least(self.arg("columns") - first, self.scalar.constant(I64, block.columns))
        b = step(
            builder, starts["b"], (first * self.arg("terms") * taps + terms.start * block.columns) * form.b.itemsize
        )
        lines = {name: step(builder, starts[name], first * self._pitch(name)) for name in form.streams}
        k = first * form.a.itemsize if form.separate else terms.count
        table = self.lines if form.copied else self.table
        blocks = self._ceiling(count, block.rows)

        def tile(t: Vector) -> None:
            rows = self._least(count - t * block.rows, self.scalar.constant(I64, block.rows))
            slots = step(builder, table, t * taps * (8 * block.rows))
            sums = step(builder, self.scratch, (number * blocks + t) * self.arg("sums.step"))
            self._sum(rows, left, [slots, taps.value, k.value, left.value, b, sums, terms.start.value])

            def finish(row: Vector) -> None:
                self._finish(
                    lines, t * block.rows + row, step(builder, sums, row * (block.columns * form.total.itemsize)), left
                )

            choose(self.scalar, terms.last, lambda: repeat(self.scalar, 0, rows, finish) and None, lambda: None)

        repeat(self.scalar, 0, blocks, tile)

    def _sum(self, rows: Vector, left: Vector, arguments: Sequence[ir.Value]) -> None:
        """Call the micro-kernel of the least height that holds `rows`."""

        def highest(tiles: dict[int, ir.Function], heights: Sequence[int]) -> None:
            if len(heights) == 1:
                self.builder.call(tiles[heights[0]], arguments)
                return
            call = functools.partial(self.builder.call, tiles[heights[0]], arguments)
            choose(self.scalar, rows > heights[1], lambda: call() and None, lambda: highest(tiles, heights[1:]))

        if not self.form.separate:
            highest(self.tiles[False], self.block.heights)
            return
        full = left.equals(self.block.columns)
        branches = [functools.partial(highest, self.tiles[masked], self.block.heights) for masked in (False, True)]
        choose(self.scalar, full, *branches)

    def _pitch(self, name: str) -> Vector:
        """Bytes from column to column of a stream."""
        stream = self.form.streams[name]
        if stream.column is None:
            return self.arg(f"{name}.column")
        return self.scalar.constant(I64, stream.column * stream.dtype.itemsize)

    def _finish(self, lines: dict[str, ir.Value], place: Vector, sums: ir.Value, left: Vector) -> None:
        """The body on one row of a block."""
        here = {}
        for name, stream in self.form.streams.items():
            here[name] = lines[name]
            if stream.group is not None:
                slot = (self.arg("row_stretch") * stream.group + place) * 8
                here[name] = step(self.builder, lines[name], load_size(self.scalar, self.offsets, slot))
        whole = left & -self.block.lanes
        vector = Vectors(self.builder, self.form.isa, self.block.lanes)
        repeat(self.scalar, 0, whole, lambda column: self._apply(vector, sums, here, column), by=self.block.lanes)
        repeat(self.scalar, whole, left, lambda column: self._apply(self.scalar, sums, here, column))

    def _apply(self, code: Vectors, sums: ir.Value, lines: dict[str, ir.Value], column: Vector) -> None:
        """The body on as many sums as `code` has lanes."""
        form = self.form
        size = form.total.itemsize
        total = self.builder.load(
            step(self.builder, sums, column * size), typ=code.type(register_type(form.total)), align=size
        )
        registers = [cast(form.total, form.body.inputs[0], code.wrap(total))]
        registers += [self._load(code, f"extra{i}", lines, column) for i in range(len(form.extra))]
        for i, value in enumerate(emit_body(code, form.body, registers)):
            self._store(code, f"out{i}", lines, column, value)

    def _load(self, code: Vectors, name: str, lines: dict[str, ir.Value], column: Vector) -> Vector:
        stream = self.form.streams[name]
        kind, size = stored_type(stream.dtype), stream.dtype.itemsize

        def one(lane: int) -> ir.Value:
            address = step(self.builder, lines[name], (column + lane) * self._pitch(name))
            return self.builder.load(address, typ=kind, align=size)

        if stream.column == 1:
            address = step(self.builder, lines[name], column * size)
            loaded = code.wrap(self.builder.load(address, typ=code.type(kind), align=size))
        else:
            loaded = code.splat(one(0)) if stream.column == 0 else code.gather(one)
        return widen(stream.dtype, loaded)

    def _store(self, code: Vectors, name: str, lines: dict[str, ir.Value], column: Vector, value: Vector) -> None:
        stream = self.form.streams[name]
        stored, size = narrow(stream.dtype, value), stream.dtype.itemsize
        if stream.column == 1:
            self.builder.store(stored.value, step(self.builder, lines[name], column * size), align=size)
            return
        for lane in range(code.lanes):
            address = step(self.builder, lines[name], (column + lane) * self._pitch(name))
            self.builder.store(stored.lane(lane), address, align=size)


def _divided(value: Vector, size: Vector) -> tuple[Vector, Vector]:
    """Quotient and rest."""
    quotient = value / size
    return quotient, value - quotient * size

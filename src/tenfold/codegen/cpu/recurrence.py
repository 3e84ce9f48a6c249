"""The code of a recurrent cell over a sequence, in two stages around the micro-kernel of contractions.

`project` sums x w' for every step at once. `advance` goes through the steps: for each block of sequences and each panel
of units it sums h r', and finishes the gates while the sums are in the first cache. The columns of packed W and R come
in panels of so many units, all gates of them side by side: [panel][term][gate][unit]. The sums of x w' lie as
[block of rows][panel][row][gate][unit], states as [sequence][unit], the units of each filled up to whole panels.
Sequences, and within a step panels, are independent, so parts change no bit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.entry import Entry
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.gates import Cell, Point, Sweep, cell_of
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.microkernel import Block, Tile
from tenfold.codegen.cpu.stage import divided, least, share_of
from tenfold.codegen.cpu.storage import narrow, register_type, stored_type, widen
from tenfold.codegen.cpu.vectors import I32, I64, Vector, Vectors
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ops.recurrent import Recurrent

_MOST_ROWS = 8


@dataclass(frozen=True)
class Form:
    """What the code depends on. `units` names the operands whose units lie side by side."""

    isa: Isa
    op: Recurrent
    dtype: DType
    units: tuple[str, ...]

    @property
    def total(self) -> DType:
        """The element type of sums and states."""
        return dt.f64 if self.dtype is dt.f64 else dt.f32

    @property
    def cell(self) -> Cell:
        """The arithmetic of the cell."""
        return cell_of(self.op)

    @property
    def gates(self) -> int:
        """The gates of the cell."""
        return self.op.gates

    @functools.cached_property
    def vectors(self) -> int:
        """Vectors of units in a panel: as fit the registers, with the fewest units added to fill the last panel."""
        most = max(1, min(4, self.isa.vector_registers // 5 // self.gates))
        lanes = self.isa.lanes(self.total.itemsize)
        return min(range(most, 0, -1), key=lambda count: -(-self.op.hidden // (count * lanes)) * count)

    @property
    def width(self) -> int:
        """The units of a panel."""
        return self.vectors * self.isa.lanes(self.total.itemsize)

    @property
    def panels(self) -> int:
        """The number of panels."""
        return -(-self.op.hidden // self.width)

    @property
    def pitch(self) -> int:
        """The bytes of a state of one sequence."""
        return self.panels * self.width * self.total.itemsize

    @property
    def rows(self) -> int:
        """The rows of a block."""
        vectors = self.gates * self.vectors
        return max(1, min(_MOST_ROWS, (self.isa.vector_registers - vectors - 1) // vectors))

    @property
    def heights(self) -> tuple[int, ...]:
        """The row counts that code is made for, greatest first."""
        return tuple(range(self.rows, 0, -1))

    def block(self, gates: int) -> Block:
        """The micro-kernel's registers for so many gates."""
        return Block(self.rows, gates * self.vectors, self.isa.lanes(self.total.itemsize))

    def sums(self, gates: int) -> int:
        """The bytes of a block's sums."""
        return self.rows * self.block(gates).columns * self.total.itemsize

    @property
    def table(self) -> int:
        """The bytes of a table of addresses, in whole cache lines."""
        return -(-8 * self.rows // LINE) * LINE

    @property
    def scratch(self) -> int:
        """The bytes of scratch either stage needs."""
        return self.table + max(self.sums(len(sweep.gates)) for sweep in self.cell.sweeps)

    @property
    def project_names(self) -> tuple[str, ...]:
        """The arguments of `project`; steps in bytes."""
        found = ["@x", "@w", "@pre", "x.step", "x.sequence", "steps", "sequences", "terms", "parts"]
        for state in self.cell.states:
            found += [f"@{state}.first", f"{state}.first.sequence", f"{state}.first.unit", f"@{state}.old"]
        return tuple(found)

    @property
    def advance_names(self) -> tuple[str, ...]:
        """The arguments of `advance`; steps in bytes."""
        found = ["@pre", "from", "count", "steps", "sequences", "parts", "panel_parts", "@h.new"]
        found += ["@y", "y.step", "y.sequence", "y.unit"]
        found += [f"@{name}" for name in (*self.cell.biases, *self.cell.passing)]
        found += [f"@r{number}" for number in range(len(self.cell.sweeps))]
        for state in self.cell.states:
            found += [f"@{state}.old", f"@{state}.last", f"{state}.last.sequence", f"{state}.last.unit"]
        return (*found, *(("@lengths", "lengths.sequence") if self.op.lengths else ()))


class _Writer(Entry):
    """What both stages do: blocks of rows through the micro-kernel, lines of units in and out."""

    def __init__(self, form: Form, title: str, names: Sequence[str]) -> None:
        super().__init__(form.isa, title, names)
        self.form = form
        self.tiles: dict[tuple[DType, int], dict[int, ir.Function]] = {}

    def multiply(self, a: DType, gates: int, rows: Vector, arguments: Sequence[ir.Value]) -> None:
        """Call the micro-kernel of the least height that holds `rows`."""
        key, block = (a, gates), self.form.block(gates)
        if key not in self.tiles:
            kinds = [Tile(self.isa, a, self.form.dtype, self.form.total, block, height) for height in self.form.heights]
            self.tiles[key] = {kind.rows: kind.define(self.module) for kind in kinds}
        self._least_tile(self.tiles[key], self.form.heights, rows, arguments)

    def _least_tile(
        self, tiles: dict[int, ir.Function], heights: Sequence[int], rows: Vector, arguments: Sequence[ir.Value]
    ) -> None:
        def call() -> None:
            self.builder.call(tiles[heights[0]], arguments)

        if len(heights) == 1:
            call()
            return
        less = functools.partial(self._least_tile, tiles, heights[1:], rows, arguments)
        choose(self.scalar, rows > heights[1], call, less)

    def arguments(self, terms: Vector, b: ir.Value, c: ir.Value) -> list[ir.Value]:
        """What the micro-kernel takes, its table lying at the start of the scratch."""
        one, none = self.number(1).value, self.number(0).value
        return [self.scratch, one, terms.value, none, b, c, none]

    def least_lanes(self) -> int:
        """The lanes of a vector of sums."""
        return self.isa.lanes(self.form.total.itemsize)

    def read_units(self, line: ir.Value, unit: Vector, adjacent: bool, target: ir.Value) -> None:
        """The units of an operand into a state, zeros behind them."""
        dtype, total = self.form.dtype, self.form.total

        def one(code: Vectors, place: Vector) -> None:
            loaded = load(code, dtype, self.step(line, place * unit))
            value = widen(dtype, loaded).to_float(register_type(total))
            store(code, total, self.step(target, place * total.itemsize), value)

        def clear(code: Vectors, place: Vector) -> None:
            store(code, total, self.step(target, place * total.itemsize), code.zero(stored_type(total)))

        hidden, end = self.number(self.form.op.hidden), self.number(self.form.panels * self.form.width)
        self.sweep(self.least_lanes() if adjacent else 1, self.number(0), hidden, one)
        self.sweep(1, hidden, end, clear)

    def write_units(
        self, source: ir.Value, name: str, line: ir.Value, units: tuple[Vector, Vector], kept: Vector | None = None
    ) -> None:
        """The units of a state from the first to the end of `units` into an operand; zeros unless `kept`."""
        dtype, total, pitch = self.form.dtype, self.form.total, self.arg(f"{name}.unit")

        def one(code: Vectors, place: Vector) -> None:
            value = load(code, total, self.step(source, place * total.itemsize))
            if kept is not None:
                value = code.splat(kept.value).where(value, 0.0)
            store(code, dtype, self.step(line, place * pitch), narrow(dtype, value))

        self.sweep(self.least_lanes() if name in self.form.units else 1, *units, one)


class _Project(_Writer):
    """Writes `project`: a part is a stretch of pairs of a block of rows and a panel, and of the first states."""

    def __init__(self, form: Form) -> None:
        super().__init__(form, "project", form.project_names)

    def write(self) -> str:
        """The module."""
        self.rows = self.arg("steps") * self.arg("sequences")
        blocks = (self.rows + (self.form.rows - 1)) / self.form.rows
        first, end = share_of(blocks * self.form.panels, self.part, self.arg("parts"))
        repeat(self.scalar, first, end, self._item)
        first, end = share_of(self.arg("sequences"), self.part, self.arg("parts"))
        repeat(self.scalar, first, end, self._first_states)
        return self.finish()

    def _item(self, item: Vector) -> None:
        form = self.form
        block, panel = divided(item, self.number(form.panels))
        first, last = block * form.rows, self.rows - 1
        for row in range(form.rows):
            t, n = divided(least(first + row, last), self.arg("sequences"))
            line = self.step(self.pointer("@x"), t * self.arg("x.step") + n * self.arg("x.sequence"))
            self.builder.store(line, self.step(self.scratch, 8 * row), align=8)
        columns = form.block(form.gates).columns
        w = self.step(self.pointer("@w"), panel * self.arg("terms") * (columns * form.dtype.itemsize))
        sums = self.step(self.pointer("@pre"), item * form.sums(form.gates))
        count = least(self.rows - first, self.number(form.rows))
        self.multiply(form.dtype, form.gates, count, self.arguments(self.arg("terms"), w, sums))

    def _first_states(self, n: Vector) -> None:
        for state in self.form.cell.states:
            line = self.step(self.pointer(f"@{state}.first"), n * self.arg(f"{state}.first.sequence"))
            target = self.step(self.pointer(f"@{state}.old"), n * self.form.pitch)
            self.read_units(line, self.arg(f"{state}.first.unit"), f"{state}.first" in self.form.units, target)


class _Advance(_Writer):
    """Writes `advance`: the steps from `from` on, or the sweeps `which` of them. A part is a stretch of sequences and
    one of panels, the panels' parts innermost; parts of panels need one step and one sweep a stage.
    """

    def __init__(self, form: Form, which: tuple[int, ...]) -> None:
        super().__init__(form, "advance", form.advance_names)
        self.which = which
        self.last = which[-1] == len(form.cell.sweeps) - 1

    def write(self) -> str:
        """The module."""
        row, panel = divided(self.part, self.arg("panel_parts"))
        row_parts = self.arg("parts") / self.arg("panel_parts")
        self.sequences = share_of(self.arg("sequences"), row, row_parts)
        self.panels = share_of(self.number(self.form.panels), panel, self.arg("panel_parts"))
        first, end = (one * self.form.width for one in self.panels)
        self.units = first, least(end, self.number(self.form.op.hidden))
        self.sums = self.step(self.scratch, self.form.table)
        last = self.arg("from") + self.arg("count")
        repeat(self.scalar, self.arg("from"), last, self._step)
        if self.last:
            choose(self.scalar, last.equals(self.arg("steps")), lambda: self._last_states(last), lambda: None)
        return self.finish()

    def _state(self, name: str, at: Vector) -> ir.Value:
        """Where a state lies before the step `at`: h changes places at each."""
        if name != "h":
            return self.pointer(f"@{name}.old" if name in self.form.cell.states else f"@{name}")
        even = (at & 1).equals(0)
        return self.builder.select(even.value, self.pointer("@h.old"), self.pointer("@h.new"))

    def _step(self, at: Vector) -> None:
        t = self.arg("steps") - 1 - at if self.form.op.reverse else at
        for number in self.which:
            self._sweep(number, self.form.cell.sweeps[number], at, t)
        if not self.last:
            return
        new = self._state("h", at + 1)

        def copy(n: Vector) -> None:
            line = self.step(self.pointer("@y"), t * self.arg("y.step") + n * self.arg("y.sequence"))
            kept = self._running(n, t) if self.form.op.lengths else None
            self.write_units(self.step(new, n * self.form.pitch), "y", line, self.units, kept)

        repeat(self.scalar, *self.sequences, copy)

    def _running(self, n: Vector, t: Vector) -> Vector:
        """Whether a sequence has a step."""
        place = self.step(self.pointer("@lengths"), n * self.arg("lengths.sequence"))
        length = self.scalar.wrap(self.builder.load(place, typ=I32, align=4))
        return t < length.to_integer(I64)

    def _sweep(self, number: int, sweep: Sweep, at: Vector, t: Vector) -> None:
        form, gates = self.form, len(sweep.gates)
        terms = self.number(form.op.hidden)
        source, last = self._state(sweep.reads, at), self.sequences[1] - 1
        panel_bytes = form.op.hidden * form.block(gates).columns * form.dtype.itemsize

        def block(first: Vector) -> None:
            for row in range(form.rows):
                line = self.step(source, least(first + row, last) * form.pitch)
                self.builder.store(line, self.step(self.scratch, 8 * row), align=8)
            count = least(self.sequences[1] - first, self.number(form.rows))

            def panel(turn: Vector) -> None:
                p = (at & 1).equals(0).where(turn, self.panels[0] + self.panels[1] - 1 - turn)
                r = self.step(self.pointer(f"@r{number}"), p * panel_bytes)
                self.multiply(form.total, gates, count, self.arguments(terms, r, self.sums))
                repeat(self.scalar, 0, count, lambda row: self._finish(sweep, at, t, p, row, first + row))

            repeat(self.scalar, *self.panels, panel)

        repeat(self.scalar, *self.sequences, block, by=form.rows)

    def _finish(self, sweep: Sweep, at: Vector, t: Vector, panel: Vector, row: Vector, n: Vector) -> None:
        """The gates of one panel of one sequence."""
        form, total = self.form, self.form.total
        block, inside = divided(t * self.arg("sequences") + n, self.number(form.rows))
        place = (block * form.panels + panel) * form.rows + inside
        columns, width = (form.block(gates).columns for gates in (form.gates, 1))
        pre = self.step(self.pointer("@pre"), place * (columns * total.itemsize))
        sums = self.step(self.sums, row * (form.block(len(sweep.gates)).columns * total.itemsize))
        units = n * form.pitch + panel * (width * total.itemsize)
        running = self._running(n, t) if form.op.lengths else None
        code, dtype = Vectors(self.builder, self.isa, self.least_lanes(), contract=True), form.dtype

        def bias(name: str, gate: int, v: int) -> Vector:
            offset = (panel * form.cell.biases[name] + gate) * width + v * code.lanes
            place = self.step(self.pointer(f"@{name}"), offset * dtype.itemsize)
            return widen(dtype, load(code, dtype, place)).to_float(register_type(total))

        def vector(v: int) -> Point:
            def unit(name: str, after: int = 0) -> ir.Value:
                return self.step(self._state(name, at + after), units + v * code.lanes * total.itemsize)

            def sum_of(line: ir.Value, gate: int) -> Vector:
                return load(code, total, self.step(line, (gate * width + v * code.lanes) * total.itemsize))

            def settle(name: str, value: Vector) -> None:
                if running is not None:
                    value = code.splat(running.value).where(value, load(code, total, unit(name)))
                store(code, total, unit(name, 1), value)

            return Point(
                x=lambda gate: sum_of(pre, gate),
                r=lambda gate: sum_of(sums, sweep.gates.index(gate)),
                bias=lambda name, gate: bias(name, gate, v),
                load=lambda name: load(code, total, unit(name)),
                store=lambda name, value: store(code, total, unit(name), value),
                settle=settle,
            )

        for v in range(form.vectors):
            sweep.finish(form.op, total, vector(v))

    def _last_states(self, at: Vector) -> None:
        def copy(n: Vector) -> None:
            for state in self.form.cell.states:
                source = self.step(self._state(state, at), n * self.form.pitch)
                name = f"{state}.last"
                line = self.step(self.pointer(f"@{name}"), n * self.arg(f"{name}.sequence"))
                self.write_units(source, name, line, self.units)

        repeat(self.scalar, *self.sequences, copy)


@functools.cache
def project_source(form: Form) -> str:
    """The module that sums x w' for all rows and copies the first states."""
    return _Project(form).write()


@functools.cache
def advance_source(form: Form, which: tuple[int, ...]) -> str:
    """The module of the steps, or of these sweeps of one step."""
    return _Advance(form, which).write()


PACK_NAMES = ("@source", "@target", "limit", *(f"{word}{axis}" for axis in range(4) for word in ("size", "step")))
"""The arguments of the packing stage; steps in bytes."""


@functools.cache
def pack_source(isa: Isa, dtype: DType) -> str:
    """The module that stores a view of four axes row by row; a part is a place on the outermost.

    Of outermost and innermost axis as one, only the first `limit` places are read; the others become zeros.
    """
    entry = Entry(isa, "pack", PACK_NAMES)
    kind = stored_type(dtype)
    sizes = [entry.arg(f"size{axis}") for axis in range(4)]
    line = entry.step(entry.pointer("@source"), entry.part * entry.arg("step0"))
    left = entry.arg("limit") - entry.part * sizes[3]
    kept = (left < 0).where(0, least(left, sizes[3]))

    def copy(i: Vector, j: Vector) -> None:
        source = entry.step(line, i * entry.arg("step1") + j * entry.arg("step2"))
        place = ((entry.part * sizes[1] + i) * sizes[2] + j) * sizes[3]

        def one(code: Vectors, k: Vector) -> None:
            value = load(code, dtype, entry.step(source, k * entry.arg("step3")))
            store(code, dtype, entry.step(entry.pointer("@target"), (place + k) * dtype.itemsize), value)

        def clear(code: Vectors, k: Vector) -> None:
            store(code, dtype, entry.step(entry.pointer("@target"), (place + k) * dtype.itemsize), code.zero(kind))

        entry.sweep(1, entry.number(0), kept, one)
        entry.sweep(1, kept, sizes[3], clear)

    def lines(i: Vector) -> None:
        repeat(entry.scalar, 0, sizes[2], lambda j: copy(i, j))

    repeat(entry.scalar, 0, sizes[1], lines)
    return entry.finish()

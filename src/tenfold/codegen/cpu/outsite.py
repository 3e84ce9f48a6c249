"""The `out` site of a contraction: its body on blocks of finished sums, row by row, a vector of columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.body import WRITTEN_OUT, expand_body, weight
from tenfold.codegen.cpu.emit import Place, emit_body
from tenfold.codegen.cpu.flow import load_size, repeat
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.memory import first_lanes, load, load_apart, load_one, store, store_apart
from tenfold.codegen.cpu.microkernel import Block, prefetch
from tenfold.codegen.cpu.stage import StageWriter
from tenfold.codegen.cpu.storage import cast, narrow, widen
from tenfold.codegen.cpu.vectors import I64, Vector, Vectors
from tenfold.codegen.region import Body
from tenfold.ir.dtype import DType


@dataclass(frozen=True)
class Stream:
    """An operand of the body. `group` is the way it moves along the rows (None: the same for all rows), `column` its
    step from column to column in elements (None: the call says).
    """

    dtype: DType
    group: int | None
    column: int | None


def named(
    extra: Sequence[Stream], outputs: Sequence[Stream], indices: Sequence[tuple[int, Stream]]
) -> dict[str, Stream]:
    """A body's operands, its results and the positions that it asks for (by axis), under the names of arguments."""
    found = {f"@extra{i}": stream for i, stream in enumerate(extra)}
    found |= {f"@out{i}": stream for i, stream in enumerate(outputs)}
    return found | {f"@index{axis}": stream for axis, stream in indices}


def fits_registers(
    body: Body, extra: Sequence[Stream], others: Sequence[Stream], around: Surroundings, isa: Isa
) -> bool:
    """Whether a body can be written out for a block in registers: light, asking for nothing, its operands repeated or
    adjacent along columns, its results (`others`, with the positions that it asks for) adjacent.
    """
    adjacent = all(one.column in (0, 1) for one in extra) and all(one.column == 1 for one in others)
    moving = all(one.group is not None for one in others)
    light = weight(expand_body(body)) <= WRITTEN_OUT[isa.masks]
    return adjacent and moving and light and not around.gathered and not around.uniforms


class OutSite:
    """Writes the body's code into a stage, whose arguments `column.<name>` are the steps that streams leave open."""

    def __init__(
        self,
        stage: StageWriter,
        body: Body,
        streams: Mapping[str, Stream],
        around: Surroundings,
        total: DType,
        block: Block,
    ) -> None:
        self.stage, self.body, self.total, self.block = stage, body, total, block
        self.streams, self.around = streams, around
        self.extra = {name: one for name, one in streams.items() if name.startswith("@extra")}
        self.outputs = {name: one for name, one in streams.items() if name.startswith("@out")}
        isa = stage.isa
        stored = [*self.extra.values(), *self.outputs.values()]
        narrowest = min(one.dtype.itemsize for one in stored)
        able = isa.masks or (isa.architecture == "x86_64" and narrowest >= 4)
        self.masked = able and all(one.column is not None for one in stored)

    def write(
        self,
        starts: Mapping[str, ir.Value],
        offsets: Sequence[ir.Value],
        sums: ir.Value,
        rows: Vector,
        first: Vector,
        left: Vector,
    ) -> None:
        """The body on `rows` rows of a block, from column `first` on, of which `left` exist.

        `starts` are the operands' addresses, `offsets` those of each group's offset for the block's first row.
        """
        stage, scalar = self.stage, self.stage.scalar
        here = self.columns(starts, first)
        lanes = self.block.lanes
        vector = stage.vectors(lanes)
        whole = left & -lanes
        mask = first_lanes(vector, left - whole) if self.masked else None

        def row(i: Vector) -> None:
            lines = dict(here)
            for name, stream in self.streams.items():
                if stream.group is not None:
                    lines[name] = stage.step(here[name], load_size(scalar, offsets[stream.group], i * 8))
            line = stage.step(sums, i * (self.block.columns * self.total.itemsize))

            repeat(scalar, 0, whole, lambda column: self._apply(vector, line, lines, column, None), by=lanes)
            rest = vector if self.masked else scalar
            repeat(scalar, whole, left, lambda column: self._apply(rest, line, lines, column, mask), by=rest.lanes)

        repeat(scalar, 0, rows, row)

    def columns(self, starts: Mapping[str, ir.Value], first: Vector) -> dict[str, ir.Value]:
        """The operands' addresses at column `first`."""
        return {name: self.stage.step(starts[name], first * self._pitch(name)) for name in self.streams}

    def ask(self, starts: Mapping[str, ir.Value], offsets: Sequence[ir.Value], first: Vector) -> None:
        """Prefetch what the body reads along the rows of a block from column `first` on: `write` comes much later."""
        scalar, stage = self.stage.scalar, self.stage
        for name, stream in self.extra.items():
            if stream.group is None or stream.column != 1:
                continue
            start = stage.step(starts[name], first * stream.dtype.itemsize)
            for row in range(self.block.rows):
                line = stage.step(start, load_size(scalar, offsets[stream.group], row * 8))
                for place in range(0, self.block.columns * stream.dtype.itemsize, LINE):
                    prefetch(stage.builder, stage.step(line, place))

    def write_whole(
        self, code: Vectors, lines: Mapping[str, ir.Value], offsets: Sequence[ir.Value], sums: Sequence[ir.Value]
    ) -> None:
        """The body on a whole block of sums in registers; `lines` are its operands' addresses, `offsets` those of each
        group's offset for its first row.
        """
        scalar, block = self.stage.scalar, self.block
        columns = [self.stage.number(v * block.lanes) for v in range(block.vectors)]
        fixed = [name for name, stream in self.extra.items() if stream.group is None]
        known = [{name: self._load(code, name, lines[name], one, None) for name in fixed} for one in columns]
        for row in range(block.rows):
            here = dict(lines)
            for name, stream in self.streams.items():
                if stream.group is not None:
                    here[name] = self.stage.step(lines[name], load_size(scalar, offsets[stream.group], row * 8))
            for v, column in enumerate(columns):
                total = code.wrap(sums[row * block.vectors + v])
                self._finish(code, total, here, column, None, known[v])

    def expect_whole(self, lines: Mapping[str, ir.Value], offsets: Sequence[ir.Value]) -> None:
        """Ask for the lines of memory that `write_whole` will write, while the sums are still being made."""
        scalar, block = self.stage.scalar, self.block
        for name, stream in self.outputs.items():
            assert stream.group is not None
            for row in range(block.rows):
                here = self.stage.step(lines[name], load_size(scalar, offsets[stream.group], row * 8))
                for place in range(0, block.columns * stream.dtype.itemsize, LINE):
                    prefetch(self.stage.builder, self.stage.step(here, place), write=True)

    def _pitch(self, name: str) -> Vector:
        """Bytes from column to column."""
        column = self.streams[name].column
        if column is None:
            return self.stage.arg(f"column.{name}")
        return self.stage.number(column * self.streams[name].dtype.itemsize)

    def _apply(
        self, code: Vectors, sums: ir.Value, lines: Mapping[str, ir.Value], column: Vector, mask: Vector | None
    ) -> None:
        """The body on the sums from `column` on, as many as `code` has lanes."""
        total = load(code, self.total, self.stage.step(sums, column * self.total.itemsize))
        self._finish(code, widen(self.total, total), lines, column, mask, {})

    def _finish(
        self,
        code: Vectors,
        total: Vector,
        lines: Mapping[str, ir.Value],
        column: Vector,
        mask: Vector | None,
        known: Mapping[str, Vector],
    ) -> None:
        """The body on a vector of sums; `known` are operands that were loaded before."""
        registers = [cast(self.total, self.body.inputs[0], total)]
        for name, stream in self.extra.items():
            stored = known[name] if name in known else self._load(code, name, lines[name], column, mask)
            registers.append(widen(stream.dtype, stored))
        results = emit_body(code, self.body, registers, self._place(code, lines, column, mask))
        for (name, stream), value in zip(self.outputs.items(), results, strict=True):
            self._store(code, name, lines[name], column, narrow(stream.dtype, value), mask)

    def _place(self, code: Vectors, lines: Mapping[str, ir.Value], column: Vector, mask: Vector | None) -> Place:
        stage = self.stage

        def index(axis: int) -> Vector:
            name = f"@index{axis}"
            first = stage.step(lines[name], column * self._pitch(name))
            lanes = code.iota(I64) * code.splat(self._pitch(name).value)
            return code.splat(stage.builder.ptrtoint(first, I64)) + lanes

        return place_in(stage, code, self.around, index, mask)

    def _load(self, code: Vectors, name: str, line: ir.Value, column: Vector, mask: Vector | None) -> Vector:
        stream = self.streams[name]
        if stream.column == 0:
            return load_one(code, stream.dtype, line)
        if stream.column == 1:
            return load(code, stream.dtype, self.stage.step(line, column * stream.dtype.itemsize), mask)
        return load_apart(code, stream.dtype, line, lambda lane: (column + lane) * self._pitch(name))

    def _store(
        self, code: Vectors, name: str, line: ir.Value, column: Vector, stored: Vector, mask: Vector | None
    ) -> None:
        stream = self.streams[name]
        if stream.column == 1:
            store(code, stream.dtype, self.stage.step(line, column * stream.dtype.itemsize), stored, mask)
        else:
            store_apart(code, stream.dtype, line, lambda lane: (column + lane) * self._pitch(name), stored)


def place_in(
    stage: StageWriter, code: Vectors, around: Surroundings, index: Callable[[int], Vector], mask: Vector | None = None
) -> Place:
    """What a body may ask in a stage that takes the arguments of `around`."""

    def uniform(number: int) -> Vector:
        return code.splat(stage.arg(f"uniform{number}").value)

    def gathered(number: int, positions: Sequence[Vector]) -> Vector:
        dtype, offsets = around.gathered[number].dtype, code.zero(I64)
        for axis, position in enumerate(positions):
            offsets = offsets + position * code.splat(stage.arg(f"gathered{number}.{axis}").value)
        base = stage.pointer(f"@gathered{number}")
        return widen(dtype, load_apart(code, dtype, base, lambda lane: stage.scalar.wrap(offsets.lane(lane)), mask))

    return Place(index, uniform, gathered, lambda where: stage.fail(where, mask))

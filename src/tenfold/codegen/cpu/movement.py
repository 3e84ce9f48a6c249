"""Elementwise regions with inputs that lie along another axis than the outputs: square blocks are transposed in
registers, so that every load and store is of whole vectors. Pure movement between layouts is the simplest of them.

The walked axes are the outer ones, then the axis along which the crossed inputs lie ("across"), then the line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.axes import Axes
from tenfold.codegen.cpu.cells import CellWriter, Pointers, cell_names, stream_names
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Cursor, Inputs, LineBody, Spot, Stream, Surroundings, outputs_of, walk
from tenfold.codegen.cpu.memory import first_lanes, load, store
from tenfold.codegen.cpu.stage import least
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Body

_UNROLLED = 16


@dataclass(frozen=True)
class Form:
    """What the code depends on. `crossed` says which inputs lie along the axis across; `outer` axes stand outside."""

    isa: Isa
    outer: int
    inputs: tuple[Stream, ...]
    crossed: tuple[bool, ...]
    outputs: tuple[Stream, ...]
    body: Body
    around: Surroundings

    @property
    def block(self) -> int:
        """The side of a block, and the width of vectors."""
        sizes = [one.dtype.itemsize for one, crossed in zip(self.inputs, self.crossed, strict=True) if crossed]
        return min(_UNROLLED, self.isa.vector_bytes // max(sizes))

    @property
    def streams(self) -> dict[str, Stream]:
        """Its operands by name."""
        found = {f"in{number}": one for number, one in enumerate(self.inputs)}
        return found | {f"out{number}": one for number, one in enumerate(self.outputs)}

    @property
    def tiles(self) -> dict[int, int]:
        """Where each crossed input's block lies in scratch, in bytes."""
        found, place = {}, 0
        for number, one in enumerate(self.inputs):
            if self.crossed[number]:
                found[number] = place
                place += self.block * self.block * one.dtype.itemsize
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order."""
        streams = stream_names(self.streams, self.outer + 2, self.outer + 1)
        return (*cell_names(self.outer), "line", *streams, *self.around.names)


def crossing(axes: Axes, streams: Sequence[Stream], inputs: int) -> int | None:
    """The walked axis along which an input lies that no vector load serves along the last one; None if there is none,
    or if the outputs do not lie along the last one.
    """
    if len(axes.sizes) < 2 or any(one.step != 1 for one in streams[inputs:]):
        return None
    for one, strides in zip(streams[:inputs], axes.strides, strict=False):
        if one.step is None and 1 in strides[:-1]:
            return strides.index(1)
    return None


def turned(axes: Axes, across: int) -> Axes:
    """The axes with that one last but one."""
    count = len(axes.sizes)
    order = [*(axis for axis in range(count - 1) if axis != across), across, count - 1]
    places = tuple(place if place is None or place < 0 else order.index(place) for place in axes.places)
    strides = tuple(tuple(one[axis] for axis in order) for one in axes.strides)
    return Axes(tuple(axes.sizes[axis] for axis in order), strides, places)


class TileWriter(CellWriter):
    """Writes the stage: blocks, and what is left over at two edges."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "movement", form.names, form.streams)
        self.form = form
        self.line, self.across = form.outer + 1, form.outer
        self.body = LineBody(self, form.around, form.body, [one.step for one in form.inputs], self.line)
        self.dtypes = [one.dtype for one in form.outputs]

    def text(self) -> str:
        """The whole stage."""
        self.cells(self.form.outer, True, self._cell)
        return self.finish()

    def _cell(self, pointers: Pointers, others: dict[int, Vector], begin: Vector, end: Vector) -> None:
        block, width = self.form.block, self.arg("line")
        masks = self.form.isa.masks
        stop = end if masks else begin + ((end - begin) & -block)
        edge = width if masks else width & -block

        def place(down: Vector, right: Vector) -> None:
            tall, wide = least(end - down, self.number(block)), least(width - right, self.number(block))
            full = tall.equals(block) & wide.equals(block)
            if not masks:
                self._block(pointers, others, down, right, None)
                return
            choose(
                self.scalar,
                full,
                lambda: self._block(pointers, others, down, right, None),
                lambda: self._block(pointers, others, down, right, (tall, wide)),
            )

        def band(down: Vector) -> None:
            repeat(self.scalar, 0, edge, lambda right: place(down, right), by=block)

        repeat(self.scalar, begin, stop, band, by=block)
        if not masks:
            repeat(self.scalar, begin, end, lambda at: self._rest(pointers, others, at, (at < stop).where(edge, 0)))

    def _moved(self, pointers: Pointers, at: Vector) -> Pointers:
        """Where the operands lie at a position across."""
        return {name: self.step(one, at * self.arg(f"{name}.{self.across}")) for name, one in pointers.items()}

    def _rest(self, pointers: Pointers, others: dict[int, Vector], at: Vector, first: Vector) -> None:
        """The end of a line that belongs to no block."""
        here = self._moved(pointers, at)
        inputs = Inputs([self.cursor(f"in{n}", here[f"in{n}"]) for n in range(len(self.form.inputs))], self.scalar)
        spot = Spot(self.vectors(self.form.block), self.line, first, {**others, self.across: at})
        walk(spot, self.scalar, first, self.arg("line"), False, self._visitor(here, inputs, spot))

    def _visitor(self, here: Pointers, inputs: Inputs, line: Spot) -> Callable[[Spot], None]:
        """What is done at a spot of this line."""
        settled = self.body.settle(line, inputs.even)

        def visit(spot: Spot) -> None:
            stored = inputs.stored(spot)
            results = self.body.emit(spot, inputs.registers(spot, stored), settled)
            for number, value in enumerate(outputs_of(self.body.body, results, stored, self.dtypes)):
                self.cursor(f"out{number}", here[f"out{number}"]).write(spot, value)

        return visit

    def _block(
        self,
        pointers: Pointers,
        others: dict[int, Vector],
        down: Vector,
        right: Vector,
        partial: tuple[Vector, Vector] | None,
    ) -> None:
        """One block: crossed inputs into scratch, turned; then row by row like any line."""
        form, code = self.form, self.vectors(self.form.block)
        turned_rows = {
            number: self._turn(pointers[f"in{number}"], number, down, right, partial) for number in form.tiles
        }
        if not form.body.code and len(form.inputs) == 1:
            self._store_rows(turned_rows[0], pointers, down, right, partial)
            return
        for number, start in form.tiles.items():
            size = form.inputs[number].dtype.itemsize * form.block
            for place, vector in enumerate(turned_rows[number]):
                store(code, form.inputs[number].dtype, self.step(self.scratch, start + place * size), vector)
        mask = first_lanes(code, partial[1]) if partial else None
        tall = partial[0] if partial else self.number(form.block)

        def row(k: Vector) -> None:
            here = self._moved(pointers, down + k)
            cursors = [self._cursor_in_block(number, here, k, right) for number in range(len(form.inputs))]
            spot = Spot(code, self.line, right, {**others, self.across: down + k}, mask)
            self._visitor(here, Inputs(cursors, self.scalar), spot)(spot)

        repeat(self.scalar, 0, tall, row)

    def _cursor_in_block(self, number: int, here: Pointers, row: Vector, right: Vector) -> Cursor:
        if number not in self.form.tiles:
            return self.cursor(f"in{number}", here[f"in{number}"])
        dtype = self.form.inputs[number].dtype
        offset = row * (self.form.block * dtype.itemsize) + self.form.tiles[number] - right * dtype.itemsize
        return Cursor(Stream(dtype, 1), self.step(self.scratch, offset), self.number(dtype.itemsize))

    def _turn(
        self, pointer: ir.Value, number: int, down: Vector, right: Vector, partial: tuple[Vector, Vector] | None
    ) -> list[Vector]:
        """The rows of a block of a crossed input: loaded along the axis across, transposed."""
        code, dtype = self.vectors(self.form.block), self.form.inputs[number].dtype
        name = f"in{number}"
        start = self.step(pointer, down * self.arg(f"{name}.{self.across}") + right * self.arg(f"{name}.step"))
        columns = []
        for k in range(self.form.block):
            mask = self._mask(partial[0], partial[1] > k) if partial else None
            columns.append(load(code, dtype, self.step(start, self.arg(f"{name}.step") * k), mask))
        return transposed(columns)

    def _mask(self, count: Vector, here: Vector) -> Vector:
        """The first `count` lanes, if the scalar condition holds; else none."""
        code = self.vectors(self.form.block)
        return first_lanes(code, here.where(count, 0))

    def _store_rows(
        self,
        rows: Sequence[Vector],
        pointers: Pointers,
        down: Vector,
        right: Vector,
        partial: tuple[Vector, Vector] | None,
    ) -> None:
        code = self.vectors(self.form.block)
        for number, one in enumerate(self.form.outputs):
            name = f"out{number}"
            start = self.step(pointers[name], down * self.arg(f"{name}.{self.across}") + right * one.dtype.itemsize)
            for k, vector in enumerate(rows):
                mask = self._mask(partial[1], partial[0] > k) if partial else None
                store(code, one.dtype, self.step(start, self.arg(f"{name}.{self.across}") * k), vector, mask)


def transposed(rows: Sequence[Vector]) -> list[Vector]:
    """A square of vectors, turned, by exchanging ever larger quarters of its squares."""
    current, side = list(rows), len(rows)
    distance = 1
    while distance < side:
        following = list(current)
        low = [lane if not lane & distance else side + lane - distance for lane in range(side)]
        high = [lane + distance if not lane & distance else side + lane for lane in range(side)]
        for row in range(side):
            if not row & distance:
                a, b = current[row], current[row + distance]
                following[row] = a.code.wrap(a.shuffle(low, b))
                following[row + distance] = a.code.wrap(a.shuffle(high, b))
        current, distance = following, distance * 2
    return current


@functools.cache
def source(form: Form) -> str:
    """The module of the stage, in textual form."""
    return TileWriter(form).text()

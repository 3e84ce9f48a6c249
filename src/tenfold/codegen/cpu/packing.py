"""How B comes into panels [batch][panel][tap and term][column], the columns of a panel padded with zeros.

A constant is packed at build time, by a recipe of movement operations that a refit replays; another operand by a stage
of its own, into the kernel's workspace.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.memory import first_lanes, load, store
from tenfold.codegen.cpu.movement import transposed
from tenfold.codegen.cpu.stage import StageWriter, address, ceildiv, divided, least, ordered
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Argument, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Op
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Pad, Reshape, Transpose

_SIDE = 16
"""The largest square that is turned in registers."""
_STRIP = 256
"""The most rows of a panel that a part packs."""


def view_recipe(operand: Operand) -> tuple[Op, ...] | None:
    """Operations that give a constant the operand's shape, its repeated axes of size 1; None if it is no constant, or
    not all of one.
    """
    value = operand.value
    if not isinstance(value.op, Constant) or operand.offset != 0:
        return None
    numbers = (*operand.shape, *operand.strides)
    if not all(isinstance(one, int) for one in numbers):
        return None
    kept = [axis for axis, size in enumerate(operand.shape) if size != 1 and operand.strides[axis] != 0]
    stored = sorted(kept, key=lambda axis: -_integer(operand.strides[axis]))
    expected: Size = 1
    for axis in reversed(stored):
        if operand.strides[axis] != expected:
            return None
        expected = expected * operand.shape[axis]
    if expected != value.type.size:
        return None
    sizes = tuple(operand.shape[axis] for axis in stored)
    order = tuple(stored.index(axis) for axis in kept)
    shape = tuple(size if axis in kept else 1 for axis, size in enumerate(operand.shape))
    return tuple(_without_identities(value.type.shape, (Reshape(sizes), Transpose(order), Reshape(shape))))


def _integer(size: Size) -> int:
    assert isinstance(size, int)
    return size


def panel_recipe(shape: Sequence[int], order: Sequence[int], width: int) -> tuple[Op, ...]:
    """Operations that bring a tensor, whose last axis of `order` counts columns, into panels of `width` of them.

    `order` lists its axes outermost first as the panels want them, batch axes ahead of "panel" (written -1).
    """
    columns = order[-1]
    count = -(-shape[columns] // width)
    after = tuple(count * width - size if axis == columns else 0 for axis, size in enumerate(shape))
    split = (*shape[:columns], count, width, *shape[columns + 1 :])
    moved = [columns if axis == -1 else axis + (axis >= columns) for axis in order]
    steps = (Pad((0,) * len(shape), after), Reshape(split), Transpose(tuple(moved)))
    return tuple(_without_identities(tuple(shape), steps))


def _without_identities(shape: tuple[Size, ...], steps: Sequence[Op]) -> list[Op]:
    kept: list[Op] = []
    for one in steps:
        match one:
            case Reshape(shape=new):
                same, shape = new == shape, new
            case Transpose(permutation=order):
                same, shape = order == tuple(range(len(order))), tuple(shape[axis] for axis in order)
            case Pad(after=after):
                same = not any(after)
                shape = tuple(size + more for size, more in zip(shape, after, strict=True))
            case _:
                raise AssertionError(one)
        if not same:
            kept.append(one)
    return kept


@dataclass(frozen=True)
class Panels:
    """What the code that packs a matrix into panels depends on."""

    isa: Isa
    dtype: DType
    width: int
    batches: int

    @property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps in bytes."""
        found = ["@source", "@target", "rows", "columns", "row.step", "column.step"]
        return (*found, *(f"{word}{axis}" for axis in range(self.batches) for word in ("size", "step")))


def panel_stage(
    isa: Isa, operand: Operand, batches: Sequence[tuple[Size, Size]], width: int, target: Workspace
) -> tuple[Stage, Size]:
    """A stage that packs a matrix, its last two axes rows and columns, for each of the batch axes (size, stride), and
    how many bytes of workspace it fills.
    """
    size = operand.dtype.itemsize
    form = Panels(isa, operand.dtype, width, len(batches))
    values: dict[str, Argument] = {
        "@source": address(operand),
        "@target": target,
        "rows": operand.shape[-2],
        "columns": operand.shape[-1],
        "row.step": operand.strides[-2] * size,
        "column.step": operand.strides[-1] * size,
    }
    for axis, (count, stride) in enumerate(batches):
        values |= {f"size{axis}": count, f"step{axis}": stride * size}
    rows = operand.shape[-2]
    panels = dim.product([*(count for count, _ in batches), dim.ceildiv(operand.shape[-1], width)])
    stage = Stage(panel_source(form), ordered(form.names, values), panels * dim.ceildiv(rows, _STRIP))
    return stage, panels * rows * (width * size)


@functools.cache
def panel_source(form: Panels) -> str:
    """The module of a packing stage; a part is a strip of rows of one panel."""
    return _PanelWriter(form).text()


class _PanelWriter(StageWriter):
    def __init__(self, form: Panels) -> None:
        super().__init__(form.isa, "panels", form.names)
        self.form, self.size = form, form.dtype.itemsize
        most = min(_SIDE, form.isa.lanes(self.size))
        self.vector = self.vectors(next(n for n in (most, most // 2, most // 4, 1) if form.width % n == 0))

    def text(self) -> str:
        """A strip of one panel: where columns are adjacent, whole rows of it; where rows are, squares turned in
        registers; else, and at the ends, element by element.
        """
        form, lanes = self.form, self.vector.lanes
        width, every = self.number(form.width), self.arg("rows")
        number, strip = divided(self.part, ceildiv(every, _STRIP))
        batch, panel = divided(number, ceildiv(self.arg("columns"), form.width))
        first = panel * form.width
        source = self.step(self.pointer("@source"), first * self.arg("column.step"))
        for axis in reversed(range(form.batches)):
            batch, at = divided(batch, self.arg(f"size{axis}"))
            source = self.step(source, at * self.arg(f"step{axis}"))
        target = self.step(self.pointer("@target"), number * every * (form.width * self.size))
        left = least(self.arg("columns") - first, width)
        begin = strip * _STRIP
        end = least(begin + _STRIP, every)
        turned = self.arg("row.step").equals(self.size).where(begin + ((end - begin) & -lanes), begin)
        repeat(self.scalar, begin, turned, lambda row: self._squares(source, target, row, left), by=lanes)

        def row(number: Vector) -> None:
            line = self.step(source, number * self.arg("row.step"))
            self._line(line, self.step(target, number * (form.width * self.size)), left)

        repeat(self.scalar, turned, end, row)
        return self.finish()

    def _line(self, line: ir.Value, place: ir.Value, left: Vector) -> None:
        """One row of a panel: in vectors where its elements are adjacent, and all there or to be masked."""
        adjacent = self.arg("column.step").equals(self.size)

        def elements() -> None:
            self._elements(line, place, left)

        def partly() -> None:
            choose(self.scalar, adjacent, lambda: self._vectors(line, place, left), elements)

        whole = left.equals(self.form.width) & adjacent
        choose(self.scalar, whole, lambda: self._vectors(line, place), partly if self.form.isa.masks else elements)

    def _squares(self, source: ir.Value, target: ir.Value, row: Vector, left: Vector) -> None:
        """As many rows as a vector has lanes: each square of them turned, columns that do not exist made zero."""
        lanes, pitch = self.vector.lanes, self.arg("column.step")

        def square(column: Vector) -> None:
            places = (
                self.step(source, least(column + lane, left - 1) * pitch + row * self.size) for lane in range(lanes)
            )
            for number, line in enumerate(transposed([load(self.vector, self.form.dtype, place) for place in places])):
                kept = first_lanes(self.vector, left - column).where(
                    line, self.vector.wrap(ir.Constant(line.type, None))
                )
                place = ((row + number) * self.form.width + column) * self.size
                store(self.vector, self.form.dtype, self.step(target, place), kept)

        repeat(self.scalar, 0, self.form.width, square, by=lanes)

    def _vectors(self, line: ir.Value, place: ir.Value, left: Vector | None = None) -> None:
        """A row whose elements are adjacent; if only some of them exist, the rest is zero."""
        for column in range(0, self.form.width, self.vector.lanes):
            mask = None if left is None else first_lanes(self.vector, left - column)
            value = load(self.vector, self.form.dtype, self.step(line, column * self.size), mask)
            store(self.vector, self.form.dtype, self.step(place, column * self.size), value)

    def _elements(self, line: ir.Value, place: ir.Value, left: Vector) -> None:
        dtype, pitch = self.form.dtype, self.arg("column.step")

        def copy(column: Vector) -> None:
            value = load(self.scalar, dtype, self.step(line, column * pitch))
            store(self.scalar, dtype, self.step(place, column * self.size), value)

        def clear(column: Vector) -> None:
            zero = self.scalar.wrap(ir.Constant(stored_type(dtype), 0))
            store(self.scalar, dtype, self.step(place, column * self.size), zero)

        repeat(self.scalar, 0, left, copy)
        repeat(self.scalar, left, self.form.width, clear)

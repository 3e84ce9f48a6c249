"""How B comes into panels [batch][panel][tap and term][column], the columns of a panel padded with zeros.

A constant is packed at build time, by a recipe of movement operations that a refit replays; another operand by a stage
of its own, into the kernel's workspace.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, define, load_pointer, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import I32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Op
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Pad, Reshape, Transpose


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
        found = ["source", "target", "rows", "columns", "row.step", "column.step"]
        return (*found, *(f"{word}{axis}" for axis in range(self.batches) for word in ("size", "step")))


def panel_stage(
    isa: Isa, operand: Operand, batches: Sequence[tuple[Size, Size]], width: int, target: Workspace
) -> tuple[Stage, Size]:
    """A stage that packs a matrix, its last two axes rows and columns, for each of the batch axes (size, stride), and
    how many bytes of workspace it fills.
    """
    size = operand.dtype.itemsize
    form = Panels(isa, operand.dtype, width, len(batches))
    values: dict[str, Address | Workspace | Size] = {
        "source": Address(operand.value, operand.offset * size),
        "target": target,
        "rows": operand.shape[-2],
        "columns": operand.shape[-1],
        "row.step": operand.strides[-2] * size,
        "column.step": operand.strides[-1] * size,
    }
    for axis, (count, stride) in enumerate(batches):
        values |= {f"size{axis}": count, f"step{axis}": stride * size}
    panels = dim.product([*(count for count, _ in batches), dim.ceildiv(operand.shape[-1], width)])
    arguments = tuple(values[name] for name in form.names)
    return Stage(panel_source(form), arguments, panels), panels * operand.shape[-2] * (width * size)


@functools.cache
def panel_source(form: Panels) -> str:
    """The module of a packing stage; a part is one panel."""
    return _PanelWriter(form).module_text()


class _PanelWriter:
    def __init__(self, form: Panels) -> None:
        self.form = form
        self.kind = stored_type(form.dtype)
        self.size = form.dtype.itemsize
        self.module = ir.Module(name="panels")
        function = define(self.module, "stage", I32, [POINTER, I64, POINTER], internal=False)
        self.args, part, _ = function.args
        self.builder = ir.IRBuilder(function.entry_basic_block)
        self.scalar = Vectors(self.builder, form.isa, 1)
        self.part = self.scalar.wrap(part)
        self.lanes = next(n for n in (form.isa.lanes(self.size), 1) if form.width % n == 0)

    def _arg(self, name: str) -> Vector:
        return load_size(self.scalar, self.args, 8 * self.form.names.index(name))

    def module_text(self) -> str:
        """One panel: whole rows of it as vectors where columns are adjacent, else element by element."""
        form, builder = self.form, self.builder
        panels = (self._arg("columns") + (form.width - 1)) / form.width
        batch = self.part / panels
        first = (self.part - batch * panels) * form.width
        source = load_pointer(self.scalar, self.args, 8 * form.names.index("source"))
        for axis in reversed(range(form.batches)):
            rest = batch / self._arg(f"size{axis}")
            source = step(builder, source, (batch - rest * self._arg(f"size{axis}")) * self._arg(f"step{axis}"))
            batch = rest
        source = step(builder, source, first * self._arg("column.step"))
        target = load_pointer(self.scalar, self.args, 8 * form.names.index("target"))
        target = step(builder, target, self.part * self._arg("rows") * (form.width * self.size))
        left = self._arg("columns") - first
        whole = left.compare(">=", form.width) & self._arg("column.step").equals(self.size)

        def row(number: Vector) -> None:
            line = step(builder, source, number * self._arg("row.step"))
            place = step(builder, target, number * (form.width * self.size))
            choose(self.scalar, whole, lambda: self._whole(line, place), lambda: self._elements(line, place, left))

        repeat(self.scalar, 0, self._arg("rows"), row)
        builder.ret(ir.Constant(I32, 0))
        return str(self.module)

    def _whole(self, line: ir.Value, place: ir.Value) -> None:
        code = Vectors(self.builder, self.form.isa, self.lanes)
        for offset in range(0, self.form.width * self.size, self.lanes * self.size):
            value = self.builder.load(step(self.builder, line, offset), typ=code.type(self.kind), align=self.size)
            self.builder.store(value, step(self.builder, place, offset), align=self.size)

    def _elements(self, line: ir.Value, place: ir.Value, left: Vector) -> None:
        kept = (left < self.form.width).where(left, self.form.width)
        pitch = self._arg("column.step")

        def copy(column: Vector) -> None:
            value = self.builder.load(step(self.builder, line, column * pitch), typ=self.kind, align=self.size)
            self.builder.store(value, step(self.builder, place, column * self.size), align=self.size)

        def clear(column: Vector) -> None:
            zero = ir.Constant(self.kind, 0)
            self.builder.store(zero, step(self.builder, place, column * self.size), align=self.size)

        repeat(self.scalar, 0, kept, copy)
        repeat(self.scalar, kept, self.scalar.constant(I64, self.form.width), clear)

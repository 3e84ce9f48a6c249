"""A stage whose work is counted in points of some outer axes, with lines of elements at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.stage import StageWriter, divided
from tenfold.codegen.cpu.vectors import Vector, Vectors
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Argument
from tenfold.ir import dim
from tenfold.ir.dim import Size


class Entry(StageWriter):
    """A stage with outer axes `size0`, `size1`, … and vectors along lines."""

    def points(self, axes: int, number: Vector) -> list[Vector]:
        """The coordinates of a point counted in row-major order through so many outer axes."""
        found: list[Vector] = []
        for axis in reversed(range(1, axes)):
            number, at = divided(number, self.arg(f"size{axis}"))
            found.insert(0, at)
        return [number, *found] if axes else []

    def at(self, name: str, coordinates: Sequence[Vector]) -> ir.Value:
        """The address of the operand "@name" at some coordinates of the outer axes, its steps being `name.0`, …"""
        pointer = self.pointer(f"@{name}")
        for axis, coordinate in enumerate(coordinates):
            pointer = self.step(pointer, coordinate * self.arg(f"{name}.{axis}"))
        return pointer

    def sweep(self, lanes: int, first: Vector, last: Vector, body: Callable[[Vectors, Vector], None]) -> None:
        """body(code, i) for each i from `first` to `last`, so many `lanes` at a time, then one by one."""
        if lanes > 1:
            whole = first + ((last - first) & -lanes)
            code = self.vectors(lanes)
            repeat(self.scalar, first, whole, lambda i: body(code, i), by=lanes)
            first = whole
        repeat(self.scalar, first, last, lambda i: body(self.scalar, i))


def steps(operand: Operand, *names: str) -> dict[str, Argument]:
    """The bytes from one place of each of its axes to the next, under these names."""
    size = operand.dtype.itemsize
    return {name: stride * size for name, stride in zip(names, operand.strides, strict=True)}


def parts_of(work: Size, grain: int, most: Size) -> Size:
    """How many parts some work is worth, at least `grain` each, at most `most`."""
    return dim.maximum(1, dim.minimum(most, dim.ceildiv(work, grain)))

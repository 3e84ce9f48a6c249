"""Cells: what the parts of a stage count through. The outer axes and, of a long line, its chunks; a part is a run of
cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llvmlite import ir

from tenfold.codegen.axes import at_least_one
from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Cursor, Stream
from tenfold.codegen.cpu.stage import StageWriter, divided, least, most
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.strategy import Argument
from tenfold.ir import dim
from tenfold.ir.dim import Size

Pointers = dict[str, ir.Value]
Visit = Callable[[Pointers, dict[int, Vector], Vector, Vector], None]

_PART = 5000.0
"""Nanoseconds of work that a part should be at least."""


def elements_a_part(bytes_moved: int, instructions: float, lanes: int) -> int:
    """How many elements are worth a part, by a rough cost of each: a multiple of any vector's length."""
    cost = 0.04 * bytes_moved + 0.3 * instructions / lanes
    return max(int(_PART / cost) // 256, 1) * 256


def cell_names(outer: int) -> tuple[str, ...]:
    """The arguments that counting cells takes."""
    return ("cells", "cells_a_part", "size", "chunk", *(f"size{axis}" for axis in range(outer)))


def count_cells(
    outer: Sequence[Size], line: Size, elements: int, chunked: bool, row: Size = 1, grain: int = 64
) -> tuple[dict[str, Argument], Size]:
    """Those arguments, and how many parts there are, `elements` being worth a part.

    A line is cut into chunks of a multiple of `grain` if `chunked`; each of its positions stands for `row` elements.
    """
    chunk: Size = dim.maximum(grain, elements // at_least_one(row) // grain * grain) if chunked else line
    chunks = dim.ceildiv(line, chunk) if chunked else 1
    cells = dim.product((*outer, chunks))
    cell = at_least_one(dim.minimum(line, chunk) * row)
    each = dim.maximum(1, elements // cell)
    found: dict[str, Argument] = {"cells": cells, "cells_a_part": each, "size": line, "chunk": chunk}
    found |= {f"size{axis}": at_least_one(size) for axis, size in enumerate(outer)}
    return found, dim.maximum(1, dim.ceildiv(cells, each))


class CellWriter(StageWriter):
    """A stage whose operands are `streams`. Its arguments are, for each name, "@name", strides in bytes along walked
    axes k as "name.k", and "name.step" along the line where that is no constant.
    """

    def __init__(self, isa: Isa, name: str, names: Sequence[str], streams: Mapping[str, Stream]) -> None:
        super().__init__(isa, name, names)
        self.streams = streams

    def cells(self, outer: int, chunked: bool, visit: Visit) -> None:
        """visit(pointers, positions of the outer axes, begin, end) for each cell of this part."""
        first = self.part * self.arg("cells_a_part")
        last = least(first + self.arg("cells_a_part"), self.arg("cells"))
        if outer == 0:
            start, end = first * self.arg("chunk"), least(last * self.arg("chunk"), self.arg("size"))
            if not chunked:
                start, end = self.number(0), self.arg("size")
            visit({name: self.pointer(f"@{name}") for name in self.streams}, {}, start, end)
            return
        turns = self.arg(f"size{outer - 1}")
        whole, _ = divided(last + turns - 1, turns)

        def run(turn: Vector) -> None:
            self._run(outer, turn, (first - turn * turns, last - turn * turns), chunked, visit)

        repeat(self.scalar, divided(first, turns)[0], whole, run)

    def _run(self, outer: int, turn: Vector, span: tuple[Vector, Vector], chunked: bool, visit: Visit) -> None:
        """The cells of one turn of all outer axes but the last, those of `span` along it."""
        axis = outer - 1
        at: dict[int, Vector] = {}
        rest = turn
        for other in reversed(range(axis)):
            rest, at[other] = divided(rest, self.arg(f"size{other}"))
        begin, end = self.number(0), self.arg("size")
        if chunked:
            begin = rest * self.arg("chunk")
            end = least(begin + self.arg("chunk"), end)
        low = most(span[0], self.number(0))
        high = least(span[1], self.arg(f"size{axis}"))
        names = list(self.streams)
        starts = [self.start(name, {**at, axis: low}) for name in names]

        def cell(position: Vector, *pointers: ir.Value) -> Sequence[ir.Value]:
            visit(dict(zip(names, pointers, strict=True)), {**at, axis: position}, begin, end)
            return [self.step(one, self.arg(f"{name}.{axis}")) for name, one in zip(names, pointers, strict=True)]

        repeat(self.scalar, low, high, cell, starts)

    def start(self, name: str, at: Mapping[int, Vector]) -> ir.Value:
        """Where an operand lies at these positions."""
        pointer = self.pointer(f"@{name}")
        for axis, position in at.items():
            pointer = self.step(pointer, position * self.arg(f"{name}.{axis}"))
        return pointer

    def cursor(self, name: str, pointer: ir.Value) -> Cursor:
        """An operand at the start of a line."""
        one = self.streams[name]
        step = self.arg(f"{name}.step") if one.step is None else self.number(one.step * one.dtype.itemsize)
        return Cursor(one, pointer, step)


def stream_names(streams: Mapping[str, Stream], axes: int, line: int | None) -> tuple[str, ...]:
    """The arguments of operands that walk `axes` axes, of which `line` is walked as vectors."""
    found: list[str] = []
    for name, one in streams.items():
        found += [f"@{name}", *(f"{name}.{axis}" for axis in range(axes) if axis != line)]
        found += [f"{name}.step"] * (one.step is None)
    return tuple(found)


def stream_arguments(name: str, one: Stream, strides: Sequence[Size], line: int | None) -> dict[str, Argument]:
    """Those of one operand, but for its address."""
    size = one.dtype.itemsize
    found: dict[str, Argument] = {f"{name}.{axis}": s * size for axis, s in enumerate(strides) if axis != line}
    if one.step is None and line is not None:
        found[f"{name}.step"] = strides[line] * size
    return found

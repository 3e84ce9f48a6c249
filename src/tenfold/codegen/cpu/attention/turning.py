"""Rows brought into lanes: element by element, lane by lane a row; and blocks of rows copied side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.movement import transposed
from tenfold.codegen.cpu.stage import StageWriter, least
from tenfold.codegen.cpu.storage import stored_type, widen
from tenfold.codegen.cpu.vectors import Vector, Vectors
from tenfold.ir.dtype import DType

Convert = Callable[[Vector], Vector]


@dataclass(frozen=True)
class Source:
    """Rows in memory: where the first begins, bytes from row to row and from element to element, how many there are."""

    start: ir.Value
    dtype: DType
    row: Vector
    element: Vector
    rows: Vector
    adjacent: bool


def turned(
    stage: StageWriter, code: Vectors, source: Source, columns: int, count: Vector, convert: Convert, total: DType,
    target: ir.Value,
) -> None:  # fmt: skip
    """Write element e of row c to place [e][c] of `target`, for `count` elements and `columns` rows; rows that do not
    exist repeat the last. `convert` makes registers of the element type numbers of type `total`.
    """
    lanes, line = code.lanes, columns * total.itemsize
    last = source.rows - 1
    whole = count & -lanes if source.adjacent else stage.number(0)

    def group(first: Vector) -> None:
        lines = [stage.step(source.start, least(first + lane, last) * source.row) for lane in range(lanes)]
        place = stage.step(target, first * total.itemsize)

        def square(element: Vector) -> None:
            places = (stage.step(one, element * source.dtype.itemsize) for one in lines)
            rows = [convert(widen(source.dtype, load(code, source.dtype, one))) for one in places]
            for number, column in enumerate(transposed(rows)):
                store(code, total, stage.step(place, (element + number) * line), column)

        def single(element: Vector) -> None:
            at = element * source.element
            kind = stored_type(source.dtype)
            column = code.gather(
                lambda lane: stage.builder.load(stage.step(lines[lane], at), typ=kind, align=source.dtype.itemsize)
            )
            store(code, total, stage.step(place, element * line), convert(widen(source.dtype, column)))

        if source.adjacent:
            repeat(stage.scalar, 0, whole, square, by=lanes)
        repeat(stage.scalar, whole, count, single)

    repeat(stage.scalar, 0, columns, group, by=lanes)


def turned_back(
    stage: StageWriter, source: ir.Value, factors: Sequence[Vector], rows: int, total: DType, target: ir.Value
) -> None:
    """Write [e][c] of `source`, times the factor of c, to [c][e] of `target`; `rows` is a multiple of the lanes."""
    code, size = factors[0].code, total.itemsize
    lanes, columns = code.lanes, code.lanes * len(factors)
    for number, factor in enumerate(factors):
        start = stage.step(source, number * lanes * size)
        place = stage.step(target, number * lanes * rows * size)

        def square(element: Vector, start: ir.Value = start, place: ir.Value = place, by: Vector = factor) -> None:
            lines = [load(code, total, stage.step(start, (element + lane) * (columns * size))) for lane in range(lanes)]
            for lane, row in enumerate(transposed([line * by for line in lines])):
                store(code, total, stage.step(place, (element + lane * rows) * size), row)

        repeat(stage.scalar, 0, rows, square, by=lanes)


def copied(
    stage: StageWriter, code: Vectors, source: Source, count: int, convert: Callable[[Vector], Vector], total: DType,
    target: ir.Value, pitch: int,
) -> None:  # fmt: skip
    """Copy rows of `count` elements to `target`, `pitch` bytes apart, as numbers of type `total`."""
    whole = count // code.lanes * code.lanes if source.adjacent else 0

    def row(number: Vector) -> None:
        line, copy = stage.step(source.start, number * source.row), stage.step(target, number * pitch)

        def move(code: Vectors, element: Vector) -> None:
            value = convert(widen(source.dtype, load(code, source.dtype, stage.step(line, element * source.element))))
            store(code, total, stage.step(copy, element * total.itemsize), value)

        repeat(stage.scalar, 0, whole, lambda element: move(code, element), by=code.lanes)
        repeat(stage.scalar, whole, count, lambda element: move(stage.scalar, element))

    repeat(stage.scalar, 0, source.rows, row)

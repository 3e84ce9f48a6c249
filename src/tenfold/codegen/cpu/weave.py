"""Pure movement that weaves a few lines into one, element by element in turns: channel shuffles, planes into pixels.

The walked axes are the outer ones, that along which the lines lie, then the lines, which are adjacent in the result.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.axes import Axes
from tenfold.codegen.cpu.cells import CellWriter, Pointers, cell_names, stream_names
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Stream
from tenfold.codegen.cpu.memory import first_lanes, load, store
from tenfold.codegen.cpu.vectors import Vector, Vectors
from tenfold.ir.dtype import DType

_MOST = 4
"""The most lines."""


@dataclass(frozen=True)
class Form:
    """What the code depends on: how many axes stand outside, the element type, the number of lines."""

    isa: Isa
    outer: int
    dtype: DType
    lines: int

    @property
    def streams(self) -> dict[str, Stream]:
        """Its operands by name."""
        return {"in0": Stream(self.dtype, 1), "out0": Stream(self.dtype, self.lines)}

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order."""
        return (*cell_names(self.outer), *stream_names(self.streams, self.outer + 2, self.outer))


def weaves(axes: Axes) -> bool:
    """Whether a copy between these operands, the last being the result, is such a movement, its lines the last axis and
    that along which they lie the one before.
    """
    if len(axes.sizes) < 2 or len(axes.strides) != 2:
        return False
    lines, (source, result) = axes.sizes[-1], axes.strides
    few = isinstance(lines, int) and 1 < lines <= _MOST
    return few and source[-2] == 1 and result[-1] == 1 and result[-2] == lines


def interleaved(lines: Sequence[Vector]) -> list[Vector]:
    """The first elements of all vectors, then the second ones, and so on, as vectors of the same width."""
    code, count = lines[0].code, len(lines)
    if code.lanes == 1:
        return list(lines)
    found = []
    for number in range(count):
        places = [divmod(number * code.lanes + lane, count) for lane in range(code.lanes)]
        merged = lines[0]
        for line in range(1, count):
            order = [code.lanes + at if of == line else lane for lane, (at, of) in enumerate(places)]
            if line == 1:
                order = [at if of == 0 else code.lanes + at for at, of in places]
            merged = code.wrap(merged.shuffle(order, lines[line]))
        found.append(merged)
    return found


class _Writer(CellWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "weave", form.names, form.streams)
        self.form = form

    def text(self) -> str:
        """The whole stage."""
        self.cells(self.form.outer, True, self._cell)
        return self.finish()

    def _cell(self, pointers: Pointers, _: dict[int, Vector], begin: Vector, end: Vector) -> None:
        """A stretch of the lines: whole vectors, then the rest."""
        isa = self.form.isa
        wide = self.vectors(isa.lanes(self.form.dtype.itemsize))
        stop = begin + ((end - begin) & -wide.lanes)
        repeat(self.scalar, begin, stop, functools.partial(self._some, wide, pointers, None), by=wide.lanes)
        if isa.masks:
            choose(self.scalar, stop < end, lambda: self._some(wide, pointers, end - stop, stop), lambda: None)
        else:
            repeat(self.scalar, stop, end, functools.partial(self._some, self.scalar, pointers, None))

    def _some(self, code: Vectors, pointers: Pointers, left: Vector | None, at: Vector) -> None:
        """A vector of each line from `at` on, of which `left` elements exist (None: all)."""
        dtype, count = self.form.dtype, self.form.lines
        size = dtype.itemsize
        source, target = self.step(pointers["in0"], at * size), self.step(pointers["out0"], at * (size * count))
        mask = first_lanes(code, left) if left else None
        apart = self.arg(f"in0.{self.form.outer + 1}")
        found = [load(code, dtype, self.step(source, apart * line), mask) for line in range(count)]
        for number, value in enumerate(interleaved(found)):
            first = number * code.lanes
            kept = first_lanes(code, left * count - first) if left else None
            store(code, dtype, self.step(target, first * size), value, kept)


@functools.cache
def source(form: Form) -> str:
    """The module of the stage, in textual form."""
    return _Writer(form).text()

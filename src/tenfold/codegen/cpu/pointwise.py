"""Elementwise regions: nested loops over few axes, the innermost one as vectors.

The outer axes and, where the innermost is long, chunks of it are counted through as cells; a part is a run of cells.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.axes import Axes, at_least_one, few
from tenfold.codegen.cpu.body import expand_body, indices, weight
from tenfold.codegen.cpu.emit import refusal
from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import (
    Cursor,
    Inputs,
    LineBody,
    Spot,
    Stream,
    Surroundings,
    lanes_for,
    outputs_of,
    stream,
    surrounding_arguments,
    surroundings,
    walk,
)
from tenfold.codegen.cpu.stage import StageWriter, address, divided, least, most, ordered
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Body, Operand, Pointwise, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.target import Target

_PART = 16000.0
"""Nanoseconds of work that a part should be at least."""


@dataclass(frozen=True)
class Form:
    """What the code depends on: all sizes and most strides are arguments. `outer` axes stand round the innermost."""

    isa: Isa
    outer: int
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    body: Body
    around: Surroundings

    @property
    def lanes(self) -> int:
        """The width of its vectors."""
        return lanes_for(self.isa.vector_bytes, self.body, [one.dtype for one in (*self.inputs, *self.outputs)])

    @property
    def streams(self) -> dict[str, Stream]:
        """Its operands by name."""
        found = {f"in{number}": one for number, one in enumerate(self.inputs)}
        return found | {f"out{number}": one for number, one in enumerate(self.outputs)}

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; strides are in bytes."""
        found = ["cells", "cells_a_part", "size", "chunk", *(f"size{axis}" for axis in range(self.outer))]
        for name, one in self.streams.items():
            found += [f"@{name}", *(f"{name}.{axis}" for axis in range(self.outer))]
            found += [f"{name}.step"] * (one.step is None)
        return (*found, *self.around.names)


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "pointwise", form.names)
        self.form = form
        self.body = LineBody(self, form.around, form.body, [one.step for one in form.inputs], form.outer)

    def text(self) -> str:
        """The whole stage."""
        first = self.part * self.arg("cells_a_part")
        last = least(first + self.arg("cells_a_part"), self.arg("cells"))
        if self.form.outer == 0:
            start, end = first * self.arg("chunk"), least(last * self.arg("chunk"), self.arg("size"))
            self._line({name: self.pointer(f"@{name}") for name in self.form.streams}, {}, start, end)
        else:
            turns = self.arg(f"size{self.form.outer - 1}")
            whole, _ = divided(last + turns - 1, turns)
            repeat(self.scalar, divided(first, turns)[0], whole, lambda run: self._run(run, run * turns, first, last))
        return self.finish()

    def _run(self, run: Vector, start: Vector, first: Vector, last: Vector) -> None:
        """The cells of one turn of all outer axes but the last: `start` on, from `first` to `last`."""
        axis = self.form.outer - 1
        at: dict[int, Vector] = {}
        rest = run
        for other in reversed(range(axis)):
            rest, at[other] = divided(rest, self.arg(f"size{other}"))
        begin = rest * self.arg("chunk")
        end = least(begin + self.arg("chunk"), self.arg("size"))
        low = most(first - start, self.number(0))
        high = least(last - start, self.arg(f"size{axis}"))
        names = list(self.form.streams)
        starts = [self._start(name, {**at, axis: low}) for name in names]

        def row(turn: Vector, *pointers: ir.Value) -> Sequence[ir.Value]:
            self._line(dict(zip(names, pointers, strict=True)), {**at, axis: turn}, begin, end)
            return [self.step(one, self.arg(f"{name}.{axis}")) for name, one in zip(names, pointers, strict=True)]

        repeat(self.scalar, low, high, row, starts)

    def _start(self, name: str, at: dict[int, Vector]) -> ir.Value:
        pointer = self.pointer(f"@{name}")
        for axis, position in at.items():
            pointer = self.step(pointer, position * self.arg(f"{name}.{axis}"))
        return pointer

    def _line(self, pointers: dict[str, ir.Value], others: dict[int, Vector], begin: Vector, end: Vector) -> None:
        form = self.form
        cursors = {name: self._cursor(name, pointer) for name, pointer in pointers.items()}
        inputs = Inputs([cursors[f"in{number}"] for number in range(len(form.inputs))], self.scalar)
        dtypes = [one.dtype for one in form.outputs]

        def visit(spot: Spot) -> None:
            stored = inputs.stored(spot)
            results = self.body.emit(spot, inputs.registers(stored))
            for number, value in enumerate(outputs_of(self.body.body, results, stored, dtypes)):
                cursors[f"out{number}"].write(spot, value)

        masked = form.isa.masks and all(one.step == 1 for one in form.outputs)
        spot = Spot(self.vectors(form.lanes), form.outer, begin, others)
        walk(spot, self.scalar, begin, end, masked, visit)

    def _cursor(self, name: str, pointer: ir.Value) -> Cursor:
        one = self.form.streams[name]
        size = one.dtype.itemsize
        return Cursor(one, pointer, self.arg(f"{name}.step") if one.step is None else self.number(one.step * size))


@functools.cache
def source(form: Form) -> str:
    """The module of an elementwise stage, in textual form."""
    return _Writer(form).text()


@dataclass(frozen=True)
class _Problem:
    """A region after its axes became few."""

    region: Pointwise
    isa: Isa

    @functools.cached_property
    def asked(self) -> frozenset[int]:
        """The axes whose positions the body reads."""
        return indices(expand_body(self.region.body))

    @functools.cached_property
    def axes(self) -> Axes:
        """Those axes."""
        return few(self.region.domain, [one.strides for one in self.operands], self.asked)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Inputs, then outputs."""
        return (*self.region.inputs, *self.region.outputs)

    @functools.cached_property
    def form(self) -> Form:
        """What its code depends on."""
        inner = [strides[-1] if strides else 0 for strides in self.axes.strides]
        streams = [stream(one.dtype, stride) for one, stride in zip(self.operands, inner, strict=True)]
        if not self.axes.sizes:
            streams = [Stream(one.dtype, 1) for one in streams]
        count = len(self.region.inputs)
        around = surroundings(self.region, self.axes.places, self.asked)
        outer = max(len(self.axes.sizes) - 1, 0)
        body = expand_body(self.region.body)
        return Form(self.isa, outer, tuple(streams[:count]), tuple(streams[count:]), body, around)

    @property
    def chunk(self) -> int:
        """Elements that make a part of a line, a multiple of any vector's length."""
        moved = sum(one.dtype.itemsize for one in self.operands)
        cost = 0.04 * moved + 0.3 * weight(self.form.body) / self.form.lanes
        return max(int(_PART / cost) // 256, 1) * 256

    def sizes(self) -> tuple[Size, Size, Size]:
        """Cells, cells a part, parts."""
        size = self.axes.sizes[-1] if self.axes.sizes else 1
        cells = dim.product((*self.axes.sizes[:-1], dim.ceildiv(size, self.chunk)))
        each = dim.maximum(1, self.chunk // at_least_one(dim.minimum(size, self.chunk)))
        return cells, each, dim.maximum(1, dim.ceildiv(cells, each))

    def arguments(self) -> tuple[Argument, ...]:
        """What the stage's `args` hold."""
        form, axes = self.form, self.axes
        cells, each, _ = self.sizes()
        found: dict[str, Argument] = {"cells": cells, "cells_a_part": each, "chunk": self.chunk}
        found["size"] = axes.sizes[-1] if axes.sizes else 1
        for axis in range(form.outer):
            found[f"size{axis}"] = at_least_one(axes.sizes[axis])
        for name, operand, strides in zip(form.streams, self.operands, axes.strides, strict=True):
            found[f"@{name}"] = address(operand)
            for axis in range(form.outer):
                found[f"{name}.{axis}"] = strides[axis] * operand.dtype.itemsize
            if form.streams[name].step is None:
                found[f"{name}.step"] = strides[-1] * operand.dtype.itemsize
        return ordered(form.names, found | surrounding_arguments(self.region, address))


class PointwiseStrategy:
    """The generic tier of elementwise regions and of pure movement."""

    name = "pointwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way: nested loops; refused for element types and operations that have no generated code."""
        if not isinstance(region, Pointwise):
            return Refusal("not an elementwise region")
        reason = refusal(region.body)
        return Refusal(reason) if reason else (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Pointwise)
        problem = _Problem(region, isa_of(target))
        _, _, parts = problem.sizes()
        return Kernel((Stage(source(problem.form), problem.arguments(), parts),))


STRATEGY = PointwiseStrategy()

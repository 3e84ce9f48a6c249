"""Elementwise regions: nested loops over few axes, the innermost one as vectors."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.codegen.axes import Axes, few
from tenfold.codegen.cpu import movement, weave
from tenfold.codegen.cpu.body import expand_body, indices, weight
from tenfold.codegen.cpu.cells import (
    CellWriter,
    Pointers,
    cell_names,
    count_cells,
    elements_a_part,
    stream_arguments,
    stream_names,
)
from tenfold.codegen.cpu.emit import refusal
from tenfold.codegen.cpu.flow import choose
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import (
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
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.cpu.vectors import I1, Vector
from tenfold.codegen.region import Body, Operand, Pointwise, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.target import Target

_LOOSE = 2
"""How many operands whose steps are arguments are told apart, ..."""
_LIGHT = 40.0
"""... if the body has no more instructions than that; else all are dense or none is."""


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
        """The arguments of the stage, in order."""
        return (*cell_names(self.outer), *stream_names(self.streams, self.outer + 1, self.outer), *self.around.names)


class _Writer(CellWriter):
    """Writes the stage; where steps are arguments, the usual ones (1, and for inputs 0) get code of their own."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "pointwise", form.names, form.streams)
        self.form = form

    def text(self) -> str:
        """The whole stage."""
        self._usual([name for name, one in self.streams.items() if one.step is None])
        return self.finish()

    def _usual(self, loose: Sequence[str]) -> None:
        """All cells, once the steps of the operands in `loose` are decided; the many are taken as 1 or left."""
        if not loose:
            self._cells()
            return
        given = dict(self.streams)
        few_enough = len(loose) <= _LOOSE and weight(self.form.body) <= _LIGHT
        together, rest = (loose[:1], loose[1:]) if few_enough else (loose, [])
        size = {name: given[name].dtype.itemsize for name in together}
        dense = self.scalar.constant(I1, True)
        for name in together:
            dense = dense & self.arg(f"{name}.step").equals(size[name])

        def as_step(step: int | None) -> None:
            self.streams = given | {name: Stream(given[name].dtype, step) for name in together}
            self._usual(rest)

        def otherwise() -> None:
            (name, *more) = together
            if more or name.startswith("out"):
                as_step(None)
            else:
                same = self.arg(f"{name}.step").equals(0)
                choose(self.scalar, same, lambda: as_step(0), lambda: as_step(None))

        choose(self.scalar, dense, lambda: as_step(1), otherwise)
        self.streams = given

    def _cells(self) -> None:
        inputs = [self.streams[f"in{number}"].step for number in range(len(self.form.inputs))]
        body = LineBody(self, self.form.around, self.form.body, inputs, self.form.outer)
        self.cells(self.form.outer, True, functools.partial(self._line, body))

    def _line(self, body: LineBody, pointers: Pointers, others: dict[int, Vector], begin: Vector, end: Vector) -> None:
        form = self.form
        cursors = {name: self.cursor(name, pointer) for name, pointer in pointers.items()}
        inputs = Inputs([cursors[f"in{number}"] for number in range(len(form.inputs))], self.scalar)
        outputs = [cursors[f"out{number}"] for number in range(len(form.outputs))]
        dtypes = [one.stream.dtype for one in outputs]
        line = Spot(self.vectors(form.lanes), form.outer, begin, others)
        settled = body.settle(line, inputs.even)

        def visit(spot: Spot) -> None:
            stored = inputs.stored(spot)
            results = body.emit(spot, inputs.registers(spot, stored), settled)
            for target, value in zip(outputs, outputs_of(body.body, results, stored, dtypes), strict=True):
                target.write(spot, value)

        masked = form.isa.masks and all(one.stream.step == 1 for one in outputs)
        walk(line, self.scalar, begin, end, masked, visit)


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

    @functools.cached_property
    def across(self) -> int | None:
        """The axis along which inputs lie that are best read in blocks; None if there is none."""
        form = self.form
        return movement.crossing(self.axes, (*form.inputs, *form.outputs), len(form.inputs))

    def lines(self) -> Kernel:
        """Line after line."""
        form, sizes = self.form, self.axes.sizes or (1,)
        counted, parts = count_cells(sizes[:-1], sizes[-1], self._elements, chunked=True)
        found = counted | self._stream_arguments(form.streams, self.axes, form.outer)
        return Kernel((Stage(source(form), ordered(form.names, found), parts),))

    @property
    def woven(self) -> bool:
        """Whether the region copies a few lines into one, in turns."""
        dtypes = {one.dtype for one in self.operands}
        wide = len(dtypes) == 1 and self.operands[0].dtype.itemsize >= 4
        return wide and not self.form.body.code and not self.asked and weave.weaves(self.axes)

    def weaving(self) -> Kernel:
        """A vector of each line at a time."""
        sizes, outer = self.axes.sizes, len(self.axes.sizes) - 2
        form = weave.Form(self.isa, outer, self.operands[0].dtype, int(sizes[-1]))  # type: ignore[arg-type]
        counted, parts = count_cells(sizes[:outer], sizes[outer], self._elements, True, sizes[-1])
        found = counted | self._stream_arguments(form.streams, self.axes, outer)
        return Kernel((Stage(weave.source(form), ordered(form.names, found), parts),))

    def blocks(self) -> Kernel:
        """Blocks transposed in registers."""
        assert self.across is not None
        axes = movement.turned(self.axes, self.across)
        crossed = tuple(
            one.step is None and strides[-2] == 1 for one, strides in zip(self.form.inputs, axes.strides, strict=False)
        )
        around = surroundings(self.region, axes.places, self.asked)
        outer = len(axes.sizes) - 2
        form = movement.Form(self.isa, outer, self.form.inputs, crossed, self.form.outputs, self.form.body, around)
        counted, parts = count_cells(axes.sizes[:outer], axes.sizes[outer], self._elements, True, axes.sizes[-1], 16)
        found = counted | self._stream_arguments(form.streams, axes, outer + 1) | {"line": axes.sizes[-1]}
        stage = Stage(movement.source(form), ordered(form.names, found), parts)
        return Kernel((stage,), scratch=form.block * form.block * 8 * len(form.inputs))

    @property
    def _elements(self) -> int:
        moved = sum(one.dtype.itemsize for one in self.operands)
        return elements_a_part(moved, weight(self.form.body), self.form.lanes)

    def _stream_arguments(self, streams: Mapping[str, Stream], axes: Axes, line: int) -> dict[str, Argument]:
        found = surrounding_arguments(self.region, address)
        for (name, one), operand, strides in zip(streams.items(), self.operands, axes.strides, strict=True):
            found |= {f"@{name}": address(operand), **stream_arguments(name, one, strides, line)}
        return found


class PointwiseStrategy:
    """The generic tier of elementwise regions and of pure movement."""

    name = "pointwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Nested loops over lines; where inputs lie along another axis than the outputs, blocks or weaving first.

        Refused for element types and operations that have no generated code.
        """
        if not isinstance(region, Pointwise):
            return Refusal("not an elementwise region")
        reason = refusal(region.body)
        if reason:
            return Refusal(reason)
        lines, blocks, woven = (Tactic(self.name, (("by", word),)) for word in ("lines", "blocks", "weaving"))
        problem = _Problem(region, isa_of(target))
        if problem.across is None:
            return (lines,)
        return (woven, blocks, lines) if problem.woven else (blocks, lines)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Pointwise)
        problem = _Problem(region, isa_of(target))
        ways = {"lines": problem.lines, "blocks": problem.blocks, "weaving": problem.weaving}
        return ways[str(tactic["by"])]()


STRATEGY = PointwiseStrategy()

"""The code of reductions, softmax and norms: sweeps over rows that stay in cache.

Lanes lie along a row, and are combined at the end of a phase; or across rows, each lane being a row of its own, where
a row's elements are apart in memory and neighbouring rows are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.body import expand_body, weight
from tenfold.codegen.cpu.cells import CellWriter, Pointers, cell_names, stream_names
from tenfold.codegen.cpu.combine import Accumulator, Combiner
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import Cursor, Inputs, LineBody, Spot, Stream, Surroundings, lanes_for, outputs_of, walk
from tenfold.codegen.cpu.memory import first_lanes, load, store
from tenfold.codegen.cpu.microkernel import prefetch
from tenfold.codegen.cpu.storage import narrow, register_type, widen
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Body, Phase

_HEAVY = 64
"""The heaviest body that is written out four times."""
_AHEAD = 16
"""How many elements of its row ahead a vector of rows is asked for: the machine foresees no steps that cross pages."""


@dataclass(frozen=True)
class Form:
    """What the code depends on. `outer` axes count rows, `row` axes make one; `columns` chooses the form.

    `stash` says where results of the last phase's body are kept for `body`, whose last input they then are: in the
    first "output", in "scratch", or nowhere (""). Across rows, `side` vectors stand side by side.
    """

    isa: Isa
    columns: bool
    outer: int
    row: int
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    finish_inputs: tuple[Stream, ...]
    finish_outputs: tuple[Stream, ...]
    phases: tuple[Phase, ...]
    body: Body | None
    finish: Body | None
    around: Surroundings
    stash: str = ""
    side: int = 1

    @property
    def line(self) -> int:
        """The walked axis along which lanes lie."""
        return self.outer - 1 if self.columns else self.outer + self.row - 1

    @property
    def moving(self) -> dict[str, Stream]:
        """The operands that move along rows, by name."""
        return _named("in", self.inputs) | _named("out", self.outputs)

    @property
    def flat(self) -> dict[str, Stream]:
        """The operands that are one element a row, by name."""
        return _named("fin", self.finish_inputs) | _named("fout", self.finish_outputs)

    @property
    def lanes(self) -> int:
        """The width of its vectors."""
        dtypes = [one.dtype for one in (*self.inputs, *self.outputs)]
        wide = lanes_for(self.isa.vector_bytes, self.phases[0].body, dtypes)
        return min(wide, self.isa.vector_bytes // 4)

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order."""
        counted = cell_names(self.outer - 1 if self.columns else self.outer)
        sizes = tuple(f"row{axis}" for axis in range(self.row))
        streams = stream_names(self.moving, self.outer + self.row, self.line)
        flat = stream_names(self.flat, self.outer, self.line)
        return (*counted, *sizes, *streams, *flat, *self.around.names)


def _named(prefix: str, streams: Sequence[Stream]) -> dict[str, Stream]:
    return {f"{prefix}{number}": one for number, one in enumerate(streams)}


def side_by_side(body: Body) -> int:
    """How many accumulators hide the latency of combining what this body gives."""
    cost = weight(expand_body(body))
    return 4 if cost <= 6 else 2 if cost <= 20 else 1


def abreast(body: Body) -> int:
    """How many vectors of rows stand side by side: as many as make it worth coming to their lines of memory."""
    return 4 if weight(expand_body(body)) <= _HEAVY else 2


class RowWriter(CellWriter):
    """What both forms share: bodies, and loops over the axes of a row."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "rows", form.names, form.moving | form.flat)
        self.form = form
        self.combiners = [Combiner(one.combine, one.body.dtype(one.body.outputs[0])) for one in form.phases]
        steps = [one.step for one in form.inputs]
        even = None if form.columns else 0
        self.phases = [
            LineBody(self, form.around, one.body, [*steps, *[even] * number], form.line)
            for number, one in enumerate(form.phases)
        ]
        scalars = [even] * len(form.phases)
        self.body = (
            LineBody(self, form.around, form.body, [*steps, *scalars, *[1] * bool(form.stash)], form.line)
            if form.body
            else None
        )
        finish_steps = [one.step for one in form.finish_inputs]
        self.last = (
            LineBody(self, form.around, form.finish, [*finish_steps, *scalars], form.line) if form.finish else None
        )

    def nest(
        self,
        axes: int,
        pointers: Pointers,
        others: dict[int, Vector],
        carried: Sequence[ir.Value],
        inner: Callable[[Pointers, dict[int, Vector], Sequence[ir.Value]], Sequence[ir.Value]],
        axis: int = 0,
    ) -> Sequence[ir.Value]:
        """inner(pointers, positions, carried) for each place along the row's first `axes` axes; the last `carried`."""
        if axis == axes:
            return inner(pointers, others, carried)
        names = list(pointers)
        walked = self.form.outer + axis

        def turn(position: Vector, *values: ir.Value) -> Sequence[ir.Value]:
            here = dict(zip(names, values, strict=False))
            at = {**others, walked: position}
            after = self.nest(axes, here, at, values[len(names) :], inner, axis + 1)
            moved = [self.step(one, self.arg(f"{name}.{walked}")) for name, one in here.items()]
            return [*moved, *after]

        start = [*pointers.values(), *carried]
        _, final = repeat(self.scalar, 0, self.arg(f"row{axis}"), turn, start)
        return final[len(names) :]

    def moving(self, pointers: Pointers) -> Pointers:
        """The addresses of the operands that move along rows."""
        return {name: pointers[name] for name in self.form.moving}

    def cursors(self, pointers: Pointers, prefix: str, count: int) -> list[Cursor]:
        """Operands at the start of a line."""
        return [self.cursor(f"{prefix}{number}", pointers[f"{prefix}{number}"]) for number in range(count)]

    def place(self, others: dict[int, Vector], axes: int) -> Vector:
        """The position in the row, counted over its first `axes` axes."""
        flat = self.number(0)
        for axis in range(axes):
            flat = flat * self.arg(f"row{axis}") + others[self.form.outer + axis]
        return flat


class AlongRows(RowWriter):
    """Lanes lie along the innermost axis of a row."""

    def text(self) -> str:
        """The whole stage."""
        self.cells(self.form.outer, False, self._row)
        return self.finish()

    def _row(self, pointers: Pointers, others: dict[int, Vector], begin: Vector, end: Vector) -> None:
        scalars: list[ir.Value] = []
        for number in range(len(self.phases)):
            scalars.append(self._reduce(number, pointers, others, end, scalars))
        if self.body:
            self._apply(self.body, pointers, others, end, scalars)
        if self.last:
            self._finish(self.last, pointers, others, scalars)

    def _stash(self, pointers: Pointers) -> Cursor:
        if self.form.stash == "output":
            return self.cursor("out0", pointers["out0"])
        dtype = self.combiners[-1].dtype
        return Cursor(Stream(dtype, 1), self.scratch, self.number(dtype.itemsize))

    def _reduce(
        self, number: int, pointers: Pointers, others: dict[int, Vector], end: Vector, scalars: Sequence[ir.Value]
    ) -> ir.Value:
        """One phase over one row."""
        combiner, count = self.combiners[number], side_by_side(self.form.phases[number].body)
        wide = self.vectors(self.form.lanes)
        totals = [combiner.start(wide) for _ in range(count)]
        if not self.form.isa.masks:
            totals.append(combiner.start(self.scalar))

        def inner(here: Pointers, at: dict[int, Vector], values: Sequence[ir.Value]) -> Sequence[ir.Value]:
            visit = self._visitor(number, here, at, scalars)
            return _values(self._line(self._at(at), end, _like(totals, values), visit))

        last = self.nest(self.form.row - 1, self.moving(pointers), others, _values(totals), inner)
        final = _like(totals, last)
        total = final[0]
        for one in final[1:count]:
            total = combiner.merge(total, one)
        folded = tuple(self.scalar.wrap(one) for one in combiner.fold(total))
        for one in final[count:]:
            folded = combiner.merge(folded, one)
        return combiner.result([one.value for one in folded])

    def _visitor(
        self, number: int, here: Pointers, at: dict[int, Vector], scalars: Sequence[ir.Value]
    ) -> Callable[[Spot, Accumulator], Accumulator]:
        """What a phase does with the elements at a spot: their body, added to an accumulator."""
        inputs = Inputs(self.cursors(here, "in", len(self.form.inputs)), self.scalar)
        combiner = self.combiners[number]
        kept = self._stash(here) if self.form.stash and number == len(self.phases) - 1 else None
        base = self.place(at, self.form.row - 1) * self.arg(f"row{self.form.row - 1}")
        settled = self.phases[number].settle(self._at(at), self._even(inputs, scalars))

        def visit(spot: Spot, total: Accumulator) -> Accumulator:
            registers = inputs.registers(spot, inputs.stored(spot)) + [spot.code.splat(one) for one in scalars]
            (value,) = self.phases[number].emit(spot, registers, settled)
            if kept:
                kept.write(spot, narrow(kept.stream.dtype, value))
            place = spot.along() + spot.code.splat(base.value) if combiner.positional else None
            return combiner.add(total, value, place, spot.mask)

        return visit

    def _at(self, others: dict[int, Vector]) -> Spot:
        """The start of a line."""
        return Spot(self.vectors(self.form.lanes), self.form.line, self.number(0), others)

    def _even(self, inputs: Inputs, scalars: Sequence[ir.Value]) -> list[Vector]:
        """What stays the same along a line, as scalar registers."""
        return [*inputs.even, *(self.scalar.wrap(one) for one in scalars)]

    def _line(
        self, spot: Spot, end: Vector, totals: list[Accumulator], visit: Callable[[Spot, Accumulator], Accumulator]
    ) -> list[Accumulator]:
        """A line into accumulators: several vectors a turn, then one, then the rest into the first or the last."""
        lanes, masks = spot.code.lanes, self.form.isa.masks
        count = len(totals) - (not masks)
        done = self.number(0)
        kinds = totals
        for group in (count, 1) if count > 1 else (1,):
            stop = end & -(group * lanes)

            def turn(at: Vector, *values: ir.Value, group: int = group) -> Sequence[ir.Value]:
                current = _like(kinds, values)
                for number in range(group):
                    current[number] = visit(replace(spot, position=at + number * lanes), current[number])
                return _values(current)

            _, values = repeat(self.scalar, done, stop, turn, _values(totals), by=group * lanes)
            totals, done = _like(totals, values), stop
        if masks:
            tail = replace(spot, position=done, mask=first_lanes(spot.code, end - done))
            first = totals[0]
            found = choose(self.scalar, done < end, lambda: _values([visit(tail, first)]), lambda: _values([first]))
            return [*_like([first], found), *totals[1:]]
        single = replace(spot, code=self.scalar)

        def one(at: Vector, *values: ir.Value) -> Sequence[ir.Value]:
            (total,) = _like(totals[-1:], values)
            return _values([visit(replace(single, position=at), total)])

        _, values = repeat(self.scalar, done, end, one, _values(totals[-1:]))
        return [*totals[:-1], *_like(totals[-1:], values)]

    def _apply(
        self, body: LineBody, pointers: Pointers, others: dict[int, Vector], end: Vector, scalars: Sequence[ir.Value]
    ) -> None:
        """The body on each element of a row."""
        form = self.form
        dtypes = [one.dtype for one in form.outputs]
        masked = form.isa.masks and all(one.step == 1 for one in form.outputs)

        def inner(here: Pointers, at: dict[int, Vector], values: Sequence[ir.Value]) -> Sequence[ir.Value]:
            inputs = Inputs(self.cursors(here, "in", len(form.inputs)), self.scalar)
            targets = self.cursors(here, "out", len(form.outputs))
            even = self._even(inputs, scalars)
            if form.stash:
                even.append(self.scalar.wrap(self.scalar.undefined(register_type(self._stash(here).stream.dtype))))
            settled = body.settle(self._at(at), even)

            def visit(spot: Spot) -> None:
                stored = inputs.stored(spot)
                registers = inputs.registers(spot, stored) + [spot.code.splat(one) for one in scalars]
                if form.stash:
                    kept = self._stash(here)
                    registers.append(widen(kept.stream.dtype, kept.read(spot)))
                results = outputs_of(body.body, body.emit(spot, registers, settled), stored, dtypes)
                for target, value in zip(targets, results, strict=True):
                    target.write(spot, value)

            walk(self._at(at), self.scalar, self.number(0), end, masked, visit)
            return values

        self.nest(form.row - 1, self.moving(pointers), others, (), inner)

    def _finish(
        self, body: LineBody, pointers: Pointers, others: dict[int, Vector], scalars: Sequence[ir.Value]
    ) -> None:
        """What is one element a row."""
        form = self.form
        registers = [
            widen(one.dtype, load(self.scalar, one.dtype, pointers[f"fin{number}"]))
            for number, one in enumerate(form.finish_inputs)
        ]
        registers += [self.scalar.wrap(one) for one in scalars]
        spot = Spot(self.scalar, form.line, self.number(0), others)
        results = body.emit(spot, registers, body.settle(spot, registers))
        for number, (one, value) in enumerate(zip(form.finish_outputs, results, strict=True)):
            store(self.scalar, one.dtype, pointers[f"fout{number}"], narrow(one.dtype, value))


class AcrossRows(RowWriter):
    """Each lane is a row; lanes lie along the last of the axes that count rows."""

    def text(self) -> str:
        """The whole stage."""
        self.cells(self.form.outer - 1, True, self._chunk)
        return self.finish()

    def _chunk(self, pointers: Pointers, others: dict[int, Vector], begin: Vector, end: Vector) -> None:
        form, lanes = self.form, self.form.lanes
        wide = Spot(self.vectors(lanes), form.line, begin, others)
        outputs = (*form.outputs, *form.finish_outputs)
        masked = form.isa.masks and all(one.step == 1 for one in outputs)
        done = begin
        for group in (form.side,) if masked or form.side == 1 else (form.side, 1):
            stop = begin + (end - begin) / (group * lanes) * (group * lanes)

            def turn(at: Vector, group: int = group) -> None:
                self._block(pointers, [replace(wide, position=at + k * lanes) for k in range(group)])

            repeat(self.scalar, done, stop, turn, by=group * lanes)
            done = stop
        if masked:
            starts = [done + k * lanes for k in range(form.side)]
            rest = [replace(wide, position=at, mask=first_lanes(wide.code, end - at)) for at in starts]
            choose(self.scalar, done < end, lambda: self._block(pointers, rest), lambda: None)
            return
        single = replace(wide, code=self.scalar)
        repeat(self.scalar, done, end, lambda at: self._block(pointers, [replace(single, position=at)]))

    def _block(self, pointers: Pointers, spots: Sequence[Spot]) -> None:
        """As many rows as these spots have lanes."""
        form = self.form
        code = spots[0].code
        scalars: list[list[Vector]] = [[] for _ in spots]
        for number, combiner in enumerate(self.combiners):
            totals = [combiner.start(code) for _ in spots]
            inner = functools.partial(self._add, number, spots, scalars, totals)
            found = self.nest(form.row, self.moving(pointers), dict(spots[0].others), _values(totals), inner)
            for known, total in zip(scalars, _like(totals, found), strict=True):
                known.append(code.wrap(combiner.result([one.value for one in total])))
        if self.body:
            inner = functools.partial(self._write, self.body, spots, scalars)
            self.nest(form.row, self.moving(pointers), dict(spots[0].others), (), inner)
        if self.last:
            self._finish(self.last, pointers, spots, scalars)

    def _add(
        self,
        number: int,
        spots: Sequence[Spot],
        scalars: Sequence[Sequence[Vector]],
        totals: list[Accumulator],
        here: Pointers,
        at: dict[int, Vector],
        values: Sequence[ir.Value],
    ) -> Sequence[ir.Value]:
        """One element of each row into the accumulators of a phase."""
        combiner = self.combiners[number]
        inputs = Inputs(self.cursors(here, "in", len(self.form.inputs)), self.scalar)
        settled = self._settled(self.phases[number], replace(spots[0], others=at), inputs.even)
        place = self.place(at, self.form.row) if combiner.positional else None
        self._ask(spots, here)
        after = []
        for spot, known, total in zip(spots, scalars, _like(totals, values), strict=True):
            spot = replace(spot, others=at)
            registers = inputs.registers(spot, inputs.stored(spot))
            (value,) = self.phases[number].emit(spot, [*registers, *known], settled)
            after.append(combiner.add(total, value, spot.code.splat(place.value) if place else None, None))
        return _values(after)

    def _ask(self, spots: Sequence[Spot], here: Pointers) -> None:
        """Prefetch what the rows of these spots read some elements on."""
        axis = self.form.outer + self.form.row - 1
        for number, one in enumerate(self.form.inputs):
            if one.step == 1:
                far = self.step(here[f"in{number}"], self.arg(f"in{number}.{axis}") * _AHEAD)
                for spot in spots:
                    prefetch(self.builder, self.step(far, spot.position * one.dtype.itemsize))

    def _write(
        self,
        body: LineBody,
        spots: Sequence[Spot],
        scalars: Sequence[Sequence[Vector]],
        here: Pointers,
        at: dict[int, Vector],
        values: Sequence[ir.Value],
    ) -> Sequence[ir.Value]:
        """The body on one element of each row."""
        inputs = Inputs(self.cursors(here, "in", len(self.form.inputs)), self.scalar)
        targets = self.cursors(here, "out", len(self.form.outputs))
        dtypes = [one.dtype for one in self.form.outputs]
        settled = self._settled(body, replace(spots[0], others=at), inputs.even)
        self._ask(spots, here)
        for spot, known in zip(spots, scalars, strict=True):
            spot = replace(spot, others=at)
            stored = inputs.stored(spot)
            results = body.emit(spot, [*inputs.registers(spot, stored), *known], settled)
            results = outputs_of(body.body, results, stored, dtypes)
            for target, value in zip(targets, results, strict=True):
                target.write(spot, value)
        return values

    def _finish(
        self, body: LineBody, pointers: Pointers, spots: Sequence[Spot], scalars: Sequence[Sequence[Vector]]
    ) -> None:
        inputs = Inputs(self.cursors(pointers, "fin", len(self.form.finish_inputs)), self.scalar)
        targets = self.cursors(pointers, "fout", len(self.form.finish_outputs))
        settled = self._settled(body, spots[0], inputs.even)
        for spot, known in zip(spots, scalars, strict=True):
            registers = inputs.registers(spot, inputs.stored(spot))
            for target, value in zip(targets, body.emit(spot, [*registers, *known], settled), strict=True):
                target.write(spot, narrow(target.stream.dtype, value))

    def _settled(self, body: LineBody, spot: Spot, even: Sequence[Vector]) -> list[ir.Value]:
        """What a body computes that is the same for all rows of a block; the rows' own scalars are not."""
        missing = body.body.inputs[len(even) :]
        unknown = [self.scalar.wrap(self.scalar.undefined(register_type(dtype))) for dtype in missing]
        return body.settle(spot, [*even, *unknown])


def _values(totals: Sequence[Accumulator]) -> list[ir.Value]:
    return [one.value for total in totals for one in total]


def _like(totals: Sequence[Accumulator], values: Sequence[ir.Value]) -> list[Accumulator]:
    """Accumulators as these are, of other values."""
    rest = iter(values)
    return [tuple(Vector(one.code, next(rest)) for one in total) for total in totals]


@functools.cache
def source(form: Form) -> str:
    """The module of a row stage, in textual form."""
    return (AcrossRows if form.columns else AlongRows)(form).text()

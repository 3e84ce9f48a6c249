"""Rows: reductions, softmax, norms, arg-reductions. The code is in rows.py; here are its forms and arguments."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.axes import Axes, few
from tenfold.codegen.cpu import rows
from tenfold.codegen.cpu.body import expand_body, indices, multiplied, stashed, weight
from tenfold.codegen.cpu.cells import count_cells, elements_a_part, stream_arguments
from tenfold.codegen.cpu.emit import refusal
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import stream, surrounding_arguments, surroundings
from tenfold.codegen.cpu.rows import Form
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.region import Body, Index, Load, Operand, Phase, Region, Row
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.target import Target

_STASH_LIMIT = 1 << 16
"""Elements of a row that may be kept in scratch."""
_WORTH_KEEPING = 12.0
"""Vector instructions that a result takes at least to be kept rather than computed twice."""


@dataclass(frozen=True)
class _Problem:
    """A region after its axes became few."""

    region: Row
    isa: Isa
    columns: bool

    @property
    def bodies(self) -> list[Body]:
        """Every body of the region."""
        found = [*(one.body for one in self.region.phases), self.region.body, self.region.finish]
        return [expand_body(one) for one in found if one is not None]

    @functools.cached_property
    def asked(self) -> frozenset[int]:
        """The axes whose positions some body reads."""
        return frozenset[int]().union(*(indices(one) for one in self.bodies))

    @property
    def moving(self) -> tuple[Operand, ...]:
        """The operands that move along rows."""
        return (*self.region.inputs, *self.region.outputs)

    @property
    def flat(self) -> tuple[Operand, ...]:
        """Those that are one element a row."""
        return (*self.region.finish_inputs, *self.region.finish_outputs)

    @functools.cached_property
    def axes(self) -> Axes:
        """The walked axes, of which the row has one at least."""
        region = self.region
        strides = [one.strides for one in (*self.moving, *self.flat)]
        found = few(region.domain, strides, self.asked, region.reduced)
        if self._row_count(found):
            return found
        padded = tuple((*one, 1) for one in found.strides)
        return Axes((*found.sizes, 1), padded, found.places)

    def _row_count(self, axes: Axes) -> int:
        outer = self.region.domain[: len(self.region.domain) - self.region.reduced]
        counted = few(outer, [one.strides[: len(outer)] for one in (*self.moving, *self.flat)], self.asked)
        return len(axes.sizes) - len(counted.sizes)

    @property
    def row(self) -> int:
        """How many of the walked axes make a row."""
        return self._row_count(self.axes)

    @property
    def outer(self) -> int:
        """How many count rows."""
        return len(self.axes.sizes) - self.row

    @property
    def line(self) -> int:
        """The axis along which lanes lie."""
        return self.outer - 1 if self.columns else len(self.axes.sizes) - 1

    @functools.cached_property
    def form(self) -> Form:
        """What the code depends on."""
        region = self.region
        pairs = zip((*self.moving, *self.flat), self.axes.strides, strict=True)
        streams = [stream(one.dtype, strides[self.line]) for one, strides in pairs]
        counts = (len(region.inputs), len(region.outputs), len(region.finish_inputs), len(region.finish_outputs))
        ends = list(itertools.accumulate(counts))
        inputs, outputs, first, last = (tuple(streams[end - n : end]) for n, end in zip(counts, ends, strict=True))
        phases = tuple(Phase(expand_body(one.body), one.combine) for one in region.phases)
        body = expand_body(region.body) if region.body else None
        finish = expand_body(region.finish) if region.finish else None
        around = surroundings(region, self.axes.places, self.asked)
        form = self._with_stash(
            Form(
                self.isa, self.columns, self.outer, self.row, inputs, outputs, first, last, phases, body, finish, around
            )
        )
        if self.columns:
            return replace(form, side=self._side(form))
        if form.body is None:
            return form
        even = [one.step == 0 for one in form.inputs] + [True] * len(phases) + [False] * bool(form.stash)
        return replace(form, body=multiplied(form.body, even))

    def _side(self, form: Form) -> int:
        """How many vectors stand side by side: no more than there are."""
        count = min(rows.abreast(one.body) for one in form.phases)
        columns = self.axes.sizes[self.line]
        return min(count, max(1, -(-columns // form.lanes))) if isinstance(columns, int) else count

    def _with_stash(self, form: Form) -> Form:
        """The form that keeps what the last phase computes dearly and the body wants again."""
        if form.body is None or self.columns or form.row > 1:
            return form
        last = form.phases[-1].body
        body = stashed(form.body, last)
        kind = last.dtype(last.outputs[0])
        if body is None or weight(last) < _WORTH_KEEPING or kind not in (dt.f32, dt.f64):
            return form
        used = {register for one in body.code for register in one.args} | set(body.outputs)
        first = form.outputs[0]
        still = any(number in used and one.step != 0 for number, one in enumerate(form.inputs))
        if first.step == 1 and first.dtype is kind and not still:
            return replace(form, body=body, stash="output")
        _, longest = dim.bounds(self.axes.sizes[-1])
        return replace(form, body=body, stash="scratch") if longest is not None and longest <= _STASH_LIMIT else form

    @property
    def scratch(self) -> int:
        """Bytes of scratch."""
        if self.form.stash != "scratch":
            return 0
        _, longest = dim.bounds(self.axes.sizes[-1])
        last = self.form.phases[-1].body
        return (longest or 0) * last.dtype(last.outputs[0]).itemsize + 64

    @functools.cached_property
    def counted(self) -> tuple[dict[str, Argument], Size]:
        """The arguments that count cells, and how many parts there are."""
        sizes, outer = self.axes.sizes, self.outer
        moved = sum(one.dtype.itemsize for one in self.moving)
        elements = elements_a_part(moved, sum(map(weight, self.bodies)) + 1, self.form.lanes)
        if self.columns:
            return count_cells(sizes[: outer - 1], sizes[outer - 1], elements, True, dim.product(sizes[outer:]))
        return count_cells(sizes[:outer], sizes[-1], elements, False, dim.product(sizes[outer:-1]))

    def arguments(self) -> tuple[Argument, ...]:
        """What the stage's `args` hold."""
        form, axes = self.form, self.axes
        found = self.counted[0] | surrounding_arguments(self.region, address)
        found |= {f"row{axis}": axes.sizes[self.outer + axis] for axis in range(self.row)}
        streams = (form.moving | form.flat).items()
        for (name, one), operand, strides in zip(streams, (*self.moving, *self.flat), axes.strides, strict=True):
            found |= {f"@{name}": address(operand), **stream_arguments(name, one, strides, self.line)}
        return ordered(form.names, found)


def _loads_along(region: Row, places: Sequence[int | None], axis: int) -> int:
    """How many operands the phases gather in consecutive elements along a walked axis."""
    found = 0
    for body in (one.body for one in region.phases):
        numbered = list(enumerate(body.code, len(body.inputs)))
        along = {at for at, one in numbered if isinstance(one.op, Index) and places[one.op.axis] == axis}
        for _, one in numbered:
            if isinstance(one.op, Load):
                strides = region.gathered[one.op.number].strides
                found += any(stride == 1 and arg in along for arg, stride in zip(one.args, strides, strict=True))
    return found


class ReduceStrategy:
    """The generic tier of rows."""

    name = "reduce"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Lanes along rows, or across them where neighbouring rows lie closer: what memory favours comes first."""
        if not isinstance(region, Row):
            return Refusal("not a reduction over rows")
        bodies = [one.body for one in region.phases]
        bodies += [one for one in (region.body, region.finish) if one is not None]
        for body in bodies:
            reason = refusal(body)
            if reason:
                return Refusal(reason)
        if not region.phases:
            return Refusal("a row without a reduction")
        problem = _Problem(region, isa_of(target), False)
        along, across = (Tactic(self.name, (("lanes", word),)) for word in ("along", "across"))
        if problem.outer == 0:
            return (along,)
        last = problem.outer - 1
        whole = [one for one in problem.axes.strides[: len(problem.moving)] if one[last] != 0 and one[-1] != 0]
        near, beside = sum(one[-1] == 1 for one in whole), sum(one[last] == 1 for one in whole)
        beside += _loads_along(region, problem.axes.places, last)
        return (across, along) if beside > near else (along, across)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Row)
        problem = _Problem(region, isa_of(target), tactic["lanes"] == "across")
        stage = Stage(rows.source(problem.form), problem.arguments(), problem.counted[1])
        return Kernel((stage,), problem.scratch)


STRATEGY = ReduceStrategy()

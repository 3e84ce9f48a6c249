"""Recurrent cells: LSTM, GRU and RNN over sequences, as one product for all inputs and then step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu import emit
from tenfold.codegen.cpu.entry import parts_of, steps
from tenfold.codegen.cpu.gates import activation_body, cell_of
from tenfold.codegen.cpu.isa import LINE, Isa, isa_of
from tenfold.codegen.cpu.packing import view_recipe
from tenfold.codegen.cpu.recurrence import PACK_NAMES, Form, advance_source, pack_source, project_source
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.cpu.storage import SUPPORTED
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Op
from tenfold.ops.movement import Pad, Reshape, Slice, Transpose
from tenfold.ops.recurrent import Recurrent
from tenfold.target import Target

_GRAIN = 1 << 15
"""Products whose weights take about 2 µs to read: less is not worth a part of its own."""
_MOST_STAGES = 64
"""The most steps that are stages of their own."""


@dataclass(frozen=True, eq=False)
class Roles:
    """The operands of a region by what they are to the cell."""

    x: Operand
    w: Operand
    r: Operand
    biases: dict[str, Operand]
    first: dict[str, Operand]
    lengths: Operand | None
    y: Operand
    last: dict[str, Operand]


class Room:
    """The kernel's workspace, handed out in whole cache lines."""

    def __init__(self) -> None:
        self.size: Size = 0

    def take(self, size: Size) -> Workspace:
        """So many bytes."""
        place = Workspace(self.size)
        self.size = self.size + dim.ceildiv(size, LINE) * LINE
        return place


class RecurrentStrategy:
    """`serial` runs all steps in one stage, in parts of the sequences; `steps`, for one step or one sequence of a known
    number of them, gives each step a stage, in parts of the units too.
    """

    name = "recurrent"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The two, or the one that applies."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Recurrent):
            return Refusal("no recurrent cell")
        x, op = region.inputs[0], region.anchor
        reasons = (emit.refusal(activation_body(one, x.dtype)) for one in op.functions())
        reason = next((one for one in reasons if one), None)
        if x.dtype not in SUPPORTED or reason or region.body.code:
            return Refusal(reason or f"a cell of {x.dtype}")
        serial, split = (Tactic(self.name, (("order", order),)) for order in ("serial", "steps"))
        count, sequences = x.shape[0], x.shape[1]
        if count == 1:
            return (split, serial)
        if sequences != 1 or not isinstance(count, int) or not 1 < count <= _MOST_STAGES:
            return (serial,)
        return (split, serial) if op.gates * op.hidden**2 >= 2 * _GRAIN else (serial, split)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The stages: weights that are no constants into panels, the product, the steps."""
        assert isinstance(region, Anchored)
        return _Maker(region, isa_of(target)).kernel(tactic["order"] == "steps")


class _Maker:
    def __init__(self, region: Anchored, isa: Isa) -> None:
        assert isinstance(region.anchor, Recurrent)
        self.op = region.anchor
        self.isa = isa
        self.roles = _roles(region, self.op)
        roles = self.roles
        named = {"y": roles.y}
        named |= {f"{name}.first": one for name, one in roles.first.items()}
        named |= {f"{name}.last": one for name, one in roles.last.items()}
        units = tuple(name for name, one in named.items() if one.strides[-1] == 1)
        self.form = Form(isa, self.op, roles.x.dtype, units)
        self.room = Room()
        self.stages: list[Stage] = []
        self.steps, self.sequences = roles.x.shape[:2]

    def kernel(self, split: bool) -> Kernel:
        form = self.form
        everything = tuple(range(form.gates))
        w = self._panels(self.roles.w, everything)
        weights = {
            f"@{name}": self._panels(one, everything[: form.cell.biases[name]])
            for name, one in self.roles.biases.items()
        }
        for number, sweep in enumerate(form.cell.sweeps):
            weights[f"@r{number}"] = self._panels(self.roles.r, sweep.gates)
        x = self._rows(self.roles.x)
        rows = self.steps * self.sequences
        pre = self.room.take(dim.ceildiv(rows, form.rows) * (form.panels * form.sums(form.gates)))
        state = self.sequences * form.pitch
        states = {f"@{name}.old": self.room.take(state) for name in form.cell.states}
        inner = {f"@{name}": self.room.take(state) for name in ("h.new", *form.cell.passing)}
        self._project(x, w, pre, states)
        values: dict[str, Argument] = {"@pre": pre, **weights, **states, **inner, **self._results()}
        if split:
            self._split(values)
        else:
            parts = parts_of(self._work() * self.steps, _GRAIN, dim.minimum(self.sequences, THREADS))
            which = tuple(range(len(form.cell.sweeps)))
            self._advance(which, values | {"from": 0, "count": self.steps, "parts": parts, "panel_parts": 1})
        return Kernel(tuple(self.stages), form.scratch, self.room.size)

    def _work(self) -> Size:
        """The products of one step."""
        return self.sequences * (self.form.gates * self.op.hidden**2)

    def _split(self, values: dict[str, Argument]) -> None:
        """A stage for each sweep of each step, in parts of the sequences, and of the units if there are too few."""
        assert isinstance(self.steps, int)
        most = parts_of(self._work(), _GRAIN, THREADS)
        rows = dim.maximum(1, dim.minimum(most, self.sequences))
        panels = dim.minimum(self.form.panels, most // rows)
        values |= {"count": 1, "parts": rows * panels, "panel_parts": panels}
        for at in range(self.steps):
            for number in range(len(self.form.cell.sweeps)):
                self._advance((number,), values | {"from": at})

    def _project(self, x: dict[str, Argument], w: Argument, pre: Workspace, states: dict[str, Workspace]) -> None:
        form = self.form
        rows = self.steps * self.sequences
        items = dim.ceildiv(rows, form.rows) * form.panels
        work = rows * self.roles.x.shape[2] * (form.gates * self.op.hidden)
        parts = parts_of(work, _GRAIN, dim.minimum(items, 4 * THREADS))
        values: dict[str, Argument] = {"@w": w, "@pre": pre, "parts": parts, **x, **states}
        values |= {"steps": self.steps, "sequences": self.sequences, "terms": self.roles.x.shape[2]}
        for name, one in self.roles.first.items():
            values[f"@{name}.first"] = address(one)
            values |= steps(one, f"{name}.first.sequence", f"{name}.first.unit")
        self.stages.append(Stage(project_source(form), ordered(form.project_names, values), parts))

    def _advance(self, which: tuple[int, ...], values: dict[str, Argument]) -> None:
        source = advance_source(self.form, which)
        parts = values["parts"]
        assert isinstance(parts, Size)
        self.stages.append(Stage(source, ordered(self.form.advance_names, values), parts))

    def _results(self) -> dict[str, Argument]:
        roles = self.roles
        values: dict[str, Argument] = {"steps": self.steps, "sequences": self.sequences, "@y": address(roles.y)}
        values |= steps(roles.y, "y.step", "y.sequence", "y.unit")
        for name, one in roles.last.items():
            values |= {f"@{name}.last": address(one)} | steps(one, f"{name}.last.sequence", f"{name}.last.unit")
        if roles.lengths is not None:
            values |= {"@lengths": address(roles.lengths)} | steps(roles.lengths, "lengths.sequence")
        return values

    def _panels(self, matrix: Operand, gates: tuple[int, ...]) -> Argument:
        """Some gates of a matrix [gate unit, term], or of a bias, as panels [panel][term][gate][unit]."""
        width, hidden = self.form.width, self.op.hidden
        rows, terms = (*matrix.shape, 1)[:2]
        recipe = view_recipe(matrix)
        if recipe is not None and isinstance(rows, int) and isinstance(terms, int):
            return Packed(matrix.value, recipe + _panel_recipe((rows // hidden, hidden, terms), gates, width))
        along = matrix.strides[1] if len(matrix.shape) == 2 else 0
        one, first = matrix.strides[0], matrix.offset + gates[0] * hidden * matrix.strides[0]
        view = Operand(
            matrix.value, matrix.dtype, (self.form.panels, terms, len(gates), width),
            (width * one, along, hidden * one, one), first,
        )  # fmt: skip
        return self._packed(view, hidden)

    def _rows(self, x: Operand) -> dict[str, Argument]:
        """x as rows of adjacent terms: as it lies, or copied."""
        if x.strides[2] == 1:
            return {"@x": address(x)} | steps(x, "x.step", "x.sequence", "x.term")
        t, n, k = x.strides
        view = Operand(x.value, x.dtype, (x.shape[0], x.shape[1], 1, x.shape[2]), (t, n, 0, k), x.offset)
        size = x.dtype.itemsize
        place = self._packed(view, x.shape[0] * x.shape[2])
        return {"@x": place, "x.step": x.shape[1] * x.shape[2] * size, "x.sequence": x.shape[2] * size}

    def _packed(self, view: Operand, limit: Size) -> Workspace:
        place = self.room.take(dim.product(view.shape) * view.dtype.itemsize)
        values: dict[str, Argument] = {"@source": address(view), "@target": place, "limit": limit}
        values |= {f"size{axis}": size for axis, size in enumerate(view.shape)}
        values |= steps(view, *(f"step{axis}" for axis in range(4)))
        self.stages.append(Stage(pack_source(self.isa, view.dtype), ordered(PACK_NAMES, values), view.shape[0]))
        return place


def _roles(region: Anchored, op: Recurrent) -> Roles:
    cell = cell_of(op)
    x, w, r, *rest = region.inputs
    lengths = rest.pop() if op.lengths else None
    first = dict(zip(cell.states, rest[op.biases :], strict=False))
    biases = dict(zip(cell.biases, [*rest[: op.biases], *rest[op.biases + op.states :]], strict=True))
    y, *last = region.outputs
    return Roles(x, w, r, biases, first, lengths, y, dict(zip(cell.states, last, strict=True)))


def _panel_recipe(shape: tuple[int, int, int], gates: tuple[int, ...], width: int) -> tuple[Op, ...]:
    whole, hidden, terms = shape
    panels = -(-hidden // width)
    return (
        Reshape((whole, hidden, terms)),
        Slice((gates[0], 0, 0), (len(gates), hidden, terms), (1, 1, 1)),
        Pad((0, 0, 0), (0, panels * width - hidden, 0)),
        Reshape((len(gates), panels, width, terms)),
        Transpose((1, 3, 0, 2)),
    )


STRATEGY = RecurrentStrategy()

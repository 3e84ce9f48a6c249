"""Scattering: a copy of the data, then updates placed where positions say, or combined there, in their order.

Parts are such that no two of them write the same element: the lines along the axis of ScatterElements, stretches of the
slices that ScatterND places. So equal positions are served in the order of the updates, whatever the parts. A position
out of range ends the call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.axes import at_least_one, few
from tenfold.codegen.cpu import emit
from tenfold.codegen.cpu.entry import Entry, parts_of
from tenfold.codegen.cpu.epilogue import copied, with_epilogue
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.stage import address, divided, numbered, operand_values, ordered, share_of
from tenfold.codegen.cpu.storage import SUPPORTED, narrow, widen, wrap
from tenfold.codegen.cpu.vectors import I1, I32, I64, Vector, Vectors
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, Kind
from tenfold.ops.index import Reduction, ScatterElements, ScatterND
from tenfold.runtime.cpu.block import KERNEL_ERROR
from tenfold.target import Target

_GRAIN = 1 << 12
"""Updates worth a part."""
_STRETCH = 64
"""Elements of a slice that a part takes at least."""


@dataclass(frozen=True)
class Form:
    """What the code depends on. `outer` axes count the lines of ScatterElements, or the updates of ScatterND, whose
    positions have `depth` coordinates and whose slices have `inner` axes, the last of them `adjacent` or not.
    """

    isa: Isa
    dtype: DType
    positions: DType
    reduction: Reduction
    outer: int
    depth: int = 0
    inner: int = 0
    adjacent: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage; steps in bytes."""
        found = ["@y", "@updates", "@positions", "points", "parts", *(f"size{axis}" for axis in range(self.outer))]
        for name in ("updates", "positions"):
            found += [f"{name}.{axis}" for axis in range(self.outer)]
        if not self.depth:
            found += ["size", "count", "y.line", "updates.line", "positions.line"]
            return (*found, *(f"y.{axis}" for axis in range(self.outer)))
        found += [
            "positions.coordinate",
            *(f"{word}{d}" for d in range(self.depth) for word in ("limit", "y.coordinate")),
        ]
        found += [
            "slices",
            *(f"{word}{axis}" for axis in range(self.inner) for word in ("inner", "y.inner", "updates.inner")),
        ]
        return tuple(found)


class _Writer(Entry):
    """What both forms do: read positions, place updates."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "scatter", form.names)
        self.form = form

    def position(self, pointer: ir.Value, size: Vector) -> tuple[Vector, Vector]:
        """The position stored there, counted from the start, and whether it is in range."""
        dtype = self.form.positions
        stored = load(self.scalar, dtype, pointer)
        found = stored.zero_extend(I64) if dtype.kind is Kind.UINT else stored.to_integer(I64)
        found = (found < 0).where(found + size, found)
        return found, found.compare("<", size, unsigned=True)

    def place(self, code: Vectors, y: ir.Value, update: ir.Value) -> None:
        """Updates as many as `code` has lanes, put at `y` or combined with what is there."""
        form, dtype = self.form, self.form.dtype
        new = load(code, dtype, update)
        if form.reduction != "none":
            old = widen(dtype, load(code, dtype, y))
            new = narrow(dtype, wrap(dtype, _combined(form.reduction, dtype, old, widen(dtype, new))))
        store(code, dtype, y, new)

    def served(self, count: Vector, one: Callable[[Vector, Vector], Vector]) -> Vector:
        """one(i, good) for i below `count`, which says whether all was good up to and with this one."""

        def turn(i: Vector, good: ir.Value) -> Sequence[ir.Value]:
            return [one(i, self.scalar.wrap(good)).value]

        _, (good,) = repeat(self.scalar, 0, count, turn, [self.scalar.constant(I1, 1).value])
        return self.scalar.wrap(good)

    def ended(self, good: Vector) -> str:
        """The module, the status being an error unless all was good."""
        status = good.where(self.scalar.constant(I32, 0), KERNEL_ERROR)
        self.builder.ret(status.value)
        return str(self.module)


class _Elements(_Writer):
    """Writes the stage of ScatterElements: a part is a stretch of lines."""

    def text(self) -> str:
        """The module."""
        first, last = share_of(self.arg("points"), self.part, self.arg("parts"))

        def line(number: Vector, good: Vector) -> Vector:
            at = self.points(self.form.outer, first + number)
            y, updates, positions = (self.at(name, at) for name in ("y", "updates", "positions"))

            def element(i: Vector, good: Vector) -> Vector:
                pointer = self.step(positions, i * self.arg("positions.line"))
                found, inside = self.position(pointer, self.arg("size"))

                def put() -> None:
                    update = self.step(updates, i * self.arg("updates.line"))
                    self.place(self.scalar, self.step(y, found * self.arg("y.line")), update)

                choose(self.scalar, inside, put, lambda: None)
                return good & inside

            return good & self.served(self.arg("count"), element)

        return self.ended(self.served(last - first, line))


class _Slices(_Writer):
    """Writes the stage of ScatterND: a part is a stretch of the last axis of the slices, for all updates in order."""

    def text(self) -> str:
        """The module."""
        form = self.form
        width = self.arg(f"inner{form.inner - 1}") if form.inner else self.number(1)
        first, last = share_of(width, self.part, self.arg("parts"))

        def update(number: Vector, good: Vector) -> Vector:
            at = self.points(form.outer, number)
            updates, positions = self.at("updates", at), self.at("positions", at)
            y, inside = self.pointer("@y"), self.scalar.constant(I1, 1)
            for d in range(form.depth):
                pointer = self.step(positions, self.arg("positions.coordinate") * d)
                found, good_here = self.position(pointer, self.arg(f"limit{d}"))
                y, inside = self.step(y, found * self.arg(f"y.coordinate{d}")), inside & good_here
            choose(self.scalar, inside, lambda: self._slice(y, updates, first, last), lambda: None)
            return good & inside

        return self.ended(self.served(self.arg("points"), update))

    def _slice(self, y: ir.Value, updates: ir.Value, first: Vector, last: Vector) -> None:
        """The lines of one slice, each from `first` to `last`."""
        axes = self.form.inner - 1
        if axes < 0:
            self.place(self.scalar, y, updates)
            return
        lanes = self.isa.lanes(max(4, self.form.dtype.itemsize)) if self.form.adjacent else 1

        def line(number: Vector) -> None:
            starts = {"y": y, "updates": updates}
            for axis in reversed(range(axes)):
                number, at = divided(number, self.arg(f"inner{axis}"))
                starts = {name: self.step(one, at * self.arg(f"{name}.inner{axis}")) for name, one in starts.items()}

            def several(code: Vectors, i: Vector) -> None:
                places = (self.step(one, i * self.arg(f"{name}.inner{axes}")) for name, one in starts.items())
                self.place(code, *places)

            self.sweep(lanes, first, last, several)

        repeat(self.scalar, 0, self.arg("slices"), line)


def _combined(reduction: Reduction, dtype: DType, old: Vector, new: Vector) -> Vector:
    match reduction:
        case "add":
            return old + new
        case "mul":
            return old * new
        case "max":
            return emit.maximum(dtype, old, new)
    return emit.minimum(dtype, old, new)


@functools.cache
def source(form: Form) -> str:
    """The module that places the updates."""
    return (_Slices if form.depth else _Elements)(form).text()


class ScatterStrategy:
    """ScatterElements and ScatterND."""

    name = "scatter"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way; refused for what is not combined element by element."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, ScatterElements | ScatterND):
            return Refusal("no scattering")
        dtype = region.inputs[0].dtype
        if dtype not in SUPPORTED or (dtype is dt.boolean and region.anchor.reduction != "none"):
            return Refusal(f"{region.anchor.reduction} of {dtype}")
        reason = emit.refusal(region.body)
        return Refusal(reason) if reason else (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The copy, unless data and result are one buffer, the updates, and the body's stage."""
        assert isinstance(region, Anchored)
        x, positions, updates = region.inputs
        isa = isa_of(target)

        def make(y: Operand) -> Kernel:
            if isinstance(region.anchor, ScatterND):
                placing = _slices(region.anchor, y, positions, updates, isa)
            else:
                assert isinstance(region.anchor, ScatterElements)
                placing = _elements(region.anchor, y, positions, updates, isa)
            return Kernel((*(copied(x, y, target) if x.value is not y.value else ()), placing))

        return with_epilogue(region, target, make)


def _elements(op: ScatterElements, y: Operand, positions: Operand, updates: Operand, isa: Isa) -> Stage:
    updates = _spread(updates, positions.shape)
    named = {"y": y, "updates": updates, "positions": positions}
    rest = [axis for axis in range(len(positions.shape)) if axis != op.axis]
    sizes = [positions.shape[axis] for axis in rest]
    found = few(sizes, [[one.strides[axis] for axis in rest] for one in named.values()])
    form = Form(isa, y.dtype, positions.dtype, op.reduction, len(found.sizes))
    points, count = dim.product(found.sizes), positions.shape[op.axis]
    parts = parts_of(points * count, _GRAIN, dim.minimum(points, 4 * THREADS))
    values: dict[str, Argument] = {"points": points, "parts": parts, "size": y.shape[op.axis], "count": count}
    values |= {f"size{axis}": at_least_one(size) for axis, size in enumerate(found.sizes)}
    for (name, one), strides in zip(named.items(), found.strides, strict=True):
        values |= operand_values(name, one, {"line": one.strides[op.axis], **numbered(strides)})
    return Stage(source(form), ordered(form.names, values), parts)


def _slices(op: ScatterND, y: Operand, positions: Operand, updates: Operand, isa: Isa) -> Stage:
    *batch, depth = positions.shape
    assert isinstance(depth, int)
    updates = _spread(updates, (*batch, *y.shape[depth:]))
    outer = few(batch, [updates.strides[: len(batch)], positions.strides[:-1]])
    inner = few(y.shape[depth:], [y.strides[depth:], updates.strides[len(batch) :]])
    adjacent = bool(inner.sizes) and all(strides[-1] == 1 for strides in inner.strides)
    form = Form(
        isa, y.dtype, positions.dtype, op.reduction, len(outer.sizes), depth, len(inner.sizes), adjacent
    )  # fmt: skip
    points, width = dim.product(outer.sizes), inner.sizes[-1] if inner.sizes else 1
    work = points * dim.product(inner.sizes)
    parts = parts_of(work, _GRAIN, dim.minimum(dim.ceildiv(width, _STRETCH), 4 * THREADS))
    values: dict[str, Argument] = {"points": points, "parts": parts, "slices": dim.product(inner.sizes[:-1])}
    values |= {f"size{axis}": at_least_one(size) for axis, size in enumerate(outer.sizes)}
    values |= {f"inner{axis}": at_least_one(size) for axis, size in enumerate(inner.sizes[:-1])}
    values |= {f"inner{len(inner.sizes) - 1}": width} if inner.sizes else {}
    for (name, one), strides in zip((("updates", updates), ("positions", positions)), outer.strides, strict=True):
        values |= _steps(name, one, strides)
    for (name, one), strides in zip((("y", y), ("updates", updates)), inner.strides, strict=True):
        values |= _steps(name, one, strides, ".inner")
    values |= {f"@{name}": address(one) for name, one in (("y", y), ("updates", updates), ("positions", positions))}
    values["positions.coordinate"] = positions.strides[-1] * positions.dtype.itemsize
    for d in range(depth):
        values |= {f"limit{d}": y.shape[d], f"y.coordinate{d}": y.strides[d] * y.dtype.itemsize}
    return Stage(source(form), ordered(form.names, values), parts)


def _steps(name: str, operand: Operand, strides: Sequence[Size], word: str = ".") -> dict[str, Argument]:
    size = operand.dtype.itemsize
    return {f"{name}{word}{axis}": stride * size for axis, stride in enumerate(strides)}


def _spread(operand: Operand, shape: tuple[Size, ...]) -> Operand:
    """An operand repeated along its axes of size 1 where the shape is larger."""
    pairs = zip(operand.shape, operand.strides, strict=True)
    strides = tuple(0 if size == 1 else stride for size, stride in pairs)
    return Operand(operand.value, operand.dtype, shape, strides, operand.offset)


STRATEGY = ScatterStrategy()

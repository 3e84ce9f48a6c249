"""Running sums, products and extremes along an axis.

Lines along the axis are independent: where another axis has stride 1 in both tensors, several lines run side by side in
vectors, else one after another. Each line is combined in order, whatever the parts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.axes import at_least_one, few
from tenfold.codegen.cpu import emit
from tenfold.codegen.cpu.entry import Entry, parts_of
from tenfold.codegen.cpu.epilogue import with_epilogue
from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.stage import address, divided, least, ordered, share_of
from tenfold.codegen.cpu.storage import narrow, register_type, widen
from tenfold.codegen.cpu.vectors import Vector, Vectors
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ops.reduce import Cumulative
from tenfold.target import Target

_GRAIN = 1 << 13
"""Elements worth a part."""
_TOGETHER = 4
"""Vectors of lines that run side by side."""
_CHUNK = 256
"""Lines side by side that a part takes at least."""


@dataclass(frozen=True)
class Form:
    """What the code depends on. `outer` axes stand round the lines; `side`: lines lie side by side along one more."""

    isa: Isa
    op: Cumulative
    dtype: DType
    outer: int
    side: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage; steps in bytes."""
        found = ["@x", "@y", "size", "x.line", "y.line", "width", "chunks", "points", "parts"]
        for axis in range(self.outer):
            found += [f"size{axis}", f"x.{axis}", f"y.{axis}"]
        return tuple(found)


class _Writer(Entry):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "scan", form.names)
        self.form = form

    def text(self) -> str:
        """A part is a stretch of points, each of them a chunk of lines where lines lie side by side."""
        first, last = share_of(self.arg("points"), self.part, self.arg("parts"))

        def point(number: Vector) -> None:
            if not self.form.side:
                at = self.points(self.form.outer, number)
                self._lines(self.scalar, self.at("x", at), self.at("y", at))
                return
            number, chunk = divided(number, self.arg("chunks"))
            at, begin = self.points(self.form.outer, number), chunk * _CHUNK
            self._chunk(self.at("x", at), self.at("y", at), begin, least(begin + _CHUNK, self.arg("width")))

        repeat(self.scalar, first, last, point)
        return self.finish()

    def _chunk(self, x: ir.Value, y: ir.Value, begin: Vector, end: Vector) -> None:
        size = self.form.dtype.itemsize
        lanes = self.isa.lanes(max(4, size))

        def several(code: Vectors, place: Vector) -> None:
            self._lines(code, self.step(x, place * size), self.step(y, place * size))

        wide = begin + ((end - begin) & -(_TOGETHER * lanes))
        self.sweep(_TOGETHER * lanes, begin, wide, several)
        self.sweep(lanes, wide, end, several)

    def _lines(self, code: Vectors, x: ir.Value, y: ir.Value) -> None:
        """As many lines as `code` has lanes, from their first element in the order of the scan."""
        op, dtype = self.form.op, self.form.dtype
        steps = [self.arg("x.line"), self.arg("y.line")]
        if op.reverse:
            last = self.arg("size") - 1
            x, y = (self.step(line, last * by) for line, by in zip((x, y), steps, strict=True))
            steps = [-by for by in steps]
        kind = register_type(dtype)
        start = code.constant(kind, _neutral(op.kind, dtype))
        shown = code.constant(kind, 0) if op.kind == "sum" else start

        def element(_: Vector, x: ir.Value, y: ir.Value, running: ir.Value, before: ir.Value) -> Sequence[ir.Value]:
            value = widen(dtype, load(code, dtype, x))
            total = self._combined(code.wrap(running), value)
            store(code, dtype, y, narrow(dtype, code.wrap(before) if op.exclusive else total))
            return self.step(x, steps[0]), self.step(y, steps[1]), total.value, total.value

        repeat(self.scalar, 0, self.arg("size"), element, (x, y, start.value, shown.value))

    def _combined(self, a: Vector, b: Vector) -> Vector:
        match self.form.op.kind:
            case "sum":
                return a + b
            case "prod":
                return a * b
            case "max":
                return emit.maximum(self.form.dtype, a, b)
        return emit.minimum(self.form.dtype, a, b)


def _neutral(kind: str, dtype: DType) -> float | int:
    """What changes no element it is combined with: for sums of floats -0."""
    low, high = (-math.inf, math.inf) if dtype.is_float else dtype.limits
    return {"sum": -0.0 if dtype.is_float else 0, "prod": 1, "max": low, "min": high}[kind]


@functools.cache
def source(form: Form) -> str:
    """The module of a scan."""
    return _Writer(form).text()


class ScanStrategy:
    """Cumulative sums, products and extremes."""

    name = "scan"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way; refused for element types that are not computed with."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Cumulative):
            return Refusal("no scan")
        dtype = region.inputs[0].dtype
        if dtype is dt.boolean or dtype.bits < 8 or not (dtype.is_float or dtype.is_integer):
            return Refusal(f"a scan of {dtype}")
        reason = emit.refusal(region.body)
        return Refusal(reason) if reason else (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage, and the body's."""
        assert isinstance(region, Anchored)
        assert isinstance(region.anchor, Cumulative)
        op, (x,) = region.anchor, region.inputs
        return with_epilogue(region, target, lambda y: Kernel((_stage(op, x, y, isa_of(target)),)))


def _stage(op: Cumulative, x: Operand, y: Operand, isa: Isa) -> Stage:
    rest = [axis for axis in range(len(x.shape)) if axis != op.axis]
    rest.sort(key=lambda axis: x.strides[axis] == y.strides[axis] == 1 and x.shape[axis] != 1)
    found = few([x.shape[axis] for axis in rest], [[one.strides[axis] for axis in rest] for one in (x, y)])
    side = bool(found.sizes) and all(strides[-1] == 1 for strides in found.strides)
    count = len(found.sizes) - side
    form = Form(isa, op, x.dtype, count, side)
    width = found.sizes[-1] if side else 1
    chunks, size = dim.ceildiv(width, _CHUNK), x.dtype.itemsize
    points = dim.product(found.sizes[:count]) * chunks
    work = dim.product(found.sizes) * x.shape[op.axis]
    parts = parts_of(work, _GRAIN, dim.minimum(points, 4 * THREADS))
    values: dict[str, Argument] = {"@x": address(x), "@y": address(y), "size": x.shape[op.axis], "parts": parts}
    values |= {"width": width, "chunks": at_least_one(chunks), "points": points}
    for name, one, strides in zip("xy", (x, y), found.strides, strict=True):
        values[f"{name}.line"] = one.strides[op.axis] * size
        values |= {f"{name}.{axis}": strides[axis] * size for axis in range(count)}
    values |= {f"size{axis}": at_least_one(found.sizes[axis]) for axis in range(count)}
    return Stage(source(form), ordered(form.names, values), parts)


STRATEGY = ScanStrategy()

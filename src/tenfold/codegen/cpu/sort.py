"""The k greatest or least elements along an axis, by a heap.

Elements become integers, keys, that order as the elements do: the better the greater. A heap of k entries (key, place)
keeps the worst at its root; the line is walked once, as vectors where its elements are adjacent, and only what beats
the root goes in. Then the heap is emptied, the worst first (Floyd 1964). Of equal keys the earlier place is better.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.axes import at_least_one, few
from tenfold.codegen.cpu.entry import Entry, parts_of
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.heap import ENTRY, define_sift, entry_at, float_key, put
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.stage import numbered, operand_names, operand_values, ordered, share_of
from tenfold.codegen.cpu.storage import SUPPORTED, register_type, widen
from tenfold.codegen.cpu.vectors import I64, Vector, Vectors, integer, is_float, width
from tenfold.codegen.region import THREADS, Anchored, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ops.sort import TopK
from tenfold.target import Target

_GRAIN = 1 << 12
"""Elements worth a part."""
_NAMES = ("x", "values", "indices")


@dataclass(frozen=True)
class Form:
    """What the code depends on. `adjacent`: the elements of a line lie side by side."""

    isa: Isa
    dtype: DType
    largest: bool
    outer: int
    adjacent: bool

    @property
    def key(self) -> ir.IntType:
        """The type of keys in vectors."""
        return integer(32 if width(register_type(self.dtype)) <= 32 else 64)

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage; steps in bytes."""
        found = ["@heap", "size", "k", "points", "parts"]
        for name in _NAMES:
            found += operand_names(name, ("line", *range(self.outer)))
        return (*found, *(f"size{axis}" for axis in range(self.outer)))


class _Writer(Entry):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "top", form.names)
        self.form = form
        self.sift = define_sift(self.module, form.isa)

    def text(self) -> str:
        """A part is a stretch of lines."""

        def point(number: Vector) -> None:
            at = self.points(self.form.outer, number)
            heap = self.step(self.pointer("@heap"), number * self.arg("k") * ENTRY)
            x, values, indices = (self.at(name, at) for name in _NAMES)
            self._line(x, heap)
            self._empty(heap, x, values, indices)

        def all_points() -> None:
            repeat(self.scalar, *share_of(self.arg("points"), self.part, self.arg("parts")), point)

        choose(self.scalar, self.arg("k") > 0, all_points, lambda: None)
        return self.finish()

    def _line(self, x: ir.Value, heap: ir.Value) -> None:
        """The k best of a line into the heap."""
        k = self.arg("k")

        def fill(place: Vector) -> None:
            self._put(heap, place, self._key(self.scalar, x, place), place)

        def settle(number: Vector) -> None:
            at = k / 2 - 1 - number
            self._sift(heap, at, k, *self._entry(heap, at))

        def scan(code: Vectors, place: Vector) -> None:
            keys = self._key(code, x, place)
            worst, _ = self._entry(heap, self.number(0))
            better = keys > code.splat(worst.to_integer(self.form.key).value)
            some = self.scalar.wrap(better.any())
            choose(self.scalar, some, lambda: self._enter(x, heap, place, code.lanes), lambda: None)

        repeat(self.scalar, 0, k, fill)
        repeat(self.scalar, 0, k / 2, settle)
        lanes = self.isa.lanes(width(self.form.key) // 8) if self.form.adjacent else 1
        self.sweep(lanes, k, self.arg("size"), scan)

    def _enter(self, x: ir.Value, heap: ir.Value, first: Vector, count: int) -> None:
        """Those of `count` elements that beat the root take its place, one after another."""

        def one(place: Vector) -> None:
            key = self._key(self.scalar, x, place).to_integer(I64)
            root = self.number(0)

            def replace() -> None:
                self._sift(heap, root, self.arg("k"), key, place)

            choose(self.scalar, key > self._entry(heap, root)[0], replace, lambda: None)

        repeat(self.scalar, first, first + count, one)

    def _empty(self, heap: ir.Value, x: ir.Value, values: ir.Value, indices: ir.Value) -> None:
        """The root to the last free place of the results, until the heap is empty."""
        k, dtype = self.arg("k"), self.form.dtype

        def one(number: Vector) -> None:
            last, root = k - 1 - number, self.number(0)
            _, place = self._entry(heap, root)
            value = load(self.scalar, dtype, self.step(x, place * self.arg("x.line")))
            store(self.scalar, dtype, self.step(values, last * self.arg("values.line")), value)
            store(self.scalar, dt.i64, self.step(indices, last * self.arg("indices.line")), place)
            self._sift(heap, root, last, *self._entry(heap, last))

        repeat(self.scalar, 0, k, one)

    def _key(self, code: Vectors, x: ir.Value, place: Vector) -> Vector:
        """The keys of elements from `place` on, in the type of keys."""
        dtype = self.form.dtype
        value = widen(dtype, load(code, dtype, self.step(x, place * self.arg("x.line"))))
        key = float_key(value) if is_float(value.type) else _integer_key(dtype, value, self.form.key)
        return key if self.form.largest else ~key

    def _put(self, heap: ir.Value, at: Vector, key: Vector, place: Vector) -> None:
        put(self.scalar, heap, at, (key.to_integer(I64), place))

    def _entry(self, heap: ir.Value, at: Vector) -> tuple[Vector, Vector]:
        return entry_at(self.scalar, heap, at)

    def _sift(self, heap: ir.Value, at: Vector, size: Vector, key: Vector, place: Vector) -> None:
        self.builder.call(self.sift, [heap, at.value, size.value, key.value, place.value])


def _integer_key(dtype: DType, value: Vector, key: ir.IntType) -> Vector:
    if dtype.kind in (Kind.UINT, Kind.BOOL):
        grown = value.zero_extend(key)
        return grown ^ -(1 << key.width - 1) if dtype.bits == key.width else grown
    return value.to_integer(key)


@functools.cache
def source(form: Form) -> str:
    """The module of a selection."""
    return _Writer(form).text()


class SortStrategy:
    """The best k of each line, in order."""

    name = "sort"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, TopK):
            return Refusal("no selection of the best")
        dtype = region.inputs[0].dtype
        return (Tactic(self.name),) if dtype in SUPPORTED else Refusal(f"an order of {dtype}")

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage; the heaps lie in the workspace."""
        assert isinstance(region, Anchored)
        assert isinstance(region.anchor, TopK)
        axis, (x,) = region.anchor.axis, region.inputs
        operands = dict(zip(_NAMES, (x, *region.outputs), strict=True))
        rest = [other for other in range(len(x.shape)) if other != axis]
        found = few([x.shape[a] for a in rest], [[one.strides[a] for a in rest] for one in operands.values()])
        outer = len(found.sizes)
        form = Form(isa_of(target), x.dtype, region.anchor.largest, outer, x.strides[axis] == 1)
        points, k = dim.product(found.sizes), region.outputs[0].shape[axis]
        parts = parts_of(points * x.shape[axis], _GRAIN, dim.minimum(points, 4 * THREADS))
        values: dict[str, Argument] = {"@heap": Workspace(), "size": x.shape[axis], "k": k, "points": points}
        values |= {"parts": parts} | {f"size{a}": at_least_one(size) for a, size in enumerate(found.sizes)}
        for (name, one), strides in zip(operands.items(), found.strides, strict=True):
            values |= operand_values(name, one, {"line": one.strides[axis], **numbered(strides)})
        stage = Stage(source(form), ordered(form.names, values), parts)
        return Kernel((stage,), workspace=points * k * ENTRY)


STRATEGY = SortStrategy()

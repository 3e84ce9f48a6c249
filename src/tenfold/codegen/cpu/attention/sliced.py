"""The code of attention for few queries, which is bound by reading keys and values: lanes lie along their elements.

The keys of a head are cut into slices by their number alone, so that few heads fill many threads and results do not
depend on how many there are; a second stage joins what the slices give (Dao et al. 2023, "Flash-Decoding").
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.attention.form import Mask, Rows
from tenfold.codegen.cpu.attention.scores import bias, capped, power, query_factor
from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.memory import first_lanes, load, load_apart, load_one, store
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.movement import transposed
from tenfold.codegen.cpu.outsite import OutSite, Stream, named
from tenfold.codegen.cpu.stage import StageWriter, divided, least
from tenfold.codegen.cpu.storage import cast, register_type, widen
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import Body
from tenfold.ir.dtype import DType

AXES = ("batch", "head", "row", "element")


@dataclass(frozen=True)
class Slice:
    """What the code of a slice depends on. `lanes` divides `depth`, the elements of a query and of a key, and `width`,
    those of a value; `keys` is the most keys of a slice, a multiple of the lanes.
    """

    isa: Isa
    total: DType
    lanes: int
    keys: int
    depth: int
    width: int
    q: Rows
    k: Rows
    v: Rows
    mask: Mask | None
    scale: float
    softcap: float
    causal: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; steps are in bytes."""
        operands = ["q", "k", "v", *["mask"] * (self.mask is not None)]
        found = ["@q", "@k", "@v", *["@mask"] * (self.mask is not None), "@partial"]
        found += ["heads", "shared", "sharing", "queries", "keys", "slices", "slice_keys", *["offset"] * self.causal]
        return (*found, *(f"{name}.{axis}" for name in operands for axis in AXES))

    @property
    def record(self) -> int:
        """Bytes of what a slice gives: the results, the greatest score, the sum of the weights."""
        return -(-(self.width + 2) * self.total.itemsize // LINE) * LINE

    @property
    def scratch(self) -> int:
        """Bytes of scratch: the scores."""
        return self.keys * self.total.itemsize


@dataclass(frozen=True)
class Join:
    """What the code of the second stage depends on; the body's operands move in no groups, a part being one query."""

    part: Slice
    blind: str
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    indices: tuple[tuple[int, Stream], ...]
    around: Surroundings

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return named(self.extra, self.outputs, self.indices)

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; steps are in bytes."""
        found = ["@partial", *self.streams, "heads", "queries", "keys", "slices"]
        found += [f"{axis}.{name}" for name in self.streams for axis in AXES[:3]]
        found += self.around.names
        return (*found, *(f"column.{name}" for name, stream in self.streams.items() if stream.column is None))


@functools.cache
def slice_source(form: Slice) -> str:
    """The module of the first stage; a part is a slice of the keys of a head for one query."""
    return SliceWriter(form).text()


@functools.cache
def join_source(form: Join) -> str:
    """The module of the second stage; a part is one query of a head."""
    return JoinWriter(form).text()


class SliceWriter(StageWriter):
    """The first stage being written."""

    def __init__(self, form: Slice) -> None:
        super().__init__(form.isa, "slice", form.names)
        self.form, self.size = form, form.total.itemsize
        self.vector, self.element = self.vectors(form.lanes), register_type(form.total)

    def text(self) -> str:
        """Scores, weights, weighted values; heads that share keys are neighbouring parts."""
        form = self.form
        rest, query = divided(self.part, self.arg("queries"))
        rest, member = divided(rest, self.arg("sharing"))
        rest, number = divided(rest, self.arg("slices"))
        batch, shared = divided(rest, self.arg("shared"))
        head = shared * self.arg("sharing") + member
        first = number * self.arg("slice_keys")
        count = least(self.arg("slice_keys"), self.arg("keys") - first)
        if form.causal:
            count = least(count, query + self.arg("offset") + 1 - first)
        k, v = (self._at(name, batch, shared, first) for name in ("k", "v"))
        mask = None
        if form.mask:
            mask = self.step(self._at("mask", batch, head, query), first * self.arg("mask.element"))
        best = self._score(self._query(self._at("q", batch, head, query)), k, mask, count)
        total = self._weigh(best.equals(-math.inf).where(0.0, best), count)
        place = ((batch * self.arg("heads") + head) * self.arg("queries") + query) * self.arg("slices") + number
        record = self.step(self.pointer("@partial"), place * form.record)
        for v_, value in enumerate(self._weighted(v, count)):
            store(self.vector, form.total, self.step(record, v_ * form.lanes * self.size), value)
        for after, one in enumerate((best, total)):
            store(self.scalar, form.total, self.step(record, (form.width + after) * self.size), one)
        return self.finish()

    def _at(self, name: str, batch: Vector, head: Vector, row: Vector) -> ir.Value:
        pairs = zip((batch, head, row), AXES, strict=False)
        offset = self.number(0)
        for position, axis in pairs:
            offset = offset + position * self.arg(f"{name}.{axis}")
        return self.step(self.pointer(f"@{name}"), offset)

    def _row(self, rows: Rows, start: ir.Value, name: str, vector: int) -> Vector:
        """A vector of a row's elements, as numbers of the sums' type."""
        first = vector * self.form.lanes
        if rows.adjacent:
            stored = load(self.vector, rows.dtype, self.step(start, first * rows.dtype.itemsize))
        else:
            pitch = self.arg(f"{name}.element")
            stored = load_apart(self.vector, rows.dtype, start, lambda lane: pitch * (first + lane))
        return cast(rows.dtype, self.form.total, widen(rows.dtype, stored))

    def _query(self, start: ir.Value) -> list[Vector]:
        form, by = self.form, query_factor(self.form.scale, self.form.softcap)
        return [self._row(form.q, start, "q", v) * by for v in range(form.depth // form.lanes)]

    def _score(self, query: Sequence[Vector], keys: ir.Value, mask: ir.Value | None, count: Vector) -> Vector:
        """The scores of the slice, as many at a time as there are lanes; the greatest."""
        form, last = self.form, count - 1

        def some(first: Vector, best: ir.Value) -> Sequence[ir.Value]:
            sums = []
            for lane in range(form.lanes):
                line = self.step(keys, least(first + lane, last) * self.arg("k.row"))
                products = self.vector.zero(self.element)
                for v, part in enumerate(query):
                    products = self._row(form.k, line, "k", v).fma(part, products)
                sums.append(products)
            columns = transposed(sums)
            while len(columns) > 1:
                columns = [a + b for a, b in zip(columns[::2], columns[1::2], strict=True)]
            score = capped(columns[0], form.softcap) if form.softcap > 0 else columns[0]
            if mask is not None:
                score = score + self._bias(mask, first, last)
            score = first_lanes(self.vector, count - first).where(score, -math.inf)
            store(self.vector, form.total, self.step(self.scratch, first * self.size), score)
            return [self.vector.wrap(best).at_least(score).value]

        start = self.vector.constant(self.element, -math.inf)
        (best,) = repeat(self.scalar, 0, count, some, [start.value], by=form.lanes)[1]
        return self.scalar.wrap(self.vector.wrap(best).fold(lambda a, b: a.at_least(b)))

    def _bias(self, start: ir.Value, first: Vector, last: Vector) -> Vector:
        """The mask of some keys; the last stands in for those that do not exist."""
        mask, pitch = self.form.mask, self.arg("mask.element")
        assert mask
        stored = load_apart(self.vector, mask.dtype, start, lambda lane: least(first + lane, last) * pitch)
        return bias(mask, self.form.total, widen(mask.dtype, stored))

    def _weigh(self, base: Vector, count: Vector) -> Vector:
        """Scores made weights; their sum."""
        form, base = self.form, self.vector.splat(base.value)

        def some(first: Vector, total: ir.Value) -> Sequence[ir.Value]:
            place = self.step(self.scratch, first * self.size)
            weight = power(load(self.vector, form.total, place) - base)
            weight = first_lanes(self.vector, count - first).where(weight, 0.0)
            store(self.vector, form.total, place, weight)
            return [(self.vector.wrap(total) + weight).value]

        (total,) = repeat(self.scalar, 0, count, some, [self.vector.zero(self.element).value], by=form.lanes)[1]
        return self.scalar.wrap(self.vector.wrap(total).fold(lambda a, b: a + b))

    def _weighted(self, values: ir.Value, count: Vector) -> list[Vector]:
        """The sums of the values times their weights."""
        form = self.form

        def key(number: Vector, *sums: ir.Value) -> Sequence[ir.Value]:
            weight = load_one(self.vector, form.total, self.step(self.scratch, number * self.size))
            line = self.step(values, number * self.arg("v.row"))
            rows = (self._row(form.v, line, "v", v) for v in range(len(sums)))
            return [row.fma(weight, self.vector.wrap(one)).value for row, one in zip(rows, sums, strict=True)]

        start = [self.vector.zero(self.element).value] * (form.width // form.lanes)
        return [self.vector.wrap(one) for one in repeat(self.scalar, 0, count, key, start)[1]]


class JoinWriter(StageWriter):
    """The second stage being written."""

    def __init__(self, form: Join) -> None:
        super().__init__(form.part.isa, "join", form.names)
        self.form, self.slice, self.size = form, form.part, form.part.total.itemsize
        self.vector, self.element = self.vectors(form.part.lanes), register_type(form.part.total)
        block = Block(1, form.part.width // form.part.lanes, form.part.lanes)
        self.out = OutSite(self, form.body, form.streams, form.around, form.part.total, block)

    def text(self) -> str:
        """The slices of one query, each by the power of how far its greatest score lies below the greatest of all."""
        form, lanes = self.slice, self.slice.lanes
        rest, query = divided(self.part, self.arg("queries"))
        batch, head = divided(rest, self.arg("heads"))
        records = self.step(self.pointer("@partial"), self.part * self.arg("slices") * form.record)

        def number(record: Vector, place: int) -> Vector:
            address = self.step(records, record * form.record + (form.width + place) * self.size)
            return load(self.scalar, form.total, address)

        def greatest(record: Vector, best: ir.Value) -> Sequence[ir.Value]:
            return [self.scalar.wrap(best).at_least(number(record, 0)).value]

        start = self.scalar.constant(self.element, -math.inf)
        (found,) = repeat(self.scalar, 0, self.arg("slices"), greatest, [start.value])[1]
        best = self.scalar.wrap(found)
        base = best.equals(-math.inf).where(0.0, best)

        def add(record: Vector, total: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
            by = power(number(record, 0) - base)
            wide, line = self.vector.splat(by.value), self.step(records, record * form.record)
            parts = (load(self.vector, form.total, self.step(line, v * lanes * self.size)) for v in range(len(sums)))
            added = [part.fma(wide, self.vector.wrap(one)).value for part, one in zip(parts, sums, strict=True)]
            return [number(record, 1).fma(by, self.scalar.wrap(total)).value, *added]

        zeros = [self.vector.zero(self.element).value] * (form.width // lanes)
        first = [self.scalar.zero(self.element).value, *zeros]
        total, *sums = repeat(self.scalar, 0, self.arg("slices"), add, first)[1]
        scaled = best.equals(-math.inf).where(self._blind(), 1.0 / self.scalar.wrap(total))
        wide = self.vector.splat(scaled.value)
        for v, one in enumerate(sums):
            store(self.vector, form.total, self.step(self.scratch, v * lanes * self.size), self.vector.wrap(one) * wide)
        self._write(batch, head, query)
        return self.finish()

    def _blind(self) -> Vector:
        """What a query that sees no key gives: zero, or what the operation says unless there are no keys at all."""
        zero = self.scalar.zero(self.element)
        return self.arg("keys").equals(0).where(zero, math.nan) if self.form.blind == "nan" else zero

    def _write(self, batch: Vector, head: Vector, query: Vector) -> None:
        starts = {}
        for name in self.form.streams:
            offset = self.number(0)
            for position, axis in zip((batch, head, query), AXES, strict=False):
                offset = offset + position * self.arg(f"{axis}.{name}")
            starts[name] = self.step(self.pointer(name), offset)
        one, zero, width = self.number(1), self.number(0), self.number(self.slice.width)
        self.out.write(starts, [], self.scratch, one, zero, width)

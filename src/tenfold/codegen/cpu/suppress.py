"""Non-maximum suppression: the greedy choice of boxes by score.

First, each class of each image for itself: the scores above the threshold enter a heap, and leave it the best first. A
box is taken unless it overlaps one that is, which vectors of the boxes taken so far tell. What is taken lies where the
class's rows would begin if every class before it were full. The second stage then moves the rows together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llvmlite import ir

from tenfold.codegen.cpu.entry import Entry, parts_of, steps
from tenfold.codegen.cpu.flow import choose, define, repeat, step
from tenfold.codegen.cpu.heap import ENTRY, define_sift, entry_at, float_key, put
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.memory import first_lanes, load, load_one, store
from tenfold.codegen.cpu.stage import address, divided, least, ordered, share_of
from tenfold.codegen.cpu.storage import register_type
from tenfold.codegen.cpu.vectors import I1, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ops.sort import Suppression
from tenfold.target import Target

_GRAIN = 1 << 12
"""Scores worth a part."""
_PARTS = 64
"""The most parts: each has a heap of its own."""
_PADDED = 64
"""Boxes that are taken lie in rows of a multiple of so many floats."""
_ROW = 3
"""An image, a class, a box."""


class Box(NamedTuple):
    """The edges and the area of a box, or of several."""

    top: Vector
    left: Vector
    bottom: Vector
    right: Vector
    area: Vector


def _overlap(one: Box, other: Box) -> Vector:
    """What they share of what they cover together; 0 of nothing."""
    high = _less(one.bottom, other.bottom) - _greater(one.top, other.top)
    wide = _less(one.right, other.right) - _greater(one.left, other.left)
    shared = (high > 0.0).where(high, 0.0) * (wide > 0.0).where(wide, 0.0)
    union = one.area + other.area - shared
    return (union > 0.0).where(shared / union, 0.0)


def _less(a: Vector, b: Vector) -> Vector:
    return (b < a).where(b, a)


def _greater(a: Vector, b: Vector) -> Vector:
    return (b > a).where(b, a)


@dataclass(frozen=True)
class Form:
    """What the code depends on. `adjacent`: the scores of a class lie side by side."""

    isa: Isa
    dtype: DType
    centred: bool
    adjacent: bool

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.isa.lanes(self.dtype.itemsize)

    names = (
        *("@counts", "@work", "work.part", "size", "room", "classes", "groups", "parts"),
        *("@boxes", "boxes.image", "boxes.box", "boxes.edge", "@scores", "scores.image", "scores.class", "scores.box"),
        *("@most", "@overlap", "@threshold", "@rows", "rows.row", "rows.part"),
    )
    """The arguments of the first stage; steps in bytes."""


class _Chooser(Entry):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "suppress", form.names)
        self.form = form
        self.dtype = form.dtype
        self.sift = define_sift(self.module, form.isa)
        self.near = _define_near(self.module, form)

    def text(self) -> str:
        """A part is a stretch of classes, image after image."""
        heap = self.step(self.pointer("@work"), self.part * self.arg("work.part"))
        kept = self.step(heap, (self.arg("size") * ENTRY + 63) & -64)

        def group(number: Vector) -> None:
            image, kind = divided(number, self.arg("classes"))
            count = self._candidates(heap, image, kind)
            repeat(self.scalar, 0, count / 2, lambda turn: self._settle(heap, count / 2 - 1 - turn, count))
            taken = self._chosen(heap, kept, count, (number, image, kind))
            store(self.scalar, dt.i64, self.step(self.pointer("@counts"), number * 8), taken)

        repeat(self.scalar, *share_of(self.arg("groups"), self.part, self.arg("parts")), group)
        return self.finish()

    def _candidates(self, heap: ir.Value, image: Vector, kind: Vector) -> Vector:
        """The boxes above the threshold, in no order, and how many they are."""
        line = self.step(self.pointer("@scores"), image * self.arg("scores.image") + kind * self.arg("scores.class"))
        threshold = load_one(self.scalar, self.dtype, self.pointer("@threshold"))

        def one(place: Vector, count: ir.Value) -> tuple[ir.Value]:
            score = load(self.scalar, self.dtype, self.step(line, place * self.arg("scores.box")))
            at = self.scalar.wrap(count)
            put(self.scalar, heap, at, (~float_key(score).to_integer(I64), ~place))
            return ((at + (score > threshold).zero_extend(I64)).value,)

        def several(code: Vectors, place: Vector, count: ir.Value) -> Sequence[ir.Value]:
            scores = load(code, self.dtype, self.step(line, place * self.dtype.itemsize))
            some = self.scalar.wrap((scores > code.splat(threshold.value)).any())
            each = functools.partial(repeat, self.scalar, place, place + code.lanes, one, (count,))
            return choose(self.scalar, some, lambda: each()[1], lambda: (count,))

        size, start, count = self.arg("size"), self.number(0), [self.number(0).value]
        if self.form.adjacent:
            lanes = self.form.lanes
            code = self.vectors(lanes)
            start = size & -lanes
            _, count = repeat(self.scalar, 0, start, functools.partial(several, code), count, by=lanes)
        _, count = repeat(self.scalar, start, size, one, count)
        return self.scalar.wrap(count[0])

    def _settle(self, heap: ir.Value, at: Vector, size: Vector) -> None:
        self._sift(heap, at, size, *entry_at(self.scalar, heap, at))

    def _chosen(self, heap: ir.Value, kept: ir.Value, count: Vector, group: tuple[Vector, Vector, Vector]) -> Vector:
        """How many boxes of the heap are taken."""
        most = least(load(self.scalar, dt.i64, self.pointer("@most")), self.arg("room"))
        root = self.number(0)

        def best(turn: Vector, taken: ir.Value) -> Sequence[ir.Value]:
            left, before = count - 1 - turn, self.scalar.wrap(taken)
            place = ~entry_at(self.scalar, heap, root)[1]
            self._sift(heap, root, left, *entry_at(self.scalar, heap, left))
            box = self._box(group[1], place)
            far = ~self.scalar.wrap(self._near(kept, before, box))
            choose(self.scalar, far, lambda: self._take(kept, before, box, group, place), lambda: None)
            return ((before + far.zero_extend(I64)).value,)

        def turn(number: Vector, taken: ir.Value) -> Sequence[ir.Value]:
            open_ = self.scalar.wrap(taken) < most
            return choose(self.scalar, open_, lambda: best(number, taken), lambda: (taken,))

        _, taken = repeat(self.scalar, 0, count, turn, (root.value,))
        return self.scalar.wrap(taken[0])

    def _box(self, image: Vector, place: Vector) -> Box:
        start = self.step(self.pointer("@boxes"), image * self.arg("boxes.image") + place * self.arg("boxes.box"))
        places = (self.step(start, self.arg("boxes.edge") * at) for at in range(4))
        a, b, c, d = (load(self.scalar, self.dtype, one) for one in places)
        if self.form.centred:
            wide, high = c * 0.5, d * 0.5
            top, left, bottom, right = b - high, a - wide, b + high, a + wide
        else:
            top, left, bottom, right = _less(a, c), _less(b, d), _greater(a, c), _greater(b, d)
        return Box(top, left, bottom, right, (bottom - top) * (right - left))

    def _near(self, kept: ir.Value, count: Vector, box: Box) -> ir.Value:
        limit = load(self.scalar, self.dtype, self.pointer("@overlap"))
        row = self._row()
        numbers = [kept, row.value, count.value, limit.value, *(one.value for one in box)]
        return self.builder.call(self.near, numbers)

    def _row(self) -> Vector:
        """The bytes of a row of edges."""
        return ((self.arg("room") + (_PADDED - 1)) & -_PADDED) * self.dtype.itemsize

    def _take(self, kept: ir.Value, at: Vector, box: Box, group: tuple[Vector, Vector, Vector], place: Vector) -> None:
        for number, edge in enumerate(box):
            store(self.scalar, self.dtype, self.step(kept, self._row() * number + at * self.dtype.itemsize), edge)
        first, image, kind = group
        row = self.step(self.pointer("@rows"), (first * self.arg("room") + at) * self.arg("rows.row"))
        for number, part in enumerate((image, kind, place)):
            store(self.scalar, dt.i64, self.step(row, self.arg("rows.part") * number), part)

    def _sift(self, heap: ir.Value, at: Vector, size: Vector, key: Vector, place: Vector) -> None:
        self.builder.call(self.sift, [heap, at.value, size.value, key.value, place.value])


def _define_near(module: ir.Module, form: Form) -> ir.Function:
    """`i1 near(ptr kept, i64 row, i64 count, float limit, float top, left, bottom, right, area)`: whether a box
    overlaps one of those kept by more than the limit. The kept ones' edges lie in rows, `row` bytes each.
    """
    number, lanes, size = register_type(form.dtype), form.lanes, form.dtype.itemsize
    function = define(module, "near", I1, [POINTER, I64, I64, *[number] * 6], internal=True)
    kept, row, count, limit, *edges = function.args
    builder = ir.IRBuilder(function.entry_basic_block)
    scalar, code = (Vectors(builder, form.isa, count) for count in (1, lanes))
    box = Box(*(code.splat(edge) for edge in edges))
    most = code.splat(limit)
    head, inside, found, none = (function.append_basic_block(name) for name in ("head", "inside", "found", "none"))
    builder.branch(head)
    builder.position_at_end(head)
    place = builder.phi(I64)
    place.add_incoming(ir.Constant(I64, 0), function.entry_basic_block)
    at = scalar.wrap(place)
    left = scalar.wrap(count) - at
    builder.cbranch((left > 0).value, inside, none)
    builder.position_at_end(inside)
    places = (step(builder, kept, scalar.wrap(row) * edge + at * size) for edge in range(len(box)))
    others = Box(*(load(code, form.dtype, one) for one in places))
    near = ~(_overlap(box, others) <= most) & first_lanes(code, left)
    place.add_incoming((at + lanes).value, inside)
    builder.cbranch(near.any(), found, head)
    for block, answer in ((found, 1), (none, 0)):
        builder.position_at_end(block)
        builder.ret(ir.Constant(I1, answer))
    return function


class _Mover(Entry):
    NAMES = ("@counts", "groups", "room", "@rows", "rows.row", "rows.part", "@count")

    def __init__(self, isa: Isa) -> None:
        super().__init__(isa, "rows", self.NAMES)

    def text(self) -> str:
        """The rows of all classes one after another, and how many there are."""
        rows = self.pointer("@rows")

        def move(start: Vector, total: Vector, turn: Vector) -> None:
            here, there = (self.step(rows, (one + turn) * self.arg("rows.row")) for one in (start, total))
            for part in range(_ROW):
                offset = self.arg("rows.part") * part
                store(self.scalar, dt.i64, self.step(there, offset), load(self.scalar, dt.i64, self.step(here, offset)))

        def group(number: Vector, before: ir.Value) -> tuple[ir.Value]:
            start, total = number * self.arg("room"), self.scalar.wrap(before)
            count = load(self.scalar, dt.i64, self.step(self.pointer("@counts"), number * 8))
            moved = start.equals(total).where(0, count)
            repeat(self.scalar, 0, moved, lambda turn: move(start, total, turn))
            return ((total + count).value,)

        _, total = repeat(self.scalar, 0, self.arg("groups"), group, (self.number(0).value,))
        store(self.scalar, dt.i64, self.pointer("@count"), self.scalar.wrap(total[0]))
        return self.finish()


@functools.cache
def source(form: Form) -> str:
    """The module of the choice."""
    return _Chooser(form).text()


@functools.cache
def moving(isa: Isa) -> str:
    """The module that moves the rows together."""
    return _Mover(isa).text()


class SuppressStrategy:
    """The best boxes of each class that overlap none better."""

    name = "suppress"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Suppression):
            return Refusal("no suppression")
        return (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """Two stages; the counts of the classes, then each part's heap and boxes lie in the workspace."""
        assert isinstance(region, Anchored)
        assert isinstance(region.anchor, Suppression)
        isa, room = isa_of(target), region.anchor.room
        boxes, scores, *limits = region.inputs
        rows, count = region.outputs
        images, classes, size = scores.shape
        groups = images * classes
        parts = parts_of(groups * size, _GRAIN, dim.minimum(groups, _PARTS))
        counts = dim.ceildiv(groups * 8, 64) * 64
        edge = dim.ceildiv(room, _PADDED) * _PADDED * scores.dtype.itemsize
        share = dim.ceildiv(size * ENTRY, 64) * 64 + len(Box._fields) * edge
        values: dict[str, Argument] = {"@counts": Workspace(), "@work": Workspace(counts), "work.part": share}
        values |= {"size": size, "room": room, "classes": classes, "groups": groups, "parts": parts}
        values |= {"@boxes": address(boxes), "@scores": address(scores), "@rows": address(rows)}
        values |= steps(boxes, "boxes.image", "boxes.box", "boxes.edge") | steps(rows, "rows.row", "rows.part")
        values |= steps(scores, "scores.image", "scores.class", "scores.box")
        limited = zip(("@most", "@overlap", "@threshold"), limits, strict=True)
        values |= {name: address(one) for name, one in limited} | {"@count": address(count)}
        form = Form(isa, scores.dtype, region.anchor.centred, scores.strides[2] == 1)
        chosen = Stage(source(form), ordered(form.names, values), parts)
        moved = Stage(moving(isa), ordered(_Mover.NAMES, values))
        return Kernel((chosen, moved), workspace=counts + parts * share)


STRATEGY = SuppressStrategy()

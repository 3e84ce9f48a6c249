"""Products of few rows by a matrix that only the call gives, read where it lies: packing would read, write and read it
again for what is used once or twice.

A B whose columns are adjacent is read in "rows": all terms in stretches, so that lines of memory come whole, and each
stretch walks along its rows. One whose terms are adjacent is read in "columns": sums lie along vectors, several columns
by several rows at a time, and are folded at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, load_pointer, repeat, step
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.memory import first_lanes
from tenfold.codegen.cpu.microkernel import LOADED, Block, Tile, multiply_add, prefetch
from tenfold.codegen.cpu.storage import register_type
from tenfold.codegen.cpu.vectors import I64, Vector, Vectors
from tenfold.codegen.region import Operand
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ops.constant import Constant

_MOST = 56
"""The most rows that are few."""
_HIGH, _WIDEST, _NARROW = 8, 8, 4
"""The most rows of a block, and the most vectors to a row, of a stream the fewer."""
_BESIDE, _FEW = 8, 4
"""Columns that are summed side by side along vectors, where registers allow, else fewer."""
_FOLDED = 64
"""The terms of sums along vectors that are worth folding them, of more than a block's rows twice as many."""
_AT_ONCE = 2
"""Terms that are written out."""
_LONG, _SHORT, _STREAMS = 1024, 64, 8
"""The terms of a stretch in columns, in rows, and in rows that come from memory: it feeds so many streams at a time."""
_SCANTY = 4
"""The most rows that wait for memory, whatever their products take."""
_AHEAD = 1024
"""How many bytes ahead rows from memory are prefetched."""


def layout_of(b: Operand) -> str:
    """How a matrix [..., terms, columns] can be read in place: in "rows", "columns", or not ("")."""
    if isinstance(b.value.op, Constant):
        return ""
    return "rows" if b.strides[-1] == 1 else "columns" if b.strides[-2] == 1 else ""


def is_read(b: Operand, layout: str, rows: Size) -> Size:
    """1 where so many rows of A had better read B in place, 0 where they had not: a formula of sizes not known yet."""
    few = dim.less_equal(rows, _MOST if layout else -1)
    if layout != "columns":
        return few
    folded = dim.select(dim.less_equal(rows, _HIGH), _FOLDED, 2 * _FOLDED)
    return dim.logical_and(few, dim.less_equal(folded, b.shape[-2]))


def bands(rows: Size) -> list[tuple[int, Size]]:
    """The code for so many rows in place: the most rows each is made for, and when it runs."""
    if isinstance(rows, int):
        return [(rows, 1)]
    one = dim.less_equal(rows, 1)
    return [(1, one), (_MOST, dim.logical_not(one))]


def is_far(b: Operand, isa: Isa) -> bool:
    """Whether a matrix comes from memory: the last cache has no room for it."""
    size = dim.product(b.shape) * b.dtype.itemsize
    return isinstance(size, int) and size > isa.l3 // 2


def is_stream(layout: str, rows: int, far: bool) -> bool:
    """Whether so many rows wait for memory whatever their products take, so that B had better be walked along rows."""
    return layout == "rows" and far and rows <= _SCANTY


def blocks_in_place(layout: str, isa: Isa, total: DType, rows: int, columns: Size, far: bool) -> list[Block]:
    """The block for so many rows by a matrix of that layout, alone in a list."""
    lanes, registers = isa.lanes(total.itemsize), isa.vector_registers
    if layout == "columns":
        sides = [_BESIDE, _FEW]
        found = [
            Block(h, 1, c) for h in range(1, min(_HIGH, max(1, rows)) + 1) for c in sides if _holds(h, c, registers)
        ]
        return [
            min(found, key=lambda one: (-(-rows // one.rows) * _rounds(one.rows, one.lanes) / one.lanes, -one.rows))
        ]
    widest = _NARROW if is_stream(layout, rows, far) else _WIDEST
    shares = -(-max(1, rows) // _HIGH)
    height = -(-max(1, rows) // shares)
    found = [Block(height, v, lanes) for v in range(widest, 0, -1) if _holds(height, v, registers)]
    count = columns if isinstance(columns, int) else lanes * found[0].vectors
    return [min(found, key=lambda one: (-(-count // one.columns) * _rounds(one.rows, one.vectors), -one.vectors))]


def stretch_in_place(layout: str, rows: int, terms: Size, once: bool, far: bool) -> int:
    """The terms of a stretch: all if they are few, or if B is in columns and read `once`; a few in a stream, which is
    walked along so many of its rows.
    """
    most = _LONG if layout == "columns" else _STREAMS if is_stream(layout, rows, far) else _SHORT
    if isinstance(terms, int) and ((once and layout == "columns") or terms <= most * 3 // 2):
        return terms
    return most


def _holds(rows: int, vectors: int, registers: int) -> bool:
    return rows * vectors + (vectors if rows > 1 else 0) + 1 <= registers


def _rounds(rows: int, vectors: int) -> float:
    """About the cycles of a block's products for a term, or of its loads."""
    return max(rows * vectors, LOADED * (rows + vectors))


@dataclass(frozen=True)
class RowTile(Tile):
    """The micro-kernel for a B in rows, `i64 pitch` bytes apart (behind b). A `masked` one reads no columns beyond the
    last.
    """

    @property
    def extra(self) -> int:
        """The arguments behind b."""
        return 1

    def sums(
        self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], start: Sequence[ir.Value] = ()
    ) -> Sequence[ir.Value]:
        """The sums, in the order of terms."""
        table, _, k, columns, b, pitch = arguments
        scalar, vector = Vectors(builder, self.isa, 1), Vectors(builder, self.isa, self.block.lanes)
        masks: list[Vector | None] = [*self._masks(vector, columns)] or [None] * self.block.vectors
        lines = [load_pointer(scalar, table, 8 * r) for r in range(self.rows)]
        size, wide = self.a.itemsize, self.block.lanes * self.b.itemsize

        def several(count: int, place: Vector, b: ir.Value, *before: ir.Value) -> Sequence[ir.Value]:
            sums: Sequence[ir.Value] = before
            if self.paired and count == _AT_ONCE:
                starts = [step(builder, line, place * size) for line in lines]
                rows = [
                    [self._load(vector, step(builder, at, v * wide), self.b, one) for v, one in enumerate(masks)]
                    for at in (b, step(builder, b, pitch))
                ]
                return (step(builder, step(builder, b, pitch), pitch), *self._add_pairs(vector, starts, rows, sums))
            for term in range(count):
                for ahead in range(0, self.block.vectors * wide, LINE) if self.ahead else ():
                    prefetch(builder, step(builder, b, _AHEAD + ahead))
                starts = [step(builder, line, place * size + term * size) for line in lines]
                row = [self._load(vector, step(builder, b, v * wide), self.b, one) for v, one in enumerate(masks)]
                sums = self._add((self._factor(vector, one) for one in starts), row, sums)
                b = step(builder, b, pitch)
            return (b, *sums)

        zero = ir.Constant(vector.type(register_type(self.total)), None)
        state: Sequence[ir.Value] = (b, *(start or [zero] * (self.rows * self.block.vectors)))
        end = scalar.wrap(k)
        whole = end & -_AT_ONCE
        _, state = repeat(scalar, 0, whole, lambda *now: several(_AT_ONCE, *now), state, by=_AT_ONCE)
        return repeat(scalar, whole, end, lambda *now: several(1, *now), state)[1][1:]


@dataclass(frozen=True)
class ColumnTile(Tile):
    """The micro-kernel for a B in columns, `i64 pitch` bytes apart (behind b), and rows of A whose terms are adjacent,
    too. Columns beyond the last are the last again.
    """

    @property
    def extra(self) -> int:
        """The arguments behind b."""
        return 1

    def sums(
        self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], start: Sequence[ir.Value] = ()
    ) -> Sequence[ir.Value]:
        """The sums: each lane's in the order of terms, then pairs of lanes."""
        table, _, k, columns, b, pitch = arguments
        scalar, wide = Vectors(builder, self.isa, 1), Vectors(builder, self.isa, self.isa.lanes(self.total.itemsize))
        lines = [load_pointer(scalar, table, 8 * r) for r in range(self.rows)]
        last, apart = scalar.wrap(columns) - 1, scalar.wrap(pitch)
        places = [scalar.constant(I64, c) for c in range(self.block.columns)]
        beside = [step(builder, b, (one < last).where(one, last) * apart) for one in places]

        def vectors(place: Vector, *sums: ir.Value, mask: Vector | None = None) -> Sequence[ir.Value]:
            if self.ahead and mask is None:
                for one in beside:
                    prefetch(builder, step(builder, one, apart * self.block.columns + place * self.b.itemsize))
            known = [self._load(wide, step(builder, one, place * self.b.itemsize), self.b, mask) for one in beside]
            rows = (self._load(wide, step(builder, one, place * self.a.itemsize), self.a, mask) for one in lines)
            found = [wide.wrap(one) for one in sums]
            pairs = ((row, one) for row in rows for one in known)
            return [multiply_add(x, y, total).value for (x, y), total in zip(pairs, found, strict=True)]

        zero = ir.Constant(wide.type(register_type(self.total)), None)
        end = scalar.wrap(k)
        _, sums = repeat(
            scalar, 0, end & -wide.lanes, vectors, [zero] * (self.rows * self.block.columns), by=wide.lanes
        )
        done = end & -wide.lanes
        rest = first_lanes(wide, end - done)
        sums = choose(scalar, done < end, lambda: vectors(done, *sums, mask=rest), lambda: sums)
        each = range(0, len(sums), self.block.columns)
        found = [_folded([wide.wrap(one) for one in sums[at : at + self.block.columns]]) for at in each]
        before = [found[0].code.wrap(one) for one in start]
        return (
            [(one + old).value for one, old in zip(found, before, strict=True)] if before else [o.value for o in found]
        )


TILES: Mapping[str, type[Tile]] = {"": Tile, "rows": RowTile, "columns": ColumnTile}
"""The micro-kernel for each layout of B, packed in panels first."""


def _folded(sums: Sequence[Vector]) -> Vector:
    """One vector with the sum of each vector's lanes: neighbouring lanes are added until there is one for each."""
    count, found = len(sums), list(sums)
    while len(found) * found[0].code.lanes > count:
        found = [_paired(*found[at : at + 2]) for at in range(0, len(found), 2)]
    lanes = found[0].code.lanes
    while len(found) > 1:
        order = range(2 * lanes)
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [Vector(replace(one.code, lanes=2 * lanes), one.shuffle(order, other)) for one, other in pairs]
        lanes *= 2
    return found[0]


def _paired(one: Vector, other: Vector | None = None) -> Vector:
    """The sums of neighbouring lanes, those of `other` behind those of `one`."""
    lanes = one.code.lanes * (2 if other else 1)
    code = replace(one.code, lanes=lanes // 2)
    even, odd = (Vector(code, one.shuffle(range(first, lanes, 2), other)) for first in (0, 1))
    return even + odd

"""The one building block of contractions: a batch-reduce product of matrices in registers.

C[row, column] = sum over taps t and terms k of A_t[row, k] B_t[k, column], for a block of `rows` x `vectors` registers.
A is read where it lies: a table holds one address for each tap and row, so rows may be pixels of an image, lines of a
matrix, or a line of zeros beyond a border. B is packed in panels [tap][k][column]. Each sum runs in the order of taps
and terms whatever the block's shape, so a result never depends on which block computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, define, load_pointer, repeat, step
from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.storage import cast, register_type, stored_type, widen
from tenfold.codegen.cpu.vectors import I32, I64, POINTER, Vector, Vectors, integer, intrinsic, is_float, suffix
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

_UNROLL = 2
AHEAD = 16 << 10
"""How many bytes ahead B is prefetched."""
_STREAMING = 6
"""The most rows of a block that waits for B whatever is prefetched: the machine does better by itself."""
_FEW = 64
"""One idle lane for so many columns is as good as none."""
_ROWS = 14
"""The most rows of a block: more addresses than this are not worth the vectors they spare."""
_BRIEF, _WIDEST, _WIDE = 16, 6, 4
"""The most terms of a sum that is done before its line of memory is there; the most vectors to a row that all columns
make, for such sums and for others.
"""
_THREE, _LONG, _PANELS = 3, range(200, 1000), 4
"""Vectors to a row for sums of so many terms, in so many panels at least."""
_MIDDLE = range(300, 513)
"""So many terms of a product with four vectors to a row."""
LOADED, _NARROW = 0.9, 1.05
"""Cycles of a load where products take one, about; what a vector half as wide costs beside its half."""
_PAIRS = {4: "x86.sse2.pmadd.wd", 8: "x86.avx2.pmadd.wd", 16: "x86.avx512.pmaddw.d.512"}
"""The instruction that adds products of neighbours, by its sums."""
_SHARED = 4
"""The most blocks that share rows evenly."""


@dataclass(frozen=True)
class Block:
    """The registers of a micro-kernel: `rows` of `vectors` vectors of `lanes` sums each."""

    rows: int
    vectors: int
    lanes: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.vectors}x{self.lanes}"

    @property
    def columns(self) -> int:
        """Columns of a block: the width of a panel of packed B."""
        return self.vectors * self.lanes

    @property
    def heights(self) -> tuple[int, ...]:
        """The row counts that code is made for, greatest first: each more than half of the one before, to 2 and 1."""
        found = [self.rows]
        while found[-1] > 1:
            found.append(found[-1] // 2 + (found[-1] > 2))
        return tuple(found)


def blocks_of(isa: Isa, total: DType) -> list[Block]:
    """The blocks for sums of type `total`, the usual best first: so many vectors to a row, and rows for all registers
    but those for a row of B and for an element of A. Vectors half as wide come last, where they take half the time.
    """
    lanes = isa.lanes(total.itemsize)
    choices = [(vectors, lanes) for vectors in ((2, 3, 4, 1) if isa.architecture == "x86_64" else (3, 2, 4, 1))]
    choices += [(vectors, lanes // 2) for vectors in (3, 5, 2, 1)] if isa.halves else []
    heights = (
        (min(_ROWS, (isa.vector_registers - vectors - 1) // vectors), vectors, each) for vectors, each in choices
    )
    return [Block(max(1, rows - rows % 2), vectors, each) for rows, vectors, each in heights]


def fitting(isa: Isa, total: DType, columns: Size, rows: Size | None = None, terms: Size | None = None) -> list[Block]:
    """Those blocks, that first which leaves the fewest lanes of the last panel idle; few of many make no difference.

    Where `rows` are told, three vectors to a row come first, or what else suits so many. Few of them are shared evenly:
    that block first which computes the fewest in vain, then one that holds all of them, so that B is read once, then
    the one with the most sums; four vectors to a row do badly from memory.
    """
    found = blocks_of(isa, total)
    if isinstance(rows, int) and 2 < rows <= _SHARED * _ROWS:
        found = [_shared(rows, one, isa) for one in found]
        found.sort(key=lambda one: (one.vectors > 3, -rows % one.rows, rows > one.rows, -one.rows * one.columns))
    elif rows is not None:
        wide, order = found[0].lanes, _preferred(isa, total, rows, terms)
        place = {vectors: place for place, vectors in enumerate(order)}
        found.sort(key=lambda one: (one.lanes < wide, place.get(one.vectors, len(order))))
    if not isinstance(columns, int):
        return found
    few = columns // _FEW + 1
    return sorted(found, key=lambda one: (-columns % one.columns) // few)


def _preferred(isa: Isa, total: DType, rows: Size, terms: Size | None) -> tuple[int, ...]:
    """So many vectors to a row for the rows of a product, the best first. Where a vector takes two halves' time, four
    are second to three, and ahead of them where more rows than the second cache holds are summed over so many terms
    that a panel stays there.
    """
    if (isa.vector_registers - 4) // 3 <= _STREAMING:
        return ()
    if not isa.halves or not isinstance(rows, int) or rows <= _SHARED * _ROWS:
        return (3,)
    many = isinstance(terms, int) and terms in _MIDDLE and rows * terms * total.itemsize > isa.l2
    return (4, 3) if many else (3, 4)


def quickest(isa: Isa, total: DType, columns: int, terms: int, far: bool) -> list[Block]:
    """The blocks for pixels of an image, each a sum of so many `terms` for each of the columns, the best guess first;
    `far` results are more than caches keep.

    Where a vector takes two halves' time, one vector to a row hides best what a block costs beside its products. Long
    sums for many columns take three, if those fill them: rows come from the second cache once for each panel. But far
    results, and those of brief sums, come faster than lines of memory that lie apart: there one panel holds all
    columns, where it can, so that lines are written one after the other.
    """
    found = fitting(isa, total, columns)
    if not isa.halves:
        return found
    wide = isa.lanes(total.itemsize)
    long = terms in _LONG and columns % (_THREE * wide) == 0 and columns >= _PANELS * _THREE * wide
    found.sort(key=lambda one: (_cycles(one, columns, wide), one.vectors != (_THREE if long else 1), one.vectors))
    vectors = -(-columns // wide)
    most = _WIDEST if terms <= _BRIEF else _WIDE if far else 0
    if vectors > most or vectors * wide > columns * 17 // 16:
        return found
    rows = (isa.vector_registers - vectors - 1) // vectors
    whole = Block(min(_ROWS, max(1, rows - rows % 2)), vectors, wide)
    return [whole, *(one for one in found if one != whole)]


def _cycles(block: Block, columns: int, wide: int) -> float:
    """About the cycles that a row takes for a term of all columns: those of the products, or of the loads."""
    narrow = block.lanes < wide
    products = block.rows * block.vectors * (_NARROW / 2 if narrow else 1)
    return -(-columns // block.columns) * max(products, LOADED * (block.rows + block.vectors)) / block.rows


def _shared(rows: int, block: Block, isa: Isa) -> Block:
    """The block with as many of `rows` as an even share has, in blocks as high as registers allow; somewhat lower where
    that computes fewer in vain, but not one vector wide, which would wait for loads.
    """
    most = (isa.vector_registers - block.vectors - 1) // block.vectors
    even = -(-rows // -(-rows // most))
    lower = range(_STREAMING + 1, even) if block.vectors > 1 else ()
    return replace(block, rows=min((even, *lower), key=lambda height: (-rows % height, -height)))


def is_paired(isa: Isa, a: DType, b: DType) -> bool:
    """Whether products of such numbers are added in pairs by one instruction, A's lying as i16."""
    return isa.architecture == "x86_64" and {a, b} <= {dt.i8, dt.u8, dt.i16}


def block_of(isa: Isa, total: DType, columns: Size) -> Block:
    """The block that leaves the fewest lanes of the last panel idle."""
    return fitting(isa, total, columns)[0]


def sum_of(*dtypes: DType) -> DType:
    """The element type that products of these are summed in: f32 at least for floats, i32 at least for integers."""
    widest = max(dtype.itemsize for dtype in dtypes)
    if dtypes[0].is_float:
        return dt.f64 if widest == 8 else dt.f32
    return dt.i64 if widest == 8 else dt.i32


@dataclass(frozen=True)
class Tile:
    """A micro-kernel for `rows` of the rows of `block`, with the element types of A, of B and of the sums.

    `separate` is its depthwise form: A_t[row, column] takes the place of A_t[row, k], one term a tap. A `masked` one
    does not read columns of A beyond the last. One that looks `ahead` prefetches B; an `aimed` one is told how many
    bytes ahead.
    """

    isa: Isa
    a: DType
    b: DType
    total: DType
    block: Block
    rows: int
    separate: bool = False
    masked: bool = False
    ahead: bool = False
    aimed: bool = False

    @property
    def extra(self) -> int:
        """How many sizes the function takes behind b: the distance of an aimed one."""
        return int(self.aimed)

    @property
    def paired(self) -> bool:
        """Whether two terms are multiplied and added at a time."""
        fitting = self.a is dt.i16 and is_paired(self.isa, self.a, self.b)
        return fitting and not self.separate and self.block.lanes in _PAIRS

    def define(self, module: ir.Module) -> ir.Function:
        """Add `void tile(ptr table, i64 taps, i64 k, i64 columns, ptr b, ptr c, i64 more)` to the module; an aimed one
        takes `i64 distance` behind b.

        The table holds `block.rows` addresses a tap. c gets the sums row by row, `block.columns` to a row; they start
        from what is there if `more`, else from zero. `k` counts terms; the depthwise form takes the byte offset of
        its first column in a row of A instead, and the `columns` left.
        """
        name = f"tile{self.rows}x{self.block.vectors}{'_masked' * self.masked}"
        kinds = [POINTER, I64, I64, I64, POINTER, *[I64] * self.extra, POINTER, I64]
        function = define(module, name, ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, vector = Vectors(builder, self.isa, 1), Vectors(builder, self.isa, self.block.lanes)
        *given, c, more = function.args
        kind, size = vector.type(register_type(self.total)), self.block.lanes * self.total.itemsize
        places = [step(builder, c, place * size) for place in range(self.rows * self.block.vectors)]
        start = choose(
            scalar,
            scalar.wrap(more).compare("!=", 0),
            lambda: [builder.load(place, typ=kind, align=size) for place in places],
            lambda: [ir.Constant(kind, None)] * len(places),
        )
        for place, value in zip(places, self.sums(builder, given, start), strict=True):
            builder.store(value, place, align=size)
        builder.ret_void()
        return function

    def sums(
        self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], start: Sequence[ir.Value] = ()
    ) -> Sequence[ir.Value]:
        """The sums themselves, vector by vector and row by row, in the function being built; they start from `start`,
        or from zero. The arguments are those before c.
        """
        scalar, vector = Vectors(builder, self.isa, 1), Vectors(builder, self.isa, self.block.lanes)
        table, taps, k, columns, b, *aim = arguments
        distance = scalar.wrap(aim[0]) if aim else scalar.constant(I64, AHEAD)
        masks = self._masks(vector, columns)
        zero = ir.Constant(vector.type(register_type(self.total)), None)

        def tap(t: Vector, b: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
            row = step(builder, table, t * (8 * self.block.rows))
            lines = [load_pointer(scalar, row, 8 * r) for r in range(self.rows)]
            if self.separate:
                return self._column_terms(vector, [step(builder, line, k) for line in lines], masks, b, sums)
            return self._terms(vector, lines, scalar.wrap(k), b, sums, distance)

        begun = start or [zero] * (self.rows * self.block.vectors)
        _, (_, *sums) = repeat(scalar, 0, scalar.wrap(taps), tap, (b, *begun))
        return sums

    def _masks(self, vector: Vectors, columns: ir.Value) -> list[Vector]:
        if not self.masked:
            return []
        left = vector.splat(columns)
        return [vector.iota(I64) + v * self.block.lanes < left for v in range(self.block.vectors)]

    def _terms(
        self,
        vector: Vectors,
        lines: Sequence[ir.Value],
        k: Vector,
        b: ir.Value,
        sums: Sequence[ir.Value],
        distance: Vector,
    ) -> Sequence[ir.Value]:
        """The terms of one tap, several at a time where loads cost registers nothing, then one at a time. What several
        terms prefetch, `distance` bytes on, comes before all of their loads, else LLVM spills sums.
        """
        builder, row_bytes = vector.builder, self.block.columns * self.b.itemsize
        tall = self.rows > _STREAMING

        def several(count: int, place: Vector, b: ir.Value, *before: ir.Value) -> Sequence[ir.Value]:
            sums: Sequence[ir.Value] = before
            for line in range(0, count * row_bytes, LINE) if self.ahead and tall and count > 1 else ():
                prefetch(builder, step(builder, b, distance + line))
            if self.paired and count > 1:
                starts = [step(builder, line, place * self.a.itemsize) for line in lines]
                rows = [self._row_of_b(vector, step(builder, b, term * row_bytes)) for term in range(count)]
                return (step(builder, b, count * row_bytes), *self._add_pairs(vector, starts, rows, sums))
            for term in range(count):
                starts = [step(builder, line, place * self.a.itemsize) for line in lines]
                factors = (self._factor(vector, step(builder, start, term * self.a.itemsize)) for start in starts)
                sums = self._add(factors, self._row_of_b(vector, step(builder, b, term * row_bytes)), sums)
            return (step(builder, b, count * row_bytes), *sums)

        written = tall or self.paired or self.rows == self.block.rows
        unroll = _UNROLL if self.isa.architecture == "x86_64" and written else 1
        whole = k & -unroll
        _, state = repeat(k.code, 0, whole, lambda *now: several(unroll, *now), (b, *sums), by=unroll)
        return repeat(k.code, whole, k, lambda *now: several(1, *now), state)[1] if unroll > 1 else state

    def _factor(self, vector: Vectors, address: ir.Value) -> list[Vector]:
        """An element of A in all lanes, once for each vector of the row."""
        one = self._load(Vectors(vector.builder, self.isa, 1), address, self.a)
        return [vector.splat(one.value)] * self.block.vectors

    def _column_terms(
        self,
        vector: Vectors,
        lines: Sequence[ir.Value],
        masks: Sequence[Vector],
        b: ir.Value,
        sums: Sequence[ir.Value],
    ) -> Sequence[ir.Value]:
        """The one term of a tap in the depthwise form."""
        size = self.block.lanes * self.a.itemsize
        factors = (
            [
                self._load(vector, step(vector.builder, line, v * size), self.a, masks[v] if masks else None)
                for v in range(self.block.vectors)
            ]
            for line in lines
        )
        sums = self._add(factors, self._row_of_b(vector, b), sums)
        return (step(vector.builder, b, self.block.columns * self.b.itemsize), *sums)

    def _add(
        self, factors: Iterable[Sequence[Vector]], row: Sequence[Vector], sums: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        pairs = (pair for line in factors for pair in zip(line, row, strict=True))
        return [multiply_add(x, y, x.code.wrap(one)).value for (x, y), one in zip(pairs, sums, strict=True)]

    def _add_pairs(
        self, vector: Vectors, starts: Sequence[ir.Value], rows: Sequence[Sequence[Vector]], sums: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        """Two terms: neighbours of A by two rows of B, whose elements are brought side by side."""
        builder, (low, high) = vector.builder, rows
        kind = ir.VectorType(integer(16), 2 * vector.lanes)
        woven = [builder.bitcast(((x & 0xFFFF) | (y << 16)).value, kind) for x, y in zip(low, high, strict=True)]
        found = []
        for number, start in enumerate(starts):
            pair = builder.bitcast(vector.splat(builder.load(start, typ=I32, align=self.a.itemsize)).value, kind)
            for place, row in enumerate(woven):
                both = intrinsic(builder, _PAIRS[vector.lanes], vector.type(I32), [pair, row])
                found.append((vector.wrap(both) + vector.wrap(sums[number * len(woven) + place])).value)
        return found

    def _row_of_b(self, vector: Vectors, b: ir.Value) -> list[Vector]:
        size = self.block.lanes * self.b.itemsize
        return [self._load(vector, step(vector.builder, b, v * size), self.b) for v in range(self.block.vectors)]

    def _load(self, vector: Vectors, address: ir.Value, dtype: DType, mask: Vector | None = None) -> Vector:
        kind = vector.type(stored_type(dtype))
        if mask is None:
            loaded = vector.builder.load(address, typ=kind, align=dtype.itemsize)
        else:
            loaded = masked_load(mask, address, kind)
        return cast(dtype, self.total, widen(dtype, vector.wrap(loaded)))


def call_tile(
    code: Vectors, tiles: Mapping[int, ir.Function], block: Block, rows: Vector, arguments: Sequence[ir.Value]
) -> None:
    """Call the micro-kernel of the least height that holds `rows`; `tiles` are those of a block's heights."""

    def call(heights: Sequence[int]) -> None:
        if len(heights) == 1:
            code.builder.call(tiles[heights[0]], arguments)
            return
        high, low = heights[:1], heights[1:]
        choose(code, rows > low[0], lambda: call(high), lambda: call(low))

    call(block.heights)


def prefetch(builder: ir.IRBuilder, address: ir.Value, write: bool = False) -> None:
    """Ask for a line of memory in the second cache; in the first, to be written, if `write`."""
    kind, cache, data = (ir.Constant(I32, number) for number in ((1, 3, 1) if write else (0, 2, 1)))
    intrinsic(builder, "prefetch.p0", ir.VoidType(), [address, kind, cache, data])


def masked_load(mask: Vector, address: ir.Value, kind: ir.Type) -> ir.Value:
    """The elements at `address` in the lanes of `mask`, zeros in the others, which are not touched."""
    builder = mask.code.builder
    zero = ir.Constant(kind, None)
    arguments = [address, ir.Constant(I32, 1), mask.value, zero]
    return intrinsic(builder, f"masked.load.{suffix(kind)}.p0", kind, arguments)


def multiply_add(x: Vector, y: Vector, total: Vector) -> Vector:
    """x * y + total, rounded once if they are floats."""
    return x.fma(y, total) if is_float(x.type) else x * y + total

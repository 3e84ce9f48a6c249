"""Lines: what a kernel does along the one axis that it walks as vectors. How operands move along it, and what bodies
may ask there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.body import evenness, expand_body, split
from tenfold.codegen.cpu.emit import Place, emit_body
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.memory import first_lanes, load, load_apart, load_one, store, store_apart
from tenfold.codegen.cpu.stage import StageWriter
from tenfold.codegen.cpu.storage import narrow, register_type, widen
from tenfold.codegen.cpu.vectors import I64, Vector, Vectors
from tenfold.codegen.region import Body, Index, Load, Operand, Region
from tenfold.codegen.strategy import Argument
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

STEPS_IN_CODE = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Stream:
    """How an operand moves along the line: `step` elements a position, None if an argument says."""

    dtype: DType
    step: int | None


def stream(dtype: DType, stride: Size) -> Stream:
    """The stream of an operand whose stride along the line is `stride`."""
    return Stream(dtype, stride if isinstance(stride, int) and stride in STEPS_IN_CODE else None)


@dataclass(frozen=True)
class Gathered:
    """An operand that bodies read by Load: its element type, its rank, and the axis along which it has stride 1."""

    dtype: DType
    rank: int
    unit: int | None


@dataclass(frozen=True)
class Surroundings:
    """What bodies of a region may ask: `places` maps axes of the domain to the walked axes (-1: of size 1, so 0)."""

    places: tuple[int | None, ...]
    gathered: tuple[Gathered, ...]
    uniforms: int

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments they take."""
        found = [f"uniform{number}" for number in range(self.uniforms)]
        for number, one in enumerate(self.gathered):
            found += [f"@gathered{number}", *(f"gathered{number}.{axis}" for axis in range(one.rank))]
        return tuple(found)


def surroundings(region: Region, places: tuple[int | None, ...], asked: frozenset[int]) -> Surroundings:
    """Those of a region; only the axes in `asked` are kept."""
    gathered = []
    for one in region.gathered:
        units = [axis for axis, stride in enumerate(one.strides) if stride == 1]
        gathered.append(Gathered(one.dtype, len(one.strides), units[-1] if units else None))
    known = tuple(place if axis in asked else None for axis, place in enumerate(places))
    return Surroundings(known if asked else (), tuple(gathered), len(region.uniforms))


def surrounding_arguments(region: Region, address: Callable[[Operand], Argument]) -> dict[str, Argument]:
    """The arguments that `Surroundings.names` lists."""
    found: dict[str, Argument] = {f"uniform{number}": size for number, size in enumerate(region.uniforms)}
    for number, one in enumerate(region.gathered):
        found[f"@gathered{number}"] = address(one)
        for axis, stride in enumerate(one.strides):
            found[f"gathered{number}.{axis}"] = stride * one.dtype.itemsize
    return found


@dataclass(frozen=True)
class Spot:
    """Where vectors are computed: `lanes` elements from `position` along walked axis `axis`, the other axes' positions
    in `others`; a tail has a `mask`.
    """

    code: Vectors
    axis: int
    position: Vector
    others: Mapping[int, Vector]
    mask: Vector | None = None

    def along(self) -> Vector:
        """The positions along the line."""
        return self.code.splat(self.position.value) + self.code.iota(I64)


@dataclass(frozen=True)
class Cursor:
    """An operand at the start of a line: its address there and its step in bytes, if it is no constant."""

    stream: Stream
    address: ir.Value
    stride: Vector | None = None

    def read(self, spot: Spot) -> Vector:
        """The elements there, as stored."""
        code, dtype = spot.code, self.stream.dtype
        if self.stream.step == 0:
            return load_one(code, dtype, self.address)
        at = self._at(spot.position)
        if self.stream.step == 1:
            return load(code, dtype, at, spot.mask)
        if spot.mask is not None:
            first = spot.position
            return load_apart(code, dtype, self.address, lambda lane: (first + lane) * self._step(first), spot.mask)
        if self.stream.step and code.lanes > 1:
            return _every(code, dtype, at, self.stream.step)
        return load_apart(code, dtype, at, self._offset)

    def write(self, spot: Spot, stored: Vector) -> None:
        """Write stored elements there."""
        at = self._at(spot.position)
        if self.stream.step == 1:
            store(spot.code, self.stream.dtype, at, stored, spot.mask)
        else:
            assert spot.mask is None, "elements apart from each other are stored whole or one at a time"
            store_apart(spot.code, self.stream.dtype, at, self._offset, stored)

    def _at(self, position: Vector) -> ir.Value:
        return position.code.builder.gep(
            self.address, [(position * self._step(position)).value], source_etype=ir.IntType(8)
        )

    def _step(self, known: Vector) -> Vector:
        if self.stream.step is None:
            assert self.stride is not None
            return self.stride
        return known.like(self.stream.step * self.stream.dtype.itemsize)

    def _offset(self, lane: int) -> Vector:
        assert self.stride is not None
        return self._step(self.stride) * lane


def _every(code: Vectors, dtype: DType, address: ir.Value, apart: int) -> Vector:
    """Every `apart`-th element, by whole loads that end with the last one."""
    lanes, size = code.lanes, dtype.itemsize
    last = (lanes - 1) * apart + 1 - lanes
    starts = [min(number * lanes, last) for number in range(apart)]
    loads = [load(code, dtype, _byte(code, address, start * size)) for start in starts]
    result, held = loads[0], 0
    order: list[int] = []
    for lane in range(lanes):
        where = lane * apart
        order.append(min(where // lanes, apart - 1))
    for number in range(1, apart):
        picks = []
        for lane in range(lanes):
            if order[lane] < number:
                picks.append(lane if held else lane * apart)
            elif order[lane] == number:
                picks.append(lanes + lane * apart - starts[number])
            else:
                picks.append(0)
        result, held = code.wrap(result.shuffle(picks, loads[number])), 1
    return result


def _byte(code: Vectors, address: ir.Value, offset: int) -> ir.Value:
    return code.builder.gep(address, [ir.Constant(I64, offset)], source_etype=ir.IntType(8))


class LineBody:
    """A body as it runs on a line along the walked axis `axis`, with inputs of these steps (0: the same all along).

    What stays the same along the line is computed by `settle`, once; `emit` computes the rest.
    """

    def __init__(
        self, writer: StageWriter, around: Surroundings, body: Body, steps: Sequence[int | None], axis: int
    ) -> None:
        self.writer = writer
        self.around = around
        self.body = expand_body(body)
        self.moving = around.places.index(axis) if axis in around.places else None
        even = [step == 0 for step in steps]
        self.fixed, self.rest = split(self.body, even, self.moving)
        self.loads = self._loads([*even, *[True] * len(self.fixed.outputs)])

    def _loads(self, even: Sequence[bool]) -> list[bool]:
        """Of each Load of the rest, in order, whether it follows the line with stride 1."""
        same = evenness(self.rest, even, self.moving)
        count = len(self.rest.inputs)
        along = [isinstance(one.op, Index) and one.op.axis == self.moving for one in self.rest.code]
        found = []
        for one in self.rest.code:
            if isinstance(one.op, Load):
                unit = self.around.gathered[one.op.number].unit
                others = [same[arg] for axis, arg in enumerate(one.args) if axis != unit]
                follows = unit is not None and one.args[unit] >= count and along[one.args[unit] - count]
                found.append(follows and all(others))
        return found

    def settle(self, spot: Spot, registers: Sequence[Vector]) -> list[ir.Value]:
        """What stays the same along the line of a spot, as scalars, from scalar registers: `emit` takes it."""
        spot = replace(spot, code=self.writer.scalar, mask=None)
        return [one.value for one in emit_body(spot.code, self.fixed, registers, self._place(spot, iter(())))]

    def emit(self, spot: Spot, registers: Sequence[Vector], settled: Sequence[ir.Value]) -> list[Vector]:
        """The outputs at a spot, in register form."""
        known = [spot.code.splat(one) for one in settled]
        return emit_body(spot.code, self.rest, [*registers, *known], self._place(spot, iter(self.loads)))

    def _place(self, spot: Spot, follows: Iterator[bool]) -> Place:
        def gather(number: int, positions: Sequence[Vector]) -> Vector:
            return self._gather(spot, next(follows, True), number, positions)

        def fail(where: Vector) -> None:
            self.writer.fail(where, spot.mask)

        return Place(lambda axis: self._index(spot, axis), lambda number: self._uniform(spot, number), gather, fail)

    def _index(self, spot: Spot, axis: int) -> Vector:
        place = self.around.places[axis]
        if place == -1:
            return spot.code.zero(I64)
        if place == spot.axis:
            return spot.along()
        assert place is not None
        return spot.code.splat(spot.others[place].value)

    def _uniform(self, spot: Spot, number: int) -> Vector:
        return spot.code.splat(self.writer.arg(f"uniform{number}").value)

    def _gather(self, spot: Spot, follows: bool, number: int, positions: Sequence[Vector]) -> Vector:
        """Elements of a gathered operand, consecutive ones from the first lane's place on if it `follows` the line."""
        code, dtype = spot.code, self.around.gathered[number].dtype
        base = self.writer.pointer(f"@gathered{number}")
        strides = [self.writer.arg(f"gathered{number}.{axis}") for axis in range(len(positions))]
        scalar = self.writer.scalar
        if not follows:
            offsets = code.zero(I64)
            for position, stride in zip(positions, strides, strict=True):
                offsets = offsets + position * code.splat(stride.value)
            stored = load_apart(code, dtype, base, lambda lane: scalar.wrap(offsets.lane(lane)), spot.mask)
            return widen(dtype, stored)
        start = self.writer.number(0)
        for position, stride in zip(positions, strides, strict=True):
            start = start + scalar.wrap(position.lane(0)) * stride
        return widen(dtype, load(code, dtype, self.writer.step(base, start), spot.mask))


def lanes_for(vector_bytes: int, body: Body, operands: Sequence[DType]) -> int:
    """How many lanes a line is walked with: as many as fill a register with the widest operand, and if anything is
    computed, no more than fill two with f32.
    """
    if not body.code:
        return vector_bytes // max((dtype.itemsize for dtype in operands), default=4)
    widest = max((_width(dtype) for dtype in operands), default=4)
    return min(vector_bytes // widest, vector_bytes // 2)


def _width(dtype: DType) -> int:
    kind = register_type(dtype)
    return dtype.itemsize if isinstance(kind, ir.IntType) else (8 if dtype.bits == 64 else 4)


def walk(spot: Spot, scalar: Vectors, begin: Vector, end: Vector, masked: bool, visit: Callable[[Spot], None]) -> None:
    """Visit a line from `begin` to `end`: whole vectors, then the rest under a mask, or one by one in `scalar` code.

    `spot` says what does not change along the line.
    """
    lanes = spot.code.lanes
    whole = begin + ((end - begin) & -lanes)
    repeat(scalar, begin, whole, lambda at: visit(replace(spot, position=at)), by=lanes)
    if lanes == 1:
        return
    if not masked:
        single = replace(spot, code=scalar)
        repeat(scalar, whole, end, lambda at: visit(replace(single, position=at)))
        return

    def rest() -> None:
        visit(replace(spot, position=whole, mask=first_lanes(spot.code, end - whole)))

    choose(scalar, whole < end, rest, lambda: None)


class Inputs:
    """The inputs of a line; those that stay the same along it are loaded at once."""

    def __init__(self, cursors: Sequence[Cursor], scalar: Vectors) -> None:
        self.cursors = cursors
        self._held = {
            number: load(scalar, one.stream.dtype, one.address)
            for number, one in enumerate(cursors)
            if one.stream.step == 0
        }
        self.even = [
            widen(one.stream.dtype, self._held[number])
            if number in self._held
            else scalar.wrap(scalar.undefined(register_type(one.stream.dtype)))
            for number, one in enumerate(cursors)
        ]
        """Them as scalar registers; of those that move, only the type means anything."""

    def stored(self, spot: Spot) -> list[Vector]:
        """All of them at a spot, as stored."""
        return [
            spot.code.splat(self._held[number].value) if number in self._held else one.read(spot)
            for number, one in enumerate(self.cursors)
        ]

    def registers(self, spot: Spot, stored: Sequence[Vector]) -> list[Vector]:
        """Those in register form."""
        return [
            spot.code.splat(self.even[number].value) if number in self._held else widen(one.stream.dtype, value)
            for number, (one, value) in enumerate(zip(self.cursors, stored, strict=True))
        ]


def outputs_of(
    body: Body, results: Sequence[Vector], stored: Sequence[Vector], dtypes: Sequence[DType]
) -> list[Vector]:
    """The results of a body as stored; one that is an input untouched is that input's bits."""
    found = []
    for register, result, dtype in zip(body.outputs, results, dtypes, strict=True):
        same = register < len(stored) and body.dtype(register) is dtype
        found.append(stored[register] if same else narrow(dtype, result))
    return found

"""Where the rows of a contraction lie: for each tap and row an address of A, for each row the offsets of the others.

So strides, dilations, padding, images of any size and batches that are merely rows cost nothing in the inner loops, and
A is read where it lies. A tap beyond the border reads a line of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tenfold.codegen.cpu.flow import repeat
from tenfold.codegen.cpu.stage import StageWriter, divided
from tenfold.codegen.cpu.vectors import I1, I8, I64, Vector


class Table:
    """The table of a stage being written. Slots are [block][tap][row of the block], 8 bytes each; the last row stands
    in for those missing in its block. `rows` to a block.

    It reads the stage's arguments size, step, stride, dilation, padding, extent, taps of each axis, and
    `group<g>.step<axis>`, and the places "at.table", "at.offsets", "at.rows", "at.zeros".
    """

    def __init__(self, stage: StageWriter, windows: Sequence[bool], padded: bool, groups: int, rows: int) -> None:
        self.stage, self.padded, self.groups, self.rows = stage, padded, groups, rows
        self.axes = range(len(windows))
        self.windows = [axis for axis in self.axes if windows[axis]]
        self.wide = stage.vectors(stage.isa.lanes(8))
        self.start = stage.step(stage.scratch, stage.arg("at.table"))
        self.vectors = -(-rows // self.wide.lanes)

    def prepare(self) -> None:
        """Clear the line of zeros."""
        if not self.padded:
            return
        stage = self.stage
        zeros = stage.step(stage.scratch, stage.arg("at.zeros"))
        code = stage.vectors(stage.isa.vector_bytes)

        def clear(place: Vector) -> None:
            stage.builder.store(ir.Constant(code.type(I8), None), stage.step(zeros, place), align=8)

        repeat(stage.scalar, 0, stage.arg("zeros"), clear, by=code.lanes)

    def offsets(self, group: int, row: Vector) -> ir.Value:
        """The address of a group's offset for a row of the stretch."""
        stage = self.stage
        start = stage.step(stage.scratch, stage.arg("at.offsets"))
        return stage.step(start, (stage.arg("row_stretch") * group + row) * 8)

    def fill(self, a: ir.Value, row: Vector, count: Vector) -> None:
        """Fill it for `count` rows from `row` on; A starts at `a`."""
        stage = self.stage
        at: list[ir.Value] = []
        for axis in reversed(self.axes):
            row, place = divided(row, stage.arg(f"size{axis}"))
            at.insert(0, place.value)
        base = stage.scalar.wrap(stage.builder.ptrtoint(a, I64))

        def block(first: Vector, *at: ir.Value) -> Sequence[ir.Value]:
            def one(i: Vector, *at: ir.Value) -> Sequence[ir.Value]:
                now = [stage.scalar.wrap(value) for value in at]
                self._offsets(first + i, now)
                self._line(base, first, i, now)
                return self._next(now, first + i + 1 < count)

            _, after = repeat(stage.scalar, 0, self.rows, one, at)
            if self.windows:
                self._taps(first)
            return after

        repeat(stage.scalar, 0, count, block, at, by=self.rows)

    def _next(self, at: Sequence[Vector], more: Vector) -> list[ir.Value]:
        """The next row's coordinates, or the same if there is no more."""
        carry = more.zero_extend(I64)
        found: list[ir.Value] = []
        for axis in reversed(self.axes):
            following = at[axis] + carry
            full = following.equals(self.stage.arg(f"size{axis}"))
            found.insert(0, full.where(0, following).value)
            carry = full.zero_extend(I64)
        return found

    def _offsets(self, row: Vector, at: Sequence[Vector]) -> None:
        for group in range(self.groups):
            offset = self.stage.number(0)
            for axis in self.axes:
                offset = offset + at[axis] * self.stage.arg(f"group{group}.step{axis}")
            self.stage.builder.store(offset.value, self.offsets(group, row), align=8)

    def _line(self, line: Vector, first: Vector, i: Vector, at: Sequence[Vector]) -> None:
        """The address of a row for the first tap: into its slot, or aside with the places for the taps to come."""
        stage = self.stage
        places = []
        for axis in self.axes:
            place = at[axis]
            if axis in self.windows:
                place = place * stage.arg(f"stride{axis}") - stage.arg(f"padding{axis}")
                places.append(place)
            line = line + place * stage.arg(f"step{axis}")
        if not self.windows:
            stage.builder.store(line.value, stage.step(self.start, (first + i) * 8), align=8)
            return
        for number, value in enumerate([line, *places][: 1 + self.padded * len(places)]):
            stage.builder.store(value.value, stage.step(self._aside(number), i * 8), align=8)

    def _aside(self, number: int) -> ir.Value:
        """Where the rows' addresses (0) or places along a windowed axis (1 …) wait, one block of them."""
        place = self.stage.arg("at.rows") + number * 8 * self.vectors * self.wide.lanes
        return self.stage.step(self.stage.scratch, place)

    def _taps(self, first: Vector) -> None:
        """All taps of a block, a vector of rows at a time."""
        stage = self.stage
        lines = self._load(0)
        places = [self._load(1 + number) for number in range(len(self.windows))] if self.padded else []
        inside = [self.wide.constant(I1, 1)] * self.vectors
        slot = stage.step(self.start, first * stage.arg("taps") * 8)
        self._tap(lines, places, inside, self.windows, slot)

    def _load(self, number: int) -> list[Vector]:
        size = 8 * self.wide.lanes
        kind = self.wide.type(I64)
        places = (self.stage.step(self._aside(number), v * size) for v in range(self.vectors))
        return [self.wide.wrap(self.stage.builder.load(place, typ=kind, align=8)) for place in places]

    def _tap(
        self,
        lines: Sequence[Vector],
        places: Sequence[Sequence[Vector]],
        inside: Sequence[Vector],
        windows: Sequence[int],
        slot: ir.Value,
    ) -> ir.Value:
        """The taps along the axes `windows`; gives the slot after them."""
        stage = self.stage
        if not windows:
            return self._store(lines, inside, slot)
        axis, *others = windows

        def tap(t: Vector, slot: ir.Value) -> Sequence[ir.Value]:
            shift = t * stage.arg(f"dilation{axis}")
            moved = [line + self._splat(shift * stage.arg(f"step{axis}")) for line in lines]
            within = inside
            if self.padded:
                extent = self._splat(stage.arg(f"extent{axis}"))
                now = [place + self._splat(shift) for place in places[0]]
                pairs = zip(inside, now, strict=True)
                within = [before & place.compare("<", extent, unsigned=True) for before, place in pairs]
            return [self._tap(moved, places[1:], within, others, slot)]

        return repeat(stage.scalar, 0, stage.arg(f"taps{axis}"), tap, [slot])[1][0]

    def _store(self, lines: Sequence[Vector], inside: Sequence[Vector], slot: ir.Value) -> ir.Value:
        stage = self.stage
        if self.padded:
            zeros = stage.arg("at.zeros") + stage.scalar.wrap(stage.builder.ptrtoint(stage.scratch, I64))
            outside = self._splat(zeros)
            lines = [within.where(line, outside) for within, line in zip(inside, lines, strict=True)]
        for v, line in enumerate(lines):
            stage.builder.store(line.value, stage.step(slot, 8 * v * self.wide.lanes), align=8)
        return stage.step(slot, 8 * self.rows)

    def _splat(self, scalar: Vector) -> Vector:
        return self.wide.splat(scalar.value)

"""Where the rows of a contraction lie: for each tap and row an address of A, for each row the offsets of the others.

So strides, dilations, padding, images of any size and batches that are merely rows cost nothing in the inner loops, and
A is read where it lies. A tap beyond the border reads a line of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, repeat
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
        at: list[Vector] = []
        for axis in reversed(self.axes):
            row, place = divided(row, stage.arg(f"size{axis}"))
            at.insert(0, place)
        base = stage.scalar.wrap(stage.builder.ptrtoint(a, I64))
        deltas = self._deltas()

        def block(first: Vector, *state: ir.Value) -> Sequence[ir.Value]:
            def one(i: Vector, *state: ir.Value) -> Sequence[ir.Value]:
                now = [stage.scalar.wrap(value) for value in state]
                self._write(first, i, now[len(self.axes) :])
                more = first + i + 1 < count
                return choose(stage.scalar, more, lambda: self._next(base, now, deltas), lambda: state)

            _, after = repeat(stage.scalar, 0, self.rows, one, state)
            if self.windows:
                self._taps(first)
            return after

        repeat(stage.scalar, 0, count, block, self._state(base, at), by=self.rows)

    def _state(self, base: Vector, at: Sequence[Vector]) -> list[ir.Value]:
        """All that is kept of a row: its coordinates, each group's offset, and for its first tap the address and the
        places along the windowed axes.
        """
        stage = self.stage
        offsets = [stage.number(0)] * self.groups
        line, places = base, []
        for axis in self.axes:
            place = at[axis]
            if axis in self.windows:
                place = place * stage.arg(f"stride{axis}") - stage.arg(f"padding{axis}")
                places.append(place)
            line = line + place * stage.arg(f"step{axis}")
            steps = (stage.arg(f"group{group}.step{axis}") for group in range(self.groups))
            offsets = [offset + at[axis] * step for offset, step in zip(offsets, steps, strict=True)]
        return [one.value for one in (*at, *offsets, line, *places)]

    def _deltas(self) -> list[Vector]:
        """What the state grows by from a row to the next along the last axis."""
        stage = self.stage
        if not self.axes:
            return [stage.number(0)]
        last = self.axes[-1]
        windowed = last in self.windows
        stride = stage.arg(f"stride{last}") if windowed else stage.number(1)
        coordinates = [stage.number(int(axis == last)) for axis in self.axes]
        offsets = [stage.arg(f"group{group}.step{last}") for group in range(self.groups)]
        places = [stride if axis == last else stage.number(0) for axis in self.windows]
        return [*coordinates, *offsets, stride * stage.arg(f"step{last}"), *places]

    def _next(self, base: Vector, now: Sequence[Vector], deltas: Sequence[Vector]) -> Sequence[ir.Value]:
        """The next row's state: along the line, or at the start of the next."""
        stage = self.stage
        along = [one + delta for one, delta in zip(now, deltas, strict=True)]
        if not self.axes:
            return [one.value for one in along]
        last = self.axes[-1]

        def line() -> Sequence[ir.Value]:
            at = [*now[:last], stage.number(0)]
            carry = stage.number(1)
            for axis in reversed(self.axes[:-1]):
                following = at[axis] + carry
                full = following.equals(stage.arg(f"size{axis}"))
                at[axis], carry = full.where(0, following), full.zero_extend(I64)
            return self._state(base, at)

        within = along[last] < stage.arg(f"size{last}")
        return choose(stage.scalar, within, lambda: [one.value for one in along], line)

    def _write(self, first: Vector, i: Vector, state: Sequence[Vector]) -> None:
        """A row's offsets, and its address into its slot, or aside with its places for the taps to come."""
        stage = self.stage
        for group in range(self.groups):
            stage.builder.store(state[group].value, self.offsets(group, first + i), align=8)
        line, *places = state[self.groups :]
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

"""Fourier transforms of many lines: as many at once as a vector has lanes, each lane a line of its own.

Lines are turned in registers on their way into scratch, where element n of all lines is one vector. Passes of
Stockham's algorithm (Cochran et al. 1967) go to and fro between two buffers: of N = radix · m numbers, those m apart
become a transform of `radix` points, whose results stand in order, so that no reordering is left at the end. A real
line of even length is the complex one of half the length that its memory shows, and is taken apart afterwards.
"""

from __future__ import annotations

import cmath
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.axes import at_least_one, few
from tenfold.codegen.cpu.butterfly import Complex, radices, transformed
from tenfold.codegen.cpu.entry import Entry, parts_of
from tenfold.codegen.cpu.flow import load_pointer, repeat
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.movement import transposed
from tenfold.codegen.cpu.stage import least, numbered, operand_names, operand_values, ordered, share_of
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import THREADS, Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.type import Type
from tenfold.ops.signal import Fourier
from tenfold.target import Target

LONGEST = 2048
"""The longest transform whose numbers, one line a lane, stay in a core's own cache."""
_GRAIN = 1 << 13
"""Elements worth a part."""


def takes(op: Fourier, real: Type) -> bool:
    """Whether a transform of such lines has a kernel."""
    length = real.shape[-1]
    if not isinstance(length, int) or not isinstance(op.count, int) or real.dtype not in (dt.f32, dt.f64):
        return False
    return 0 < op.count <= length <= LONGEST and radices(length, 2) is not None


@dataclass(frozen=True)
class Run:
    """`count` numbers of a line in memory, side by side if `adjacent`: those of slots first, first + every, …"""

    name: str
    first: int
    every: int
    count: int
    adjacent: bool


@dataclass(frozen=True)
class Form:
    """What the code depends on. Slots 2k and 2k + 1 of a buffer hold the parts of number k."""

    isa: Isa
    dtype: DType
    length: int
    count: int
    sign: int
    scale: float
    real: bool
    reads: tuple[Run, ...]
    writes: tuple[Run, ...]
    outer: int

    @property
    def lanes(self) -> int:
        """Lines at once."""
        return self.isa.lanes(self.dtype.itemsize)

    @property
    def halved(self) -> bool:
        """Whether real numbers go by pairs."""
        return self.real and self.length % 2 == 0

    @property
    def points(self) -> int:
        """Complex numbers that the passes transform."""
        return self.length // 2 if self.halved else self.length

    @property
    def slot(self) -> int:
        """Bytes of a slot: a vector."""
        return self.lanes * self.dtype.itemsize

    @property
    def buffer(self) -> int:
        """Bytes of a buffer."""
        whole = not self.halved or self.count > self.points + 1
        return 2 * (self.length if whole else self.points + 1) * self.slot

    @property
    def table(self) -> int:
        """Bytes of the table of lines: an address for each lane and run."""
        return 8 * self.lanes * (len(self.reads) + len(self.writes))

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage; steps in bytes."""
        found = ["lines", "groups", "parts"]
        for run in (*self.reads, *self.writes):
            found += operand_names(run.name, ("line", *range(self.outer)))
        return (*found, *(f"size{axis}" for axis in range(self.outer)))


class _Writer(Entry):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "fourier", form.names)
        self.form = form
        self.code = self.vectors(form.lanes)
        self.table = {run.name: 8 * form.lanes * at for at, run in enumerate((*form.reads, *form.writes))}
        self.near, self.far = (self.step(self.scratch, form.table + at * form.buffer) for at in range(2))
        self.turns = self._turns()

    def text(self) -> str:
        """A part is a stretch of groups of lines."""
        repeat(self.scalar, *share_of(self.arg("groups"), self.part, self.arg("parts")), self._group)
        return self.finish()

    def _turns(self) -> ir.GlobalVariable:
        """e^(sign 2πi k/N) for each k, as pairs."""
        form, kind = self.form, stored_type(self.form.dtype)
        angles = (form.sign * 2 * math.pi * k / form.length for k in range(form.length))
        pairs = [part for turn in map(cmath.exp, (1j * one for one in angles)) for part in (turn.real, turn.imag)]
        numbers = [self.scalar.constant(kind, one).value for one in pairs]
        table = ir.GlobalVariable(self.module, ir.ArrayType(kind, len(numbers)), "turns")
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(table.value_type, numbers)
        return table

    def _group(self, number: Vector) -> None:
        """As many lines as there are lanes; the last group takes the last line again and again."""
        form = self.form
        for lane in range(form.lanes):
            point = self.points(form.outer, least(number * form.lanes + lane, self.arg("lines") - 1))
            for name, start in self.table.items():
                place = self.step(self.scratch, start + 8 * lane)
                self.builder.store(self.at(name, point), place, align=8)
        for run in form.reads:
            self._read(run)
        if form.real and not form.halved:
            self._clear()
        here, there = self._passes()
        if form.halved:
            self._take_apart(here, there)
            here = there
        for run in form.writes:
            self._write(run, here)

    def _row(self, run: Run, lane: int, element: Vector) -> ir.Value:
        """Where an element of a lane's line lies."""
        line = load_pointer(self.scalar, self.scratch, self.table[run.name] + 8 * lane)
        step: Vector | int = self.form.dtype.itemsize if run.adjacent else self.arg(f"{run.name}.line")
        return self.step(line, element * step)

    def _slot(self, buffer: ir.Value, run: Run, element: Vector) -> ir.Value:
        return self.step(buffer, (element * run.every + run.first) * self.form.slot)

    def _elements(self, run: Run, square: Callable[[Vector], None], single: Callable[[Vector], None]) -> None:
        """`square` for every stretch of as many elements as lanes, to be turned in registers, or `single` for each."""
        lanes = self.form.lanes
        if run.adjacent and run.count >= lanes:
            last = self.number(run.count - lanes)
            repeat(self.scalar, 0, run.count, lambda start: square(least(start, last)), by=lanes)
        else:
            repeat(self.scalar, 0, run.count, single)

    def _read(self, run: Run) -> None:
        lanes, dtype = self.form.lanes, self.form.dtype

        def square(first: Vector) -> None:
            rows = [load(self.code, dtype, self._row(run, lane, first)) for lane in range(lanes)]
            for at, vector in enumerate(transposed(rows)):
                store(self.code, dtype, self._slot(self.near, run, first + at), vector)

        def single(at: Vector) -> None:
            vector = self.code.gather(lambda lane: load(self.scalar, dtype, self._row(run, lane, at)).value)
            store(self.code, dtype, self._slot(self.near, run, at), vector)

        self._elements(run, square, single)

    def _write(self, run: Run, buffer: ir.Value) -> None:
        lanes, dtype = self.form.lanes, self.form.dtype

        def vector(at: Vector) -> Vector:
            found = load(self.code, dtype, self._slot(buffer, run, at))
            return found if self.form.scale == 1 else found * self.form.scale

        def square(first: Vector) -> None:
            for lane, row in enumerate(transposed([vector(first + at) for at in range(lanes)])):
                store(self.code, dtype, self._row(run, lane, first), row)

        def single(at: Vector) -> None:
            found = vector(at)
            for lane in range(lanes):
                store(self.scalar, dtype, self._row(run, lane, at), self.scalar.wrap(found.lane(lane)))

        self._elements(run, square, single)

    def _clear(self) -> None:
        """Imaginary parts of real numbers."""
        zero = self.code.zero(stored_type(self.form.dtype))

        def clear(at: Vector) -> None:
            store(self.code, self.form.dtype, self.step(self.near, (at * 2 + 1) * self.form.slot), zero)

        repeat(self.scalar, 0, self.form.points, clear)

    def _number(self, buffer: ir.Value, at: Vector) -> Complex:
        start = self.step(buffer, at * (2 * self.form.slot))
        parts = (load(self.code, self.form.dtype, self.step(start, half * self.form.slot)) for half in range(2))
        return Complex(*parts)

    def _set(self, buffer: ir.Value, at: Vector, number: Complex) -> None:
        start = self.step(buffer, at * (2 * self.form.slot))
        for half, part in enumerate((number.real, number.imaginary)):
            store(self.code, self.form.dtype, self.step(start, half * self.form.slot), part)

    def _turn(self, number: Complex, at: Vector) -> Complex:
        """A number times turn `at` of the table."""
        dtype = self.form.dtype
        pair = self.step(self.turns, at * (2 * dtype.itemsize))
        return number.times(*(load_one(self.code, dtype, self.step(pair, half * dtype.itemsize)) for half in range(2)))

    def _passes(self) -> tuple[ir.Value, ir.Value]:
        """The transform of the numbers in the near buffer; the buffer where they are then, and the other."""
        here, there = self.near, self.far
        rest, done = self.form.points, 1
        for radix in radices(self.form.points, 8 if self.form.isa.vector_registers >= 32 else 4) or ():
            rest //= radix
            self._pass(here, there, radix, rest, done)
            here, there, done = there, here, done * radix
        return here, there

    def _pass(self, here: ir.Value, there: ir.Value, radix: int, rest: int, done: int) -> None:
        """there[p, k, q] = turn[p k] · Σ here[j, p, q] e^(sign 2πi jk/radix), for p < rest and q < done."""
        spread = self.form.length // (radix * rest)

        def point(p: Vector, q: Vector) -> None:
            given = [self._number(here, (p + j * rest) * done + q) for j in range(radix)]
            for k, number in enumerate(transformed(given, self.form.sign)):
                turned = self._turn(number, p * (k * spread)) if k and rest > 1 else number
                self._set(there, (p * radix + k) * done + q, turned)

        repeat(self.scalar, 0, rest, lambda p: (repeat(self.scalar, 0, done, lambda q: point(p, q)), None)[1])

    def _take_apart(self, here: ir.Value, there: ir.Value) -> None:
        """The transform of 2M real numbers from that of M complex ones, z: of z[k] and conj z[M - k] the mean is the
        transform of the even numbers, and half the difference that of the odd ones times i.
        """
        half, form = self.form.points, self.form
        first = self._number(here, self.number(0))
        none = first.real.like(0)
        self._set(there, self.number(0), Complex(first.real + first.imaginary, none))
        self._set(there, self.number(half), Complex(first.real - first.imaginary, none))

        def pair(k: Vector) -> None:
            a, b = self._number(here, k), self._number(here, half - k).conjugate
            even, odd = (a + b).scaled(0.5), (a - b).scaled(0.5).quarter(-1)
            turned = self._turn(odd, k)
            low, high = even + turned, (even - turned).conjugate
            for at, number in ((k, low), (half - k, high)):
                self._set(there, at, number)
                if form.count > half + 1:
                    self._set(there, form.length - at, number.conjugate)

        repeat(self.scalar, 1, half // 2 + 1, pair)


@functools.cache
def source(form: Form) -> str:
    """The module of a transform."""
    return _Writer(form).text()


def _runs(side: str, parts: Sequence[Operand], numbers: int) -> tuple[Run, ...]:
    """Real and imaginary parts by turns in memory as one run, or each as one. Real numbers alone: by pairs if even."""
    real, adjacent = parts[0], [one.strides[-1] == 1 for one in parts]
    if len(parts) == 1:
        return (Run(f"{side}0", 0, 1 + numbers % 2, numbers, adjacent[0]),)
    imaginary = parts[1]
    same = real.value is imaginary.value and real.strides == imaginary.strides and real.strides[-1] == 2
    if same and dim.known_equal(real.offset + 1, imaginary.offset):
        return (Run(f"{side}0", 0, 1, 2 * numbers, True),)
    return tuple(Run(f"{side}{at}", at, 2, numbers, one) for at, one in enumerate(adjacent))


class FourierStrategy:
    """Stockham's passes, a line a lane."""

    name = "fourier"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Fourier):
            return Refusal("no Fourier transform")
        real = region.inputs[0]
        if not takes(region.anchor, Type(real.dtype, real.shape)):
            return Refusal(f"a Fourier transform of {real.shape[-1]} numbers of {real.dtype}")
        return (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Anchored)
        assert isinstance(region.anchor, Fourier)
        op, real, length = region.anchor, region.inputs[0], region.inputs[0].shape[-1]
        assert isinstance(length, int) and isinstance(op.count, int)
        reads, writes = _runs("in", region.inputs, length), _runs("out", region.outputs, op.count)
        operands = {f"in{at}": one for at, one in enumerate(region.inputs)}
        operands |= {f"out{at}": one for at, one in enumerate(region.outputs)}
        runs = {run.name: operands[run.name] for run in (*reads, *writes)}
        found = few(real.shape[:-1], [one.strides[:-1] for one in runs.values()])
        outer = len(found.sizes)
        only_real = len(region.inputs) == 1
        numbers = (length, op.count, op.sign, op.scale, only_real)
        form = Form(isa_of(target), real.dtype, *numbers, reads, writes, outer)
        lines = dim.product(found.sizes)
        groups = dim.ceildiv(lines, form.lanes)
        values: dict[str, Argument] = {"lines": lines, "groups": groups}
        values["parts"] = parts = parts_of(lines * length, _GRAIN, dim.minimum(groups, 8 * THREADS))
        values |= {f"size{a}": at_least_one(size) for a, size in enumerate(found.sizes)}
        for (name, one), strides in zip(runs.items(), found.strides, strict=True):
            values |= operand_values(name, one, {"line": one.strides[-1], **numbered(strides)})
        stage = Stage(source(form), ordered(form.names, values), parts)
        return Kernel((stage,), scratch=form.table + 2 * form.buffer)


STRATEGY = FourierStrategy()

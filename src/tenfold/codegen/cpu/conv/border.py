"""An image copied channels-last into the workspace, with its border of zeros: what direct taps can't read in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, define, load_pointer, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.stage import address
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import I1, I32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import THREADS, Operand
from tenfold.codegen.strategy import Argument, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

_LINES = 4096
"""Elements that are worth a part of their own."""


@dataclass(frozen=True)
class Border:
    """What the code depends on: the element type and the number of spatial axes."""

    isa: Isa
    dtype: DType
    spatial: int

    @property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps in bytes. Axes: images, then the spatial ones."""
        found = ["source", "target", "channels", "channel.step", "lines", "parts"]
        words = ("size", "before", "extent", "step")
        return (*found, *(f"{word}{axis}" for axis in range(self.spatial + 1) for word in words))


def border_stage(
    isa: Isa, x: Operand, before: Sequence[Size], sizes: Sequence[Size], target: Workspace
) -> tuple[Stage, Size]:
    """A stage that copies x [N, C, *S] to [N, *sizes, C] at `target`, its elements `before` places from each spatial
    start, zeros around; and how many bytes it fills.
    """
    width = x.dtype.itemsize
    form = Border(isa, x.dtype, len(sizes))
    filled = (x.shape[0], *sizes)
    lines = dim.product(filled[:-1])
    elements = dim.product((*filled, x.shape[1]))
    parts = dim.maximum(1, dim.minimum(dim.minimum(lines, 4 * THREADS), elements // _LINES))
    values: dict[str, Argument] = {
        "source": address(x),
        "target": target,
        "channels": x.shape[1],
        "channel.step": x.strides[1] * width,
        "lines": lines,
        "parts": parts,
    }
    extents, strides = (x.shape[0], *x.shape[2:]), (x.strides[0], *x.strides[2:])
    for axis, row in enumerate(zip(filled, (0, *before), extents, strides, strict=True)):
        size, start, extent, stride = row
        values |= {f"size{axis}": size, f"before{axis}": start, f"extent{axis}": extent, f"step{axis}": stride * width}
    return Stage(border_source(form), tuple(values[name] for name in form.names), parts), elements * width


@functools.cache
def border_source(form: Border) -> str:
    """The module of a copying stage; a part is an even share of the lines."""
    return _Writer(form).module_text()


class _Writer:
    def __init__(self, form: Border) -> None:
        self.form = form
        self.kind, self.size = stored_type(form.dtype), form.dtype.itemsize
        self.module = ir.Module(name="border")
        function = define(self.module, "stage", I32, [POINTER, I64, POINTER], internal=False)
        self.args, part, _ = function.args
        self.builder = ir.IRBuilder(function.entry_basic_block)
        self.scalar = Vectors(self.builder, form.isa, 1)
        self.vector = Vectors(self.builder, form.isa, form.isa.lanes(self.size))
        self.part = self.scalar.wrap(part)

    def _arg(self, name: str) -> Vector:
        return load_size(self.scalar, self.args, 8 * self.form.names.index(name))

    def _pointer(self, name: str) -> ir.Value:
        return load_pointer(self.scalar, self.args, 8 * self.form.names.index(name))

    def module_text(self) -> str:
        """The lines of a part, each found by its place in the target."""
        lines, parts = self._arg("lines"), self._arg("parts")
        last = self.form.spatial
        pitch = self._arg(f"size{last}") * self._arg("channels") * self.size
        target = self._pointer("target")

        def line(number: Vector) -> None:
            rest, source, inside = number, self._pointer("source"), self.scalar.constant(I1, 1)
            for axis in reversed(range(last)):
                size = self._arg(f"size{axis}")
                quotient = rest / size
                place = rest - quotient * size - self._arg(f"before{axis}")
                inside = inside & place.compare("<", self._arg(f"extent{axis}"), unsigned=True)
                source, rest = step(self.builder, source, place * self._arg(f"step{axis}")), quotient
            here = step(self.builder, target, number * pitch)
            choose(self.scalar, inside, lambda: self._line(source, here), lambda: self._clear(here, 0, pitch))

        repeat(self.scalar, lines * self.part / parts, lines * (self.part + 1) / parts, line)
        self.builder.ret(ir.Constant(I32, 0))
        return str(self.module)

    def _line(self, source: ir.Value, target: ir.Value) -> None:
        """One line of the image between its zeros."""
        last = self.form.spatial
        pixel = self._arg("channels") * self.size
        start = self._arg(f"before{last}") * pixel
        end = start + self._arg(f"extent{last}") * pixel
        size = self._arg(f"size{last}") * pixel
        self._clear(target, 0, start)
        adjacent = self._arg("channel.step").equals(self.size)
        whole = adjacent & self._arg(f"step{last}").equals(pixel)
        inner = step(self.builder, target, start)
        choose(
            self.scalar,
            whole,
            lambda: self._move(source, inner, end - start),
            lambda: self._pixels(source, inner, adjacent),
        )
        self._clear(target, end, size)

    def _pixels(self, source: ir.Value, target: ir.Value, adjacent: Vector) -> None:
        last = self.form.spatial
        pixel = self._arg("channels") * self.size
        pitch, channel = self._arg(f"step{last}"), self._arg("channel.step")

        def one(number: Vector) -> None:
            line, place = step(self.builder, source, number * pitch), step(self.builder, target, number * pixel)

            def element(at: Vector) -> None:
                value = self.builder.load(step(self.builder, line, at * channel), typ=self.kind, align=self.size)
                self.builder.store(value, step(self.builder, place, at * self.size), align=self.size)

            def scattered() -> None:
                repeat(self.scalar, 0, self._arg("channels"), element)

            choose(self.scalar, adjacent, lambda: self._move(line, place, pixel), scattered)

        repeat(self.scalar, 0, self._arg(f"extent{last}"), one)

    def _move(self, source: ir.Value, target: ir.Value, size: Vector) -> None:
        """Copy adjacent bytes."""

        def move(code: Vectors, place: Vector) -> None:
            here = step(self.builder, source, place)
            value = self.builder.load(here, typ=code.type(self.kind), align=self.size)
            self.builder.store(value, step(self.builder, target, place), align=self.size)

        self._chunks(move, self.scalar.zero(I64), size)

    def _clear(self, target: ir.Value, start: Vector | int, end: Vector) -> None:
        """Zeros from byte `start` to byte `end`."""

        def clear(code: Vectors, place: Vector) -> None:
            zero = ir.Constant(code.type(self.kind), None if code.lanes > 1 else 0)
            self.builder.store(zero, step(self.builder, target, place), align=self.size)

        self._chunks(clear, self.scalar.constant(I64, start) if isinstance(start, int) else start, end)

    def _chunks(self, move: Callable[[Vectors, Vector], None], start: Vector, end: Vector) -> None:
        """`move` for whole vectors, then for single elements."""
        wide = self.vector.lanes * self.size
        whole = start + ((end - start) & -wide)
        repeat(self.scalar, start, whole, functools.partial(move, self.vector), by=wide)
        repeat(self.scalar, whole, end, functools.partial(move, self.scalar), by=self.size)

"""An image copied channels-last into the workspace, with its border of zeros: what direct taps can't read in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.stage import StageWriter, address, divided, ordered, share_of
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import I1, Vector, Vectors
from tenfold.codegen.cpu.weave import interleaved
from tenfold.codegen.region import THREADS, Operand
from tenfold.codegen.strategy import Argument, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

_PLANES = 4
"""The most planes whose elements are brought together by vectors."""
_LINES = 4096
"""Elements that are worth a part of their own."""


@dataclass(frozen=True)
class Border:
    """What the code depends on: the element type, the number of spatial axes, and `planes`, the number of channels if
    they are few planes of adjacent pixels, else 0.
    """

    isa: Isa
    dtype: DType
    spatial: int
    planes: int

    @property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps in bytes. Axes: images, then the spatial ones."""
        found = ["@source", "@target", "channels", "channel.step", "lines", "parts"]
        words = ("size", "before", "extent", "step")
        return (*found, *(f"{word}{axis}" for axis in range(self.spatial + 1) for word in words))


def border_stage(
    isa: Isa, x: Operand, before: Sequence[Size], sizes: Sequence[Size], target: Workspace
) -> tuple[Stage, Size]:
    """A stage that copies x [N, C, *S] to [N, *sizes, C] at `target`, its elements `before` places from each spatial
    start, zeros around; and how many bytes it fills.
    """
    width = x.dtype.itemsize
    few = isinstance(x.shape[1], int) and 1 < x.shape[1] <= _PLANES and x.strides[-1] == 1
    form = Border(isa, x.dtype, len(sizes), int(x.shape[1]) if few else 0)  # type: ignore[arg-type]
    filled = (x.shape[0], *sizes)
    lines = dim.product(filled[:-1])
    elements = dim.product((*filled, x.shape[1]))
    parts = dim.maximum(1, dim.minimum(dim.minimum(lines, 4 * THREADS), elements // _LINES))
    values: dict[str, Argument] = {
        "@source": address(x),
        "@target": target,
        "channels": x.shape[1],
        "channel.step": x.strides[1] * width,
        "lines": lines,
        "parts": parts,
    }
    extents, strides = (x.shape[0], *x.shape[2:]), (x.strides[0], *x.strides[2:])
    for axis, row in enumerate(zip(filled, (0, *before), extents, strides, strict=True)):
        size, start, extent, stride = row
        values |= {f"size{axis}": size, f"before{axis}": start, f"extent{axis}": extent, f"step{axis}": stride * width}
    return Stage(border_source(form), ordered(form.names, values), parts), elements * width


@functools.cache
def border_source(form: Border) -> str:
    """The module of a copying stage; a part is an even share of the lines."""
    return _Writer(form).text()


class _Writer(StageWriter):
    def __init__(self, form: Border) -> None:
        super().__init__(form.isa, "border", form.names)
        self.form, self.size = form, form.dtype.itemsize
        self.last = form.spatial
        self.pixel = self.arg("channels") * self.size
        self.adjacent = self.arg("channel.step").equals(self.size)

    def text(self) -> str:
        """The lines of a part, each found by its place in the target."""
        lines, parts, pitch = self.arg("lines"), self.arg("parts"), self.arg(f"size{self.last}") * self.pixel

        def line(number: Vector) -> None:
            rest, source, inside = number, self.pointer("@source"), self.scalar.constant(I1, 1)
            for axis in reversed(range(self.last)):
                rest, place = divided(rest, self.arg(f"size{axis}"))
                place = place - self.arg(f"before{axis}")
                inside = inside & place.compare("<", self.arg(f"extent{axis}"), unsigned=True)
                source = self.step(source, place * self.arg(f"step{axis}"))
            here = self.step(self.pointer("@target"), number * pitch)
            empty = self.number(0)
            choose(self.scalar, inside, lambda: self._line(source, here), lambda: self._clear(here, empty, pitch))

        repeat(self.scalar, *share_of(lines, self.part, parts), line)
        return self.finish()

    def _line(self, source: ir.Value, target: ir.Value) -> None:
        """One line of the image between its zeros."""
        start = self.arg(f"before{self.last}") * self.pixel
        end = start + self.arg(f"extent{self.last}") * self.pixel
        whole = self.adjacent & self.arg(f"step{self.last}").equals(self.pixel)
        inner = self.step(target, start)
        self._clear(target, self.number(0), start)
        apart = self._planes if self.form.planes else self._pixels
        choose(self.scalar, whole, lambda: self._move(source, inner, end - start), lambda: apart(source, inner))
        self._clear(target, end, self.arg(f"size{self.last}") * self.pixel)

    def _planes(self, source: ir.Value, target: ir.Value) -> None:
        """The pixels of a line, a vector of each plane at a time, then one by one."""
        code, planes = self.vectors(self.form.isa.lanes(self.size)), self.form.planes
        extent, channel = self.arg(f"extent{self.last}"), self.arg("channel.step")
        whole = extent & -code.lanes

        def some(code: Vectors, pixel: Vector) -> None:
            here, there = self.step(source, pixel * self.size), self.step(target, pixel * (planes * self.size))
            lines = [load(code, self.form.dtype, self.step(here, channel * plane)) for plane in range(planes)]
            for number, value in enumerate(interleaved(lines)):
                store(code, self.form.dtype, self.step(there, number * code.lanes * self.size), value)

        repeat(self.scalar, 0, whole, functools.partial(some, code), by=code.lanes)
        repeat(self.scalar, whole, extent, functools.partial(some, self.scalar))

    def _pixels(self, source: ir.Value, target: ir.Value) -> None:
        """The pixels of a line, one after the other."""
        dtype, channel = self.form.dtype, self.arg("channel.step")

        def one(number: Vector) -> None:
            line, place = (
                self.step(source, number * self.arg(f"step{self.last}")),
                self.step(target, number * self.pixel),
            )

            def element(at: Vector) -> None:
                value = load(self.scalar, dtype, self.step(line, at * channel))
                store(self.scalar, dtype, self.step(place, at * self.size), value)

            def apart() -> None:
                repeat(self.scalar, 0, self.arg("channels"), element)

            choose(self.scalar, self.adjacent, lambda: self._move(line, place, self.pixel), apart)

        repeat(self.scalar, 0, self.arg(f"extent{self.last}"), one)

    def _move(self, source: ir.Value, target: ir.Value, size: Vector) -> None:
        """Copy adjacent bytes."""

        def move(code: Vectors, place: Vector) -> None:
            value = load(code, self.form.dtype, self.step(source, place))
            store(code, self.form.dtype, self.step(target, place), value)

        self._chunks(move, self.number(0), size)

    def _clear(self, target: ir.Value, start: Vector, end: Vector) -> None:
        """Zeros from byte `start` to byte `end`."""
        kind = stored_type(self.form.dtype)

        def clear(code: Vectors, place: Vector) -> None:
            zero = ir.Constant(code.type(kind), None if code.lanes > 1 else 0)
            store(code, self.form.dtype, self.step(target, place), code.wrap(zero))

        self._chunks(clear, start, end)

    def _chunks(self, move: Callable[[Vectors, Vector], None], start: Vector, end: Vector) -> None:
        """`move` for whole vectors, then for single elements."""
        vector = self.vectors(self.form.isa.lanes(self.size))
        wide = vector.lanes * self.size
        whole = start + ((end - start) & -wide)
        repeat(self.scalar, start, whole, functools.partial(move, vector), by=wide)
        repeat(self.scalar, whole, end, functools.partial(move, self.scalar), by=self.size)

"""Convolution as it is defined, one element after the other: any strides, any weights. Correct, and slow."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.emit import emit_body
from tenfold.codegen.cpu.flow import choose, repeat
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import Surroundings, surrounding_arguments, surroundings
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.microkernel import multiply_add, sum_of
from tenfold.codegen.cpu.outsite import place_in
from tenfold.codegen.cpu.product import refuse
from tenfold.codegen.cpu.stage import StageWriter, address, divided, ordered, share_of
from tenfold.codegen.cpu.storage import cast, narrow, register_type, widen
from tenfold.codegen.cpu.vectors import Vector
from tenfold.codegen.region import THREADS, Anchored, Body, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ops.conv import Conv
from tenfold.target import Target


class Generic:
    """Conv by a plain loop nest."""

    name = "conv.generic"
    last_resort = True

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One; a Refusal for what is no convolution, or has types or a body that the micro-kernel refuses too."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Conv):
            return Refusal("no convolution")
        return refuse(region) or (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage; parts share the result's lines along its last axis."""
        assert isinstance(region, Anchored)
        form = _Form(
            isa_of(target),
            tuple(one.dtype for one in region.inputs),
            tuple(one.dtype for one in (*region.extra, *region.outputs)),
            len(region.extra),
            region.body,
            len(region.domain) - 2,
            surroundings(region, (), frozenset()),
        )
        values = _arguments(region)
        parts = values["parts"]
        assert isinstance(parts, int | dim.Dim)
        return Kernel((Stage(source(form), ordered(form.names, values), parts),))


STRATEGY = Generic()


@dataclass(frozen=True)
class _Form:
    isa: Isa
    inputs: tuple[DType, ...]
    streams: tuple[DType, ...]
    extra: int
    body: Body
    spatial: int
    around: Surroundings

    @property
    def total(self) -> DType:
        return sum_of(*self.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        operands = ("x", "w", *(f"stream{number}" for number in range(len(self.streams))))
        found = [f"@{name}" for name in operands]
        found += [f"{name}.step{axis}" for name in operands for axis in range(self.spatial + 2)]
        found += [f"size{axis}" for axis in range(self.spatial + 2)]
        words = ("extent", "taps", "stride", "dilation", "padding")
        found += [f"{word}{axis}" for axis in range(2, self.spatial + 2) for word in words]
        return (*found, "channels", "each", "lines", "parts", *self.around.names)


def _arguments(region: Anchored) -> dict[str, Argument]:
    conv, (x, w) = region.anchor, region.inputs
    assert isinstance(conv, Conv)
    lines = dim.product(region.domain[:-1])
    work = dim.product(region.domain) * dim.product(w.shape[1:])
    values: dict[str, Argument] = {
        "channels": w.shape[1],
        "each": _each(w, conv.groups),
        "lines": lines,
        "parts": dim.maximum(1, dim.minimum(dim.minimum(lines, 4 * THREADS), work // 4096)),
    }
    streams = {f"stream{i}": one for i, one in enumerate((*region.extra, *region.outputs))}
    for name, operand in {"x": x, "w": w, **streams}.items():
        values[f"@{name}"] = address(operand)
        for axis, stride in enumerate(operand.strides):
            values[f"{name}.step{axis}"] = stride * operand.dtype.itemsize
    for axis, size in enumerate(region.domain):
        values[f"size{axis}"] = size
    for axis in range(2, len(region.domain)):
        values |= {
            f"extent{axis}": x.shape[axis],
            f"taps{axis}": w.shape[axis],
            f"stride{axis}": conv.strides[axis - 2],
            f"dilation{axis}": conv.dilations[axis - 2],
            f"padding{axis}": conv.pads_before[axis - 2],
        }
    return values | surrounding_arguments(region, address)


def _each(w: Operand, groups: int) -> Size:
    """Outputs of a group."""
    return w.shape[0] // groups


@functools.cache
def source(form: _Form) -> str:
    """The module of a plain convolution."""
    return _Writer(form).text()


class _Writer(StageWriter):
    def __init__(self, form: _Form) -> None:
        super().__init__(form.isa, "convolution", form.names)
        self.form = form
        self.axes = range(2, form.spatial + 2)

    def text(self) -> str:
        """The part's share of lines, each from its number."""
        lines, parts = self.arg("lines"), self.arg("parts")
        last = self.form.spatial + 1

        def line(number: Vector) -> None:
            at: list[Vector] = []
            for axis in reversed(range(last)):
                number, place = divided(number, self.arg(f"size{axis}"))
                at.insert(0, place)
            repeat(self.scalar, 0, self.arg(f"size{last}"), lambda place: self._element([*at, place]))

        repeat(self.scalar, *share_of(lines, self.part, parts), line)
        return self.finish()

    def _at(self, name: str, places: Sequence[Vector]) -> ir.Value:
        pointer = self.pointer(f"@{name}")
        for axis, place in enumerate(places):
            pointer = self.step(pointer, place * self.arg(f"{name}.step{axis}"))
        return pointer

    def _element(self, at: Sequence[Vector]) -> None:
        group = divided(at[1], self.arg("each"))[0]
        channels = self.arg("channels")
        zero = ir.Constant(register_type(self.form.total), 0)

        def channel(c: Vector, total: ir.Value) -> Sequence[ir.Value]:
            x = self._at("x", [at[0], group * channels + c])
            return [self._taps(self.axes, at, x, self._at("w", [at[1], c]), total)]

        _, (total,) = repeat(self.scalar, 0, channels, channel, [zero])
        registers = [cast(self.form.total, self.form.body.inputs[0], self.scalar.wrap(total))]
        dtypes = self.form.streams
        for number in range(self.form.extra):
            value = load(self.scalar, dtypes[number], self._at(f"stream{number}", at))
            registers.append(widen(dtypes[number], value))
        place = place_in(self, self.scalar, self.form.around, lambda axis: at[axis])
        results = emit_body(self.scalar, self.form.body, registers, place)
        for number, value in enumerate(results, start=self.form.extra):
            dtype = dtypes[number]
            store(self.scalar, dtype, self._at(f"stream{number}", at), narrow(dtype, value))

    def _taps(self, axes: Sequence[int], at: Sequence[Vector], x: ir.Value, w: ir.Value, total: ir.Value) -> ir.Value:
        """`total` with the terms of all taps along `axes`; x and w are where the earlier axes lead."""
        if not axes:
            return self._term(x, w, total)
        axis, others = axes[0], axes[1:]

        def tap(t: Vector, total: ir.Value) -> Sequence[ir.Value]:
            place = at[axis] * self.arg(f"stride{axis}") + t * self.arg(f"dilation{axis}")
            place = place - self.arg(f"padding{axis}")
            here = self.step(x, place * self.arg(f"x.step{axis}"))
            weight = self.step(w, t * self.arg(f"w.step{axis}"))
            within = place.compare("<", self.arg(f"extent{axis}"), unsigned=True)
            return choose(self.scalar, within, lambda: [self._taps(others, at, here, weight, total)], lambda: [total])

        return repeat(self.scalar, 0, self.arg(f"taps{axis}"), tap, [total])[1][0]

    def _term(self, x: ir.Value, w: ir.Value, total: ir.Value) -> ir.Value:
        operands = zip(self.form.inputs, (x, w), strict=True)
        image, weight = (
            cast(dtype, self.form.total, widen(dtype, load(self.scalar, dtype, place))) for dtype, place in operands
        )
        return multiply_add(image, weight, self.scalar.wrap(total)).value

"""The end of a convolution whose sums are pixels of a line by vectors of channels in registers: body and stores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from tenfold.codegen.cpu.body import WRITTEN_OUT, expand_body, indices, weight
from tenfold.codegen.cpu.emit import emit_body
from tenfold.codegen.cpu.flow import Registers, choose, repeat, step
from tenfold.codegen.cpu.lines import Stream, stream
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.storage import narrow, widen
from tenfold.codegen.cpu.vectors import F32, I64, Vector, Vectors
from tenfold.codegen.region import Anchored, Body
from tenfold.ir.dtype import f32


@dataclass(frozen=True)
class Ending:
    """A body, and how its operands and results move along the lanes; other steps are arguments."""

    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        extra = {f"extra{number}": one for number, one in enumerate(self.extra)}
        return extra | {f"out{number}": one for number, one in enumerate(self.outputs)}


def ends_by_channels(region: Anchored) -> bool:
    """Whether the body of a convolution asks for nothing, and its operands and results lie channel by channel."""
    plain = not region.gathered and not region.uniforms and not indices(expand_body(region.body))
    simple = all(isinstance(one.strides[1], int) and one.strides[1] in (0, 1) for one in region.extra)
    return plain and simple and all(one.strides[1] == 1 for one in region.outputs)


def ending_of(region: Anchored) -> Ending:
    """The end of such a convolution."""
    extra, outputs = ([stream(one.dtype, one.strides[1]) for one in some] for some in (region.extra, region.outputs))
    return Ending(expand_body(region.body), tuple(extra), tuple(outputs))


@dataclass(frozen=True)
class Place:
    """Where a block's results go: bytes from pixel to pixel and the address at the block, for each stream in order;
    room for its sums; the lanes that exist, if not all; how many pixels exist, if not all; where the results of all its
    pixels are added, if they are, which are then one stream of f32 in one vector.
    """

    columns: Sequence[ir.Value]
    starts: Sequence[ir.Value]
    scratch: ir.Value
    mask: Vector | None = None
    count: Vector | None = None
    told: ir.Value | None = None


def finish(scalar: Vectors, code: Vectors, ending: Ending, sums: Sequence[Sequence[Vector]], place: Place) -> None:
    """The body for each pixel that exists, a row of vectors of `sums` each: written out if it is light, else by way of
    scratch.
    """
    begun = [] if place.told is None else [code.zero(F32).value]
    if weight(ending.body) > WRITTEN_OUT[code.isa.masks]:
        total = _by_scratch(scalar, code, ending, sums, place, begun)
    else:
        total = _written_out(scalar, code, ending, sums, place, begun)
    for one in total:
        before = load(code, f32, place.told, place.mask)
        store(code, f32, place.told, before + code.wrap(one), place.mask)


def _written_out(
    scalar: Vectors, code: Vectors, ending: Ending, sums: Sequence[Sequence[Vector]], place: Place, total: Registers
) -> Registers:
    """The body for each pixel in turn; the total of their results."""
    for number, row in enumerate(sums):
        each = functools.partial(_pixel, code, ending, scalar.constant(I64, number), row, place, total)
        if place.count is not None and number:
            total = choose(scalar, place.count > number, each, functools.partial(list, total))
        else:
            total = each()
    return total


def _by_scratch(
    scalar: Vectors, code: Vectors, ending: Ending, sums: Sequence[Sequence[Vector]], place: Place, total: Registers
) -> Registers:
    size, width = code.lanes * f32.itemsize, len(sums[0])
    for number, one in enumerate(value for row in sums for value in row):
        store(code, f32, step(code.builder, place.scratch, number * size), one)

    def each(number: Vector, *total: ir.Value) -> Registers:
        line = step(code.builder, place.scratch, number * (width * size))
        row = [load(code, f32, step(code.builder, line, at * size)) for at in range(width)]
        return _pixel(code, ending, number, row, place, total)

    return repeat(scalar, 0, len(sums) if place.count is None else place.count, each, total)[1]


def _pixel(
    code: Vectors, ending: Ending, number: Vector, row: Sequence[Vector], place: Place, total: Registers
) -> Registers:
    """The body on the sums of one pixel, and its stores; `total` with its results."""
    ways = zip(place.starts, place.columns, strict=True)
    starts = [step(code.builder, start, number * number.code.wrap(column)) for start, column in ways]
    for at, summed in enumerate(row):
        registers = [summed]
        for one, start in zip(ending.extra, starts, strict=False):
            here = step(code.builder, start, at * code.lanes * (one.step or 0) * one.dtype.itemsize)
            value = load_one(code, one.dtype, here) if one.step == 0 else load(code, one.dtype, here, place.mask)
            registers.append(widen(one.dtype, value))
        results = emit_body(code, ending.body, registers)
        for one, start, value in zip(ending.outputs, starts[len(ending.extra) :], results, strict=True):
            here = step(code.builder, start, at * code.lanes * one.dtype.itemsize)
            store(code, one.dtype, here, narrow(one.dtype, value), place.mask)
        total = [(code.wrap(before) + value).value for before, value in zip(total, results, strict=False)]
    return total

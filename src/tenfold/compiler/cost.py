"""What a region must do at least: floating-point operations, and bytes that it reads and writes once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, Body, Chain, Operand, Pointwise, Region, Row
from tenfold.compiler.items import operands
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Cost
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant


def cost_of(region: Region, reads: Iterable[Operand], writes: Iterable[Operand]) -> Cost:
    """The least work of a region, as formulas of the sizes. Of what is read at computed places no more is counted than
    there are points.
    """
    points = dim.product(region.domain)
    once = {(o.value, o.offset): o for o in (*reads, *writes)}.values()
    moved = dim.total(_gathered(o, points) if o in region.gathered else _bytes(o) for o in once)
    match region:
        case Pointwise(body=body):
            return Cost(points * _length(body), moved)
        case Row(phases=phases, body=body):
            steps = sum(_length(phase.body) + 1 for phase in phases) + (_length(body) if body else 0)
            return Cost(points * steps, moved)
        case Anchored(anchor=anchor, inputs=inputs, outputs=outputs, body=body):
            given = tuple(Type(operand.dtype, operand.shape) for operand in inputs)
            made = tuple(Type(operand.dtype, operand.shape) for operand in outputs)
            return Cost(anchor.cost(given, made).flops + points * _length(body), moved)
        case Chain(parts=parts, within=within):
            hidden = {one.value for one in within or ()}

            def seen(side: Iterable[Operand]) -> list[Operand]:
                return [one for one in side if one.value not in hidden]

            each = [cost_of(part, *map(seen, operands(part))) for part in parts]
            return Cost(dim.total(one.flops for one in each), dim.total(one.bytes for one in each))
    return Cost(0, moved)


def _bytes(operand: Operand) -> Size:
    sizes = zip(operand.shape, operand.strides, strict=True)
    return dim.product(size for size, stride in sizes if stride != 0) * operand.dtype.itemsize


def _gathered(operand: Operand, points: Size) -> Size:
    return dim.minimum(_bytes(operand), points * operand.dtype.itemsize)


def _length(body: Body) -> int:
    """Operations a point, without those that only bring constants."""
    return sum(not isinstance(one.op, Constant) for one in body.code)


_CLOCK, _BANDWIDTH, _START = 3e9, 1e10, 2e-7
"""Ticks a second, bytes a second of one thread, seconds that a stage costs by itself: no machine's in particular."""


def seconds_of(region: Region, isa: Isa, at: Callable[[Size], int]) -> float:
    """About how long one thread takes for a region at the sizes that `at` gives: the greater of work and movement.

    A measure to compare regions by; no clock was read for it.
    """
    cost = cost_of(region, *operands(region))
    peak = 4 * _CLOCK * isa.lanes(4)
    return max(at(cost.flops) / peak, at(cost.bytes) / _BANDWIDTH) + _START

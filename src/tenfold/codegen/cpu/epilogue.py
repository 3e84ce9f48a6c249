"""Anchors that write whole results, and bodies applied after them: two kernels in one, the second elementwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tenfold.codegen.cpu import pointwise
from tenfold.codegen.operands import dense, storage_order, turned
from tenfold.codegen.region import Anchored, Operand, Pointwise, identity
from tenfold.codegen.strategy import Address, Argument, Kernel, Refusal, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.target import Target

_LINE = 64


def with_epilogue(region: Anchored, target: Target, make: Callable[[Operand], Kernel]) -> Kernel:
    """The kernel of a region with one result: what `make` gives for the operand to write, then the body.

    A body that does nothing costs nothing: the result goes where it belongs. Else it goes through the workspace.
    """
    dtype = region.body.inputs[0]
    if region.body == identity(dtype) and region.outputs[0].dtype is dtype:
        return make(region.outputs[0])
    result = dense(dtype, region.domain)
    first = make(result)
    order = storage_order(region.outputs[0])
    inputs = [turned(one, order) for one in (result, *region.extra)]
    after = Pointwise(
        tuple(region.domain[axis] for axis in order),
        tuple(turned(one, order) for one in region.outputs),
        tuple(inputs),
        region.body,
        gathered=region.gathered,
        uniforms=region.uniforms,
    )
    second = _elementwise(after, target)
    stages = tuple(_placed(stage, result.value, first.workspace) for stage in (*first.stages, *second.stages))
    size = dim.ceildiv(dim.product(region.domain) * dtype.itemsize, _LINE) * _LINE
    return Kernel(stages, max(first.scratch, second.scratch), first.workspace + size)


def copied(source: Operand, target: Operand, machine: Target) -> tuple[Stage, ...]:
    """The stages that copy an operand to another of the same sizes."""
    order = storage_order(target)
    region = Pointwise(
        tuple(target.shape[axis] for axis in order),
        (turned(target, order),),
        (turned(source, order),),
        identity(source.dtype),
    )
    return _elementwise(region, machine).stages


def _elementwise(region: Pointwise, target: Target) -> Kernel:
    tactics = pointwise.STRATEGY.tactics(region, target)
    assert not isinstance(tactics, Refusal), tactics
    return pointwise.STRATEGY.build(region, tactics[0], target)


def _placed(stage: Stage, value: Value, start: Size) -> Stage:
    """The stage with the buffer of `value` in the workspace from `start` on."""

    def place(argument: Argument) -> Argument:
        if isinstance(argument, Address) and argument.value is value:
            return Workspace(start + argument.offset)
        return argument

    return replace(stage, arguments=tuple(map(place, stage.arguments)))

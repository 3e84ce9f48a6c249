"""Anchors that write whole results, and bodies applied after them: two kernels in one, the second elementwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tenfold.codegen.cpu import pointwise
from tenfold.codegen.cpu.isa import LINE
from tenfold.codegen.epilogue import copying, following, guessed, in_storage_order
from tenfold.codegen.region import Anchored, Operand
from tenfold.codegen.strategy import Address, Argument, Kernel, Stage, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.target import Target


def with_epilogue(region: Anchored, target: Target, make: Callable[[Operand], Kernel]) -> Kernel:
    """The kernel of a region with one result: what `make` gives for the operand to write, then the body.

    A body that does nothing costs nothing: the result goes where it belongs. Else it goes through the workspace.
    """
    after = following(region)
    if after is None:
        return make(region.outputs[0])
    result = after.inputs[0]
    first, second = make(result), guessed(pointwise.STRATEGY, in_storage_order(after), target)
    stages = tuple(_placed(stage, result.value, first.workspace) for stage in (*first.stages, *second.stages))
    size = dim.ceildiv(dim.product(region.domain) * result.dtype.itemsize, LINE) * LINE
    return Kernel(stages, max(first.scratch, second.scratch), first.workspace + size)


def copied(source: Operand, to: Operand, target: Target) -> tuple[Stage, ...]:
    """The stages that copy an operand to another of the same sizes."""
    return guessed(pointwise.STRATEGY, copying(source, to), target).stages


def _placed(stage: Stage, value: Value, start: Size) -> Stage:
    """The stage with the buffer of `value` in the workspace from `start` on."""

    def place(argument: Argument) -> Argument:
        if isinstance(argument, Address) and argument.value is value:
            return Workspace(start + argument.offset)
        return argument

    return replace(stage, arguments=tuple(map(place, stage.arguments)))

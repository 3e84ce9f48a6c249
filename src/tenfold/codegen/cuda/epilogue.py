"""Anchors that write whole results, and bodies applied after them by a launch of their own; copies."""

from __future__ import annotations

from collections.abc import Callable

from tenfold.codegen.cuda import pointwise
from tenfold.codegen.cuda.launch import CudaKernel, Launch, placed, room
from tenfold.codegen.epilogue import copying, following, guessed
from tenfold.codegen.region import Anchored, Operand, Pointwise
from tenfold.ir import dim
from tenfold.target import Target


def with_epilogue(region: Anchored, target: Target, make: Callable[[Operand], CudaKernel]) -> CudaKernel:
    """The kernel of a region with one result: what `make` gives for the operand to write, then the body.

    A body that does nothing costs nothing: the result goes where it belongs. Else it goes through the workspace.
    """
    after = following(region)
    if after is None:
        return make(region.outputs[0])
    result = after.inputs[0]
    first = make(result)
    start = room(first.workspace)
    launches = placed((*first.launches, *elementwise(after, target)), {result.value: start})
    size = dim.product(region.domain) * result.dtype.itemsize
    return CudaKernel(launches=launches, workspace=start + size, zeroed=first.zeroed)


def copied(source: Operand, to: Operand, target: Target) -> tuple[Launch, ...]:
    """The launch that copies an operand to another of the same sizes."""
    return elementwise(copying(source, to), target)


def elementwise(region: Pointwise, target: Target) -> tuple[Launch, ...]:
    """The launches of an elementwise region."""
    made = guessed(pointwise.STRATEGY, region, target)
    assert isinstance(made, CudaKernel)
    return made.launches

"""Anchors that write whole results, and bodies applied after them by a launch of their own; copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tenfold.codegen.cuda import pointwise
from tenfold.codegen.cuda.launch import CudaKernel, Descriptor, GpuArgument, Launch
from tenfold.codegen.epilogue import copying, following, guessed
from tenfold.codegen.region import Anchored, Operand, Pointwise
from tenfold.codegen.strategy import Address, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.target import Target

LINE = 256
"""Bytes to whose multiples parts of a workspace are aligned."""


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


def room(size: Size) -> Size:
    """So many bytes, and what is missing to the next part's beginning."""
    return dim.ceildiv(size, LINE) * LINE


def placed(launches: Sequence[Launch], starts: dict[Value, Size]) -> tuple[Launch, ...]:
    """The launches with the buffers of some values in the workspace."""

    def place(argument: GpuArgument) -> GpuArgument:
        if isinstance(argument, Descriptor) and isinstance(argument.address, Address):
            return replace(argument, address=placed_address(argument.address))
        return placed_address(argument) if isinstance(argument, Address) else argument

    def placed_address(address: Address) -> Address | Workspace:
        return Workspace(starts[address.value] + address.offset) if address.value in starts else address

    return tuple(replace(one, arguments=tuple(map(place, one.arguments))) for one in launches)

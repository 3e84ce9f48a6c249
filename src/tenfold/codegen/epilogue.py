"""What follows an anchor that writes whole results, as an elementwise region of its own; copies."""

from __future__ import annotations

from dataclasses import replace

from tenfold.codegen.operands import dense, storage_order, turned
from tenfold.codegen.region import Anchored, Index, Instruction, Operand, Pointwise, identity
from tenfold.codegen.strategy import Kernel, Refusal, Strategy
from tenfold.target import Target


def following(region: Anchored) -> Pointwise | None:
    """Of a region with one result what is done behind its anchor, whose result is the first input, a dense tensor; None
    where nothing is, so that the anchor writes where the result belongs.
    """
    dtype = region.body.inputs[0]
    if region.body == identity(dtype) and region.outputs[0].dtype is dtype:
        return None
    return Pointwise(
        region.domain,
        region.outputs,
        (dense(dtype, region.domain), *region.extra),
        region.body,
        gathered=region.gathered,
        uniforms=region.uniforms,
    )


def copying(source: Operand, to: Operand) -> Pointwise:
    """The copy of an operand to another of the same sizes."""
    return in_storage_order(Pointwise(to.shape, (to,), (source,), identity(source.dtype)))


def in_storage_order(region: Pointwise) -> Pointwise:
    """The region with that axis last along which its first result lies."""
    order = storage_order(region.outputs[0])

    def placed(one: Instruction) -> Instruction:
        return replace(one, op=Index(order.index(one.op.axis))) if isinstance(one.op, Index) else one

    outputs, inputs = (tuple(turned(one, order) for one in some) for some in (region.outputs, region.inputs))
    domain = tuple(region.domain[axis] for axis in order)
    body = replace(region.body, code=tuple(map(placed, region.body.code)))
    return replace(region, domain=domain, outputs=outputs, inputs=inputs, body=body)


def guessed(strategy: Strategy, region: Pointwise, target: Target) -> Kernel:
    """An elementwise region's kernel by the strategy's best guess."""
    tactics = strategy.tactics(region, target)
    assert not isinstance(tactics, Refusal), tactics
    return strategy.build(region, tactics[0], target)

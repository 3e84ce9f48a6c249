"""What a region means, in NumPy: the oracle of every kernel. Operations are computed by their own `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tenfold.codegen.region import (
    Anchored,
    Body,
    Chain,
    Index,
    Load,
    Operand,
    Pointwise,
    Region,
    Row,
    Uniform,
)
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.constant import Constant
from tenfold.ops.moments import LineSums, Moments
from tests.codegen.cpu.running import number

Memory = Mapping[Value, np.ndarray]
"""The elements of each value's buffer, in one dimension."""


def view(
    operand: Operand, memory: Memory, bindings: Mapping[str, int], shape: Sequence[int] | None = None
) -> np.ndarray:
    """An operand as an array over its axes, on the buffer itself."""
    sizes = [number(size, bindings) for size in operand.shape] if shape is None else list(shape)
    strides = [number(stride, bindings) * operand.dtype.itemsize for stride in operand.strides]
    flat = memory[operand.value][number(operand.offset, bindings) :]
    plain = flat.view(f"u{operand.dtype.itemsize}")
    return np.lib.stride_tricks.as_strided(plain, sizes, strides).view(flat.dtype)


def operands(region: Region) -> tuple[list[Operand], list[Operand]]:
    """Those a region reads and those it writes."""
    if isinstance(region, Chain):
        reads, writes = ([one for part in region.parts for one in operands(part)[side]] for side in (0, 1))
        made, within = ({one.value for one in some} for some in (writes, region.within or ()))
        return [one for one in reads if one.value not in made], [one for one in writes if one.value not in within]
    reads = [*region.gathered]
    writes = [*region.outputs]
    if isinstance(region, Pointwise | Anchored | Row):
        reads += region.inputs
    if isinstance(region, Anchored):
        reads += region.extra
        writes += region.told
    if isinstance(region, Row):
        reads += region.finish_inputs
        writes += region.finish_outputs
    return reads, writes


def extent(operand: Operand, bindings: Mapping[str, int]) -> int:
    """Elements from the start of the buffer to behind the operand's last one."""
    sizes = [number(size, bindings) for size in operand.shape]
    strides = [number(stride, bindings) for stride in operand.strides]
    if any(n == 0 and s != 0 for n, s in zip(sizes, strides, strict=True)):
        return 0
    return number(operand.offset, bindings) + sum(max((n - 1) * s, 0) for n, s in zip(sizes, strides, strict=True)) + 1


class Evaluation:
    """Bodies of one region on arrays."""

    def __init__(self, region: Region, memory: Memory, bindings: Mapping[str, int]) -> None:
        self.region, self.memory, self.bindings = region, memory, bindings
        self.shape = tuple(number(size, bindings) for size in region.domain)

    def body(self, body: Body, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of a body."""
        registers = list(inputs)
        for one in body.code:
            registers.append(self._one(one.op, [registers[arg] for arg in one.args]))
        return [registers[output] for output in body.outputs]

    def _one(self, op: object, args: list[np.ndarray]) -> np.ndarray:
        match op:
            case Index(axis):
                return np.arange(self.shape[axis]).reshape([-1 if k == axis else 1 for k in range(len(self.shape))])
            case Uniform(which):
                return np.array(number(self.region.uniforms[which], self.bindings))
            case Load(which):
                return view(self.region.gathered[which], self.memory, self.bindings)[tuple(args)]
            case Constant(tensor):
                return tensor.array
        return np.asarray(op.evaluate(*args))  # type: ignore[attr-defined]

    def view(self, operand: Operand) -> np.ndarray:
        """An operand as an array."""
        return view(operand, self.memory, self.bindings)


def evaluate(region: Region, memory: Memory, bindings: Mapping[str, int]) -> None:
    """Write a region's outputs."""
    if isinstance(region, Chain):
        within = {one.value: np.empty(one.value.type.size, one.dtype.numpy) for one in region.within or ()}
        for part in region.parts:
            evaluate(part, {**memory, **within}, bindings)
        return
    run = Evaluation(region, memory, bindings)
    if isinstance(region, Pointwise):
        _write(run, region.outputs, run.body(region.body, [run.view(one).copy() for one in region.inputs]))
    elif isinstance(region, Row):
        _evaluate_row(run, region)
    elif isinstance(region, Anchored):
        results = region.anchor.results(tuple(np.ascontiguousarray(run.view(one)) for one in region.inputs))
        extra = [run.view(one).copy() for one in region.extra]
        _write(run, region.outputs, run.body(region.body, [*results, *extra]))
        if region.moments is not None:
            made, told = run.view(region.outputs[0]), run.view(region.moments)
            told[...] = Moments(made.shape[-1] // told.shape[1]).evaluate(made)
        if region.sums is not None:
            run.view(region.sums)[...] = LineSums().evaluate(run.view(region.outputs[0]))


def _write(run: Evaluation, outputs: Sequence[Operand], results: Sequence[np.ndarray]) -> None:
    for operand, result in zip(outputs, results, strict=True):
        target = run.view(operand)
        target[...] = np.broadcast_to(result, target.shape).astype(target.dtype)


def _evaluate_row(run: Evaluation, region: Row) -> None:
    inputs = [run.view(one).copy() for one in region.inputs]
    axes = tuple(range(len(run.shape) - region.reduced, len(run.shape)))
    scalars: list[np.ndarray] = []
    for phase in region.phases:
        (element,) = run.body(phase.body, [*inputs, *scalars])
        full = np.broadcast_to(element, run.shape)
        scalars.append(_combined(full, phase.combine, axes))
    if region.body is not None:
        results = run.body(region.body, [*inputs, *scalars])
        _write(run, region.outputs, results)
    if region.finish is not None:
        single = [*run.shape[: len(run.shape) - region.reduced], *(1 for _ in axes)]
        flat = [view(one, memory=run.memory, bindings=run.bindings, shape=single) for one in region.finish_inputs]
        results = run.body(region.finish, [*(one.copy() for one in flat), *scalars])
        for operand, result in zip(region.finish_outputs, results, strict=True):
            target = view(operand, run.memory, run.bindings, single)
            target[...] = np.broadcast_to(result, target.shape).astype(target.dtype)


def _combined(x: np.ndarray, combine: str, axes: tuple[int, ...]) -> np.ndarray:
    kind = dt.of(x.dtype)
    if combine.startswith("arg"):
        flat = x.reshape(*x.shape[: axes[0]], -1)
        last = combine.endswith("_last")
        chosen = flat[..., ::-1] if last else flat
        found = (np.argmax if combine.startswith("argmax") else np.argmin)(chosen, axis=-1)
        found = flat.shape[-1] - 1 - found if last else found
        return found.reshape(*found.shape, *(1,) * len(axes)).astype(np.int64)
    if kind.is_float and combine in ("sum", "prod"):
        wide = x.astype(np.float64)
        result = getattr(np, combine)(wide, axis=axes, keepdims=True)
        return result.astype(np.float64 if kind is dt.f64 else np.float32)
    if combine in ("max", "min"):
        lowest, highest = (-np.inf, np.inf) if kind.is_float else kind.limits
        return getattr(np, combine)(x, axis=axes, keepdims=True, initial=lowest if combine == "max" else highest)
    if combine in ("any", "all"):
        return getattr(np, combine)(x, axis=axes, keepdims=True)
    return getattr(np, combine)(x, axis=axes, keepdims=True, dtype=x.dtype)

"""Operands made anew: dense ones, and the same ones with their axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.region import Operand
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.type import Type


def dense(dtype: DType, shape: tuple[Size, ...]) -> Operand:
    """A row-major tensor with a buffer of its own."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step = step * size
    return Operand(Value(Type(dtype, shape)), dtype, shape, tuple(strides))


def storage_order(operand: Operand) -> list[int]:
    """Its axes with one of stride 1 last."""
    axes = range(len(operand.shape))
    return sorted(axes, key=lambda axis: operand.strides[axis] == 1 and operand.shape[axis] != 1)


def turned(operand: Operand, order: Sequence[int]) -> Operand:
    """The operand with its axes in this order."""
    shape, strides = (tuple(each[axis] for axis in order) for each in (operand.shape, operand.strides))
    return Operand(operand.value, operand.dtype, shape, strides, operand.offset)

"""Matrices that are constants: laid by their columns, where tensor cores or copies want them so."""

from __future__ import annotations

from dataclasses import replace

from tenfold.codegen.cuda.launch import Recast
from tenfold.codegen.region import Operand
from tenfold.ir import dtype as dt
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Transpose


def whole(b: Operand) -> bool:
    """Whether a matrix is all of a constant, by rows."""
    plain = b.offset == 0 and b.value.type.shape == b.shape and b.strides == (b.shape[-1], 1)
    return plain and isinstance(b.value.op, Constant)


def turned(b: Operand) -> Operand:
    """The matrix as columns by terms."""
    shape = b.shape[::-1]
    if b.strides[-2] == 1:
        return Operand(b.value, b.dtype, shape, b.strides[::-1], b.offset)
    return Recast(b.value, b.dtype, shape, (shape[1], 1), 0, (Transpose((1, 0)),))


def laid(b: Operand) -> Operand:
    """B, terms by columns, as tensor cores take it: a constant in f32 by its columns."""
    if b.dtype is not dt.f32 or not whole(b):
        return b
    columns = turned(b)
    return replace(columns, shape=b.shape, strides=columns.strides[::-1])

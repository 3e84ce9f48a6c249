"""Matrices that are constants: laid by their columns, where tensor cores or copies want them so."""

from __future__ import annotations

from tenfold.codegen.cuda.launch import Recast
from tenfold.codegen.region import Operand
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

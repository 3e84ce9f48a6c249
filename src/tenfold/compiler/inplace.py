"""Which operands a kernel reads just before it writes the same place: a result may take over such an input's buffer."""

from __future__ import annotations

from tenfold.codegen.region import Operand, Pointwise, Region, Row
from tenfold.compiler.typical import typical
from tenfold.ir import dim


def walked_alike(region: Region) -> tuple[Operand, ...]:
    """The operands that a region reads element by element just before it writes the same point.

    Not those of a contraction's epilogue: partial sums may pass through its outputs before.
    """
    match region:
        case Pointwise():
            return region.inputs
        case Row():
            return region.inputs
    return ()


def whole(operand: Operand) -> bool:
    """True if an operand covers all of its buffer."""
    return operand.offset == 0 and dim.known_equal(dim.product(operand.shape), operand.value.type.size)


def same_walk(a: Operand, b: Operand) -> bool:
    """True if two operands are walked alike, element for element."""
    alike = a.dtype.itemsize == b.dtype.itemsize and dim.known_equal(a.offset, b.offset)
    strides = all(size == 1 or dim.known_equal(x, y) for x, y, size in zip(a.strides, b.strides, b.shape, strict=True))
    return alike and strides and typical(b.offset) == 0

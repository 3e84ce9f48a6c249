"""Products of whole numbers that 16 bits hold, which CPUs multiply and add in pairs: those of 8 bits, and their
differences from zero points.
"""

from __future__ import annotations

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Sub
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Transpose
from tenfold.rewrite.rule import Replacement, rule

Limits = tuple[int, int]
"""The least number and the greatest."""
_HALVES = (dt.i8, dt.u8, dt.i16)


@rule(
    """graph (%a: u8[2, 5, 40], %b: i8[40, 3]) { return MatMul(Cast<to=i32>(%a), Cast<to=i32>(%b)) }""",
    """graph (%a: u16[2, 5, 40], %b: i8[40, 3]) { return MatMul(Cast<to=i32>(%a), Cast<to=i32>(%b)) }""",
)
def products_of_halves(value: Value) -> Replacement:
    """a b -> halves of both, where they are i32 whose numbers are known to lie within i16"""
    match value:
        case Value(MatMul(), (a, b)) if a.type.dtype is b.type.dtype is dt.i32:
            halves = _half(a), _half(b)
            if halves[0] is not None and halves[1] is not None:
                result: Value = MatMul()(halves[0], halves[1])
                return result
    return None


def _half(x: Value) -> Value | None:
    """The numbers in 16 bits or fewer: what was made wider itself, and constants as bytes if they always are."""
    match x:
        case Value(Cast(), (of,)) if of.type.dtype in _HALVES:
            return of
        case Value(Sub(), (left, right)):
            limits = _difference(_limits(left), _limits(right))
        case _:
            limits = _limits(x)
    if limits is None:
        return None
    kinds = _HALVES if isinstance(x.op, Constant) else (dt.i16,)
    to = next((kind for kind in kinds if holds(kind, limits)), None)
    result: Value | None = None if to is None else Cast(to)(x)
    return result


def _limits(x: Value) -> Limits | None:
    match x:
        case Value(Cast(), (of,)) if of.type.dtype in _HALVES:
            return _every(of.type.dtype)
        case Value(Constant(tensor)):
            return limits_of(tensor)
    return None


def limits_of(tensor: Tensor) -> Limits | None:
    """The least and the greatest number that integers may be, whatever a refit makes of the weights that they come
    from; None if that is not known.
    """
    if not tensor.dtype.is_integer or tensor.dtype in _HALVES:
        return _every(tensor.dtype) if tensor.dtype in _HALVES else None
    recipe = None if tensor.source else tensor.recipe
    if recipe is None:
        return (int(tensor.array.min()), int(tensor.array.max())) if tensor.size and not tensor.source else None
    every = [limits_of(one) for one in recipe.inputs]
    found = None
    match recipe.op:
        case Cast() | Reshape() | Transpose():
            found = every[0]
        case Sub():
            found = _difference(every[0], every[1])
    return found if found and holds(tensor.dtype, found) else None


def holds(dtype: DType, limits: Limits) -> bool:
    """Whether an integer type has all numbers between limits."""
    least, most = _every(dtype)
    return least <= limits[0] and limits[1] <= most


def _difference(one: Limits | None, other: Limits | None) -> Limits | None:
    return (one[0] - other[1], one[1] - other[0]) if one and other else None


def _every(dtype: DType) -> Limits:
    return (-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1) if dtype.kind is Kind.INT else (0, (1 << dtype.bits) - 1)


WHOLE = (products_of_halves,)

"""What exported programs compute with sizes outside of tensors, followed as formulas."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from tenfold.errors import UnsupportedError
from tenfold.importers.convert import constant
from tenfold.importers.shorthand import reshaped
from tenfold.importers.torch import math as pointwise
from tenfold.importers.torch.fraction import Quotient
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Value


def _quotient(x: Any) -> Quotient:
    return x if isinstance(x, Quotient) else Quotient(x)


def add(x: Any, y: Any) -> Any:
    """x + y."""
    if isinstance(x, Quotient) or isinstance(y, Quotient):
        a, b = _exact(x), _exact(y)
        return Quotient(a.top * b.bottom + b.top * a.bottom, a.bottom * b.bottom)
    return x + y


def sub(x: Any, y: Any) -> Any:
    """x - y."""
    return add(x, mul(y, -1))


def mul(x: Any, y: Any) -> Any:
    """x y."""
    if (isinstance(x, Quotient | float) and isinstance(y, Quotient | Dim)) or (
        isinstance(y, Quotient | float) and isinstance(x, Quotient | Dim)
    ):
        a, b = _exact(x), _exact(y)
        return Quotient(a.top * b.top, a.bottom * b.bottom)
    return x * y


def _exact(x: Any) -> Quotient:
    if isinstance(x, float):
        top, bottom = x.as_integer_ratio()
        return Quotient(top, bottom)
    return _quotient(x)


def divide(x: Any, y: Any) -> Any:
    """x / y."""
    if not isinstance(x, Dim | Quotient) and not isinstance(y, Dim | Quotient):
        return x / y
    a, b = _exact(x), _exact(y)
    top, bottom = a.top * b.bottom, a.bottom * b.top
    whole = None if bottom == 0 else dim.divide_exact(top, bottom)
    return Quotient(top, bottom) if whole is None else Quotient(whole)


def floor(x: Any) -> Any:
    """The greatest integer not above x."""
    return x.top // x.bottom if isinstance(x, Quotient) else x if isinstance(x, Dim) else math.floor(x)


def ceil(x: Any) -> Any:
    """The least integer not below x."""
    return dim.ceildiv(x.top, x.bottom) if isinstance(x, Quotient) else x if isinstance(x, Dim) else math.ceil(x)


def trunc(x: Any) -> Any:
    """x without its fraction."""
    return dim.truncdiv(x.top, x.bottom) if isinstance(x, Quotient) else x if isinstance(x, Dim) else math.trunc(x)


def root(x: Any) -> float:
    """The square root of a known number."""
    if not isinstance(x, int | float):
        raise UnsupportedError(f"the square root of the size {x}", remedy="fix the size by dims=")
    return math.sqrt(x)


def power(x: Any, y: Any) -> Any:
    """x to the power of y: a size where y is a count, else a tensor of rank 0."""
    if not isinstance(x, Dim | Quotient) and not isinstance(y, Dim | Quotient):
        return x**y
    if isinstance(x, Dim) and isinstance(y, int) and y >= 0:
        return dim.product((x,) * y)
    base, exponent = (one.value(dt.f32) if isinstance(one, Quotient) else one for one in (_exact(x), y))
    return pointwise.power(base, exponent if isinstance(exponent, Value) else float(exponent))


def _compared(test: Callable[[Any, Any], Size], plain: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def convert(x: Any, y: Any) -> Any:
        if isinstance(x, Quotient) or isinstance(y, Quotient):
            a, b = _exact(x), _exact(y)
            return test(a.top * b.bottom, b.top * a.bottom)
        return test(x, y) if isinstance(x, Dim) or isinstance(y, Dim) else plain(x, y)

    return convert


def choose(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    return dim.select(condition, x, y) if isinstance(condition, Dim) else x if condition else y


def _extreme(pick: Callable[..., Size], plain: Callable[..., Any]) -> Callable[..., Any]:
    def convert(*sizes: Any) -> Any:
        return pick(*sizes) if any(isinstance(one, Dim) for one in sizes) else plain(sizes)

    return convert


_SYMBOLIC: dict[Any, Callable[..., Any]] = {
    operator.add: add,
    operator.sub: sub,
    operator.mul: mul,
    operator.truediv: divide,
    operator.floordiv: lambda x, y: floor(divide(x, y)) if isinstance(x, Quotient) else x // y,
    operator.mod: lambda x, y: x % y,
    operator.neg: lambda x: mul(x, -1),
    operator.pow: power,
    operator.eq: _compared(dim.equal, operator.eq),
    operator.ne: _compared(lambda x, y: dim.logical_not(dim.equal(x, y)), operator.ne),
    operator.lt: _compared(dim.less, operator.lt),
    operator.le: _compared(dim.less_equal, operator.le),
    operator.gt: _compared(lambda x, y: dim.less(y, x), operator.gt),
    operator.ge: _compared(lambda x, y: dim.less_equal(y, x), operator.ge),
    operator.and_: lambda x, y: dim.logical_and(x, y),
    operator.or_: lambda x, y: dim.logical_or(x, y),
    operator.not_: lambda x: dim.logical_not(x),
    torch.sym_not: lambda x: dim.logical_not(x),
    torch.sym_max: _extreme(dim.maximum, max),
    torch.sym_min: _extreme(dim.minimum, min),
    torch.sym_float: lambda x: Quotient(x) if isinstance(x, Dim) else float(x),
    torch.sym_int: trunc,
    torch.sym_ite: choose,
    math.floor: floor,
    math.ceil: ceil,
    math.trunc: trunc,
    math.sqrt: root,
    round: lambda x: floor(add(x, 0.5)),
}

_TENSORS: dict[Any, Callable[..., Any]] = {
    operator.add: pointwise.add,
    operator.sub: pointwise.sub,
    operator.mul: pointwise.mul,
    operator.truediv: pointwise.div,
    operator.floordiv: pointwise.floor_divide,
    operator.mod: pointwise.remainder,
    operator.neg: pointwise.negated,
    **{getattr(operator, name): pointwise.TABLE[name] for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}


def on_numbers(function: Any) -> Callable[..., Any] | None:
    """What computes with numbers outside of tensors as `function` does; None if it is not known.

    Numbers that only the data decide are tensors of rank 0.
    """
    symbolic = _SYMBOLIC.get(function)
    if symbolic is None:
        return None

    def convert(*given: Any) -> Any:
        if any(isinstance(one, Value) for one in given):
            return _on_tensors(function)(*given)
        return symbolic(*given)

    return convert


def _on_tensors(function: Any) -> Callable[..., Any]:
    if function not in _TENSORS:
        raise UnsupportedError(f"{getattr(function, '__name__', function)} of a number that only the data decide")
    found: Callable[..., Any] = _TENSORS[function]
    return found


def size(x: Value, axis: int) -> Size:
    """One size of a tensor."""
    return x.type.shape[axis]


def count(x: Value) -> Size:
    """How many elements a tensor has."""
    return x.type.size


def stride(x: Value, axis: int) -> Size:
    """The stride of an axis of a tensor that lies row by row."""
    return dim.product(x.type.shape[axis % x.type.rank + 1 :])


def no_offset(x: Value) -> Size:
    """Where a tensor begins in its storage."""
    return 0


def number_in(x: Value) -> Any:
    """A tensor's only element: a formula where it is known before the call, else a tensor of rank 0."""
    if x.type.entries is not None:
        return x.type.entries[0]
    known = constant(x) if x.type.size == 1 else None
    return reshaped(x, ()) if known is None else known.item()


TABLE: Mapping[str, Callable[..., Any]] = {
    "sym_size.int": size,
    "sym_numel.default": count,
    "sym_stride.int": stride,
    "sym_storage_offset.default": no_offset,
    "_local_scalar_dense": number_in,
    "item": number_in,
}

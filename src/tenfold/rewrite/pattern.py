"""What rules ask about values: small questions with one answer each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Sigmoid
from tenfold.ops.arithmetic import Abs, Add, Exp, Mul, Sqrt
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.movement import Expand, Reshape, Transpose
from tenfold.ops.normalize import Softmax
from tenfold.ops.reduce import Reduce

Asked = list[tuple[Tensor, float | None]]
"""Constants that were taken for one number, or, with None, as they are."""

_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def asking() -> Iterator[Asked]:
    """Within it, the list given gathers what was taken for granted of constants."""
    asked: Asked = []
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def _taken(value: Value, found: float | None) -> bool:
    asked = _asked.get()
    if asked is not None and isinstance(value.op, Constant):
        asked.append((value.op.tensor, found))
    return True


def constant(value: Value) -> Array | None:
    """Its elements, if it is a constant, to look at what no other weights would change much."""
    return value.op.tensor.array if isinstance(value.op, Constant) else None


def exact_constant(value: Value) -> Array | None:
    """Its elements, if it is a constant, to decide by what they are."""
    return constant(value) if _taken(value, None) else None


def maker(value: Value, kind: type[Op], alone: bool = True) -> Value | None:
    """The result of an operation of that kind from which a value is computed element by element, in its shape; if
    `alone`, what lies between is read by nothing else.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one.op, kind):
            return one
        if isinstance(one.op, Elementwise) and (one is value or not alone or used_once(one)):
            waiting += (before for before in one.inputs if before.type.shape == value.type.shape)
    return None


def number(value: Value) -> float | None:
    """The one number that all elements of a constant are; None if there are several or none."""
    found = _number(value)
    if found is not None:
        _taken(value, found)
    return found


def _number(value: Value) -> float | None:
    if not isinstance(value.op, Constant) or not value.op.tensor.size or value.type.dtype.numpy.kind not in "fiubV":
        return None
    array = value.op.tensor.array
    first = array.flat[0]
    if array.size > 1 and array.tobytes() != first.tobytes() * array.size:
        return None
    return float(first)


def exactly(value: Value, expected: float) -> bool:
    """Whether it is a constant all of whose elements are `expected`, the sign of zero included."""
    found = _number(value)
    same = found is not None and found == expected and np.signbit(found) == np.signbit(expected)
    return bool(same) and _taken(value, expected)


def nearly(value: Value, expected: float) -> bool:
    """Whether it is a constant all of whose elements are `expected` as its element type can say it."""
    found = _number(value)
    if found is None or not value.type.dtype.is_float:
        return found == expected and _taken(value, expected)
    wide = np.float32(0) if value.type.dtype.itemsize >= 4 else value.type.dtype.numpy.type(0)
    step = float(np.abs(np.nextafter(wide.dtype.type(expected), wide.dtype.type(np.inf)) - wide.dtype.type(expected)))
    return abs(found - expected) <= 2 * step and _taken(value, found)


def either(value: Value, kind: type[Op]) -> Iterator[tuple[Value, Value]]:
    """The operands of a commutative operation in both orders; nothing if `value` is made by another."""
    if isinstance(value.op, kind):
        left, right = value.inputs
        yield left, right
        if left is not right:
            yield right, left


def used_once(value: Value) -> bool:
    """Whether one operand of one node is all that uses it."""
    graph = value.producer.graph if value.producer else None
    if len(value.uses) != 1 or (graph is not None and value in graph.outputs):
        return False
    (user,) = value.uses
    return sum(one is value for one in user.inputs) == 1


def same_type(a: Value, b: Value) -> bool:
    """Whether element type and sizes are provably the same."""
    return a.type.dtype == b.type.dtype and a.type.shape == b.type.shape


def never_negative(value: Value) -> bool:
    """Whether no element can be below zero or a negative zero (NaN can be)."""
    found = constant(value)
    if found is not None:
        return value.type.dtype.is_float and bool(np.all(~np.signbit(found) | np.isnan(found)))
    match value:
        case Value(Mul(), (x, y)) if x is y:
            return True
        case Value(Add() | Mul(), (x, y)):
            return never_negative(x) and never_negative(y)
        case Value(Reduce("sum_square" | "l1" | "l2"), _) | Value(Exp() | Abs() | Softmax() | Sigmoid(), _):
            return True
        case Value(Reduce("sum" | "mean" | "max" | "min" | "prod"), (x,)):
            return never_negative(x)
        case Value(Sqrt() | Reshape() | Transpose() | Expand(), (x,)):
            return never_negative(x)
    return False


def contents(values: tuple[Value, ...]) -> tuple[Array, ...] | None:
    """The elements of all values, if all are constants."""
    found = tuple(one.op.tensor.array for one in values if isinstance(one.op, Constant))
    return found if len(found) == len(values) else None

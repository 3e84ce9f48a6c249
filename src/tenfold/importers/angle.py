"""The angle of a point in the plane."""

from __future__ import annotations

import math

from tenfold.importers.shorthand import apply, number
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Abs, Add, Atan, Div, Mul, Sign
from tenfold.ops.logic import Equal, Less, Or, Where


def angle(y: Value, x: Value) -> Value:
    """The angle of (x, y), floats of one type, in the quadrant that both signs say; infinities are of one size."""
    alike = apply(Equal(), apply(Abs(), y), apply(Abs(), x))
    ratio = apply(Where(), alike, apply(Mul(), apply(Sign(), y), apply(Sign(), x)), apply(Div(), y, x))
    half = apply(Atan(), ratio)
    turn = apply(Where(), is_negative(y), number(-math.pi, y), number(math.pi, y))
    back = apply(Where(), is_negative(x), apply(Add(), half, turn), half)
    on_axis = apply(Mul(), apply(Sign(), y), math.pi / 2)
    upright = apply(Where(), apply(Equal(), x, 0), on_axis, back)
    flat = apply(Where(), is_negative(x), turn, apply(Where(), apply(Equal(), x, x), apply(Mul(), y, 0), x))
    result: Value = Where()(apply(Equal(), y, 0), flat, upright)
    return result


def is_negative(x: Value) -> Value:
    """Whether the sign bit is set: -0.0 too."""
    return apply(Or(), apply(Less(), x, 0), apply(Less(), apply(Div(), number(1, x), x), 0))  # the latter: -0.0 alone

"""Layers that join several tensors into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, axis_of, filled, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops.arithmetic import Add, Maximum, Minimum, Mul, Rsqrt, Sub
from tenfold.ops.logic import And
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand
from tenfold.ops.reduce import Reduce


def _ranked(values: Sequence[Value]) -> list[Value]:
    """Values of one rank: lower ones get axes of size 1 after the first."""
    most = max(one.type.rank for one in values)
    return [reshaped(one, (*one.type.shape[:1], *(1,) * (most - one.type.rank), *one.type.shape[1:])) for one in values]


def merged(op: Op) -> Callable[..., Value]:
    """Add, Subtract, Multiply, Maximum, Minimum."""

    def convert(layer: Layer, values: Sequence[Value]) -> Value:
        found = reduce(lambda a, b: apply(op, a, b), _ranked(values))
        return layer.masked(found, _every(_masks(layer, values)))

    return convert


def average(layer: Layer, values: Sequence[Value]) -> Value:
    """The mean."""
    total = reduce(lambda a, b: apply(Add(), a, b), _ranked(values))
    return layer.masked(apply(Mul(), total, 1 / len(values)), _every(_masks(layer, values)))


def _masks(layer: Layer, values: Sequence[Value]) -> list[Value | None]:
    if isinstance(layer.explicit, list) and len(layer.explicit) == len(values):
        return list(layer.explicit)
    return [layer.context.masks.get(one) for one in values]


def _every(masks: Sequence[Value | None]) -> Value | None:
    found = [one for one in masks if one is not None]
    return reduce(lambda a, b: apply(And(), a, b), found) if found else None


def concatenate(layer: Layer, values: Sequence[Value]) -> Value:
    """One after another along an axis."""
    axis = axis_of(layer.integer("axis", -1), values[0].type.rank)
    found: Value = values[0] if len(values) == 1 else Concat(axis)(*values)
    masks = _masks(layer, values)
    if all(one is None for one in masks):
        return found
    full = [_full_mask(mask, value) for mask, value in zip(masks, values, strict=True)]
    joined: Value = full[0] if len(full) == 1 else Concat(axis)(*full)
    return layer.masked(found, apply(Reduce("all", (joined.type.rank - 1,), False), joined))


def _full_mask(mask: Value | None, x: Value) -> Value:
    if mask is None:
        mask = filled(True, (1,) * x.type.rank, dt.boolean)
    apart = reshaped(mask, (*mask.type.shape, *(1,) * (x.type.rank - mask.type.rank)))
    return apply(Expand(x.type.shape), apart)


def dot(layer: Layer, values: Sequence[Value]) -> Value:
    """The sum of products along an axis of each, sample by sample."""
    x, y = values
    stated = layer.config.get("axes")
    pair = (stated, stated) if type(stated) is int else tuple(stated or ())
    if len(pair) != 2 or not all(type(one) is int for one in pair):
        raise layer.invalid(f"axes is {stated!r}")
    first, second = axis_of(pair[0], x.type.rank), axis_of(pair[1], y.type.rank)
    if layer.flag("normalize", False):
        x, y = _unit(x, first), _unit(y, second)
    left = [at for at in range(1, x.type.rank) if at != first]
    right = [at for at in range(1, y.type.rank) if at != second]
    rows, columns = [x.type.shape[at] for at in left], [y.type.shape[at] for at in right]
    a = reshaped(transposed(x, (0, *left, first)), (x.type.shape[0], dim.product(rows), x.type.shape[first]))
    b = reshaped(transposed(y, (0, second, *right)), (y.type.shape[0], y.type.shape[second], dim.product(columns)))
    return reshaped(apply(MatMul(), a, b), (x.type.shape[0], *(rows or [] if columns else rows or [1]), *columns))


def _unit(x: Value, axis: int) -> Value:
    power = apply(Reduce("sum", (axis,)), apply(Mul(), x, x))
    return apply(Mul(), x, apply(Rsqrt(), apply(Maximum(), power, 1e-12)))


TABLE: Table = {
    "Add": merged(Add()),
    "Subtract": merged(Sub()),
    "Multiply": merged(Mul()),
    "Maximum": merged(Maximum()),
    "Minimum": merged(Minimum()),
    "Average": average,
    "Concatenate": concatenate,
    "Dot": dot,
}

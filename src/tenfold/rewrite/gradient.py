"""Derivatives of a graph's values by reverse accumulation (Linnainmaa 1976), as floating nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.ir import dim
from tenfold.ir.graph import Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Relu, Sigmoid
from tenfold.ops.arithmetic import Abs, Add, Cos, Div, Exp, Log, Mul, Neg, Pow, Sign, Sin, Sqrt, Sub, Tanh
from tenfold.ops.constant import Constant, Fill, Sizes
from tenfold.ops.logic import Cast, Greater, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Expand, Reshape, Transpose
from tenfold.ops.reduce import Reduce

Adjoint = Callable[[Any, Node, Value], Sequence[Value | None]]
"""What each input of a node contributes, given the derivative by its output."""


def gradient(y: Value, xs: Sequence[Value]) -> list[Value]:
    """The derivative of the sum of y's elements by each of xs, 0 where y does not depend on it.

    ValueError names an operation on the way whose derivative is not known.
    """
    order = _between(y, set(xs))
    known: dict[Value, Value] = {y: _filled(1, y)}
    for node in reversed(order):
        (output,) = node.outputs
        if output not in known:
            continue
        adjoint = ADJOINTS.get(type(node.op))
        if adjoint is None:
            raise ValueError(f"the derivative of {node.op.name} is not known")
        for value, part in zip(node.inputs, adjoint(node.op, node, known[output]), strict=True):
            if part is not None:
                share = _summed(part, value)
                known[value] = Add()(known[value], share) if value in known else share
    return [known.get(x) or _filled(0, x) for x in xs]


def substituted(y: Value, given: Mapping[Value, Value]) -> Value:
    """y computed anew with other values in place of some; itself if it depends on none of them."""
    known: dict[Value, Value] = {old: new for old, new in given.items() if old is not new}
    for node in _between(y, set(given)):
        if any(value in known for value in node.inputs):
            copy = Node(node.op, [known.get(value, value) for value in node.inputs], source=node.source)
            known.update(zip(node.outputs, copy.outputs, strict=True))
    return known.get(y, y)


def _between(y: Value, ends: set[Value]) -> list[Node]:
    """The nodes that y is computed by, each after those it needs; nothing behind the ends."""
    found: dict[Node, None] = {}
    stack = [(y, False)]
    while stack:
        value, left = stack.pop()
        node = value.producer
        if node is None or value in ends or node in found:
            continue
        if left:
            found[node] = None
        else:
            stack.append((value, True))
            stack.extend((one, False) for one in node.inputs if one.type.dtype.is_float)
    return list(found)


def _filled(number: float, like: Value) -> Value:
    content = np.array(number, like.type.dtype.numpy)
    value: Value = Fill(like.type.shape, Tensor(content))()
    return value


def _number(number: float, like: Value) -> Value:
    value: Value = Constant(Tensor(np.array(number, like.type.dtype.numpy)))()
    return value


def _summed(part: Value, like: Value) -> Value:
    """The sum over the axes along which `like` was spread."""
    extra = part.type.rank - like.type.rank
    sizes = [(1 if at < extra else like.type.shape[at - extra]) for at in range(part.type.rank)]
    axes = tuple(at for at, size in enumerate(sizes) if not dim.known_equal(size, part.type.shape[at]))
    axes = tuple(dict.fromkeys((*range(extra), *axes)))
    total = Reduce("sum", axes, True)(part) if axes else part
    value: Value = total if total.type.shape == like.type.shape else Reshape(like.type.shape)(total)
    return value


def _power(op: Pow, node: Node, dy: Value) -> Sequence[Value | None]:
    base, exponent = node.inputs
    by_base = Mul()(exponent, Pow()(base, Sub()(exponent, _number(1, exponent))))
    by_exponent = Mul()(node.output, Log()(base)) if not isinstance(exponent.op, Constant) else None
    return Mul()(dy, by_base), None if by_exponent is None else Mul()(dy, by_exponent)


def _product(op: MatMul, node: Node, dy: Value) -> Sequence[Value | None]:
    a, b = node.inputs
    if a.type.rank < 2 or b.type.rank < 2:
        raise ValueError("the derivative of a product with a vector is not known")
    return MatMul()(dy, _turned(b)), MatMul()(_turned(a), dy)


def _turned(x: Value) -> Value:
    rank = x.type.rank
    value: Value = Transpose((*range(rank - 2), rank - 1, rank - 2))(x)
    return value


def _reduced(op: Reduce, node: Node, dy: Value) -> Sequence[Value | None]:
    (x,) = node.inputs
    if op.kind not in ("sum", "mean"):
        raise ValueError(f"the derivative of a reduction by {op.kind} is not known")
    kept = tuple(1 if axis in op.axes else size for axis, size in enumerate(x.type.shape))
    spread = Expand(x.type.shape)(Reshape(kept)(dy))
    if op.kind == "mean":
        count = dim.product(x.type.shape[axis] for axis in op.axes)
        spread = Div()(spread, Cast(x.type.dtype)(Sizes((count,), ())()))
    return (spread,)


def _chosen(op: Where, node: Node, dy: Value) -> Sequence[Value | None]:
    condition, zero = node.inputs[0], _number(0, dy)
    return None, Where()(condition, dy, zero), Where()(condition, zero, dy)


def _back(op: Transpose, node: Node, dy: Value) -> Sequence[Value | None]:
    order = tuple(op.permutation.index(axis) for axis in range(len(op.permutation)))
    return (Transpose(order)(dy),)


def _by(derivative: Callable[[Value, Value], Value]) -> Adjoint:
    """An elementwise function whose derivative follows from its argument and its result."""

    def adjoint(op: Any, node: Node, dy: Value) -> Sequence[Value | None]:
        return (Mul()(dy, derivative(node.inputs[0], node.output)),)

    return adjoint


ADJOINTS: Mapping[type, Adjoint] = {
    Add: lambda op, node, dy: (dy, dy),
    Sub: lambda op, node, dy: (dy, Neg()(dy)),
    Mul: lambda op, node, dy: (Mul()(dy, node.inputs[1]), Mul()(dy, node.inputs[0])),
    Div: lambda op, node, dy: (
        Div()(dy, node.inputs[1]),
        Neg()(Div()(Mul()(dy, node.output), node.inputs[1])),
    ),
    Pow: _power,
    Neg: lambda op, node, dy: (Neg()(dy),),
    Abs: _by(lambda x, y: Sign()(x)),
    Exp: _by(lambda x, y: y),
    Log: _by(lambda x, y: Div()(_number(1, x), x)),
    Sqrt: _by(lambda x, y: Div()(_number(0.5, y), y)),
    Sin: _by(lambda x, y: Cos()(x)),
    Cos: _by(lambda x, y: Neg()(Sin()(x))),
    Tanh: _by(lambda x, y: Sub()(_number(1, y), Mul()(y, y))),
    Sigmoid: _by(lambda x, y: Mul()(y, Sub()(_number(1, y), y))),
    Relu: _by(lambda x, y: Cast(x.type.dtype)(Greater()(x, _number(0, x)))),
    MatMul: _product,
    Reduce: _reduced,
    Where: _chosen,
    Transpose: _back,
    Reshape: lambda op, node, dy: (Reshape(node.inputs[0].type.shape)(dy),),
    Expand: lambda op, node, dy: (dy,),
    Cast: lambda op, node, dy: (Cast(node.inputs[0].type.dtype)(dy) if node.inputs[0].type.dtype.is_float else None,),
}

"""What ai.onnx.ml's predictors share: from scores to probabilities, and from classes to labels."""

from __future__ import annotations

import math

import numpy as np

from tenfold.importers.convert import Operator
from tenfold.importers.shorthand import apply, number, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Sigmoid
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Log, Mul, Neg, Sign, Sqrt, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.index import Gather
from tenfold.ops.logic import Equal, Greater, Where
from tenfold.ops.movement import Concat
from tenfold.ops.normalize import Softmax
from tenfold.ops.reduce import Reduce
from tenfold.ops.text import Lookup, strings

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
TINY = 1e-7


def transform(node: Operator) -> str:
    """The attribute `post_transform`."""
    return node.text("post_transform", "NONE", TRANSFORMS)


def transformed(scores: Value, kind: str) -> Value:
    """Scores [N, C] as probabilities of that kind."""
    match kind:
        case "SOFTMAX":
            return apply(Softmax(1), scores)
        case "LOGISTIC":
            return apply(Sigmoid(), scores)
        case "SOFTMAX_ZERO":
            return _softmax_zero(scores)
        case "PROBIT":
            return _probit(scores)
    return scores


def _softmax_zero(x: Value) -> Value:
    """A softmax in which scores of 0 stay 0."""
    top = apply(Reduce("max", (1,)), x)
    small = apply(Mul(), x, Exp()(Neg()(top)))
    terms = Where()(apply(Greater(), Abs()(x), TINY), Exp()(apply(Sub(), x, top)), small)
    total = apply(Reduce("sum", (1,)), terms)
    nothing = apply(Equal(), total, 0)
    shares = apply(Div(), terms, Where()(nothing, number(1, total), total))
    result: Value = Where()(nothing, number(0.5, total), shares)
    return result


def _probit(x: Value) -> Value:
    """√2 · erf⁻¹(2x - 1), by Winitzki's approximation, which ONNX Runtime computes too."""
    at = apply(Sub(), apply(Mul(), x, 2), 1)
    log = Log()(apply(Mul(), apply(Sub(), number(1, at), at), apply(Add(), at, 1)))
    middle = apply(Add(), apply(Mul(), log, 0.5), 2 / (math.pi * 0.147))
    inner = Sqrt()(apply(Sub(), apply(Mul(), middle, middle), apply(Mul(), log, 1 / 0.147)))
    return apply(Mul(), apply(Mul(), Sign()(at), Sqrt()(apply(Sub(), inner, middle))), math.sqrt(2))


def paired(first: Value, second: Value) -> Value:
    """Two columns [N, 1] as [N, 2]."""
    result: Value = Concat(1)(first, second)
    return result


def labels(node: Operator, names: tuple[str, str]) -> Tensor:
    """The class labels: the integers or the strings of two attributes."""
    numbers, texts = node.integers(names[0], ()), node.texts(names[1], ())
    if bool(numbers) == bool(texts):
        raise node.invalid(f"it states labels in both {names[0]} and {names[1]}, or in neither")
    return Tensor(np.array(numbers, np.int64) if numbers else strings(list(texts), (len(texts),)))


def labelled(classes: Tensor, chosen: Value) -> Value:
    """The label of each chosen class; strings are looked up by the host."""
    if classes.dtype is dt.string:
        places = Tensor(np.arange(classes.size))
        return apply(Lookup(places, classes, Tensor(strings([""], (1,)))), chosen)
    table: Value = Constant(classes)()
    return apply(Gather(0), table, chosen)


def column(x: Value, at: int) -> Value:
    """Column `at` of [N, C] as [N, 1]."""
    place: Value = Constant(Tensor(np.array([at])))()
    return apply(Gather(1), x, place)


def flat(x: Value) -> Value:
    """[N, 1] as [N]."""
    return reshaped(x, x.type.shape[:1])

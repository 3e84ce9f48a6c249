"""Derivatives against differences of the function itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tenfold.rewrite.gradient import gradient, substituted

Function = Callable[[Value, Value], Value]


def column_sums(b: Value) -> Value:
    value: Value = ops.Reduce("sum", (0,), False)(b)
    return value


FUNCTIONS: dict[str, Function] = {
    "sum": lambda a, b: ops.Add()(a, b),
    "spread": lambda a, b: ops.Mul()(ops.Sub()(a, ops.Reduce("sum", (0,))(b)), b),
    "ratio": lambda a, b: ops.Div()(ops.Neg()(a), ops.Exp()(b)),
    "power": lambda a, b: ops.Pow()(ops.Abs()(a), ops.Sqrt()(ops.Exp()(b))),
    "cubed": lambda a, b: ops.Pow()(a, ops.scalar(3.0, dt.f64)()),
    "waves": lambda a, b: ops.Mul()(ops.Sin()(a), ops.Cos()(ops.Tanh()(b))),
    "product": lambda a, b: ops.MatMul()(a, ops.Transpose((1, 0))(b)),
    "chosen": lambda a, b: ops.Where()(ops.Greater()(a, b), ops.Relu()(a), ops.Sigmoid()(b)),
    "mean": lambda a, b: ops.Reduce("mean", (1,), False)(ops.Log()(ops.Exp()(ops.Mul()(a, a)))),
    "moved": lambda a, b: ops.Mul()(ops.Reshape((3, 2))(a), ops.Expand((3, 2))(ops.Reshape((3, 1))(column_sums(b)))),
    "cast": lambda a, b: ops.Mul()(ops.Cast(dt.f64)(ops.Cast(dt.f64)(a)), b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_differences(name: str) -> None:
    graph = Graph()
    a, b = (graph.input(one, Type(dt.f64, (2, 3))) for one in "ab")
    y = FUNCTIONS[name](a, b)
    graph.set_outputs([y, *gradient(y, [a, b])], ["y", "by_a", "by_b"])
    random = np.random.default_rng(1)
    given = {one: random.standard_normal((2, 3)) for one in "ab"}
    found = Interpreter().run(graph, given)
    for one in "ab":
        for place in np.ndindex(2, 3):
            ends = []
            for step in (1e-6, -1e-6):
                moved = {key: array.copy() for key, array in given.items()}
                moved[one][place] += step
                ends.append(Interpreter().run(graph, moved)["y"].sum())
            assert found[f"by_{one}"][place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5)


def test_elsewhere() -> None:
    graph = Graph()
    a, b, c = (graph.input(one, Type(dt.f64, ())) for one in "abc")
    y = substituted(ops.Mul()(ops.Mul()(a, a), b), {a: c})
    graph.set_outputs(gradient(y, [c, a]), ["by_c", "by_a"])
    found = Interpreter().run(graph, {"a": np.array(1.0), "b": np.array(5.0), "c": np.array(3.0)})
    assert (found["by_c"], found["by_a"]) == (30, 0)


def test_what_is_not_known() -> None:
    x = Value(Type(dt.f32, (4,)), name="x")
    with pytest.raises(ValueError, match="derivative of Softmax is not known"):
        gradient(ops.Softmax(0)(x), [x])

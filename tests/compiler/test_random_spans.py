"""Graphs drawn at random whose sizes the data decide again and again: engines give what the interpreter gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tenfold import ops
from tenfold.errors import TenfoldError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import show
from tenfold.ir.type import Type, numbered_unknowns, unknown_size
from tests.compiler.building import Bench, workbench

GRAPHS = 30
MOST = 3000
N, M = symbol("N", 1), symbol("M", 1)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


class Drawing:
    """A graph of f32 vectors, most of sizes that earlier ones decide."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph(name=f"drawn{seed}")
        self.pool = [self.graph.input("x", vector(N)), self.graph.input("y", vector(M))]
        for _ in range(int(self.random.integers(3, 9))):
            self.pool.append(self.graph.insert(self.step(self.some())))
        ends = [value for value in self.pool if not value.uses][-4:]
        self.graph.set_outputs(ends, [f"r{number}" for number in range(len(ends))])

    def some(self) -> Value:
        return self.pool[int(self.random.integers(len(self.pool)))]

    def step(self, x: Value, depth: int = 0) -> Value:
        kinds = (plain, plain, chosen, chosen, places, joined, crossed, distinct, summed, tabled, branched, repeated)
        kind = kinds[int(self.random.integers(len(kinds) if depth < 2 else 6))]
        return kind(self, x, depth)


def vector(size: Any) -> Type:
    return Type(dt.f32, (size,))


def number(value: float) -> Value:
    made: Value = ops.Constant(Tensor(np.array(value, np.float32)))()
    return made


def plain(d: Drawing, x: Value, depth: int) -> Value:
    op = (ops.Tanh(), ops.Neg(), ops.Abs(), ops.Sin())[int(d.random.integers(4))]
    made: Value = op(x)
    return made


def chosen(d: Drawing, x: Value, depth: int) -> Value:
    """The elements above a limit."""
    made: Value = ops.Compress(0)(x, ops.Greater()(x, number(float(d.random.normal() / 2))))
    return made


def places(d: Drawing, x: Value, depth: int) -> Value:
    found = ops.NonZero()(ops.Greater()(x, number(0.1)))
    made: Value = ops.Mul()(ops.Cast(dt.f32)(ops.Reshape((found.type.shape[1],))(found)), number(0.1))
    return made


def joined(d: Drawing, x: Value, depth: int) -> Value:
    other = d.some() if depth == 0 else ops.Sin()(x)
    made: Value = ops.Concat(0)(x, ops.Neg()(other))
    return made


def crossed(d: Drawing, x: Value, depth: int) -> Value:
    """Sums over the rows of an outer product with the vector's own size."""
    (size,) = x.type.shape
    square = ops.MatMul()(ops.Reshape((size, 1))(x), ops.Reshape((1, size))(ops.Tanh()(x)))
    made: Value = ops.Tanh()(ops.Reduce("sum", (1,), False)(square))
    return made


def distinct(d: Drawing, x: Value, depth: int) -> Value:
    first, _, _, counts = ops.Unique()(ops.Round()(ops.Mul()(x, number(3.0))))
    made: Value = ops.Mul()(ops.Mul()(first, number(0.3)), ops.Cast(dt.f32)(counts))
    return made


def summed(d: Drawing, x: Value, depth: int) -> Value:
    made: Value = ops.Sub()(x, ops.Reduce("sum", (0,), True)(ops.Mul()(x, number(0.01))))
    return made


def tabled(d: Drawing, x: Value, depth: int) -> Value:
    """A constant as long as the vector."""
    made: Value = ops.Add()(ops.Fill(x.type.shape, Tensor(np.array(0.5, np.float32)))(), x)
    return made


def inner(d: Drawing, x: Value, depth: int) -> Graph:
    body = Graph(name="inner")
    value = d.step(body.input("a", x.type), depth + 1)
    body.set_outputs([d.step(value, depth + 1)], ["b"])
    return body


def branched(d: Drawing, x: Value, depth: int) -> Value:
    asked = ops.Greater()(ops.Reduce("sum", (0,), False)(x), number(float(d.random.normal())))
    made: Value = ops.If(inner(d, x, depth), inner(d, x, depth))(asked, x)
    return made


def repeated(d: Drawing, x: Value, depth: int) -> Value:
    """A state that each turn makes longer or shorter."""
    body = Graph(name="turn")
    body.input("i", Type(dt.i64, ()))
    going = body.input("c", Type(dt.boolean, ()))
    state, last = body.input("s", vector(unknown_size())), body.input("x", x.type)
    body.set_outputs([going, d.step(ops.Concat(0)(state, ops.Cos()(last)), depth + 1)], ["d", "t"])
    turns, yes = (ops.Constant(Tensor(np.array(one)))() for one in (int(d.random.integers(0, 4)), True))
    made: Value = ops.Loop(body, 1)(turns, yes, ops.Sin()(x), x)
    return made


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_an_engine_gives_what_the_interpreter_gives(seed: int, bench: Bench) -> None:
    with numbered_unknowns():
        graph = Drawing(seed).graph
    calls = []
    for turn, sizes in enumerate(((3, 8), (1, 5), (17, 2))):
        random = np.random.default_rng(turn)
        calls.append({name: random.standard_normal(n).astype(np.float32) for name, n in zip("xy", sizes, strict=True)})
    try:
        answers = [Interpreter().run(graph, one) for one in calls]
    except TenfoldError:
        pytest.skip("the graph cannot run")
    if max(array.size for answer in answers for array in answer.values()) > MOST:
        pytest.skip("the results are large")
    print(show(graph))
    engine = bench.engine(graph)
    for inputs, expected in zip(calls, answers, strict=True):
        for _ in range(2):
            found = engine.run(inputs)
            for name, wanted in expected.items():
                assert found[name].shape == wanted.shape
                np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-4)

"""Loops drawn at random, some inside each other, against the interpreter."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from tenfold import build
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops import (
    Abs,
    Add,
    Cast,
    Concat,
    Constant,
    If,
    Less,
    Loop,
    MatMul,
    Mul,
    Reduce,
    Reshape,
    Scan,
    Softmax,
    Split,
    Sub,
    Tanh,
    Transpose,
)
from tenfold.ops.constant import scalar

N, M = dim.symbol("N", low=1), dim.symbol("M", low=1)
BLOCK = Type(dt.f32, (N, M, 8))
SQUARE = Tensor(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32) / 3)


class Sketch:
    """Draws graphs whose values all have one type, so that any may become any state, scan or result."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def some(self, pool: list[Value], most: int, least: int = 0) -> list[Value]:
        """A few values of the pool, some of them more than once."""
        return self.random.choices(pool, k=self.random.randint(least, most))

    def grow(self, pool: list[Value], count: int, depth: int, flag: Value) -> list[Value]:
        """The pool and `count` more steps computed from it."""
        pool = list(pool)
        for _ in range(count):
            kind = self.random.randrange(11 if depth else 9)
            x, y = self.some(pool, 2, 2)
            if kind == 9:
                pool += self.loop(pool, depth - 1, flag)
            elif kind == 10:
                pool.append(self.branch(pool, depth - 1, flag))
            else:
                pool.append(_step(kind, x, y))
        return pool

    def branch(self, pool: list[Value], depth: int, flag: Value) -> Value:
        """An If that `flag` decides."""
        captures, branches = self.some(pool, 3, 1), []
        for name in ("then", "otherwise"):
            graph = Graph(name=name)
            inner = graph.input("flag", flag.type)
            formal = [graph.input(f"c{number}", value.type) for number, value in enumerate(captures)]
            graph.set_outputs(self.some(self.grow(formal, self.random.randint(0, 3), depth, inner), 1, 1), ["o"])
            branches.append(graph)
        result: Value = If(*branches)(flag, flag, *captures)
        return result

    def loop(self, pool: list[Value], depth: int, flag: Value) -> list[Value]:
        """A Loop or a Scan: its states, and its scans summed up."""
        states, captures = self.some(pool, 3, 1), self.some(pool, 2)
        if self.random.random() < 0.4:
            return self.scan(states, captures, self.some(pool, 2, 1), depth, flag)
        graph = Graph(name="body")
        turn, going = graph.input("turn", Type(dt.i64, ())), graph.input("going", Type(dt.boolean, ()))
        formal = [graph.input(f"s{number}", value.type) for number, value in enumerate((*states, *captures))]
        if self.random.random() < 0.5:
            formal.append(Add()(formal[0], Mul()(Cast(dt.f32)(turn), scalar(0.1, dt.f32)())))
        found = self.grow(formal, self.random.randint(0, 5), depth, going)
        ends, scans = self.random.choices(found, k=len(states)), self.some(found, 2)
        if self.random.random() < 0.3:
            largest = Reduce("max", (0, 1, 2), False)(Abs()(ends[0]))
            going, scans = Less()(largest, scalar(3.0, dt.f32)()), []
        results = [going, *ends, *scans]
        graph.set_outputs(results, [f"o{number}" for number in range(len(results))])
        turns = scalar(self.random.randint(0, 4), dt.i64)()
        return _flat(Loop(graph, len(states))(turns, scalar(True, dt.boolean)(), *states, *captures), len(states))

    def scan(
        self, states: list[Value], captures: list[Value], sequences: list[Value], depth: int, flag: Value
    ) -> list[Value]:
        """A Scan along the first or the second axis."""
        across = self.random.random() < 0.5
        rows = [Transpose((1, 0, 2))(value) if across else value for value in sequences]
        graph = Graph(name="body")
        formal = [graph.input(f"s{number}", value.type) for number, value in enumerate(states)]
        elements = [graph.input(f"e{at}", Type(dt.f32, value.type.shape[1:])) for at, value in enumerate(rows)]
        formal += [graph.input(f"c{number}", value.type) for number, value in enumerate(captures)]
        inner = graph.input("flag", flag.type)
        formal.append(Add()(formal[0], Reshape((N, 1, 8) if across else (1, M, 8))(elements[0])))
        found = self.grow(formal, self.random.randint(0, 5), depth, inner)
        results = [*self.random.choices(found, k=len(states)), *self.some(found, 2)]
        graph.set_outputs(results, [f"o{number}" for number in range(len(results))])
        return _flat(Scan(graph, len(states), len(rows))(*states, *rows, *captures, flag), len(states))

    def model(self) -> Graph:
        """Loops, and what is computed before, between and after them."""
        graph = Graph(name="drawn")
        pool = [graph.input("x", BLOCK), graph.input("y", BLOCK)]
        flag = graph.input("flag", Type(dt.boolean, ()))
        pool = self.grow(pool, self.random.randint(0, 2), 0, flag)
        pool += self.loop(pool, 2, flag)
        pool = self.grow(pool, self.random.randint(0, 4), 1, flag)
        pool += self.loop(pool[-3:], 1, flag)
        graph.set_outputs(self.random.choices(pool[-4:], k=3), ["a", "b", "c"])
        return graph


def _step(kind: int, x: Value, y: Value) -> Any:
    match kind:
        case 0 | 1:
            return Add()(x, Tanh()(y))
        case 2:
            return Mul()(x, Tanh()(y))
        case 3:
            return Softmax(2)(x)
        case 4:
            return MatMul()(x, Constant(SQUARE)())
        case 5:
            return Sub()(x, Reduce("mean", (1,), True)(y))
        case 6:
            left, right = Split(2, (4, 4))(x)
            return Concat(2)(right, left)
        case 7:
            return Reshape(BLOCK.shape)(Tanh()(Reshape((N * M, 8))(x)))
    return Tanh()(x)


def _flat(results: Any, states: int) -> list[Value]:
    found = list(results) if isinstance(results, tuple) else [results]
    return [*found[:states], *(Reduce("sum", (0,), False)(value) for value in found[states:])]


@pytest.mark.parametrize("seed", range(10))
def test_a_drawn_model_runs_in_one_span_and_right(seed: int) -> None:
    graph = Sketch(seed).model()
    engine = build(copy(graph), cache=False)
    assert (engine.report["host_steps"], engine.report["native_spans"]) == (0, 1)
    context = engine.context()
    for n, m, flag in ((2, 3, True), (1, 1, False), (5, 4, False), (5, 4, True)):
        random = np.random.default_rng(seed)
        x, y = random.standard_normal((2, n, m, 8)).astype(np.float32)
        feeds = {"x": x, "y": y, "flag": np.array(flag)}
        expected = Interpreter().run(graph, feeds)
        for _ in range(2):
            found = context.run(feeds)
            for name, theirs in expected.items():
                np.testing.assert_allclose(found[name], theirs, 1e-3, 1e-4, err_msg=name)

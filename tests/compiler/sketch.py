"""Graphs drawn at random: small networks of every kind of operation, with plain or symbolic sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from tenfold import ops
from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array
from tenfold.ir.substitute import evaluate
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.compiler.drawn import FLOATS, STEPS

T = TypeVar("T")

SIZES = (1, 2, 3, 4, 5, 8, 9, 16, 17, 33)
SYMBOLS = {name: symbol(name, 0, 64) for name in "nhwt"}
MOST_ELEMENTS = 20000
WHOLE = (dt.i32, dt.i64, dt.u8)


class Chooser(Protocol):
    """Where choices come from."""

    def one_of(self, options: Sequence[T]) -> T: ...

    def integer(self, low: int, high: int) -> int: ...


class Seeded:
    """Choices of a seeded generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def one_of(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


class Sketch:
    """A graph that grows by one operation at a time; `bindings` are sizes for which it is valid."""

    def __init__(self, chooser: Chooser) -> None:
        self.pick = chooser
        self.graph = Graph(name="sketch")
        self.bindings = [
            {name: chooser.one_of((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31)) for name in SYMBOLS} for _ in range(2)
        ]
        self.pool: list[Value] = []
        self.weights = np.random.default_rng(chooser.integer(0, 99))
        self.symbols: list[Size] = list(SYMBOLS.values())
        for number in range(chooser.integer(1, 3)):
            self._input(f"x{number}")
        self.symbols = [one for one in SYMBOLS.values() if any(one in v.type.shape for v in self.graph.inputs)]
        for _ in range(chooser.integer(1, 18)):
            self.step()
        free = [value for value in self.pool if not value.uses and value.producer is not None]
        results = free or self.pool[-1:]
        if chooser.integer(0, 2) == 0:
            results = list(dict.fromkeys([*results, chooser.one_of(self.pool)]))
        self.graph.set_outputs(results, [f"y{number}" for number in range(len(results))])

    def within(self, name: str, x: Value) -> Sketch:
        """A sketch of a graph inside this one, which sees x alone."""
        inner = Sketch.__new__(Sketch)
        inner.pick, inner.bindings, inner.weights, inner.symbols = self.pick, self.bindings, self.weights, self.symbols
        inner.graph = Graph(name=name)
        inner.pool = [inner.graph.input("x", x.type)]
        return inner

    def _input(self, name: str) -> None:
        rank = self.pick.one_of((4, 3, 2, 2, 1, 4, 0))
        shape = tuple(self.size() for _ in range(rank))
        dtype = self.pick.one_of((*FLOATS, *FLOATS, *WHOLE, dt.boolean))
        if self.points(shape) <= MOST_ELEMENTS:
            self.pool.append(self.graph.input(name, Type(dtype, shape)))
        else:
            self._input(name)

    def size(self) -> Size:
        """A plain size, or a symbol."""
        return self.pick.one_of((*SIZES, *self.symbols))

    def points(self, shape: Sequence[Size]) -> int:
        """The most elements that a shape has in any binding; far too many if it is none."""
        counts = []
        for binding in self.bindings:
            try:
                sizes = [evaluate(size, binding) for size in shape]
            except InputError:
                return 1 << 40
            counts.append(math.prod(sizes) if min(sizes, default=0) >= 0 else 1 << 40)
        return max(counts)

    def constant(self, shape: Sequence[int], dtype: DType = dt.f32) -> Value:
        """A weight."""
        value: Value = ops.Constant(Tensor(sample(Type(dtype, tuple(shape)), self.weights)))()
        return value

    def step(self) -> None:
        """Apply one operation, if it fits what there is."""
        name = self.pick.one_of(tuple(STEPS))
        x = self.pick.one_of((*self.pool, *self.pool[-2:], *self.pool[-2:]))
        try:
            made = STEPS[name](self, x)
        except (ValueError, InputError):
            return
        found = [value for value in (made if isinstance(made, tuple) else (made,)) if value is not None]
        for value in found:
            if self._fits(value):
                self.graph.insert(value)
                self._name(value)
                self.pool.append(value)

    def _fits(self, value: Value) -> bool:
        waiting, seen = [value], set[Value]()
        while waiting:
            one = waiting.pop()
            if one in seen or one.producer is None or one.producer.graph is not None:
                continue
            seen.add(one)
            if self.points(one.type.shape) > MOST_ELEMENTS:
                return False
            waiting.extend(one.inputs)
        return True

    def _name(self, value: Value) -> None:
        node = value.producer
        if node is not None and not node.source:
            node.source = (f"{node.op.name}{len(self.graph)}",)

    def alike(self, x: Value) -> Value:
        """A value of the same type as x."""
        return self.pick.one_of([v for v in self.pool if v.type.shape == x.type.shape and v.type.dtype is x.type.dtype])

    def floating(self, x: Value) -> Value:
        """x, or another value of floats; ValueError without one."""
        values = [x] if x.type.dtype.is_float else [v for v in self.pool if v.type.dtype.is_float]
        if not values:
            raise ValueError("no floats")
        return self.pick.one_of(values)

    def of_rank(self, x: Value, *ranks: int) -> Value:
        """x, or another value of one of the ranks; ValueError without one."""
        values = [v for v in (x, *reversed(self.pool)) if v.type.rank in ranks]
        if not values:
            raise ValueError("no such rank")
        return values[0]

    def axis(self, x: Value) -> int:
        """An axis of x."""
        if x.type.rank == 0:
            raise ValueError("no axes")
        return self.pick.integer(0, x.type.rank - 1)


def sample(type: Type, random: np.random.Generator, bindings: dict[str, int] | None = None) -> Array:
    """An array of a type: floats around 0, small whole numbers."""
    shape = tuple(evaluate(size, bindings or {}) for size in type.shape)
    if type.dtype.is_float:
        return np.asarray(random.standard_normal(shape).astype(type.dtype.numpy))
    if type.dtype is dt.boolean:
        return np.asarray(random.random(shape) < 0.5)
    return np.asarray(random.integers(0, 7, shape).astype(type.dtype.numpy))

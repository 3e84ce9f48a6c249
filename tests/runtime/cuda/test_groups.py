"""Products that do not wait for each other in one launch: which ones, and that they are right, on the emulated GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen.region import Operand
from tenfold.compiler.device.groups import _disjoint
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, gpu

ROWS, WIDTH = 16, 32
Act = Callable[[Value], Value]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver: FakeDriver = gpu(monkeypatch)
    return driver


class Writer:
    """Layers with weights of their own."""

    def __init__(self) -> None:
        self.graph, self._random = Graph(), np.random.default_rng(3)

    def input(self, rows: int = ROWS, dtype: DType = dt.f16) -> Value:
        """One more input."""
        return self.graph.input(f"x{len(self.graph.inputs)}", Type(dtype, (rows, WIDTH)))

    def linear(self, x: Value, n: int = WIDTH, act: Act | None = None) -> Value:
        """act(x w + b)"""
        w, b = (
            ops.Constant(Tensor((self._random.standard_normal(shape) / 5).astype(x.type.dtype.numpy)))()
            for shape in ((x.type.shape[-1], n), (n,))
        )
        y: Value = ops.Add()(ops.MatMul()(x, w), b)
        return act(y) if act else y


def groups(writer: Writer, outputs: Sequence[Value]) -> list[str]:
    """The groups of an engine, which agrees with the interpreter and with itself."""
    graph = writer.graph
    graph.set_outputs(outputs, [f"y{number}" for number in range(len(outputs))])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    random = np.random.default_rng(5)
    arrays = [
        random.standard_normal([int(size) for size in one.type.shape]).astype(one.type.dtype.numpy)  # type: ignore[arg-type]
        for one in graph.inputs
    ]
    with engine.context() as context:
        for given in (arrays, [-one for one in arrays], arrays):
            for found, exact in zip(context.run(given).values(), Interpreter({}).call(graph, given), strict=True):
                assert np.abs(found.astype(np.float64) - exact).max() <= 4e-3 * max(1, np.abs(exact).max())
    return [region["kind"] for region in engine.report["regions"] if region["kind"].startswith("Group of ")]


def test_towers_are_a_group_a_layer(driver: FakeDriver) -> None:
    writer = Writer()
    towers = [writer.input() for _ in range(3)]
    outputs = [writer.linear(writer.linear(x, act=ops.Relu()), 48) for x in towers]
    assert groups(writer, outputs) == ["Group of 3: MatMul Add Relu", "Group of 3: MatMul Add"]


def test_what_stands_between_goes_ahead(driver: FakeDriver) -> None:
    writer, norm = Writer(), ops.Softmax(1)
    outputs = [writer.linear(norm(writer.linear(writer.input(), act=ops.Relu())), 48) for _ in range(2)]
    assert groups(writer, outputs) == ["Group of 2: MatMul Add Relu", "Group of 2: MatMul Add"]


def test_products_on_one_path_are_none(driver: FakeDriver) -> None:
    writer = Writer()
    x = writer.input()
    for _ in range(3):
        x = writer.linear(x, act=ops.Relu())
    assert not groups(writer, [x])


def test_products_of_unlike_types_or_bodies_are_none(driver: FakeDriver) -> None:
    writer = Writer()
    outputs = [
        writer.linear(writer.input()),
        writer.linear(writer.input(dtype=dt.f32)),
        writer.linear(writer.input(), act=ops.Relu()),
    ]
    assert not groups(writer, outputs)


def test_parts_of_a_concatenation(driver: FakeDriver) -> None:
    writer = Writer()
    parts = [writer.linear(writer.input(), n, act=ops.Relu()) for n in (40, 24)]
    assert groups(writer, [ops.Concat(1)(*parts)]) == ["Group of 2: MatMul Add Relu"]


def test_experts_of_unlike_rows(driver: FakeDriver) -> None:
    writer = Writer()
    x = writer.input(40)
    parts = [writer.linear(one, act=ops.Relu()) for one in ops.Split(0, (16, 3, 21))(x)]
    assert groups(writer, [ops.Concat(0)(*parts)]) == ["Group of 3: MatMul Add Relu"]


def window(strides: tuple[int, ...], shape: tuple[int, ...], offset: int) -> Operand:
    value = Graph().input("x", Type(dt.f16, (4096,)))
    return Operand(value, dt.f16, shape, strides, offset)


def test_windows_that_share_no_element() -> None:
    left, right = window((64, 1), (8, 40), 0), window((64, 1), (8, 24), 40)
    assert _disjoint(left, right) and _disjoint(right, left)
    assert not _disjoint(left, window((64, 1), (8, 24), 39))
    assert not _disjoint(left, window((63, 1), (8, 24), 40))
    assert not _disjoint(left, left)
    assert _disjoint(left, window((64, 1), (8, 64), 512)) and not _disjoint(left, window((64, 1), (8, 64), 448))
    assert not _disjoint(window((-1,), (8,), 7), window((1,), (8,), 64))

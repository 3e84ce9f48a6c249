"""Arrays that a call both reads and writes: what is read is as it was before, on a CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver, emulate
from tests.runtime.cuda.pretended import pretend

SHAPE = 4, 4
Make = Callable[..., Any]
B = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
X: np.ndarray = np.linalg.qr(B)[0]  # whose powers stay as large


def engine(target: str) -> tenfold.Engine:
    """A product, which needs all of its input for each element, and a sum."""
    graph = Graph(name="in place")
    x, b = (graph.input(name, Type(dt.f32, SHAPE)) for name in "xb")
    graph.set_outputs([ops.MatMul()(x, x), ops.Add()(x, b)], ["product", "sum"])
    return tenfold.build(graph, target=target, cache=False, effort=0)


def stepped(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x @ x, x + B


@pytest.fixture(params=["cpu", "cuda", "cuda, the host's arrays"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[tenfold.Engine, Make]:
    """An engine, and what makes its arrays."""
    if request.param == "cpu":
        return engine("cpu"), np.array
    emulate(monkeypatch)
    if request.param == "cuda":
        pretend(monkeypatch)
    return engine("cuda:sm_90"), torch.tensor if request.param == "cuda" else np.array


def same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5, atol=1e-5)


def test_an_array_is_bound_as_input_and_output(place: tuple[tenfold.Engine, Make]) -> None:
    made, array = place
    x, wanted = array(X), X
    with made.context() as context:
        context.bind(inputs={"x": x, "b": array(B)}, outputs={"product": x})
        for _ in range(5):
            wanted, total = stepped(wanted)
            found = context.call()
            same(x, wanted)
            same(found[0], wanted)
            same(found[1], total)
        queued = [context.submit() for _ in range(3)]
        for one in queued:
            wanted, total = stepped(wanted)
            same(one.result()["sum"], total)
        same(x, wanted)


@pytest.mark.parametrize("part", [False, True])
def test_what_is_given_lies_where_results_go(part: bool, place: tuple[tenfold.Engine, Make]) -> None:
    made, array = place
    whole, b = array(np.zeros((6, 4), np.float32)), array(B)
    with made.context() as context:
        context.bind(outputs={"product": whole[1:5]})
        for _ in range(3):
            same(context.call([array(X), b])[0], X @ X)
        given = whole[2:] if part else whole[1:5]
        for _ in range(4):
            before = np.asarray(given).copy()
            found = context.call([given, b])
            same(found[0], before @ before)
            same(found[1], before + B)
            same(whole[1:5], before @ before)
            given[:] = given / 2
        same(context.run({"x": array(X), "b": b})["product"], X @ X)
        context.unbind()
        before = np.asarray(given).copy()
        same(context.call([given, b])[0], before @ before)
        same(given, before)


def test_outputs_have_memory_of_their_own(place: tuple[tenfold.Engine, Make]) -> None:
    made, array = place
    whole = array(np.zeros((8, 4), np.float32))
    with made.context() as context:
        with pytest.raises(InputError, match="outputs 'product' and 'sum' are bound to the same memory"):
            context.bind(outputs={"product": whole[:4], "sum": whole[3:7]})
        context.bind(outputs={"product": whole[:4]})
        with pytest.raises(InputError, match="the same memory"):
            context.bind(outputs={"sum": whole[:4]})
        context.bind(outputs={"sum": whole[4:]})
        context.bind(outputs={"sum": whole[4:]})
        context.unbind("product")
        context.bind(outputs={"product": array(np.zeros(SHAPE, np.float32))})
        for one, wanted in zip(context.call([array(X), array(B)]), stepped(X), strict=True):
            same(one, wanted)
        same(whole[4:], X + B)


def test_state_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(name="rows")
    past, new = (
        graph.input("past", Type(dt.f32, (tenfold.ir.dim.symbol("n", 0), 4))),
        graph.input("new", Type(dt.f32, (1, 4))),
    )
    both = ops.Concat(0)(past, new)
    graph.set_outputs([both, ops.Add()(new, new)], ["present", "twice"])
    made = tenfold.build(graph, target="cpu", cache=False, effort=0, state={"past": "present"})
    new_row = np.ones((1, 4), np.float32)
    with made.context() as context:
        context.bind(outputs={"twice": new_row})
        for step in range(1, 6):
            context.call([new_row])
            same(new_row, np.full((1, 4), 2.0**step, np.float32))
        same(context.state["past"][:, 0], 2.0 ** np.arange(5))


def test_a_fresh_tensor_where_results_go(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    made, b = engine("cuda:sm_90"), torch.tensor(B)
    mine, kept = torch.zeros(SHAPE), list[Any]()
    with made.context() as context:
        context.bind(outputs={"product": mine})
        for step in range(8):
            x = mine if step % 3 == 2 else torch.randn(SHAPE)
            before = x.numpy().copy()
            kept.append(x)
            same(context.call([x, b])[0], before @ before)
        assert len(context._repeats._all) == 1  # type: ignore[attr-defined]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return emulate(monkeypatch)

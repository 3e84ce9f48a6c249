"""Whole calls as built-in functions: what they answer, what they leave to Python, and that they leak nothing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import ExecutionError, InputError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime import steps
from tenfold.runtime.cpu import quick as module
from tenfold.runtime.cpu.invoke import Invocation
from tenfold.runtime.cpu.quick import quick_calls
from tenfold.runtime.cpu.shortcut import supported

from .native import entry, invocation

pytestmark = pytest.mark.skipif(not supported(), reason="this interpreter has no shortcut")
Quick = Callable[..., Any]
NAMES = (("a", "b"), ("y", "z"))
OPEN: list[Invocation] = []  # the functions are valid as long as their invocations are open


def copier(size: int, results: int = 2) -> Invocation:
    """Copies so many bytes of base 1 to base 3, and of base 2 to base 4; an element of each result gets 1 more."""
    rows, binds, argmap = [], [], []
    for number in range(results):
        slot = 4 + 2 * number
        binds += [(slot, 3 + number, 0), (slot + 1, 1 + number, 0)]
        rows += [steps.copy(slot, slot + 1, 8), steps.call(entry("increment"), number, 1, parts=1)]
        argmap.append(slot)
    return invocation([*rows, steps.end()], {1: 1, 8: size}, argmap=argmap, binds=binds, bases=[0] * 5)


def made(results: int = 2, size: int = 6) -> tuple[Quick, Quick, list[np.ndarray]]:
    """The two functions of a copier, and its inputs."""
    call = copier(8 * size, results)
    OPEN.append(call)
    inputs = [np.arange(size).reshape(2, -1), np.arange(size).reshape(2, -1) + 100]
    kinds = [np.empty_like(inputs[0]) for _ in range(results)]
    by_name, in_order = quick_calls(
        call, call.frame, inputs, kinds, first=1, watched=(), names=(NAMES[0], NAMES[1][:results])
    )
    assert by_name and in_order
    return by_name, in_order, inputs


def wanted(array: np.ndarray) -> list[int]:
    return [int(array.flat[0]) + 1, *array.ravel()[1:].tolist()]


def test_arrays_in_order_give_a_tuple_or_the_only_result() -> None:
    _, in_order, (a, b) = made()
    answers = [in_order(a, b), in_order(b, a), in_order(a, b)]
    assert all(type(one) is tuple and len(one) == 2 for one in answers)
    assert [[one.ravel().tolist() for one in pair] for pair in answers[:2]] == [
        [wanted(a), wanted(b)],
        [wanted(b), wanted(a)],
    ]
    _, alone, (a, b) = made(results=1)
    result = alone(a, b)
    assert type(result) is np.ndarray and result.shape == a.shape and result.dtype == a.dtype
    assert result.flags.owndata and result.flags.writeable and result.flags.c_contiguous


def test_a_dict_gives_a_dict() -> None:
    by_name, _, (a, b) = made()
    found = by_name({"b": b, "a": a})
    assert list(found) == ["y", "z"]
    assert found["y"].ravel().tolist() == wanted(a) and found["z"].ravel().tolist() == wanted(b)


@pytest.mark.parametrize(
    "change",
    [
        lambda a, b: (),
        lambda a, b: ({},),
        lambda a, b: ({"a": a},),
        lambda a, b: ({"a": a, "c": b},),
        lambda a, b: ({"a": a, "b": b, "c": b},),
        lambda a, b: ({"a": a, "b": b.tolist()},),
        lambda a, b: ({"a": a, "b": b.T},),
        lambda a, b: ({"a": a, "b": b}, {}),
        lambda a, b: ([a, b],),
        lambda a, b: (None,),
    ],
)
def test_other_words_are_left_to_python(change: Any) -> None:
    by_name, in_order, (a, b) = made()
    assert by_name(*change(a, b)) is None
    assert in_order(*change(a, b)) is None
    assert in_order(a) is None and in_order(a, b, b) is None and in_order(a, b.astype(np.int32)) is None


def test_nothing_leaks() -> None:
    by_name, in_order, (a, b) = made()
    asked, wrong = {"a": a, "b": b}, {"a": a, "b": b.T}
    things = (a, b, a.dtype, asked, wrong, dict, tuple, np.ndarray, *NAMES[0], *NAMES[1])
    gc.collect()
    before = [sys.getrefcount(thing) for thing in things]
    none = sys.getrefcount(None)
    for _ in range(1000):
        by_name(asked)
        by_name(wrong)
        in_order(a, b)
        in_order(a)
    assert [sys.getrefcount(thing) for thing in things] == before
    assert abs(sys.getrefcount(None) - none) < 100
    result = in_order(a, b)[0]
    assert sys.getrefcount(result) == 2


def test_an_error_is_left_to_python_and_the_results_are_given_back() -> None:
    statuses = np.array([0, 300, 20], np.int64)
    call = invocation(
        [steps.call(entry("status"), 0, 1, parts=1), steps.end()], {1: 3}, argmap=[4], binds=[(4, 1, 0)], bases=[0] * 3
    )
    kind = np.empty(3, np.int64)
    _, in_order = quick_calls(call, call.frame, [statuses], [kind], first=1, watched=(), names=(("a",), ("y",)))
    assert in_order
    before = sys.getrefcount(kind.dtype)
    for _ in range(100):
        assert in_order(statuses) is None
    assert abs(sys.getrefcount(kind.dtype) - before) < 50
    assert in_order(np.zeros(3, np.int64)) is not None


def test_large_results_and_strange_numpys_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    call, large = copier(8), np.empty(1 << 20, np.int64)
    assert quick_calls(call, call.frame, [large], [large], first=1, watched=(), names=(("a",), ("y",))) == (None, None)
    monkeypatch.setattr(module, "_empty", lambda: 0)
    small = np.empty(1, np.int64)
    assert quick_calls(call, call.frame, [small], [small], first=1, watched=(), names=(("a",), ("y",))) == (None, None)


@pytest.fixture(scope="module")
def engine() -> tenfold.Engine:
    """y = rows of x at i, z = x + 1."""
    graph = Graph()
    x, i = graph.input("x", Type(dt.f32, (4, 3))), graph.input("i", Type(dt.i64, (2,)))
    y = ops.Gather(0)(x, i)
    graph.set_outputs([y, ops.Neg()(x)], ["y", "z"])
    return tenfold.build(graph, effort=0, cache=False)


def test_repeated_calls_of_an_engine_answer_as_the_first(engine: tenfold.Engine) -> None:
    x, i = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([2, 0])
    for number in range(5):
        y, z = engine(x + number, i)
        assert (y == (x + number)[i]).all() and (z == -x - number).all()
        found = engine.run({"i": i, "x": x - number})
        assert list(found) == ["y", "z"] and (found["y"] == (x - number)[i]).all()
    assert any(context.in_order for context in engine._idle)
    for _ in range(3):
        with pytest.raises(ExecutionError, match="lies outside"):
            engine(x, np.array([2, 4]))
        with pytest.raises(InputError, match="missing"):
            engine(x)
        with pytest.raises(InputError, match="float64"):
            engine(x.astype(np.float64), i)
    assert (engine(i=i, x=x)[0] == x[i]).all()


def test_a_cancelled_context_goes_on_with_the_next_call(engine: tenfold.Engine) -> None:
    x, i = np.zeros((4, 3), np.float32), np.array([1, 1])
    with engine.context() as context:
        for _ in range(4):
            context.run({"x": x, "i": i})
        assert context._quick is not None
        context.cancel()
        assert set(context.run({"x": x, "i": i})) == {"y", "z"}
        assert context.native_calls == 1
        mine = np.empty((2, 3), np.float32)
        context.bind(outputs={"y": mine})
        assert context._quick is None
        for _ in range(3):
            assert np.shares_memory(context.run({"x": x, "i": i})["y"], mine)


@pytest.mark.parametrize("dtype", [dt.f64, dt.boolean, dt.bf16, dt.f16])
def test_results_of_every_dtype(dtype: dt.DType) -> None:
    graph = Graph()
    x = graph.input("x", Type(dtype, (2, 0, 3)))
    graph.set_outputs([ops.Transpose((2, 1, 0))(x)], ["y"])
    engine = tenfold.build(graph, effort=0, cache=False)
    given = np.zeros((2, 0, 3), ml_dtypes.bfloat16 if dtype is dt.bf16 else dtype.numpy)
    for _ in range(4):
        assert engine(given).shape == (3, 0, 2) and engine(given).dtype == given.dtype


def test_a_call_that_took_long_is_not_quick(engine: tenfold.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"x": np.zeros((4, 3), np.float32), "i": np.array([1, 1])}
    with engine.context() as context:
        for _ in range(3):
            context.run(asked)
        assert context._quick is not None and context._replay is not None
        run = context._replay.run

        def slow(arrays: Any) -> Any:
            found = run(arrays)
            context._invocation.entries = 2
            return found

        monkeypatch.setattr(context, "_quick", lambda _: None)
        monkeypatch.setattr(context._replay, "run", slow)
        context.run(asked)
        assert context.reentries == 1 and context.in_order is None

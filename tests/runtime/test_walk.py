"""Calls that are more than a native span: objects in and out, contexts, cancelling, memory that grows, limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold import ops
from tenfold.errors import Cancelled, ExecutionError, InputError, LimitError
from tenfold.ir.interpret import Interpreter
from tenfold.ir.text import parse
from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.engine import Engine, from_file
from tests.compiler.building import Bench, workbench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def built(bench: Bench, text: str, **loading: int) -> Engine:
    graph = parse(text, ops.ALL)
    graph.set_outputs(graph.outputs, [f"y{number}" for number in range(len(graph.outputs))])
    return bench.engine(graph, **loading)


OBJECTS = """graph (%rows: seq<f32["?", 2]>[], %maybe: opt<f32[3]>[], %words: string[N], %x: f32[2]) where "?" in data, N in 1.. {
  %at = SequenceAt(%rows, i64{0})
  %more = SequenceInsert(%rows, Reshape<shape=(1, 2)>(Exp(%x)))
  return %more, %maybe, StringConcat(%words, %words), Neg(%at), SequenceLength(%more), HasElement(%maybe), %rows
}"""  # noqa: E501


def objects(**changed: Any) -> dict[str, Any]:
    rows = [np.arange(4, dtype=np.float32).reshape(2, 2), np.zeros((0, 2), np.float32)]
    return {"rows": rows, "maybe": None, "words": ["a", "bc"], "x": np.zeros(2, np.float32)} | changed


def check_objects(found: dict[str, Any]) -> None:
    more, maybe, twice, first, count, has, rows = found.values()
    assert [one.shape for one in more] == [(2, 2), (0, 2), (1, 2)] and more[2].tolist() == [[1, 1]]
    assert maybe is None and not has and count == 3
    assert twice.tolist() == ["aa", "bcbc"] and all(isinstance(one, str) for one in twice)
    assert first.tolist() == [[0, -1], [-2, -3]] and len(rows) == 2


def test_objects_go_in_and_come_out(bench: Bench, tmp_path: Path) -> None:
    engine = built(bench, OBJECTS)
    assert str(engine.inputs[0]) == 'rows: seq<f32["?", 2]>[]'
    engine.save(tmp_path / "objects.tenfold")
    for one in (engine, from_file(tmp_path / "objects.tenfold")):
        for _ in range(3):
            check_objects(one.run(objects()))
        with one.context() as context:
            check_objects(context.run(list(objects().values())))
            check_objects(context.submit(objects()).result())
            check_objects(context.profile(objects()).outputs)
    found = engine.run(objects(maybe=np.ones(3, np.float32), words=np.array(["xy"])))
    assert found["y1"].tolist() == [1, 1, 1] and found["y5"] and found["y2"].tolist() == ["xyxy"]


def test_results_share_nothing(bench: Bench) -> None:
    engine = built(bench, OBJECTS)
    first = engine.run(objects())
    kept = [one.copy() for one in first["y0"]]
    engine.run(objects(x=np.ones(2, np.float32)))
    first["y3"][...] = 7
    assert all(np.array_equal(a, b) for a, b in zip(first["y0"], kept, strict=True))


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("rows", np.zeros((2, 2)), "takes a list"),
        ("rows", [np.zeros((2, 2))], "float32, not of float64"),
        ("rows", [np.zeros((2, 3), np.float32)], r"no array of shape \[2, 3\]"),
        ("maybe", [1, 2], "float32, not of int64"),
        ("words", [1, 2], "takes str, not int"),
        ("words", "abc", "no array of shape"),
        ("x", ["a", "b"], "no number"),
    ],
)
def test_what_is_no_such_object(bench: Bench, name: str, given: Any, reason: str) -> None:
    engine = built(bench, OBJECTS)
    with pytest.raises(InputError, match=reason) as caught:
        engine.run(objects(**{name: given}))
    assert caught.value.argument == name and caught.value.remedy


def test_missing_and_bound_objects(bench: Bench) -> None:
    engine = built(bench, OBJECTS)
    without = objects()
    del without["maybe"]
    with pytest.raises(InputError, match="'maybe' is missing"):
        engine.run(without)
    with engine.context() as context:
        with pytest.raises(InputError, match="no array can be bound to") as caught:
            context.bind(outputs={"y2": np.zeros(2)})
        assert caught.value.argument == "y2"
        result = np.zeros((2, 2), np.float32)
        context.bind(inputs={"words": ["q", "r"]}, outputs={"y3": result})
        found = context.run({key: value for key, value in objects().items() if key != "words"})
        assert found["y2"].tolist() == ["qq", "rr"] and result.tolist() == [[0, -1], [-2, -3]]


PLACES = """graph (%x: f32[N]) {
  %n = NonZero(%x)
  return %n, Exp(Cast<to=f32>(%n))
}"""


def test_outputs_of_unknown_size_are_as_large_as_they_are(bench: Bench) -> None:
    engine = built(bench, PLACES)
    for size in (1, 9, 4000):
        found = engine.run([np.ones(size, np.float32)])
        assert found["y0"].shape == found["y1"].shape == (1, size)
    with engine.context() as context:
        room = np.zeros((1, 10), np.float32)
        context.bind(outputs={"y1": room})
        found = context.run([np.ones(7, np.float32)])
        assert found["y1"].base is room.base or np.shares_memory(found["y1"], room)
        with pytest.raises(InputError, match="bind a larger array") as caught:
            context.run([np.ones(11, np.float32)])
        assert caught.value.argument == "y1"
        context.unbind()
        assert context.run([np.ones(11, np.float32)])["y1"].shape == (1, 11)


def test_a_limit_on_memory_holds_in_mid_call(bench: Bench) -> None:
    text = """graph (%x: f32[N]) where N in 1.., _0 in data {
      %n = NonZero(%x) : i64[1, _0]
      %f = Cast<to=f32>(%n)
      return MatMul(Reshape<shape=(_0, 1)>(Tanh(Cumulative<kind='sum', axis=1>(%f))), Softmax<axis=1>(%f))
    }"""
    engine = built(bench, text, memory_limit=1 << 20)
    assert engine(np.ones(9, np.float32)).shape == (9, 9)
    many = np.ones(200_000, np.float32)
    with pytest.raises(LimitError):
        engine(many)
    assert engine(np.ones(9, np.float32)).shape == (9, 9)


def test_an_arena_keeps_what_it_holds() -> None:
    arena = Arena()
    arena.grow(100)
    arena.view(0, 100)[:] = 7
    for size in (5000, 5001, 1 << 20, 10):
        arena.grow(size)
        assert arena.size >= size and (arena.view(0, 100) == 7).all()
    arena.close()
    assert Arena(8192).grow(5000)
    with pytest.raises(LimitError):
        Arena(8192).grow(9000)


GROWING = """graph (%x: f32[N], %n: i64[]) where N in 1.., _5 in data {
  %y = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[_5], %x: f32[N]) {
      %t = Concat<axis=0>(%s, Add(%x, Cast<to=f32>(%i)))
      return %c, Tanh(%t)
    }>(%n, bool{true}, f32[0]{}, Exp(%x))
  return Neg(%y)
}"""


def test_two_contexts_in_threads(bench: Bench) -> None:
    graph = parse(GROWING, ops.ALL)
    graph.set_outputs(graph.outputs, ["y"])
    engine = bench.engine(graph)
    calls = [{"x": np.full(size, 0.1, np.float32), "n": np.array(turns)} for size, turns in ((3, 5), (40, 2), (7, 9))]
    expected = [Interpreter().run(graph, one)["y"] for one in calls]
    wrong: list[int] = []

    def work(start: int) -> None:
        with engine.context() as context:
            for turn in range(12):
                which = (start + turn) % len(calls)
                if not np.allclose(context.run(calls[which])["y"], expected[which], 1e-5):
                    wrong.append(which)

    workers = [threading.Thread(target=work, args=(start,)) for start in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


ENDLESS = {
    "states of one size": "%t = Add(%s, f32{1}) return %c, %t",
    "nothing to do": "return %c, %s",
    "host steps": "%n = NonZero(%s) %t = Cast<to=f32>(Slice<starts=(0, 0), sizes=(1, 1), steps=(1, 1)>(%n)) "
    "return %c, Add(%s, Reduce<kind='sum', axes=(0, 1), keepdims=false>(%t))",
    "strings": "%t = Cast<to=string>(%s) return %c, Cast<to=f32>(%t)",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_loop_can_be_cancelled(bench: Bench, kind: str) -> None:
    text = f"""graph (%x: f32[2], %n: i64[]) {{
      %y = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[2]) {{ {ENDLESS[kind]} }}>(%n, bool{{true}}, %x)
      return %y
    }}"""
    engine = built(bench, text)
    inputs = [np.ones(2, np.float32), np.array(1 << 62)]
    with engine.context() as context:
        assert context.run([inputs[0], np.array(2)])["y0"].shape == (2,)
        future = context.submit(inputs)
        time.sleep(0.1)
        context.cancel()
        with pytest.raises(Cancelled):
            future.result(timeout=30)
        assert context.run([inputs[0], np.array(1)])["y0"].shape == (2,)


def test_what_a_loop_gives_must_stack(bench: Bench) -> None:
    text = """graph (%x: f32[T, M]) where T in 1.., M in 1.., _1 in data {
      %s, %y = Scan<carried=1, scanned=1, body=graph (%a: f32[], %r: f32[M]) where M in 1.. {
          return %a, NonZero(%r)
        }>(f32{0}, %x)
      return %y
    }"""
    engine = built(bench, text)
    assert engine(np.ones((3, 2), np.float32)).shape == (3, 1, 2)
    with pytest.raises(ExecutionError, match="does not stack"):
        engine(np.array([[1, 0], [1, 1]], np.float32))

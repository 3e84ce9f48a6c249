"""Graphs written by hand, built and run: branches, host steps between native spans, contexts, limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import InputError, LimitError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.ir.type import Type
from tests.compiler.building import Bench, workbench
from tests.compiler.running import array

N, M = symbol("N", 1), symbol("M", 1)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def calls(graph: Graph, *rows: dict[str, int], **given: Any) -> list[dict[str, Any]]:
    """Random inputs for each row of sizes; `given` inputs as they are."""
    found = []
    for seed, bindings in enumerate(rows):
        random = np.random.default_rng(seed)
        drawn = {value.name: array(value.type, bindings, random) for value in graph.inputs if value.name not in given}
        found.append(drawn | given)
    return found


ROWS = ({"N": 1, "M": 5}, {"N": 7, "M": 1}, {"N": 4, "M": 33})

GRAPHS = {
    "picks of what a kernel of the same domain made": """graph (%x: f32[1, 5]) {
      %a = GatherElements<axis=0>(%x, i64[1, 5]{0, -1, 0, -1, 0})
      return GatherElements<axis=1>(%a, i64[1, 5]{3, -1, -5, -2, 1})
    }""",
    "blocks to channels, columns first": """graph (%x: f32[N, 3, 4, 6]) {
      return SpaceToDepth<block=2, mode='CRD'>(%x)
    }""",
    "a piece of nothing": """graph (%x: f32[2, N]) {
      %a, %b = Split<axis=0, sizes=(2, 0)>(%x)
      return Neg(%a), %b
    }""",
    "a scalar's reshape": """graph (%x: f32[]) {
      return Cumulative<kind='sum', axis=0>(Reshape<shape=(1,)>(Sub(%x, f32{2})))
    }""",
    "the same value twice": """graph (%x: f32[N, 4]) {
      %e = Exp(%x)
      return %e, %e, %x, %x
    }""",
    "only constants": """graph (%x: f32[N]) {
      return f32[2]{1, 2}, %x
    }""",
    "sizes as numbers": """graph (%x: f32[N, M]) {
      return Add(Cast<to=f32>(Sizes<elements=(N, M, N*M), shape=(3,), dtype=i64>()), f32{0.5})
    }""",
    "a sum that one part of a concatenation also needs": """graph (%x: f32[N, 4]) {
      %s = Reduce<kind='sum', axes=(1,), keepdims=true>(Exp(%x))
      return Concat<axis=1>(%x, %s, Neg(%s)), Add(%s, %x)
    }""",
    "a product of turned pieces": """graph (%x: f32[N, 2, 3, 8]) {
      %q, %k = Split<axis=3, sizes=(4, 4)>(%x)
      %p = MatMul(%q, Transpose<permutation=(0, 1, 3, 2)>(%k))
      return Reshape<shape=(N, 3, 6)>(Transpose<permutation=(0, 2, 1, 3)>(%p))
    }""",
    "a norm over channels of images": """graph (%x: f32[N, 4, M, 3], %s: f32[4], %b: f32[4]) {
      return Relu(GroupNorm<groups=2, epsilon=0.01>(%x, %s, %b))
    }""",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, bench: Bench) -> None:
    graph = parse(GRAPHS[name], ops.ALL)
    graph.set_outputs(graph.outputs, [f"y{number}" for number in range(len(graph.outputs))])
    engine = bench.check(graph, calls(graph, *ROWS))
    assert engine.report["host_steps"] == 0


def branch(function: Any, *types: Type) -> Graph:
    """A branch of these inputs, whose results `function` makes."""
    graph = Graph(name="branch")
    values = [graph.input(f"a{number}", type) for number, type in enumerate(types)]
    results = function(*values)
    graph.set_outputs(results, [f"r{number}" for number in range(len(results))])
    return graph


def f32(*shape: Size) -> Type:
    return Type(dt.f32, shape)


def condition(graph: Graph, name: str, known: bool) -> Value:
    """A bool input, whose value sizes may follow or not."""
    return graph.input(name, Type(dt.boolean, (), (symbol(f"{name}[0]", None),) if known else None))


BOTH = (np.array(True), np.array(False))


@pytest.mark.parametrize("known", [True, False])
def test_branches_that_hand_values_on(known: bool, bench: Bench) -> None:
    """Both branches write the same buffers, one by a copy, also twice from one value."""
    graph = Graph(name="if")
    x = ops.Exp()(graph.input("x", f32(N, 4)))
    then = branch(lambda a: (a, a), f32(N, 4))
    otherwise = branch(lambda a: (ops.Neg()(a), a), f32(N, 4))
    one, other = ops.If(then, otherwise)(condition(graph, "c", known), x)
    summed = ops.Reduce("sum", (1,), True)(one)
    graph.set_outputs([ops.Mul()(one, summed), ops.Add()(other, x)], ["y", "z"])
    for sense in BOTH:
        engine = bench.check(graph, calls(graph, *ROWS, c=sense))
        assert engine.report["native_spans"] == 1 and engine.report["host_steps"] == 0


@pytest.mark.parametrize("known", [True, False])
def test_branches_in_branches(known: bool, bench: Bench) -> None:
    graph = Graph(name="nested")
    x, y = graph.input("x", f32(N, 8)), graph.input("y", f32(N, 8))
    c, d = condition(graph, "c", known), condition(graph, "d", known)
    weight = Tensor(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32))
    flag = Type(dt.boolean, (), d.type.entries)
    pair = (f32(N, 8), f32(N, 8))

    def inner(a: Value, b: Value, chosen: Value) -> Any:
        deep = branch(lambda p, q: (ops.MatMul()(p, ops.Constant(weight)()), ops.Tanh()(q)), *pair)
        flat = branch(lambda p, q: (ops.Sub()(p, q), p), *pair)
        first, second = ops.If(deep, flat)(chosen, ops.Relu()(a), b)
        return ops.Add()(first, second), second

    then = branch(inner, *pair, flag)
    otherwise = branch(lambda a, b, _: (b, ops.Abs()(a)), *pair, flag)
    one, other = ops.If(then, otherwise)(c, x, y, d)
    graph.set_outputs([ops.Softmax(1)(one), ops.Concat(0)(other, one)], ["p", "q"])
    for sense in BOTH:
        for deep in BOTH:
            engine = bench.check(graph, calls(graph, *ROWS[:2], c=sense, d=deep))
            assert engine.report["native_spans"] == 1 and engine.report["host_steps"] == 0


def test_a_branch_that_data_choose(bench: Bench) -> None:
    graph = Graph(name="data")
    x = graph.input("x", f32(N, 4))
    sign = ops.Less()(ops.Reduce("sum", (0, 1), False)(x), ops.scalar(0.0, dt.f32)())
    then, otherwise = (branch(lambda a, op=op: (op(a),), f32(N, 4)) for op in (ops.Exp(), ops.Abs()))
    graph.set_outputs([ops.If(then, otherwise)(sign, x)], ["y"])
    ones = np.ones((3, 4), np.float32)
    engine = bench.check(graph, [{"x": ones}, {"x": -ones}])
    assert engine.report["native_spans"] == 1


def test_results_of_a_branch_as_outputs(bench: Bench) -> None:
    graph = Graph(name="ends")
    x = graph.input("x", f32(N))
    then, otherwise = branch(lambda a: (a, ops.Neg()(a)), f32(N)), branch(lambda a: (ops.Exp()(a), a), f32(N))
    graph.set_outputs(ops.If(then, otherwise)(condition(graph, "c", False), x), ["y", "z"])
    for sense in BOTH:
        bench.check(graph, calls(graph, *ROWS, c=sense))


def hosted(graph: Graph, value: Value) -> Value:
    """What no kernel computes: numbers written out and read again."""
    return ops.Cast(dt.f32)(ops.Cast(dt.string)(ops.Reshape((*value.type.shape, 1))(value)))


def test_host_steps_between_native_spans(bench: Bench) -> None:
    graph = Graph(name="host")
    x = graph.input("x", f32(N, 8))
    before = ops.Exp()(x)
    middle = hosted(graph, before)
    after = ops.Add()(ops.Reduce("sum", (2,), False)(middle), before)
    graph.set_outputs([after, ops.Neg()(middle)], ["y", "z"])
    engine = bench.check(graph, calls(graph, *ROWS))
    assert engine.report["host_steps"] == 2 and engine.report["native_spans"] == 2
    tiers = {region["kind"]: region["tier"] for region in engine.report["regions"]}
    assert tiers["Cast"] == "host"
    context = engine.context()
    context.run(calls(graph, ROWS[0])[0])
    assert context.native_calls == 2


def network() -> Graph:
    """Softmax(relu(x w) v), with parts long enough for several threads."""
    graph = Graph(name="network")
    random = np.random.default_rng(0)
    x = graph.input("x", f32(N, 256))
    first, last = (ops.Constant(Tensor(random.standard_normal((256, 256)).astype(np.float32)))() for _ in range(2))
    graph.set_outputs([ops.Softmax(1)(ops.MatMul()(ops.Relu()(ops.MatMul()(x, first)), last))], ["y"])
    return graph


def test_the_number_of_threads_changes_no_bit(bench: Bench) -> None:
    engine = bench.engine(network())
    x = np.random.default_rng(1).standard_normal((300, 256)).astype(np.float32)
    answers = [engine.context(threads=count).run([x])["y"].tobytes() for count in (1, 2, 3, 8)]
    assert len(set(answers)) == 1


def test_two_threads_with_two_contexts(bench: Bench) -> None:
    engine = bench.engine(network())
    random = np.random.default_rng(2)
    given = [random.standard_normal((rows, 256)).astype(np.float32) for rows in (1, 5, 64, 130)]
    expected = [engine(x).tobytes() for x in given]
    wrong: list[int] = []

    def work(start: int) -> None:
        with engine.context() as context:
            for turn in range(60):
                which = (start + turn) % len(given)
                if context.run([given[which]])["y"].tobytes() != expected[which]:
                    wrong.append(which)

    workers = [threading.Thread(target=work, args=(start,)) for start in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_limit_on_memory_at_build_and_load(tmp_path: Any) -> None:
    weights = 2 * 256 * 256 * 4
    with pytest.raises(LimitError, match="weights") as caught:
        tenfold.build(network(), cache=False, memory_limit=weights // 2)
    assert caught.value.argument == "memory_limit"
    engine = tenfold.build(network(), cache=False, memory_limit=weights + (200 << 10))
    path = tmp_path / "limited.tenfold"
    engine.save(path)
    for one in (engine, tenfold.load(path)):
        assert one(np.zeros((10, 256), np.float32)).shape == (10, 256)
        with pytest.raises(LimitError) as caught:
            one(np.zeros((4000, 256), np.float32))
        assert caught.value.argument == "memory_limit" and caught.value.remedy
        assert one(np.zeros((10, 256), np.float32)).shape == (10, 256)
    assert tenfold.load(path, memory_limit=1 << 30)(np.zeros((4000, 256), np.float32)).shape == (4000, 256)
    with pytest.raises(LimitError):
        tenfold.load(path, memory_limit=1000)


def test_the_report_holds_memory_between_its_bounds(bench: Bench) -> None:
    engine = bench.engine(network())
    said = engine.report["memory"]
    assert said["lower_bound"] <= said["arena"] <= said["sum"]
    memory = engine.memory({"x": (300, 256)})
    assert memory["weights"] >= 2 * 256 * 256 * 4
    assert 0 < memory["arena"] <= memory["buffers"]


def test_inputs_that_do_not_fit_are_refused_before_anything_runs(bench: Bench) -> None:
    graph = parse("graph (%x: f32[N, M], %y: f32[M, N]) { return Add(%x, Transpose<permutation=(1, 0)>(%y)) }", ops.ALL)
    engine = bench.engine(graph)
    with pytest.raises(InputError, match="'y'") as caught:
        engine(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    assert caught.value.argument == "y"

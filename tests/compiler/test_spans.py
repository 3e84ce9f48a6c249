"""Sizes that only the data decide: spans end there, and engines give what the interpreter gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from tenfold import ops
from tenfold.codegen.region import Region
from tenfold.compiler import cover
from tenfold.compiler.frame import in_sections
from tenfold.compiler.memory import Buffer, order, solve, stacking
from tenfold.errors import InputError
from tenfold.importers import open_model
from tenfold.ir import dim
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.program import Program
from tenfold.ir.text import parse
from tenfold.runtime.engine import from_file
from tests.compiler.building import Bench, workbench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def graph_of(text: str) -> Graph:
    graph = parse(text, ops.ALL)
    graph.set_outputs(graph.outputs, [f"y{number}" for number in range(len(graph.outputs))])
    return graph


def sparse(seed: int, *shape: int) -> np.ndarray:
    """Numbers of which about half are 0."""
    random = np.random.default_rng(seed)
    return np.asarray(random.integers(-1, 2, shape) * random.random(shape), np.float32)


YES, NO = np.array(True), np.array(False)

GRAPHS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "the places of what is not zero, and what is there": (
        """graph (%x: f32[N, M]) {
          %n = NonZero(%x)
          %t = Transpose<permutation=(1, 0)>(%n)
          %v = GatherND(%x, %t)
          return %n, Add(%t, i64{1}), Exp(%v), Reduce<kind='sum', axes=(0,), keepdims=true>(Mul(%v, %v)), Neg(%x)
        }""",
        [{"x": sparse(seed, *shape)} for seed, shape in enumerate([(3, 4), (1, 1), (40, 70), (2, 2)])],
    ),
    "one size after another": (
        """graph (%x: f32[N], %w: f32[3, 8]) {
          %n = NonZero(Relu(%x))
          %r = Reshape<shape=(_0, 1)>(%n)
          %f = Cast<to=f32>(%r)
          %p = Mul(%f, Reduce<kind='sum', axes=(0,), keepdims=true>(%w))
          %m = NonZero(Greater(%p, f32{3}))
          %a, %b, %c, %d = Unique<axis=none, sorted=true>(%m)
          return MatMul(%p, Transpose<permutation=(1, 0)>(%w)), %a, Cast<to=f32>(%c), Concat<axis=0>(%d, %b)
        }""".replace("NonZero(Relu(%x))\n", "NonZero(Relu(%x)) : i64[1, _0]\n").replace(
            "(%x: f32[N], %w: f32[3, 8]) {", "(%x: f32[N], %w: f32[3, 8]) where N in 1.., _0 in data {"
        ),
        [{"x": sparse(seed, n), "w": sparse(99, 3, 8)} for seed, n in enumerate([5, 1, 300, 64])],
    ),
    "a size that nothing but another shape reads": (
        """graph (%x: f32[N]) where N in 1.., _0 in data {
          %n = NonZero(%x) : i64[1, _0]
          return Fill<shape=(_0, 2), value=f32[]{0.5}>(), Sizes<elements=(_0, N), shape=(2,)>()
        }""",
        [{"x": sparse(seed, n)} for seed, n in enumerate([5, 1, 30])],
    ),
    "a branch of another shape": (
        """graph (%x: f32[N, 3], %c: bool[]) {
          %e = Exp(%x)
          %y, %z = If<then_branch=graph (%a: f32[N, 3]) {
              %n = NonZero(%a)
              return Neg(%n), %a
            }, else_branch=graph (%a: f32[N, 3]) {
              return Reshape<shape=(1, N*3)>(Cast<to=i64>(%a)), Relu(%a)
            }>(%c, %e)
          return Abs(%y), Add(%z, f32{1}), %y
        }""",
        [{"x": sparse(seed, n, 3), "c": c} for seed, n in enumerate([1, 7]) for c in (YES, NO)],
    ),
    "a branch within a branch, of data": (
        """graph (%x: f32[N]) {
          %c = Greater(Reduce<kind='sum', axes=(0,), keepdims=false>(%x), f32{0})
          %y = If<then_branch=graph (%a: f32[N]) {
              %d = Greater(Reduce<kind='max', axes=(0,), keepdims=false>(%a), f32{0.5})
              %v = If<then_branch=graph (%b: f32[N]) { return Concat<axis=0>(%b, Exp(%b)) },
                      else_branch=graph (%b: f32[N]) { return f32[2]{1, 2} }>(%d, %a)
              return %v
            }, else_branch=graph (%a: f32[N]) { return %a }>(%c, Tanh(%x))
          return Neg(%y)
        }""",
        [{"x": sparse(seed, n)} for seed, n in enumerate([1, 7, 9, 4, 20])],
    ),
    "a state that grows": (
        """graph (%x: f32[N], %n: i64[]) where N in 1.., _5 in data {
          %y = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[_5], %x: f32[N]) {
              %t = Concat<axis=0>(%s, Add(%x, Cast<to=f32>(%i)))
              return %c, Tanh(%t)
            }>(%n, bool{true}, f32[0]{}, Exp(%x))
          return Neg(%y)
        }""",
        [{"x": sparse(3, n), "n": np.array(turns)} for n, turns in ((3, 4), (3, 0), (2, 9), (500, 40))],
    ),
    "turns that the data end": (
        """graph (%x: f32[N, 3], %m: f32[]) {
          %y, %z = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[N, 3], %q: f32[N, 3]) {
              %t = Add(%s, %q)
              return Less(Reduce<kind='sum', axes=(0, 1), keepdims=false>(Abs(%t)), f32{9}), %t, Neg(%t)
            }>(Cast<to=i64>(%m), bool{true}, %x, %x)
          return %y, Exp(Mul(%z, f32{0.1}))
        }""",
        [{"x": sparse(3, n, 3), "m": np.array(m, np.float32)} for n, m in ((2, 4), (2, 0), (4, 100), (1, 1))],
    ),
    "a loop within a loop, both of data": (
        """graph (%x: f32[T, M]) {
          %y = Scan<carried=1, scanned=1, body=graph (%s: f32[], %r: f32[M]) where M in 1.. {
              %n = NonZero(%r)
              %k = Reduce<kind='sum', axes=(0, 1), keepdims=false>(%n)
              %w, %all = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %u: f32[]) {
                  %v = Add(%u, f32{1})
                  return Less(%v, f32{6}), %v, %v
                }>(%k, bool{true}, %s)
              return Mul(%w, f32{0.5}), Reduce<kind='sum', axes=(0,), keepdims=false>(%all)
            }>(f32{0}, %x)
          return %y
        }""".replace("%y = Scan", "%y, %z = Scan").replace("return %y\n", "return %y, Neg(%z)\n"),
        [{"x": sparse(seed, *shape)} for seed, shape in enumerate([(3, 4), (1, 1), (9, 6)])],
    ),
    "a size of data within a native loop": (
        """graph (%x: f32[N], %k: i64[]) where N in 1.., _0 in data {
          %n = NonZero(%x) : i64[1, _0]
          %f = Cast<to=f32>(%n)
          %y = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[1, _0]) {
              return %c, Mul(%s, f32{0.5})
            }>(%k, bool{true}, %f)
          return Add(%y, f32{1})
        }""",
        [{"x": sparse(4, n), "k": np.array(k)} for n, k in ((5, 3), (50, 0), (700, 11))],
    ),
    "sizes that a tensor holds": (
        """graph (%x: f32[N, 2], %k: f32[2]) where N in 1.., "t[0]" in .., "t[1]" in .. {
          %y = Deferred<body=graph "tile" (%a: f32[N, 2], %b: i64[2] = ("t[0]", "t[1]")) {
              return Tile<repeats=("t[0]", "t[1]")>(%a)
            }>(Exp(%x), Cast<to=i64>(%k))
          return Neg(%y), Reduce<kind='sum', axes=(0,), keepdims=true>(%y)
        }""",
        [{"x": sparse(n, n, 2), "k": np.array(k, np.float32)} for n, k in ((1, (2, 3)), (5, (1, 1)), (3, (40, 2)))],
    ),
    "chosen slices": (
        """graph (%x: f32[N, M, 3], %c: bool[K], %w: i32[N]) {
          return Compress<axis=1>(%x, %c), Compress<axis=0>(%x, Greater(%w, i32{0})), NonZero(%w), NonZero(%x)
        }""",
        [
            {"x": sparse(n, n, m, 3), "c": sparse(k, k) > 0, "w": np.arange(n, dtype=np.int32) - 1}
            for n, m, k in ((1, 1, 1), (2, 5, 4), (7, 3, 9), (3, 200, 200))
        ],
    ),
    "the best boxes": (
        """graph (%boxes: f32[1, B, 4], %scores: f32[1, 2, B]) {
          %chosen = NonMaxSuppression(%boxes, %scores, i64{3}, f32{0.5}, f32{0.1})
          %at = Slice<starts=(0, 2), sizes=(_0, 1), steps=(1, 1)>(%chosen)
          return %chosen, Cast<to=f32>(%at)
        }""".replace("NonMaxSuppression(%boxes, %scores, i64{3}, f32{0.5}, f32{0.1})\n",
                     "NonMaxSuppression(%boxes, %scores, i64{3}, f32{0.5}, f32{0.1}) : i64[_0, 3]\n").replace(
                         "B]) {", "B]) where B in 1.., _0 in data {"),
        [{"boxes": np.sort(np.random.default_rng(n).random((1, n, 4)).astype(np.float32)),
          "scores": np.random.default_rng(n).random((1, 2, n)).astype(np.float32)} for n in (1, 6, 40)],
    ),
    "strings between numbers": (
        """graph (%x: f32[N], %words: string[N]) {
          %s = Cast<to=string>(Cast<to=i64>(Mul(%x, f32{8})))
          %t = StringConcat(%words, %s)
          return Cast<to=f32>(%s), %t, Reshape<shape=(1, N)>(%t), Concat<axis=0>(%t, string[1]{"end"})
        }""",
        [{"x": sparse(n, n), "words": np.array([f"w{i}" for i in range(n)], object)} for n in (1, 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, bench: Bench) -> None:
    text, calls = GRAPHS[name]
    bench.check(graph_of(text), calls)


def test_what_is_native_stays_native(bench: Bench) -> None:
    """What decides a size is native too; the loop between is walked, and the report says why."""
    report = bench.engine(graph_of(GRAPHS["a state that grows"][0])).report
    assert report["host_steps"] == 0 and report["native_spans"] == 3
    assert [(one["kind"], one["reason"]) for one in report["walked"]] == [
        ("Loop", "sizes of its results follow from the data")
    ]
    report = bench.engine(graph_of(GRAPHS["a size of data within a native loop"][0])).report
    assert report["host_steps"] == 0 and report["native_spans"] == 2 and report["walked"] == []


HOSTED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "a loop": (
        """graph (%x: f32[N, 4], %n: i64[]) {
          %y, %z = Loop<carried=1, body=graph (%i: i64[], %c: bool[], %s: f32[N, 4]) where N in 1.. {
              %t = Add(Erf(%s), Cast<to=f32>(%i))
              return Less(Reduce<kind='sum', axes=(0, 1), keepdims=false>(%t), f32{90}), %t, Neg(%t)
            }>(%n, bool{true}, Exp(%x))
          return %y, Reduce<kind='sum', axes=(0,), keepdims=false>(%z)
        }""",
        [{"x": sparse(1, n, 4), "n": np.array(k)} for n, k in ((2, 3), (3, 0), (1, 20))],
    ),
    "rows of a sequence, within a branch": (
        """graph (%x: f32[T, 4], %c: bool[]) {
          %y = If<then_branch=graph (%a: f32[T, 4]) where T in 1.. {
              %s, %r = Scan<carried=1, scanned=1, body=graph (%p: f32[4], %q: f32[4]) {
                  return Tanh(Add(%p, Erf(%q))), Mul(%p, %q)
                }>(f32[4]{0, 1, 2, 3}, %a)
              return Add(%r, %s)
            }, else_branch=graph (%a: f32[T, 4]) { return Neg(%a) }>(%c, Exp(%x))
          return Abs(%y)
        }""",
        [{"x": sparse(1, n, 4), "c": c} for n in (1, 5) for c in (YES, NO)],
    ),
}


@pytest.mark.parametrize("name", HOSTED)
def test_host_steps_within_loops_and_branches(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no kernel takes ends the span there too; the rest stays native."""
    choose = cover.choose

    def choosing(region: Region, *rest: Any) -> Any:
        return [("tested", "there is no Erf")] if "Erf" in repr(region) else choose(region, *rest)

    monkeypatch.setattr(cover, "choose", choosing)
    text, calls = HOSTED[name]
    engine = bench.check(graph_of(text), calls)
    assert engine.report["host_steps"] == 1 and engine.report["native_spans"] > 2
    walked = [(one["kind"], one["reason"]) for one in engine.report["walked"]]
    assert [kind for kind, _ in walked] == (["Loop"] if name == "a loop" else ["If", "Scan"])
    assert name == "a loop" or walked[0][1].startswith("native calls end at its ")


def test_sizes_vary_from_call_to_call(bench: Bench) -> None:
    """Frames of later sections are remembered by what decides them, however often that changes."""
    graph = graph_of(GRAPHS["one size after another"][0])
    engine = bench.engine(graph)
    context, weights = engine.context(), sparse(99, 3, 8)
    for seed in range(40):
        inputs = {"x": sparse(seed, 1 + seed % 7), "w": weights}
        same(context.run(inputs), Interpreter().run(graph, inputs))


def test_sizes_that_do_not_fit_are_refused_in_mid_call(bench: Bench) -> None:
    """Kernels never run on operands of sizes that disagree."""
    graph = graph_of(
        """graph (%x: f32[N], %y: f32[M]) where N in 1.., M in 1.., _0 in data, _1 in data {
          %a = NonZero(%x) : i64[1, _0]
          %b = NonZero(%y) : i64[1, _1]
          %p = MatMul(Cast<to=f32>(%a), Reshape<shape=(_1, 1)>(Cast<to=f32>(%b)))
          return %p, Reshape<shape=(2, 3)>(%a)
        }"""
    )
    engine = bench.engine(graph)
    six = np.ones(6, np.float32)
    assert engine(six, six)[0].tolist() == [[55]]
    with pytest.raises(InputError, match="MatMul"):
        engine(six, np.ones(7, np.float32))
    with pytest.raises(InputError, match="reshaped from"):
        engine(np.ones(7, np.float32), np.ones(7, np.float32))
    assert engine(six, six)[1].shape == (2, 3)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, wanted in expected.items():
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6)


def test_a_saved_engine_knows_its_sections(bench: Bench, tmp_path: Any) -> None:
    for name in ("a loop within a loop, both of data", "strings between numbers"):
        text, calls = GRAPHS[name]
        graph = graph_of(text)
        bench.engine(graph).save(tmp_path / "engine.tenfold")
        found = from_file(tmp_path / "engine.tenfold").run(calls[0])
        expected = Interpreter().run(graph, calls[0])
        for key, wanted in expected.items():
            if wanted.dtype.hasobject:
                assert found[key].tolist() == wanted.tolist()
            else:
                np.testing.assert_allclose(found[key], wanted, rtol=1e-5)


def test_rows_stand_in_sections() -> None:
    n, late, later = dim.symbol("N", 1), dim.unknown("_0"), dim.unknown("_1")
    formulas = [later + n, n * 3, late * n, dim.maximum(late, later), n + 7]
    program, ends, moved = in_sections(Program.compile(formulas, ["N", "_0", "_1"]), [0, 1, 2])
    assert len(ends) == 3 and ends[0] < ends[1] < ends[2]
    whole = program.run([5, 3, 2])
    assert [whole[slot] for slot in program.results] == [7, 15, 15, 3, 12]
    first = program.run([5, 0, 0], ends[0])
    assert first[program.results[1]] == 15 and first[program.results[4]] == 12
    second = program.resume([5, 3, 0, *first[3:]], ends[0], ends[1])
    third = program.resume([5, 3, 2, *second[3:]], ends[1], ends[2])
    assert third == whole
    assert sorted(moved) == list(range(len(moved)))


def test_nothing_lies_above_what_is_known_later() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        spans = [(int(first), int(first + random.integers(0, 5))) for first in random.integers(0, 10, 12)]
        buffers = [
            Buffer(f"b{i}", int(random.integers(0, 9)) * 64, first, last, int(random.integers(0, 3)))
            for i, (first, last) in enumerate(spans)
        ]
        direct = order(buffers)
        for one in stacking(direct):
            assert all(buffers[other].section <= buffers[one].section for other in direct[one])
        offsets = solve([int(b.size) for b in buffers], buffers)  # type: ignore[arg-type]
        for a, one in enumerate(buffers):
            for b, other in enumerate(buffers):
                apart = offsets[a] + one.size <= offsets[b] or offsets[b] + other.size <= offsets[a]  # type: ignore[operator]
                assert a == b or not one.meets(other) or apart


def test_a_shape_that_only_the_data_decide(bench: Bench) -> None:
    graph = open_model(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 18]> g (float[N] x, float[2] d) => (float[P, Q] y)'
            " { s = Cast<to = 7>(d)  r = Reshape(x, s)  y = Relu(r) }"
        )
    )
    engine = bench.engine(graph)
    assert engine.report["host_steps"] == 0
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, -1), (-1, 6)):
        np.testing.assert_array_equal(engine(x, np.array(shape, np.float32)), x.reshape(shape))
    for shape in ((2, 4), (-1, -1), (-3, -2), (4, -1)):
        with pytest.raises(InputError, match="Reshape"):
            engine(x, np.array(shape, np.float32))

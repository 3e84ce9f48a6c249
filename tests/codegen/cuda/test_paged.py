"""Attention over pages in Triton's interpreter, and in engines for the CPU and the emulated GPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import ExecutionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.ir.type import Type
from tenfold.ops.attention import PagedAttention
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cuda.anchored import check
from tests.runtime.cuda.emulated import emulate

from tenfold.codegen.cuda import paged  # isort: skip

random = np.random.default_rng(6)
PAGES, PAGE = 9, 8


def drawn(
    dtype: DType = dt.f32, heads: int = 4, shared: int = 2, queries: int = 1, widths: tuple[int, int] = (16, 16)
) -> list[Array]:
    """Three sequences of 27, 0 and 9 places, in pages that lie anywhere; what no sequence needs is no page."""
    q, k, v = (
        random.standard_normal(shape).astype(dtype.numpy)
        for shape in (
            (3, heads, queries, widths[0]),
            (PAGES, PAGE, shared, widths[0]),
            (PAGES, PAGE, shared, widths[1]),
        )
    )
    table = np.array([[5, 2, -1, 7], [99, 99, 99, 99], [3, 0, -77, 99]], np.int32)
    return [q, k, v, table, np.array([27, 0, 9], np.int32)]


def shape(slices: int, n: int = 16) -> list[tuple[str, int | str]]:
    return [("m", 16), ("n", n), ("warps", 4), ("stages", 2), ("slices", slices)]


@pytest.mark.parametrize(
    "op, given, slices",
    [
        (PagedAttention(0.3), {}, 1),
        (PagedAttention(0.3), {}, 3),
        (PagedAttention(0.3, causal=True), {"queries": 5}, 2),
        (PagedAttention(0.3, causal=True), {"queries": 11, "heads": 2}, 1),
        (PagedAttention(0.3, softcap=2.0), {"shared": 1, "widths": (20, 12)}, 2),
        (PagedAttention(0.3), {"dtype": dt.f16, "shared": 4}, 2),
    ],
)
def test_as_defined(op: PagedAttention, given: Mapping[str, object], slices: int) -> None:
    arrays = drawn(**given)  # type: ignore[arg-type]
    check(
        paged.STRATEGY,
        Case(op, [Given(one) for one in arrays]),
        shape(slices),
        tolerance=2e-3 if given.get("dtype") is dt.f16 else 1e-5,
    )


def test_a_pool_that_lies_otherwise() -> None:
    arrays = drawn()
    layouts = ("dense", "spaced", "reversed", "spaced", "dense")
    inputs = [Given(one, layout) for one, layout in zip(arrays, layouts, strict=True)]
    check(paged.STRATEGY, Case(PagedAttention(0.3), inputs), shape(2), tolerance=1e-5)


def graph(causal: bool = False) -> Graph:
    """One operator; the numbers of sequences, queries and pages are open."""
    made = Graph(name="paged")
    batch, queries, many, pages = (dim.symbol(name, 1) for name in ("batch", "queries", "many", "pages"))
    q = made.input("q", Type(dt.f32, (batch, 4, queries, 16)))
    k, v = (made.input(name, Type(dt.f32, (pages, PAGE, 2, 16))) for name in "kv")
    table, lengths = made.input("table", Type(dt.i32, (batch, many))), made.input("lengths", Type(dt.i32, (batch,)))
    made.set_outputs([PagedAttention(0.3, causal)(q, k, v, table, lengths)], ["y"])
    return made


@pytest.mark.parametrize("target", ["cpu", "cuda:sm_90"])
def test_engines(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if target != "cpu":
        emulate(monkeypatch)
    made = graph(causal=True)
    engine = tenfold.build(made, target=target, cache=False, effort=0)
    if target != "cpu":
        assert [region["kind"] for region in engine.report["regions"]] == ["PagedAttention"]
    with engine.context() as context:
        for queries in (1, 3):
            arrays = drawn(queries=queries)
            sizes = {"batch": 3, "queries": queries, "many": 4, "pages": PAGES}
            (wanted,) = Interpreter(sizes).call(made, arrays)
            np.testing.assert_allclose(context.run(arrays)["y"], wanted, atol=1e-5)
        arrays[3][0, 1] = PAGES
        with pytest.raises(ExecutionError):
            context.run(arrays)


def expressed(form: str) -> Graph:
    """Attention to what a table chooses from a pool, as users write it."""
    made = Graph(name=form)
    batch, many = 3, 4
    q = made.input("q", Type(dt.f32, (batch, 4, 1, 16)))
    pool = (PAGES, PAGE, 2, 16) if form != "heads first" else (PAGES, 2, PAGE, 16)
    pools = [
        made.input(name, Type(dt.f32, pool if form != "one cache" else (batch, 2, many * PAGE, 16))) for name in "kv"
    ]
    table = made.input("table", Type(dt.i64, (batch, many)))
    lengths = made.input("lengths", Type(dt.i64, (batch,)))
    found = pools if form == "one cache" else [ops.Gather(0)(one, table) for one in pools]
    if form == "places first":
        found = [ops.Transpose((0, 2, 1, 3))(ops.Reshape((batch, many * PAGE, 2, 16))(one)) for one in found]
    if form == "heads first":
        found = [ops.Reshape((batch, 2, many * PAGE, 16))(ops.Transpose((0, 2, 1, 3, 4))(one)) for one in found]
    seen = ops.Less()(ops.Iota(0, 1, many * PAGE)(), ops.Reshape((batch, 1, 1, 1))(lengths))
    made.set_outputs([ops.Attention(0.3)(q, *found, seen)], ["y"])
    return made


@pytest.mark.parametrize("form", ["places first", "heads first", "one cache"])
def test_what_users_write(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    made = expressed(form)
    engine = tenfold.build(made, target="cuda:sm_90", cache=False, effort=0)
    assert [region["kind"] for region in engine.report["regions"]] == ["PagedAttention"]
    arrays = [random.standard_normal(value.type.shape).astype(np.float32) for value in made.inputs[:3]]
    arrays += [random.integers(-PAGES, PAGES, (3, 4)), np.array([27, 0, 99])]
    (wanted,) = Interpreter({}).call(made, arrays)
    np.testing.assert_allclose(engine(*arrays), wanted, atol=1e-5)

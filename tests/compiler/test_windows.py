"""Pooling and padding taken apart: windows as strides, borders as concatenations, places folded back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tenfold import ops
from tenfold.compiler.fuse.decompose import decompose
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Graph, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.type import Type
from tenfold.ops.window import same_padding
from tests.compiler.running import H, N, T, W, arrays, close, graph_of, same_after

BORDER = symbol("P", 0, 8)


def each(axes: int, low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(low, high) for _ in range(axes)))


@st.composite
def pools(draw: st.DrawFn) -> tuple[ops.Pool, Type]:
    axes = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(("max", "average", "lp")))
    kinds = (dt.f32, dt.f32, dt.f16, dt.f64, *((dt.i32, dt.u8) if kind == "max" else ()))
    kernel, strides = draw(each(axes, 1, 4)), draw(each(axes, 1, 4))
    before, after = (tuple(draw(st.integers(0, k - 1)) for k in kernel) for _ in range(2))
    op = ops.Pool(
        kind, kernel, strides, draw(each(axes, 1, 3)), before, after,
        ceil=draw(st.booleans()), count_padding=draw(st.booleans()), p=draw(st.integers(1, 3)),
    )  # fmt: skip
    space = tuple(draw(st.sampled_from((H, W, 5, 12))) for _ in range(axes))
    return op, Type(draw(st.sampled_from(kinds)), (N, 2, *space))


@given(pools(), st.integers(1, 11), st.integers(1, 11))
@settings(max_examples=120, derandomize=True, deadline=None)
def test_pooling(pool: tuple[ops.Pool, Type], h: int, w: int) -> None:
    op, type = pool
    try:
        graph = graph_of(op, type)
    except ValueError:
        assume(False)
    bindings = {"N": 2, "H": h, "W": w}
    given = arrays(graph, bindings)
    try:
        with np.errstate(all="ignore"):
            expected = Interpreter().run(graph, given)["y0"]
    except Exception:
        assume(False)
    decompose(graph)
    assert not any(isinstance(node.op, ops.Pool) for node in graph.nodes)
    with np.errstate(all="ignore"):
        close(Interpreter().run(graph, given)["y0"], expected, {"f16": 2e-3, "f64": 1e-12}.get(type.dtype.name, 1e-6))


def halves(size: Size, kernel: int, stride: int) -> tuple[Size, Size]:
    """The padding that gives one window for each stride, the greater half behind."""
    whole = same_padding(size, kernel, stride, 1)
    return whole // 2, whole - whole // 2


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_with_padding_that_keeps_sizes(kind: Any) -> None:
    top, bottom = halves(H, 3, 2)
    left, right = halves(W, 2, 3)
    op = ops.Pool(kind, (3, 2), (2, 3), (1, 1), (top, left), (bottom, right))
    same_after(decompose, graph_of(op, Type(dt.f32, (N, 3, H, W))))


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("dtype", [dt.f32, dt.f16, dt.i64, dt.boolean], ids=str)
def test_padding(mode: Any, dtype: dt.DType) -> None:
    for before, after in (((0, 1, 2), (3, 0, 1)), ((0, 0, 9), (0, 13, 0)), ((0, 0, 0), (0, 0, 0))):
        same_after(decompose, graph_of(ops.Pad(before, after, mode, 1), Type(dtype, (N, H, 4))))


@given(
    st.sampled_from(("constant", "reflect", "symmetric", "edge", "wrap")),
    st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 7), st.integers(-3, 7)), min_size=1, max_size=3),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_padding_and_cropping(mode: Any, rows: list[tuple[int, int, int]]) -> None:
    shape, before, after = zip(*rows, strict=True)
    assume(all(size + min(a, 0) + min(b, 0) >= 1 for size, a, b in rows))
    same_after(decompose, graph_of(ops.Pad(before, after, mode), Type(dt.i32, shape)), most=100)


@pytest.mark.parametrize("mode", ["constant", "edge", "wrap", "reflect", "symmetric"])
def test_padding_by_sizes_of_the_call(mode: Any) -> None:
    graph = Graph(name="pad")
    x, like = graph.input("x", Type(dt.f32, (N, H))), graph.input("like", Type(dt.f32, (BORDER,)))
    graph.set_outputs([ops.Pad((0, BORDER), (BORDER, 1), mode)(x), like], ["y", "z"])
    for border in (0, 1, 5):
        same_after(decompose, graph, [{"N": 3, "H": 4, "P": border}, {"N": 1, "H": 2, "P": border}])


def test_a_constant_border_is_a_concatenation() -> None:
    graph = graph_of(ops.Pad((0, 1), (0, 2), "constant", 0.5), Type(dt.f32, (N, H)))
    changed = same_after(decompose, graph)
    assert {node.op.name for node in changed.nodes} == {"Fill", "Concat"}


def test_minus_infinity_is_no_element_of_whole_numbers() -> None:
    graph = graph_of(ops.Pool("max", (3,), (1,), (1,), (2,), (2,)), Type(dt.u8, (1, 1, 4)))
    changed = copy(graph)
    decompose(changed)
    x = {"x0": np.zeros((1, 1, 4), np.uint8)}
    np.testing.assert_array_equal(Interpreter().run(changed, x)["y0"], Interpreter().run(graph, x)["y0"])


def test_tiles_along_an_axis_of_any_size() -> None:
    same_after(decompose, graph_of(ops.Tile((1, 3, 1, 2)), Type(dt.f32, (N, H, 1, T))))

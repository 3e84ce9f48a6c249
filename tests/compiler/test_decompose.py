"""Every composite, taken apart, means what it meant: on plain and on symbolic sizes, in each element type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tenfold import ops
from tenfold.compiler.fuse.decompose import RULES, decompose
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tests.compiler.running import BINDINGS, E, H, N, S, T, W, close, graph_of, same_after


@dataclass(frozen=True)
class Case:
    """An operation on inputs of these types; `rows` is the least size of an axis that positions are taken from."""

    op: Op
    inputs: tuple[Type, ...]
    rows: int = 5
    name: str = ""

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, t.shape)) for t in self.inputs)
        kind = getattr(self.op, "kind", None) or getattr(self.op, "mode", None) or ""
        return f"{self.op.name}{kind}{self.name}-{self.inputs[0].dtype}-{shapes}"


def f32(*shape: Size) -> Type:
    return Type(dt.f32, shape)


def f16(*shape: Size) -> Type:
    return Type(dt.f16, shape)


def f64(*shape: Size) -> Type:
    return Type(dt.f64, shape)


def i64(*shape: Size) -> Type:
    return Type(dt.i64, shape)


def i32(*shape: Size) -> Type:
    return Type(dt.i32, shape)


def flags(*shape: Size) -> Type:
    return Type(dt.boolean, shape)


ROWS = [
    Case(op, (type,))
    for axis in (0, 1, 2)
    for op in (ops.Softmax(axis), ops.LogSoftmax(axis), ops.LpNormalize(axis, 1), ops.LpNormalize(axis, 2))
    for type in (f32(N, H, 6), f16(3, 4, 5), f64(2, 1, W))
]

NORMS = [
    Case(ops.LayerNorm(2), (f32(N, H, 6), f32(6), f32(6))),
    Case(ops.LayerNorm(1), (f32(N, H, W), f32(H, W), f32(H, W))),
    Case(ops.LayerNorm(1, 1e-3), (f16(N, H, 6), f16(1, 6), f16(6))),
    Case(ops.LayerNorm(0), (f64(4, 3), f64(4, 3), f64(3))),
    Case(ops.RMSNorm(2), (f32(N, H, 6), f32(6))),
    Case(ops.RMSNorm(1), (f16(N, H, W), f16(H, W))),
    Case(ops.RMSNorm(0), (f64(5, W), f64(5, W))),
    Case(ops.GroupNorm(2), (f32(N, 6, H, W), f32(6), f32(6))),
    Case(ops.GroupNorm(6), (f32(N, 6, H), f32(6), f32(6)), name="-instance"),
    Case(ops.GroupNorm(1), (f16(N, 4, H, W), f16(4), f16(4))),
    Case(ops.GroupNorm(2), (f64(N, 4), f64(4), f64(4))),
    Case(ops.LRN(3), (f32(N, 6, H, W),)),
    Case(ops.LRN(4, 0.1, 0.5, 2.0), (f32(N, 5, W),)),
    Case(ops.LRN(5, 0.1), (f16(2, 3, H, W),)),
]

FLOAT_KINDS = ("sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2", "log_sum", "log_sum_exp")
WHOLE_KINDS = ("sum", "mean", "max", "min", "prod", "sum_square", "l1")

FLOAT_ROWS = [
    ((1,), True, f32(N, H, W)),
    ((0, 2), False, f32(N, H, W)),
    ((0, 1, 2), False, f16(3, 4, W)),
    ((2,), True, f64(2, 3, 4)),
    ((), False, f32(N, 2)),
]
WHOLE_ROWS = [((1,), True, i32(N, H)), ((1,), False, i64(3, W))]
FLAG_ROWS = [((0, 1), keep, flags(N, H, 3)) for keep in (True, False)]

REDUCTIONS = [
    Case(ops.Reduce(kind, axes, keep), (type,))
    for kinds, rows in ((FLOAT_KINDS, FLOAT_ROWS), (WHOLE_KINDS, WHOLE_ROWS), (("any", "all"), FLAG_ROWS))
    for kind in kinds
    for axes, keep, type in rows
] + [
    Case(ops.ArgReduce(kind, 1, keep, last), (type,))
    for kind in ("max", "min")
    for keep in (True, False)
    for last in (True, False)
    for type in (f32(N, H, 3), i32(2, W, T))
]

ATTENTION = [
    Case(ops.Attention(0.5), (f32(N, 2, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 3))),
    Case(ops.Attention(0.5, softcap=2.0), (f32(N, 4, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 3)), name="-shared"),
    Case(ops.Attention(0.5, causal=True), (f32(N, 2, H, 4), f32(N, 2, H, 4), f32(N, 2, H, 3)), name="-causal"),
    Case(
        ops.Attention(0.5, causal=True, offset=-2), (f32(N, 2, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 3)), name="-blind"
    ),
    Case(
        ops.Attention(0.5, causal=True, offset=-2, blind="nan"),
        (f32(N, 2, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 3)),
        name="-nan",
    ),
    Case(ops.Attention(0.5, causal=True, offset=W - H), (f16(N, 2, H, 4), f16(N, 2, W, 4), f16(N, 2, W, 3))),
    Case(ops.Attention(0.3), (f32(N, 2, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 4), f32(N, 1, H, W)), name="-mask"),
    Case(ops.Attention(0.3), (f32(N, 4, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 4), f32(4, H, W)), name="-mask"),
    Case(ops.Attention(0.3), (f32(N, 4, H, 4), f32(N, 1, W, 4), f32(N, 1, W, 4), flags(H, W)), name="-chosen"),
    Case(ops.Attention(0.3), (f32(N, 2, H, 4), f32(N, 2, W, 4), f32(N, 2, W, 4), flags(N, 1, 1, W)), name="-padding"),
    Case(ops.Attention(0.3), (f64(1, 2, 3, 4), f64(1, 2, 5, 4), f64(1, 2, 5, 4), f64(5)), name="-row"),
    Case(ops.RotaryEmbedding(), (f32(N, 2, H, 8), f32(H, 4), f32(H, 4))),
    Case(ops.RotaryEmbedding(True), (f32(N, 2, H, 8), f32(H, 4), f32(H, 4)), name="-pairs"),
    Case(ops.RotaryEmbedding(), (f16(N, H, 2, 10), f16(N, H, 1, 4), f16(N, H, 1, 4)), name="-part"),
    Case(ops.RotaryEmbedding(True), (f32(N, H, 9), f32(N, 1, 3), f32(N, 1, 3)), name="-part-pairs"),
]

GATHERS = [
    Case(ops.Gather(0), (f32(5, H), i64(N, 2))),
    Case(ops.Gather(1), (f32(N, 5, H), i32(T))),
    Case(ops.Gather(2), (f16(N, H, 5), i64())),
    Case(ops.Gather(0), (i32(5), i64(N, H, 2))),
    Case(ops.GatherElements(0), (f32(5, H), i64(N, H))),
    Case(ops.GatherElements(1), (f32(N, 5, 3), i32(N, W, 3))),
    Case(ops.GatherElements(2), (flags(N, 3, 7), i64(N, 3, 7))),
    Case(ops.GatherND(), (f32(5, 6, H), i64(N, 2))),
    Case(ops.GatherND(), (f32(5, 6, 7), i64(N, T, 3))),
    Case(ops.GatherND(1), (f32(N, 5, H), i64(N, T, 1))),
    Case(ops.GatherND(2), (f32(2, 3, 6, 5), i32(2, 3, T, 1))),
    Case(ops.GatherND(0), (f16(5, 2), i64(1))),
]

MOVEMENTS = [
    Case(ops.Tile((2, 1, 3)), (f32(N, H, 4),)),
    Case(ops.Tile((H, N)), (f32(N, H),)),
    Case(ops.Tile((0, 2)), (i64(3, N),)),
    *(Case(op(2, mode), (f32(N, 8, E, 6),)) for op in (ops.DepthToSpace, ops.SpaceToDepth) for mode in ("DCR", "CRD")),
    Case(ops.DepthToSpace(3, "CRD"), (f16(1, 18, H, W),)),
    Case(ops.SpaceToDepth(3), (Type(dt.u8, (N, 2, 9, S)),)),
]  # fmt: skip

CASES = [*ROWS, *NORMS, *REDUCTIONS, *ATTENTION, *GATHERS, *MOVEMENTS]


def tolerance(type: Type) -> float:
    return {"f64": 1e-12, "f32": 3e-6, "f16": 2e-3}.get(type.dtype.name, 0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_composite_means_what_it_meant(case: Case) -> None:
    graph = graph_of(case.op, *case.inputs)
    changed = same_after(decompose, graph, tolerance=tolerance(graph.outputs[0].type), most=case.rows)
    assert [node for node in changed.nodes if type(node.op) in RULES and not primitive(node.op)] == []
    assert {name for node in changed.nodes for name in node.source} == {case.op.name.lower()}


def primitive(op: Op) -> bool:
    return isinstance(op, (ops.Reduce, ops.ArgReduce)) and op.keepdims


def test_sums_of_nothing() -> None:
    same_after(decompose, graph_of(ops.Reduce("sum", (0,), False), f32(0, 3)))
    same_after(decompose, graph_of(ops.Reduce("max", (0,), True), f16(0, 3)))


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "op",
    [*(ops.Reduce(kind, (1,), False) for kind in FLOAT_KINDS), ops.Softmax(1), ops.LogSoftmax(1), ops.LpNormalize(1)],
    ids=lambda op: f"{op.name}-{getattr(op, 'kind', '')}",
)
def test_special_numbers(op: Op, special: float) -> None:
    graph = graph_of(op, f32(3, 4))
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x[0, 1], x[1] = special, special
    expected = run(graph, x)
    decompose(graph)
    close(run(graph, x), expected, 1e-6)


def run(graph: Graph, *given: Any) -> Any:
    names = [value.name for value in graph.inputs]
    with np.errstate(all="ignore"):
        return Interpreter().run(graph, dict(zip(names, given, strict=True)))["y0"]


def test_a_norm_of_nothing_is_nothing() -> None:
    graph = graph_of(ops.LpNormalize(1), f32(2, 3))
    decompose(graph)
    np.testing.assert_array_equal(run(graph, np.zeros((2, 3), np.float32)), 0)


def test_large_numbers_do_not_overflow() -> None:
    graph = graph_of(ops.Softmax(0), f32(3))
    decompose(graph)
    np.testing.assert_allclose(run(graph, np.float32([1e30, 1e30, 0])), [0.5, 0.5, 0])


def test_narrow_floats_are_wide_inside() -> None:
    graph = graph_of(ops.Reduce("mean", (0,), True), f16(5000))
    decompose(graph)
    assert run(graph, np.full(5000, 20, np.float16))[0] == 20


def test_composites_of_branches_are_taken_apart() -> None:
    branches = []
    for op in (ops.Softmax(1), ops.LogSoftmax(1)):
        branch = Graph(name="branch")
        x = branch.input("x", f32(N, 4))
        branch.set_outputs([op(x)], ["y"])
        branches.append(branch)
    graph = graph_of(ops.If(*branches), flags(), f32(N, 4))
    changed = same_after(decompose, graph, BINDINGS)
    inner = [node.op for branch in changed.nodes[0].op.graphs for node in branch.nodes]
    assert not any(isinstance(op, (ops.Softmax, ops.LogSoftmax)) for op in inner)


def test_what_follows_a_group_norm_element_by_element_joins_its_rows() -> None:
    graph = Graph(name="norm")
    x, *rest = (graph.input(f"x{number}", type) for number, type in enumerate((f16(2, 6, 3, 4), f16(6), f16(6))))
    normal = ops.GroupNorm(2)(x, *rest)
    graph.set_outputs([ops.Relu()(ops.Silu()(normal))], ["y0"])
    changed = same_after(decompose, graph, tolerance=2e-3)
    assert isinstance(changed.nodes[-1].op, ops.Reshape) and isinstance(changed.nodes[-2].op, ops.Relu)
    graph.set_outputs([ops.Relu()(normal), normal], ["y0", "y1"])
    same_after(decompose, graph, tolerance=2e-3)

"""Regions that small graphs come down to, and why neighbours stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops
from tenfold.codegen.region import Anchored, Body, Pointwise, Region, Row
from tenfold.compiler.arrange import arrange
from tenfold.compiler.fuse.cover import region_of
from tenfold.compiler.fuse.decompose import decompose
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.road import LOWERED
from tenfold.compiler.tune import kind_of
from tenfold.ir.graph import Graph
from tenfold.ir.text import parse
from tests.compiler.sketch import Seeded, Sketch


def grown(graph: Graph) -> Growth:
    """The groups of a graph as the road makes them; each operation is called by its own name."""
    for number, node in enumerate(graph.nodes):
        node.name = node.name or f"{node.op.name}{number}"
        node.source = node.source or (node.name,)
    decompose(graph)
    LOWERED(graph)
    return Growth(graph, arrange(graph))


def lines(growth: Growth) -> list[str]:
    """A line for each group in order: what it computes, over which domain."""
    return [line(group, growth) for group in growth.ordered()]


def line(group: Group, growth: Growth) -> str:
    node = group.nodes[0]
    if node.op.graphs:
        return node.op.name
    region = region_of(group, growth)
    return f"{kind_of(region)} [{', '.join(map(str, region.domain))}]"


def regions(text: str) -> list[str]:
    return lines(grown(parse(text, ops.ALL)))


GOLDEN = {
    "a product tells the moments of its rows": (
        """graph (%x: f16[5, 64], %w: f16[64, 64], %r: f16[5, 64]) {
          %y = Add(MatMul(%x, %w), %r)
          return %y, Moments<group=32>(%y)
        }""",
        ["MatMul Add [5, 64]"],
    ),
    "a residual is standardised by the product that it is added to": (
        """graph (%x: f16[5, 64], %w: f16[64, 64], %r: f16[5, 64], %a: f32[5, 1], %b: f32[5, 1]) {
          %s = Standardise<count=64, epsilon=1e-05>(%r, %a, %b)
          %y = Add(MatMul(%x, %w), Mul(%s, Constant<tensor=f16[]{0.5}>()))
          return %y, Moments<group=32>(%y)
        }""",
        ["MatMul Standardise Constant Mul Add [5, 64]"],
    ),
    "moments of what is no product are told apart": (
        """graph (%x: f16[5, 64]) {
          %y = Abs(%x)
          return %y, Moments<group=32>(%y)
        }""",
        ["Abs [5, 64]", "Moments [2, 2, 5]"],
    ),
    "elementwise work is one sweep": (
        """graph (%x: f32[N, 4], %y: f32[4]) {
          return Add(Mul(Exp(%x), %y), Abs(%x))
        }""",
        ["Exp Mul Abs Add [N, 4]"],
    ),
    "work on another domain is a sweep of its own": (
        """graph (%x: f32[N, 4], %y: f32[4]) {
          return Mul(Exp(%x), Neg(Exp(%y)))
        }""",
        ["Exp Neg [4]", "Exp Mul [N, 4]"],
    ),
    "a product takes what follows it": (
        """graph (%x: f32[N, 4], %w: f32[4, 8], %b: f32[8]) {
          return Relu(Add(MatMul(%x, %w), %b))
        }""",
        ["MatMul Add Relu [N, 8]"],
    ),
    "a product does not take what comes before it": (
        """graph (%x: f32[N, 4], %w: f32[4, 8]) {
          return MatMul(Exp(%x), %w)
        }""",
        ["Exp [N, 4]", "MatMul [N, 8]"],
    ),
    "the other operand of an epilogue moves into it": (
        """graph (%x: f32[N, 4], %w: f32[4, 8], %z: f32[N, 8]) {
          return Add(MatMul(%x, %w), Exp(%z))
        }""",
        ["MatMul Exp Add [N, 8]"],
    ),
    "a residual joins the later product": (
        """graph (%x: f32[N, 4], %w: f32[4, 4], %v: f32[4, 4]) {
          %a = MatMul(%x, %w)
          return Add(MatMul(%a, %v), %a)
        }""",
        ["MatMul [N, 4]", "MatMul Add [N, 4]"],
    ),
    "rows are walked eight times at most": (
        """graph (%x: f32[N, 7]) {
          return Softmax<axis=1>(Softmax<axis=1>(Softmax<axis=1>(Softmax<axis=1>(Softmax<axis=1>(%x)))))
        }""",
        ["Row max sum max sum max sum max sum [N, 7]", "Row max sum [N, 7]"],
    ),
    "softmax is one sweep by rows": (
        """graph (%x: f32[N, 7]) {
          return Softmax<axis=1>(Mul(%x, f32{0.5}))
        }""",
        ["Row max sum [N, 7]"],
    ),
    "a norm of two sums is one sweep by rows": (
        """graph (%x: f32[N, 7], %s: f32[7], %b: f32[7]) {
          return Relu(LayerNorm<axis=1, epsilon=0.00001>(%x, %s, %b))
        }""",
        ["Row sum sum [N, 7]"],
    ),
    "rows along another axis are another sweep": (
        """graph (%x: f32[N, 7]) {
          return Reduce<kind='sum', axes=(0,), keepdims=true>(Reduce<kind='max', axes=(1,), keepdims=true>(%x))
        }""",
        ["Row max [N, 7]", "Row sum [1, N]"],
    ),
    "what reads the same rows joins them": (
        """graph (%x: f32[N, 7]) {
          return Reduce<kind='sum', axes=(1,), keepdims=true>(%x), Reduce<kind='max', axes=(1,), keepdims=true>(%x)
        }""",
        ["Row sum max [N, 7]"],
    ),
    "what follows a sum without its axis is computed with it": (
        """graph (%x: f32[N, 7]) {
          return Neg(Reduce<kind='sum', axes=(1,), keepdims=false>(%x))
        }""",
        ["Row sum [N, 7]"],
    ),
    "gathered elements are elementwise work": (
        """graph (%x: f32[9, 4], %i: i64[N]) {
          return Neg(Gather<axis=0>(%x, %i))
        }""",
        ["Constant Within [N, 1]", "Index Load Neg [N, 4]"],
    ),
    "what is picked from is complete before": (
        """graph (%x: f32[9, 4], %i: i64[9, 4]) {
          return GatherElements<axis=0>(Exp(%x), %i)
        }""",
        ["Exp [9, 4]", "Constant Within Index Load [9, 4]"],
    ),
    "picks of picks are two sweeps": (
        """graph (%x: f32[9, 4]) {
          return Pad<before=(0, 1), after=(0, 1), mode='edge'>(Tile<repeats=(2, 1)>(%x))
        }""",
        ["Index Load [18, 4]", "Index Load [18, 6]"],
    ),
    "a cell stands alone": (
        """graph (%x: f32[N, 4], %s: f32[N, 4]) {
          %v, %i = TopK<k=2, axis=1, largest=true, sorted=true>(%x)
          return Neg(%v), %i
        }""",
        ["TopK [N, 2]", "Neg [N, 2]"],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_regions(name: str) -> None:
    text, expected = GOLDEN[name]
    assert regions(text) == expected


def refusals(text: str) -> set[tuple[str, str, str]]:
    found = grown(parse(text, ops.ALL)).refusals
    return {(one.producer, one.consumer, one.reason) for one in found}


def test_no_cycle_through_another_kernel() -> None:
    """c needs a product of a: were c computed with a, the product would need itself."""
    text = """graph (%x: f32[4, 4], %w: f32[4, 4]) {
      %a = Exp(%x) : f32[4, 4] "a"
      %b = MatMul(%a, %w) : f32[4, 4] "b"
      %c = Transpose<permutation=(1, 0)>(%b)
      %d = Add(%a, %c) : f32[4, 4] "d"
      return %d
    }"""
    assert regions(text) == ["Exp [4, 4]", "MatMul [4, 4]", "Add [4, 4]"]
    said = refusals(text)
    assert ("a", "d", "something else that it needs waits for that kernel") in said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Add(%x, Transpose<permutation=(1, 0)>(MatMul(%x, %w)))", "view"),
        ("Neg(Reduce<kind='sum', axes=(1,), keepdims=false>(MatMul(%x, %w)))", "anchor of its own"),
        ("Reduce<kind='max', axes=(0,)>(Reduce<kind='sum', axes=(1,)>(%x))", "another domain"),
        ("Exp(TopK<k=1, axis=1, largest=true, sorted=true>(%x))", "several results"),
        ("Add(Exp(%x), Exp(Reduce<kind='max', axes=(1,)>(%x)))", ""),
    ],
)
def test_refusals_say_why(line: str, reason: str) -> None:
    if "TopK" in line:
        body = "%v, %i = TopK<k=1, axis=1, largest=true, sorted=true>(%x)\nreturn Exp(%v), %i"
    else:
        body = f"return {line}"
    found = refusals(f"graph (%x: f32[4, 4], %w: f32[4, 4]) {{\n{body}\n}}")
    assert any(reason in said for *_, said in found) or not reason


def test_results_of_a_branch_are_joined_in_memory() -> None:
    text = """graph (%x: f32[N], %c: bool[]) {
      return Neg(If<then_branch=graph (%a: f32[N]) {
        return Exp(%a)
      }, else_branch=graph (%a: f32[N]) {
        return Abs(%a)
      }>(%c, Tanh(%x)))
    }"""
    assert regions(text) == ["Tanh [N]", "If", "Neg [N]"]
    assert any("joined in memory" in reason for *_, reason in refusals(text))


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_random_graphs_fall_into_groups_in_order(first: int) -> None:
    for seed in range(first, first + 40):
        check(grown(Sketch(Seeded(seed)).graph))


def check(growth: Growth) -> None:
    order = growth.ordered()
    place = {group: number for number, group in enumerate(order)}
    nodes = [node for group in order for node in group.nodes]
    assert len(nodes) == len(set(nodes))
    for group in order:
        assert all(growth.of[node] is group for node in group.nodes)
        needed = set().union(*(growth.needs(value) for node in group.nodes for value in node.inputs)) - {group}
        assert all(place[other] < place[group] for other in needed), "a group runs before one that it needs"
        if not group.nodes[0].op.graphs:
            check_region(region_of(group, growth))
    assert all(isinstance(one, NotFused) and one.reason and one.producer and one.consumer for one in growth.refusals)


def check_region(region: Region) -> None:
    rank = len(region.domain)
    match region:
        case Pointwise(inputs=inputs, outputs=outputs, body=body):
            check_body(body, len(inputs), len(outputs), region)
            assert all(len(operand.strides) == rank for operand in (*inputs, *outputs))
        case Row(inputs=inputs, phases=phases, body=body, finish=finish, finish_inputs=flat, reduced=reduced):
            for number, phase in enumerate(phases):
                check_body(phase.body, len(inputs) + number, 1, region)
            if body:
                check_body(body, len(inputs) + len(phases), len(region.outputs), region)
            if finish:
                check_body(finish, len(flat) + len(phases), len(region.finish_outputs), region)
            assert (body or finish) and 0 < reduced <= rank
            for operand in (*flat, *region.finish_outputs):
                rows = zip(operand.strides[rank - reduced :], operand.shape[rank - reduced :], strict=True)
                assert all(stride == 0 or size == 1 for stride, size in rows)
        case Anchored(extra=extra, body=body, results=results):
            check_body(body, results + len(extra), len(region.outputs), region)


def check_body(body: Body, inputs: int, outputs: int, region: Region) -> None:
    assert (len(body.inputs), len(body.outputs)) == (inputs, outputs)
    for number, instruction in enumerate(body.code, inputs):
        assert all(0 <= argument < number for argument in instruction.args)
    assert all(0 <= register < inputs + len(body.code) for register in body.outputs)
    assert len(set(map(id, region.gathered))) == len(region.gathered)


def test_seeds_draw_what_they_drew() -> None:
    one, other = (Sketch(Seeded(5)).graph for _ in range(2))
    assert [node.op for node in one.nodes] == [node.op for node in other.nodes]
    assert np.isfinite(len(one))

"""The portable pipeline on whole chains, text in, text out; and the passes that are no rules."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.ir import text
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.options import Options
from tenfold.passes.clean import CommonSubexpressions, DeadCode
from tenfold.rewrite.rule import Steps
from tenfold.target import Target
from tests.passes.sample import assert_same, run, sample

CHAINS = {
    "a convolution with its batch norm and hard swish": (
        """
        graph (%x: f32[N, 2, H, W]) {
          %y = Conv<strides=(1, 1), dilations=(1, 1), pads_before=(1, 1), pads_after=(1, 1)>(
            Pad<before=(0, 0, 0, 1), after=(0, 0, 1, 0)>(%x), f32[1, 2, 1, 2]{1, 2, 3, 4}@"w")
          %z = Add(Mul(Add(%y, f32[1, 1, 1, 1]{1}), f32[1, 1, 1]{2}@"scale"), f32[1, 1, 1]{3}@"shift")
          return Div(Mul(%z, Clip(Add(%z, f32{3}), f32{0}, f32{6})), f32{6}) as "y"
        }
        """,
        """
        graph (%x: f32[N, 2, H, W]) where H in 1.., N in 1.., W in 1.. {
          %0 = Constant<tensor=f32[1, 2, 1, 2]{2.0, 4.0, 6.0, 8.0}>() : f32[1, 2, 1, 2]
          %1 = Conv<strides=(1, 1), dilations=(1, 1), pads_before=(1, 2), pads_after=(2, 1), groups=1>(%x, %0) : f32[N, 1, H + 3, W + 2]
          %2 = Constant<tensor=f32[1, 1, 1, 1]{5.0}>() : f32[1, 1, 1, 1]
          %z = Add(%1, %2) : f32[N, 1, H + 3, W + 2]
          %3 = HardSwish(%z) : f32[N, 1, H + 3, W + 2]
          return %3 as "y"
        }
        """,  # noqa: E501
    ),
    "a layer norm as exporters write it": (
        """
        graph (%x: f32[N, S, 2]) {
          %c = Sub(%x, Reduce<kind='mean', axes=(2,)>(%x))
          %v = Reduce<kind='mean', axes=(2,)>(Pow(%c, f32{2}))
          return Add(Mul(f32[2]{2, 3}, Div(%c, Sqrt(Add(f32{0.5}, %v)))), f32[2]{4, 5}) as "y"
        }
        """,
        """
        graph (%x: f32[N, S, 2]) where N in 1.., S in 1.. {
          %0 = Constant<tensor=f32[2]{2.0, 3.0}>() : f32[2]
          %1 = Constant<tensor=f32[2]{4.0, 5.0}>() : f32[2]
          %2 = LayerNorm<axis=2, epsilon=0.5>(%x, %0, %1) : f32[N, S, 2]
          return %2 as "y"
        }
        """,
    ),
    "attention with its scale on both sides and heads split by reshaping": (
        """
        graph (%q: f32[N, S, 8], %k: f32[N, S, 8], %v: f32[N, S, 8]) {
          %a = Transpose<permutation=(0, 2, 1, 3)>(Reshape<shape=(N, S, 2, 4)>(%q))
          %b = Transpose<permutation=(0, 2, 3, 1)>(Reshape<shape=(N, S, 2, 4)>(%k))
          %c = Transpose<permutation=(0, 2, 1, 3)>(Reshape<shape=(N, S, 2, 4)>(%v))
          %p = Softmax<axis=3>(MatMul(Mul(%a, f32{0.5}), Mul(%b, f32{0.5})))
          return Reshape<shape=(N, S, 8)>(Transpose<permutation=(0, 2, 1, 3)>(MatMul(%p, %c))) as "y"
        }
        """,
        """
        graph (%q: f32[N, S, 8], %k: f32[N, S, 8], %v: f32[N, S, 8]) where N in 1.., S in 1.. {
          %0 = Reshape<shape=(N, S, 2, 4)>(%q) : f32[N, S, 2, 4]
          %a = Transpose<permutation=(0, 2, 1, 3)>(%0) : f32[N, 2, S, 4]
          %1 = Reshape<shape=(N, S, 2, 4)>(%k) : f32[N, S, 2, 4]
          %2 = Reshape<shape=(N, S, 2, 4)>(%v) : f32[N, S, 2, 4]
          %c = Transpose<permutation=(0, 2, 1, 3)>(%2) : f32[N, 2, S, 4]
          %3 = Transpose<permutation=(0, 2, 1, 3)>(%1) : f32[N, 2, S, 4]
          %4 = Attention<scale=0.25, causal=false, offset=0, softcap=0.0, blind='nan'>(%a, %3, %c) : f32[N, 2, S, 4]
          %5 = Transpose<permutation=(0, 2, 1, 3)>(%4) : f32[N, S, 2, 4]
          %6 = Reshape<shape=(N, S, 8)>(%5) : f32[N, S, 8]
          return %6 as "y"
        }
        """,
    ),
    "shape arithmetic and a branch that it decides": (
        """
        graph (%x: f32[N, 6]) {
          %n = Sizes<elements=(N, 6), shape=(2,)>()
          %six = Gather<axis=0>(%n, i64{1})
          %y = If<
            then_branch=graph (%x: f32[N, 6]) { return Reshape<shape=(N, 2, 3)>(%x) },
            else_branch=graph (%x: f32[N, 6]) { return Reshape<shape=(N, 3, 2)>(%x) }>(Equal(%six, i64{6}), %x)
          return %y as "y"
        }
        """,
        """
        graph (%x: f32[N, 6]) where N in 1.. {
          %y = Reshape<shape=(N, 2, 3)>(%x) : f32[N, 2, 3]
          return %y as "y"
        }
        """,
    ),
    "a channels-last island": (
        """
        graph (%x: f32[N, 2, H, W]) {
          %t = Transpose<permutation=(0, 2, 3, 1)>(%x)
          %u = Relu(Add(%t, f32[2]{1, 2}))
          return Transpose<permutation=(0, 3, 1, 2)>(Mul(%u, f32{2})) as "y"
        }
        """,
        """
        graph (%x: f32[N, 2, H, W]) where H in 1.., N in 1.., W in 1.. {
          %0 = Constant<tensor=f32[]{2.0}>() : f32[]
          %1 = Constant<tensor=f32[1, 2, 1, 1]{1.0, 2.0}>() : f32[1, 2, 1, 1]
          %2 = Add(%x, %1) : f32[N, 2, H, W]
          %3 = Relu(%2) : f32[N, 2, H, W]
          %4 = Mul(%3, %0) : f32[N, 2, H, W]
          return %4 as "y"
        }
        """,
    ),
}


def parse(source: str) -> Graph:
    return text.parse(source, ops.ALL)


@pytest.mark.parametrize("chain", CHAINS)
def test_chains(chain: str) -> None:
    source, expected = (textwrap.dedent(one).lstrip("\n") for one in CHAINS[chain])
    graph = passes.PORTABLE(parse(source))
    assert text.show(graph) == expected
    inputs = sample(graph)
    assert_same(run(parse(source), inputs), run(graph, inputs))


@pytest.mark.parametrize("chain", CHAINS)
def test_what_is_finished_stays(chain: str) -> None:
    graph = passes.PORTABLE(parse(CHAINS[chain][0]))
    once = text.show(graph)
    assert text.show(passes.PORTABLE(graph)) == once


def test_equal_constants_of_different_weights_stay_apart() -> None:
    graph = Graph()
    array = np.float32([1, 2])
    graph.set_outputs([ops.Constant(Tensor(array, source=name))() for name in ("a", "b", "a")], ["x", "y", "z"])
    CommonSubexpressions().run(graph, Steps())
    assert len(graph) == 2


@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        ("Pad<before=(1,), after=(1,), value=0.0>", "Pad<before=(1,), after=(1,), value=-0.0>", 2),
        ("Pad<before=(1,), after=(1,), value=1>", "Pad<before=(1,), after=(1,), value=1.0>", 2),
        ("Neg", "Neg", 1),
        ("Neg", "Abs", 2),
    ],
)
def test_common_subexpressions(a: str, b: str, left: int) -> None:
    graph = parse(f"graph (%x: f32[2]) {{ return {a}(%x), {b}(%x) }}")
    CommonSubexpressions().run(graph, Steps())
    graph.verify()
    assert len(graph) == left


def test_dead_code_goes_from_subgraphs_too() -> None:
    graph = parse("""graph (%c: bool[], %x: f32[2]) {
      %unused = Exp(Neg(%x))
      %y = If<
        then_branch=graph (%x: f32[2]) { %z = Neg(%x) return %x },
        else_branch=graph (%x: f32[2]) { return %x }>(%c, %x)
      return %y
    }""")
    DeadCode().run(graph, Steps())
    (node,) = graph.nodes
    assert [len(inner) for inner in node.op.graphs] == [0, 0]


@pytest.mark.parametrize("target", ["cpu:x86-64-v3", "cpu:aarch64"])
def test_every_target_has_its_passes(target: str) -> None:
    (parsed,) = Target.parse(target)
    assert passes.for_target(parsed, Options((parsed,))) is passes.CPU


def test_what_a_weights_value_decided_is_kept_for_refit() -> None:
    graph = passes.PORTABLE(parse('graph (%x: f32[2]) { return Mul(%x, f32[2]{1, 1}@"scale") as "y" }'))
    assert not len(graph)
    (decision,) = graph.decisions
    assert decision.rule == "times_one" and decision.tensor.source == "scale"
    assert decision.holds({"scale": np.float32([1, 1])})
    assert not decision.holds({"scale": np.float32([1, 2])})

"""The driver: what it edits, what replacements inherit, that it ends, that it stops where it is told."""

from __future__ import annotations

import pytest

from tenfold import ops
from tenfold.errors import LimitError
from tenfold.ir import text
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Value
from tenfold.rewrite.rule import Replacement, Steps, rewrite, rule


def parse(source: str) -> Graph:
    return text.parse(source, ops.ALL)


@rule("graph (%x: f32[2]) { return Neg(Neg(%x)) }", "graph (%x: f32[2]) { return Neg(%x) }")
def double_negation(value: Value) -> Replacement:
    """-(-x) -> x"""
    match value:
        case Value(ops.Neg(), (Value(ops.Neg(), (x,)),)):
            return x
    return None


@rule("graph (%x: f32[2]) { return Add(%x, %x) }", "graph (%x: f32[2]) { return Neg(%x) }")
def swap(value: Value) -> Replacement:
    """x + y -> y + x"""
    match value:
        case Value(ops.Add(), (x, y)):
            return ops.Add()(y, x)
    return None


@rule("graph (%x: f32[2]) { return Exp(Neg(%x)) }", "graph (%x: f32[2]) { return Exp(%x) }")
def inverse(value: Value) -> Replacement:
    """exp(-x) -> 1 / exp(x)"""
    match value:
        case Value(ops.Exp(), (Value(ops.Neg(), (x,)),)):
            return ops.Reciprocal()(ops.Exp()(x))
    return None


def test_a_chain_vanishes_and_what_it_left_is_removed() -> None:
    graph = parse("graph (%x: f32[2]) { return Neg(Neg(Neg(Neg(Neg(%x))))) }")
    steps = rewrite(graph, (double_negation,))
    graph.verify()
    assert [node.op.name for node in graph.nodes] == ["Neg"]
    assert steps.counts["double_negation"] == 2


def test_a_replacement_inherits_names_and_sources() -> None:
    graph = parse('graph (%x: f32[2]) { %a = Neg(%x) "n" from "neg" %b = Exp(%a) "e" from "exp" return %b as "y" }')
    rewrite(graph, (inverse,))
    graph.verify()
    assert [(node.op.name, node.name, node.source) for node in graph.nodes] == [
        ("Exp", "e", ("exp", "neg")),
        ("Reciprocal", "e", ("exp", "neg")),
    ]
    assert graph.outputs[0].name == "b" and graph.output_names == ("y",)


def test_what_others_use_stays() -> None:
    graph = parse("graph (%x: f32[2]) { %a = Neg(%x) return Exp(%a), %a }")
    rewrite(graph, (inverse,))
    graph.verify()
    assert sorted(node.op.name for node in graph.nodes) == ["Exp", "Neg", "Reciprocal"]


def test_rules_that_undo_each_other_are_named() -> None:
    with pytest.raises(LimitError, match="swap"):
        rewrite(parse("graph (%x: f32[2], %y: f32[2]) { return Add(%x, %y) }"), (swap,))


def test_a_limit_stops_the_edits() -> None:
    graph = parse("graph (%x: f32[2]) { return Neg(Neg(Neg(Neg(Neg(%x))))) }")
    steps = rewrite(graph, (double_negation,), Steps(1))
    assert len(graph) == 3 and steps.exhausted


def test_subgraphs_are_rewritten_too() -> None:
    graph = parse("""graph (%c: bool[], %x: f32[2]) {
      %y = If<
        then_branch=graph (%x: f32[2]) { return Neg(Neg(%x)) },
        else_branch=graph (%x: f32[2]) { return %x }>(%c, %x)
      return %y
    }""")
    rewrite(graph, (double_negation,))
    (node,) = graph.nodes
    assert [len(inner) for inner in node.op.graphs] == [0, 0]


def test_a_replacement_of_another_type_is_refused() -> None:
    @rule("", "")
    def wrong(value: Value) -> Replacement:
        """x -> x of one element"""
        return ops.Reshape((1, 2))(value.inputs[0])

    with pytest.raises(AssertionError, match="cannot be replaced"):
        rewrite(parse("graph (%x: f32[2]) { return Neg(%x) }"), (wrong,))


def test_a_size_that_becomes_known_is_written_everywhere() -> None:
    @rule("", "")
    def known(value: Value) -> Replacement:
        """nonzero(x) -> x, here"""
        match value:
            case Value(ops.NonZero(), (x,)):
                return ops.Reshape((1, 3))(x)
        return None

    graph = parse("""graph (%x: i64[3]) where u0 in data {
      %at = NonZero(%x) : i64[1, u0]
      %flat = Reshape<shape=(u0,)>(%at) : i64[u0]
      return %flat
    }""")
    assert isinstance(graph.outputs[0].type.shape[0], Dim)
    rewrite(graph, (known,))
    graph.verify()
    assert graph.outputs[0].type.shape == (3,)
    assert graph.outputs[0].op == ops.Reshape((3,))
